"""`ms-gan generate`: images from one .ckpt file, or from weights that come with the package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ms_gan.cli.console import DEVICES, natural, positive, say
from ms_gan.cli.source import add_generator, generator_file
from ms_gan.errors import UsageError
from ms_gan.system import runtime


def add_parser(commands: argparse._SubParsersAction) -> None:
    generate = commands.add_parser("generate", help="images from one .ckpt file")
    add_generator(generate)
    generate.add_argument("--num", type=positive, default=64, help="images (%(default)s)")
    generate.add_argument("--seed", type=natural, default=1, help="of the latents (%(default)s)")
    generate.add_argument(
        "--label", type=natural,
        help="class, of a conditional generator (all, as often as in the training data)",
    )  # fmt: skip
    generate.add_argument("--out", type=Path, default=Path("samples"), help="folder (%(default)s)")
    generate.add_argument(
        "--format", choices=FORMATS, default="grid",
        help="grid: one PNG; png: single PNGs; npy: float32 [N, C, H, W] in [-1, 1]; "
        "gif: a walk between latents (%(default)s)",
    )  # fmt: skip
    generate.add_argument("--device", choices=DEVICES, default="auto", help="(%(default)s)")
    generate.set_defaults(run=run_generate)


def run_generate(arguments: argparse.Namespace) -> int:
    path = generator_file(arguments)

    from ms_gan import build

    runtime.set_device(arguments.device)
    runtime.set_mode("graph")
    sampler = build.load_sampler(path)
    check_label(arguments.label, sampler.num_classes, path)
    try:
        written = write_samples(arguments, sampler)
    except OSError as error:
        raise UsageError(
            f"{arguments.out}: cannot be written: {error.strerror or error}; "
            "choose another folder with --out"
        ) from None
    meta = sampler.meta
    trained = f" after {meta['step']} steps" if "step" in meta else ""
    say(f"{meta['config']['name']}{trained} -> {written}")
    return 0


def check_label(label: int | None, num_classes: int, path: Path) -> None:
    if label is None:
        return
    if num_classes == 0:
        raise UsageError(
            f"--label: the generator in {path} is unconditional and takes no labels; "
            "leave it out or use a conditional one (configs/cgan_mnist.yaml)"
        )
    if label >= num_classes:
        raise UsageError(f"--label: expected 0 to {num_classes - 1}, got {label}")


def write_samples(arguments: argparse.Namespace, sampler: Any) -> Path | str:
    """Make the images and write them in the wanted format; return what was written."""
    num, seed, label, out = arguments.num, arguments.seed, arguments.label, arguments.out
    if arguments.format == "gif":
        images, labels = sampler.walk(seed, label), None
    else:
        images, labels = sampler.samples(seed, num, label)
    out.mkdir(parents=True, exist_ok=True)
    return FORMATS[arguments.format](out, images, labels)


def write_grid(out: Path, images: Any, labels: Any) -> Path:
    from ms_gan.runs import visualise

    visualise.save_png(out / "grid.png", visualise.class_grid(images, labels))
    return out / "grid.png"


def write_pngs(out: Path, images: Any, labels: Any) -> str:
    from ms_gan.runs import visualise

    for i, image in enumerate(images):
        visualise.save_png(out / f"{i:05d}.png", visualise.to_picture(image))
    return f"{out}/00000.png … {len(images) - 1:05d}.png"


def write_array(out: Path, images: Any, labels: Any) -> Path:
    import io

    import numpy as np

    from ms_gan.system import files

    buffer = io.BytesIO()
    np.save(buffer, images)
    files.write(out / "samples.npy", buffer.getvalue())
    return out / "samples.npy"


def write_gif(out: Path, images: Any, labels: Any) -> Path:
    from ms_gan.runs import visualise

    frames = [visualise.grid(image[None]) for image in images]
    visualise.save_gif(out / "interpolation.gif", frames, milliseconds=80)
    return out / "interpolation.gif"


# Takes (folder, images [N, C, H, W], labels or None), returns what it wrote.
FORMATS = {"grid": write_grid, "png": write_pngs, "npy": write_array, "gif": write_gif}
