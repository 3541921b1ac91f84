"""Pictures: grids, PNG files, progress GIFs, curves. NumPy arrays in, files out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageDraw

from ms_gan.runs.headline import Headline
from ms_gan.system import files

TILE = 56  # small images are enlarged until a tile has about this many pixels
CAPTION = 20  # height of the caption bar of a frame, pixels


def to_uint8(images: np.ndarray) -> np.ndarray:
    """float [-1, 1] -> uint8 [0, 255], values outside are clipped."""
    return np.clip(np.rint((np.asarray(images) + 1.0) * 127.5), 0, 255).astype(np.uint8)


def to_picture(image: np.ndarray) -> np.ndarray:
    """One image [C, H, W] in [-1, 1] -> uint8 [H, W] (grey) or [H, W, 3]."""
    picture = to_uint8(image).transpose(1, 2, 0)
    return picture[..., 0] if picture.shape[2] == 1 else picture


def grid(
    images: np.ndarray, *, columns: int | None = None, gap: int = 2, tile: int = TILE
) -> np.ndarray:
    """Images [N, C, H, W] in [-1, 1] -> one picture, uint8 [H', W'] or [H', W', 3].

    Rows are filled from the left; without `columns` the grid is as square as it can be. Images
    smaller than `tile` pixels are enlarged by a whole factor.
    """
    num, channels, height, width = images.shape
    columns = columns or int(np.ceil(np.sqrt(num)))
    rows = -(-num // columns)
    factor = max(1, round(tile / max(height, width)))
    tiles = to_uint8(images).repeat(factor, axis=2).repeat(factor, axis=3)
    height, width = height * factor, width * factor
    canvas = np.zeros(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, channels), np.uint8
    )
    for i, tile in enumerate(tiles):
        top, left = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = tile.transpose(1, 2, 0)
    return canvas[..., 0] if channels == 1 else canvas


def pairs(left: np.ndarray, right: np.ndarray, *, columns: int) -> np.ndarray:
    """Images [N, C, H, W], each beside its counterpart of the same shape, as one picture."""
    return grid(np.concatenate([left, right], axis=3), columns=columns, gap=8, tile=2 * TILE)


def class_grid(images: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """A grid with one row for each class; without labels a plain one."""
    if labels is None:
        return grid(images)
    rows = [images[labels == label] for label in np.unique(labels)]
    columns = max(len(row) for row in rows)
    black = np.full((columns, *images.shape[1:]), -1.0, images.dtype)
    full = [np.concatenate([row, black[len(row) :]]) for row in rows]
    return grid(np.concatenate(full), columns=columns if len(rows) > 1 else None)


def load_png(path: str | Path) -> np.ndarray:
    """What `save_png` wrote."""
    return iio.imread(path)


def save_png(path: str | Path, picture: np.ndarray) -> None:
    files.write(path, iio.imwrite("<bytes>", picture, extension=".png"))


def captioned(picture: np.ndarray, text: str) -> np.ndarray:
    """The picture with a line of text in a bar above it."""
    image = Image.fromarray(picture)
    framed = Image.new(image.mode, (image.width, image.height + CAPTION))
    framed.paste(image, (0, CAPTION))
    ImageDraw.Draw(framed).text((4, 4), text, fill="white")
    return np.asarray(framed)


def save_gif(
    path: str | Path, frames: Sequence[np.ndarray], *, milliseconds: int = 120, pause: int = 0
) -> None:
    """An endless GIF of frames of equal size; the last one stays for `pause` more milliseconds."""
    durations = [milliseconds] * len(frames)
    durations[-1] += pause
    duration = durations if len(frames) > 1 else durations[0]  # Pillow takes no list for one frame
    content = iio.imwrite("<bytes>", np.stack(frames), extension=".gif", duration=duration, loop=0)
    files.write(path, content)


def save_curves(
    path: str | Path, log: Sequence[Mapping[str, float]], headline: Headline | None = None
) -> None:
    """Losses, D(x) and D(G(z)) against the step, and the headline where it was measured: one PNG.

    Where an evaluation gave coverage too, it has an axis on the right.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    evaluated = [row for row in log if headline is not None and headline.key in row]
    num = 3 if evaluated else 2
    figure = Figure(figsize=(7, 3 * num), layout="constrained")
    FigureCanvasAgg(figure)
    losses, scores, *rest = panels = figure.subplots(num, 1, sharex=True)
    _plot(losses, log, {"loss_d": "discriminator", "loss_g": "generator"}, "loss")
    _plot(scores, log, {"d_real": "D(x)", "d_fake": "D(G(z))"}, "mean of sigmoid(score)")
    scores.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    scores.set_ylim(0, 1)
    for quality in rest:
        _plot(quality, evaluated, {headline.key: headline.short}, headline.title, marker=".")
        quality.axhline(evaluated[-1]["floor"], color="C0", linestyle=":", label="floor")
        quality.set_yscale("log" if headline.logarithmic else "linear")
        axes = [quality]
        if any("coverage" in row for row in evaluated):
            coverage = quality.twinx()
            _plot(coverage, evaluated, {"coverage": "coverage"}, "coverage", color="C1", marker=".")
            coverage.set_ylim(0, 1)
            coverage.grid(False)
            coverage.get_legend().remove()
            axes.append(coverage)
        handles = [one.get_legend_handles_labels() for one in axes]
        quality.legend(
            *(sum(parts, []) for parts in zip(*handles, strict=True)),
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False,
        )  # fmt: skip
        for row in evaluated:
            if "warning" in row:
                quality.axvline(row["step"], color="C3", linewidth=0.8, linestyle=":")
    panels[-1].set_xlabel("step (generator updates)")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    files.write(path, buffer.getvalue())


def _plot(axes, log: Sequence[Mapping], curves: Mapping[str, str], label: str, **style) -> None:
    """Curves of the log, key -> name, in one panel."""
    for key, name in curves.items():
        points = [(row["step"], row[key]) for row in log if key in row]
        if points:
            axes.plot(*zip(*points, strict=True), **{"label": name, "linewidth": 1, **style})
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right")
