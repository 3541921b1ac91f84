"""`ms-gan generate`: images from one .ckpt file, or from weights that come with the package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ms_gan.cli.console import DEVICES, natural, positive, say
from ms_gan.cli.source import add_generator, generator_file
from ms_gan.recipe.config import ConfigError
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
        "--format", choices=("grid", "png", "npy", "gif"), default="grid",
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
    generator, latent_dim, meta = build.load_generator(path)
    check_label(arguments.label, generator.num_classes, path)
    try:
        written = write_samples(arguments, generator, latent_dim, meta)
    except OSError as error:
        raise ConfigError(
            f"{arguments.out}: cannot be written: {error.strerror or error}; "
            "choose another folder with --out"
        ) from None
    trained = f" after {meta['step']} steps" if "step" in meta else ""
    say(f"{meta['config']['name']}{trained} -> {written}")
    return 0


def check_label(label: int | None, num_classes: int, path: Path) -> None:
    if label is None:
        return
    if num_classes == 0:
        raise ConfigError(
            f"--label: the generator in {path} is unconditional and takes no labels; "
            "leave it out or use a conditional one (configs/cgan_mnist.yaml)"
        )
    if label >= num_classes:
        raise ConfigError(f"--label: expected 0 to {num_classes - 1}, got {label}")


def write_samples(
    arguments: argparse.Namespace, generator: Any, latent_dim: int, meta: dict[str, Any]
) -> Path | str:
    """Make the images and write them in the wanted format; return what was written."""
    import io

    import numpy as np

    from ms_gan.runs import sampling, visualise
    from ms_gan.system import files

    num, seed, out = arguments.num, arguments.seed, arguments.out
    if arguments.format == "gif":
        num, z = sampling.STOPS, sampling.interpolation(seed, latent_dim)
    else:
        z = sampling.latents(seed, num, latent_dim)
    labels = sampling.class_labels(
        num, generator.num_classes, arguments.label, meta.get("class_shares")
    )
    if labels is not None:
        labels = labels.repeat(len(z) // num)  # a walk changes its class at every stop
    images = sampling.generate(generator, z, labels)
    out.mkdir(parents=True, exist_ok=True)
    if arguments.format == "grid":
        visualise.save_png(out / "grid.png", visualise.class_grid(images, labels))
        return out / "grid.png"
    if arguments.format == "png":
        for i, image in enumerate(images):
            visualise.save_png(out / f"{i:05d}.png", visualise.to_picture(image))
        return f"{out}/00000.png … {num - 1:05d}.png"
    if arguments.format == "npy":
        buffer = io.BytesIO()
        np.save(buffer, images)
        files.write(out / "samples.npy", buffer.getvalue())
        return out / "samples.npy"
    frames = [visualise.grid(image[None]) for image in images]
    visualise.save_gif(out / "interpolation.gif", frames, milliseconds=80)
    return out / "interpolation.gif"
