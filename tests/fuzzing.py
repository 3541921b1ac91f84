"""Coverage-guided fuzzing of what reads files of strangers.

    pip install atheris
    python -m tests.fuzzing idx --minutes 10

libFuzzer, through atheris, changes the bytes of small good files and keeps what reaches new lines
of the reader. A reader may refuse with a UserError of one line; any other error, a broken promise
about what was read, 20 s for one file or 1.5 GB more than at the start end the run, and the bytes
lie in the folder. Each finding becomes a row of FOUND, which tests/test_hostile.py reads at every
run.
"""

import argparse
import bz2
import gzip
import importlib
import io
import json
import lzma
import os
import pickle
import resource
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from ms_gan.errors import UserError

# What is seen as branches; MindSpore is not.
SEEN = ("ms_gan", "yaml", "PIL", "tarfile", "gzip", "pickle", "pickletools")


# --- good files to begin with ---------------------------------------------------------------------


def checkpoints():
    from ms_gan.runs import records

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ckpt"
        arrays = {"generator.w": np.ones((2, 3), np.float32), "step": np.array(3, np.int64)}
        meta = {"config": {}, "image_shape": [1, 2, 2]}
        records.write(path, arrays, {"ms_gan": json.dumps(meta)})
        whole = path.read_bytes()
    without = whole[: whole.index(records.DIGEST.encode()) - 4]
    onnx = b'\x08\x09\x12\x07pytorch\x1a\x032.3:\x10\x0a\x0e\x0a\x01x\x12\x01y"\x04Relu:\0'
    return [whole, without, onnx, b"\x80\x02}q\0.", b"version https://git-lfs"]


def idx_files():
    images, labels = b"\0\0\x08\x03\0\0\0\2\0\0\0\3\0\0\0\2" + bytes(12), b"\0\0\x08\1\0\0\0\2\1\2"
    return [images, labels, *(gzip.compress(raw, mtime=0) for raw in (images, labels))]


def batches():
    """Of CIFAR-10, for Python: all protocols, the names as Python 2 and 3 write them."""
    held = {b"data": np.zeros((2, 3072), np.uint8)[:, ::1], b"labels": [1, 2], b"n": [b"a", "b"]}
    held |= {b"f": np.asfortranarray(np.ones((2, 2))), b"t": (1.5, None, True)}
    return [pickle.dumps(held, protocol=protocol) for protocol in range(6)]


def laughs():
    """Labels that are 8^16 numbers, written out."""
    labels = [1] * 8
    for _ in range(15):
        labels = [labels] * 8
    return pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": labels}, protocol=2)


def archives():
    made = []
    others = {"./.hidden": b"x", "test/cat/1.png": png()}
    for some in ({"train/cat/1.png": png()}, {"cifar/data_batch_1": batches()[2]}):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name, content in {**some, **others}.items():
                about = tarfile.TarInfo(name)
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))
        raw = file.getvalue().rstrip(b"\0") + bytes(1024)
        made += [pack(raw) for pack in (bytes, gzip.compress, lzma.compress, bz2.compress)]
    return made


def png():
    return pictures(("PNG",))[0]


def pictures(formats=("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "PCX")):
    from PIL import Image

    made = []
    for format in formats:
        for mode in ("RGB", "L", "P", "RGBA", "I;16", "F"):
            file, pixels = io.BytesIO(), np.arange(64, dtype=np.uint8).reshape(8, 8)
            try:
                Image.fromarray(pixels).convert(mode).save(file, format)
            except (OSError, ValueError, KeyError):  # a mode that the format does not have
                continue
            made.append(file.getvalue())
    return made


def recipes():
    from ms_gan.recipe import reader

    texts = [path.read_bytes() for path in sorted(reader.CONFIGS.glob("*.yaml"))]
    bare = [b"\n".join(line.split(b"#")[0].rstrip() for line in t.splitlines()) for t in texts]
    return [*bare, b"model: &a {name: gan}\ndata: *a\nseed: 0x1f\n<<: {loss: null}\n"]


def manifests():
    whole = {"data": {"md5": {"a": "b"}}, "sessions": [{"step": 3}], "drawn": 4, "from": [{}],
             "changes": [{"step": 2, "why": "x"}], "plan": {"minutes": 2.0}}  # fmt: skip
    log = [{"step": 1, "d_loss": 0.5, "g_loss": 1e-3}, {"step": 2, "warning": "x", "images": [1]}]
    return [json.dumps(whole).encode(), "\n".join(map(json.dumps, log)).encode()]


# --- readers: bytes and a folder; an error that is no UserError is a finding ----------------------


def read_checkpoint(content, folder):
    from ms_gan.runs import checkpoint

    path = folder / "a.ckpt"
    path.write_bytes(content)
    arrays, meta = checkpoint.load_known(path)
    assert sum(array.nbytes for array in arrays.values()) <= len(content)


def read_idx(content, folder):
    from ms_gan.data import idx

    path = folder / "images"
    path.write_bytes(content)
    found = idx.read_idx(path)
    assert found.dtype == np.uint8 and found.nbytes <= 1032 * len(content)


def read_batch(content, folder):
    from ms_gan.data import cifar10

    images, labels = cifar10.of_pickle("batch", content)
    assert images.shape == (len(labels), 3, 32, 32) and 0 <= labels.min() <= labels.max() < 10


def read_archive(content, folder):
    from ms_gan.data import cifar10

    path = folder / "cifar10.tar"
    path.write_bytes(content)
    cifar10.load(root=str(path))
    assert os.listdir(folder) == [path.name]


def read_picture(content, folder):
    from ms_gan.data.decoding import Look, Unreadable, decode

    look = Look(4, 6, 1 + 2 * (len(content) % 2), ("crop", "pad", "stretch")[len(content) % 3])
    try:
        pixels, _ = decode(content, look, name="a.tga" if len(content) % 5 == 0 else "a.png")
    except Unreadable as error:
        raise UserError(str(error)) from None
    assert pixels.dtype == np.uint8 and pixels.shape == (look.channels, 4, 6)


def read_recipe(content, folder):
    from ms_gan.recipe import reader

    path = folder / "a.yaml"
    path.write_bytes(content)
    config = reader.load(path)
    path.write_text(reader.dump(config), encoding="utf-8")
    assert reader.load(path) == config


def read_manifest(content, folder):
    from ms_gan.runs.run_dir import RunDir

    run = RunDir(folder)
    run.manifest_file.write_bytes(content)
    run.log_file.write_bytes(content)
    manifest = run.manifest
    assert all(isinstance(item, dict) for item in manifest.get("sessions", []))
    assert all(type(row["step"]) is int for row in run.read_log())


READERS = {
    "checkpoint": (read_checkpoint, checkpoints),
    "idx": (read_idx, idx_files),
    "batch": (read_batch, batches),
    "archive": (read_archive, archives),
    "picture": (read_picture, pictures),
    "recipe": (read_recipe, recipes),
    "manifest": (read_manifest, manifests),
}
FOUND = {  # what was found -> reader, bytes
    "places up to 268 million in a pickle": ("batch", b"\x80\x02Nr\xff\xff\xff\x0f."),
    "an array of a billion objects": (
        "batch",
        b"\x80\x02cnumpy\nndarray\nJ\0\0\0\x40\x85U\1O\x86R.",
    ),
    "lists of lists as labels": ("batch", laughs()),
    "a number of 5,000 digits": ("recipe", b"seed: 0x" + b"f" * 5000),
    "a line that ends within a name": (
        "checkpoint",
        b"\n6\n\x0bgenera{\n).w\x12\x27\x08\2\x08\3\x12\x07Float32\x1a\x18" + bytes(24),
    ),
    "a number that grows by 60": ("recipe", b"seed: 1" + b":59" * 300 + b".5"),
}


def held(reader, content, folder):
    """Whether a reader takes the bytes; that it refuses them is said in one line.

    Raises:
        Exception: a finding.
    """
    try:
        READERS[reader][0](content, Path(folder))
    except UserError as error:
        assert str(error) and "\n" not in str(error), error
        return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, help="keeps what was reached, and findings")
    given = parser.parse_args()
    import atheris

    folder = given.folder or Path(tempfile.mkdtemp(prefix=f"fuzzing_{given.reader}_"))
    corpus, work = folder / "corpus", folder / "work"
    for path in (corpus, work):
        path.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    for number, seed in enumerate(READERS[given.reader][1]()):
        (corpus / f"seed_{number}").write_bytes(seed)
    with atheris.instrument_imports(include=list(SEEN)):
        for name in [name for name in sys.modules if name.partition(".")[0] in SEEN]:
            del sys.modules[name]  # of the seeds: not instrumented
        for name in ("data.idx", "data.cifar10", "data.decoding", "recipe.reader", "runs.run_dir"):
            importlib.import_module(f"ms_gan.{name}")
        if given.reader == "checkpoint":  # with MindSpore
            importlib.import_module("ms_gan.runs.checkpoint")
    sys.modules["PIL.Image"].MAX_IMAGE_PIXELS = 1 << 20  # larger ones are tested elsewhere
    global UserError
    from ms_gan.errors import UserError

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    atheris.Setup(
        [sys.argv[0], str(corpus), f"-max_total_time={60 * given.minutes:.0f}", "-timeout=20",
         f"-rss_limit_mb={used + 1500}", "-print_final_stats=1", f"-artifact_prefix={folder}/"],
        lambda content: held(given.reader, content, work) and None,
    )  # fmt: skip
    atheris.Fuzz()


if __name__ == "__main__":
    main()
