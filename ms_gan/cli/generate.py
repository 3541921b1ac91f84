"""`ms-gan generate`: images from one .ckpt file, or from weights that come with the package."""

from __future__ import annotations

import argparse
import math
import shutil
from pathlib import Path
from typing import Any

from ms_gan.cli.console import DEVICES, natural, positive, say, say_replaced, writing_to
from ms_gan.cli.source import (
    add_generator,
    add_truncation,
    generator_file,
    of_latents,
    styled,
    titled,
    truncated,
)  # fmt: skip
from ms_gan.errors import UsageError, near_miss

SHOWN = 12  # classes that an error names
GRID_PIXELS, LONGEST_SIDE = 36_000_000, 4096  # of a grid; of an enlarged image


def add_parser(commands: argparse._SubParsersAction) -> None:
    generate = commands.add_parser("generate", help="images from one .ckpt file")
    add_generator(generate)
    generate.add_argument("--num", type=positive, default=64, help="images (%(default)s)")
    generate.add_argument("--seed", type=natural, default=1, help="of the latents (%(default)s)")
    generate.add_argument(
        "--label", metavar="CLASS",
        help="class by name or number, of a conditional generator (all, as often as in the "
        "training data)",
    )  # fmt: skip
    generate.add_argument(
        "--list-classes", action="store_true", help="show the classes that --label takes only"
    )
    generate.add_argument("--out", type=Path, default=Path("samples"), help="folder (%(default)s)")
    generate.add_argument(
        "--format", choices=FORMATS, default="grid",
        help="grid: one PNG; png: single PNGs; npy: float32 [N, C, H, W] in [-1, 1]; "
        "gif: a walk between latents; mix: of a StyleGAN, the coarse styles of the first column "
        "with the fine ones of the first row (%(default)s)",
    )  # fmt: skip
    add_truncation(generate)
    generate.add_argument(
        "--cut", type=positive, metavar="N",
        help="mix: so many layers are coarse (half of them)",
    )  # fmt: skip
    generate.add_argument(
        "--scale", type=positive, metavar="N",
        help="enlarge images by a whole factor (png: 1; grid, gif: so that small ones are seen)",
    )  # fmt: skip
    generate.add_argument("--device", choices=DEVICES, default="auto", help="(%(default)s)")
    generate.set_defaults(run=run_generate)


def run_generate(arguments: argparse.Namespace) -> int:
    path = generator_file(arguments)
    sampler = of_latents(path, arguments.device)
    if arguments.list_classes:
        return list_classes(sampler, path)
    arguments.label = label_of(arguments.label, sampler, path)
    sampler = truncated(sampler, arguments.truncation, path)
    check_mix(arguments, sampler, path)
    with writing_to(arguments.out):
        written = write_samples(arguments, sampler)
    meta, label = sampler.meta, arguments.label
    of_class = "" if label is None else f", class {label} ({sampler.classes[label]})"
    if meta.get("note"):
        say(f"{path}: of {meta['tutorial']}: {meta['note']}")
    say(f"{titled(meta)}{of_class} -> {written}")
    say_replaced(arguments.out)
    return 0


def list_classes(sampler: Any, path: Path) -> int:
    """Say which number each class has, and its share of the training data."""
    require_classes("--list-classes", sampler, path)
    shares = sampler.meta.get("class_shares") or []
    for label, name in enumerate(sampler.classes):
        share = f"  {100 * shares[label]:.3g} %" if label < len(shares) else ""
        say(f"{label}  {name}{share}")
    return 0


def require_classes(option: str, sampler: Any, path: Path) -> None:
    if sampler.num_classes == 0:
        raise UsageError(
            f"{option}: the generator in {path} is unconditional and takes no labels; "
            "leave it out or use a conditional one (configs/cgan_mnist.yaml)"
        )


def label_of(text: str | None, sampler: Any, path: Path) -> int | None:
    """The label that a name or a number stands for; a class that has that name comes first.

    Where the classes are called by numbers, a number is a name: `--label 2` is never class 10.
    """
    if text is None:
        return None
    require_classes("--label", sampler, path)

    from ms_gan.data import class_names
    from ms_gan.data.found import listed
    from ms_gan.system.output import shown

    names = sampler.classes
    label = class_names.find(text, names)
    if label is None:
        expected, meant = listed(names, SHOWN), near_miss(text, names)
        if class_names.is_number(text):
            meant = ""
        if not all(map(class_names.is_number, names)):
            expected += f", or 0 to {len(names) - 1}"
        raise UsageError(
            f"--label: expected {expected}, got {shown(text)}{meant}; --list-classes shows all"
        )
    return label


def write_samples(arguments: argparse.Namespace, sampler: Any) -> str:
    """Make the images and write them in the wanted format; return what was written."""
    check_scale(arguments, sampler)
    arguments.out.mkdir(parents=True, exist_ok=True)
    return FORMATS[arguments.format](arguments, sampler)


def check_scale(arguments: argparse.Namespace, sampler: Any) -> None:
    if arguments.scale is None:
        return
    if arguments.format == "npy":
        raise UsageError("--scale: npy holds the images as they are; leave it out")
    side = max(sampler.image_shape[1:])
    if side * arguments.scale > LONGEST_SIDE:
        raise UsageError(
            f"--scale: {arguments.scale} makes images of {side * arguments.scale} pixels a side; "
            f"expected at most {max(1, LONGEST_SIDE // side)}"
        )


def check_mix(arguments: argparse.Namespace, sampler: Any, path: Path) -> None:
    """Whether styles can be mixed as they are to be; sets where they are cut."""
    if arguments.format != "mix":
        if arguments.cut is not None:
            raise UsageError("--cut: is for --format mix; leave it out or give both")
        return
    layers = styled(sampler, "--format mix", path).layers
    arguments.cut = arguments.cut or layers // 2
    if arguments.cut >= layers:
        raise UsageError(f"--cut: expected 1 to {layers - 1}, got {arguments.cut}")


def batches(arguments: argparse.Namespace, sampler: Any, num: int, labels: Any = None) -> Any:
    """The images, float32 [N, C, H, W] in [-1, 1], one forward pass at a time."""
    from ms_gan.runs.sampling import BATCH

    for images, _ in sampler.chunks(
        arguments.seed, num, arguments.label, labels=labels, size=BATCH
    ):
        yield images


def write_grid(arguments: argparse.Namespace, sampler: Any) -> str:
    """One PNG; of a conditional generator a block of full rows for each class."""
    from ms_gan.runs import visualise

    path = arguments.out / "grid.png"
    _, height, width = sampler.image_shape
    scale = arguments.scale or visualise.enlargement(height, width)
    num = min(arguments.num, max(1, GRID_PIXELS // (scale**2 * height * width)))
    plan, labels = visualise.layout([num], height, width), sampler.labels(num, arguments.label)
    blocks = [0] * num
    if labels is not None and arguments.label is None:
        plan, labels, blocks = visualise.full_classes(labels, height, width)
    grid = visualise.Grid(plan, sampler.image_shape, scale=scale)
    drawn = 0
    for images in batches(arguments, sampler, len(blocks), labels):
        grid.draw(images, blocks[drawn : drawn + len(images)])
        drawn += len(images)
    visualise.save_png(path, grid.picture)
    if num < arguments.num:
        say(
            f"{path}: the first {drawn:,} of {arguments.num:,} images, as many as a picture can "
            "show; --format png and npy write all"
        )
    elif drawn > num:
        say(f"{path}: {drawn} images instead of {num}, so that the rows of all classes are full")
    return f"{path}"


def write_pngs(arguments: argparse.Namespace, sampler: Any) -> str:
    """Single PNGs, each of the size of the generator's images unless --scale says more."""
    from ms_gan.runs import visualise

    digits = max(5, len(str(arguments.num - 1)))  # so that names sort
    scale, i = arguments.scale or 1, 0
    for images in batches(arguments, sampler, arguments.num):
        for image in images:
            picture = visualise.to_picture(image).repeat(scale, axis=0).repeat(scale, axis=1)
            visualise.save_png(arguments.out / f"{i:0{digits}d}.png", picture)
            i += 1
    return f"{arguments.out}/{0:0{digits}d}.png … {i - 1:0{digits}d}.png"


def write_array(arguments: argparse.Namespace, sampler: Any) -> str:
    """One .npy file, as numpy.save writes it, without all images in memory."""
    import numpy as np

    from ms_gan.system import files

    shape = (arguments.num, *sampler.image_shape)
    needed, free = 4 * math.prod(shape), shutil.disk_usage(arguments.out).free
    if needed > free:
        raise UsageError(
            f"{arguments.out}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; "
            "make room, take fewer with --num or another folder with --out"
        )
    path = arguments.out / "samples.npy"
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for images in batches(arguments, sampler, arguments.num):
            file.write(images.astype("<f4", copy=False).tobytes())
    return f"{path}"


def write_gif(arguments: argparse.Namespace, sampler: Any) -> str:
    """A walk between latents; small images are enlarged, so that one sees it."""
    from ms_gan.runs import visualise

    path = arguments.out / "interpolation.gif"
    frames = [
        visualise.grid(image[None], gap=0, tile=visualise.ALONE, scale=arguments.scale)
        for image in sampler.walk(arguments.seed, arguments.label)
    ]
    visualise.save_gif(path, frames, milliseconds=80)
    return f"{path}"


def write_mix(arguments: argparse.Namespace, sampler: Any) -> str:
    """A table of mixed styles, as many rows as columns."""
    from ms_gan.runs import visualise

    path = arguments.out / "mix.png"
    _, height, width = sampler.image_shape
    scale = arguments.scale or visualise.enlargement(height, width)
    most = math.isqrt(GRID_PIXELS // (scale**2 * height * width)) - 1
    side = max(1, min(math.isqrt(arguments.num), most))
    images = sampler.table(arguments.seed, side, arguments.cut, arguments.label)
    picture = visualise.grid(images, columns=side + 1, scale=arguments.scale)
    visualise.save_png(path, picture)
    return (
        f"{path}: {side} x {side} mixtures; layers 1 to {arguments.cut} are those of the first "
        "column, the others those of the first row"
    )


# Takes (arguments, sampler), returns what it wrote.
FORMATS = {
    "grid": write_grid,
    "png": write_pngs,
    "npy": write_array,
    "gif": write_gif,
    "mix": write_mix,
}
