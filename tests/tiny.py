"""What many tests need: a recipe that trains in a second, states, refusals, real commands."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
NETS = {"name": "gan", "latent_dim": 8, "g_widths": [16, 24], "d_widths": [16]}
RECIPE = {
    "name": "tiny",
    "data": {"name": "digits", "batch_size": 64},
    "model": NETS,
    "train": {"steps": 12, "ema_decay": 0.9},
    "every": {"log": 2, "sample": 4, "save": 4, "keep": 2},
    "runtime": {"device": "CPU"},
}


def real(what):
    """A folder of real data sets, or a loud skip."""
    for place in (os.environ.get("MS_GAN_DATA"), ROOT.parent / "shared" / "data"):
        if place and (Path(place) / what).is_dir():
            return Path(place) / what
    pytest.skip(f"REAL DATA NOT FOUND: set MS_GAN_DATA to a folder that holds {what}")


def recipe_file(folder, **sections):
    """tiny.yaml in a folder: RECIPE with some of its sections replaced."""
    path = Path(folder) / "tiny.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **sections}))
    return path


def state_of(image_shape, num_classes=0, *, batch, model=NETS, train=None, data=None, **sections):
    """A TrainState of small nets, on CPU, that takes batches of `batch` images."""
    from ms_gan import build
    from ms_gan.recipe import reader

    tree = {
        "name": "test",
        "data": {"batch_size": batch, **(data or {})},
        "model": model,
        "train": {"steps": 3, **(train or {})},
        **sections,
    }
    return build.build_training(reader.from_dict(tree), image_shape, num_classes, {})


def values(holder):
    """name -> a copy of the array, of a TrainState or of a Cell."""
    parameters = getattr(holder, "parameters", None)
    if not isinstance(parameters, list):
        parameters = holder.get_parameters()
    return {p.name: p.asnumpy().copy() for p in parameters}


def randomise(net, seed, scale=0.5):
    """Every weight from N(0, scale), running variances positive; returns the net.

    The vector of spectral normalisation keeps its length, which is one.
    """
    from mindspore import Tensor

    rng = np.random.default_rng(seed)
    for p in net.get_parameters():
        if p.name.split(".")[-1] == "u":
            continue
        numbers = rng.normal(0.0, scale, p.shape)
        if "variance" in p.name:
            numbers = np.abs(numbers) + 0.5
        p.set_data(Tensor(numbers.astype(np.float32)))
    return net


def refused(kind, function, *args, **kwargs):
    """The message of the error of that kind, which must be one line."""
    with pytest.raises(kind) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


def refused_command(capsys, *words):
    """The one line with which `ms-gan …` refuses, after which it ends with 2."""
    from ms_gan import cli

    capsys.readouterr()
    assert cli.main([str(word) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ms-gan: ") and error.count("\n") == 1
    return error


def replay(images, **meta):
    """A Sampler that shows the 64 images that it was given, whatever its latents are."""
    from mindspore import Parameter, Tensor, nn

    from ms_gan.runs.sampling import BATCH, Sampler

    class Replay(nn.Cell):
        latent_dim, num_classes = 4, 0

        def __init__(self):
            super().__init__()
            self.images = Parameter(Tensor(images), name="images")

        def construct(self, z):
            return self.images + 0 * z.sum()

    assert len(images) == BATCH
    return Sampler(Replay(), images.shape[1:], meta)


def script(name):
    """scripts/NAME.py as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def python(*words, cwd=None, **environment):
    """Python as a process of its own that finds the package, and what this process finds."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **environment}
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def start(*words, cwd=None, **environment):
    """`ms-gan …` as a process of its own."""
    return python("-m", "ms_gan", *words, cwd=cwd, **environment)


def run(*words, cwd=None, timeout=120, **environment):
    """(exit code, stdout, stderr) of `ms-gan …`."""
    process = start(*words, cwd=cwd, **environment)
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def newest(run_dir):
    """All that training needs to go on, of the newest checkpoint of a run, by name."""
    from ms_gan.runs import checkpoint
    from ms_gan.runs.run_dir import RunDir

    return checkpoint.load(RunDir(run_dir).checkpoint_files()[-1][1])[0]


def assert_same_bits(left, right):
    """Both are name -> array."""
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].tobytes() == right[name].tobytes(), name


def copy_run(run_dir, target, step=None):
    """A copy of a run; with `step`, one that was killed after it had saved that step."""
    from ms_gan.runs.run_dir import RunDir

    shutil.copytree(run_dir, target)
    copy = RunDir(target)
    for saved, path in copy.checkpoint_files():
        if step is not None and saved > step:
            path.unlink()
    if step == 0:  # nothing was saved yet
        for path in (copy.generator_file, copy.gif_file, copy.curves_file):
            path.unlink()
    return target


class Images:
    """Batches of given images, float32 [N, C, H, W], for a Feed."""

    def __init__(self, images, labels, batch_size):
        self.images, self.labels, self.batch_size = images, labels, batch_size

    def at(self, index):
        rows = np.arange(index * self.batch_size, (index + 1) * self.batch_size) % len(self.images)
        return self.images[rows], self.labels[rows]
