"""Pictures: grids, PNG files, progress GIFs, curves. NumPy arrays in, files out."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageDraw

from ms_gan.runs.headline import Headline
from ms_gan.system import files, runtime

TILE = 56  # small images are enlarged until a tile has about this many pixels
ALONE = 256  # the same of an image that is shown alone
BREAK, GREY = 6, 96  # between the blocks of two classes: pixels, and the level of the line there
PALETTE_PIXELS = 10_000  # of a frame, that choose its colours
# What a layout costs, against log(aspect): all cells empty, in a plain grid and in one of classes
# (whose rows may be filled up); blocks that are set apart; blocks that are high, not wide.
EMPTY, UNFILLED, APART, HIGH = 6.5, 2.0, 0.05, 0.3
CAPTION = 20  # height of the caption bar of a frame, pixels


def to_uint8(images: np.ndarray) -> np.ndarray:
    """float [-1, 1] -> uint8 [0, 255], values outside are clipped."""
    return np.clip(np.rint((np.asarray(images) + 1.0) * 127.5), 0, 255).astype(np.uint8)


def to_picture(image: np.ndarray) -> np.ndarray:
    """One image [C, H, W] in [-1, 1] -> uint8 [H, W] (grey) or [H, W, 3]."""
    picture = to_uint8(image).transpose(1, 2, 0)
    return picture[..., 0] if picture.shape[2] == 1 else picture


def evenly(total: int, num: int) -> np.ndarray:
    """int32, at most `num` rows of `total` that lie evenly among them, the first and the last."""
    return np.linspace(0, total - 1, min(num, total)).round().astype(np.int32)


@dataclass(frozen=True)
class Layout:
    """Where the images of a grid lie: a block of rows for each class, the blocks side by side.

    Args:
        counts: images of each class; one entry where there are no classes.
        columns: of a block.
        across: blocks beside each other.
    """

    counts: tuple[int, ...]
    columns: int
    across: int

    @property
    def rows(self) -> list[int]:
        """Of each row of blocks, how many rows of images it has."""
        rows = [-(-count // self.columns) for count in self.counts]
        return [max(rows[i : i + self.across]) for i in range(0, len(rows), self.across)]

    @property
    def apart(self) -> bool:
        """Whether blocks are set apart; a row for each class says by itself what it is."""
        wrapped = self.across > 1 or max(self.rows) > 1
        return wrapped and len(self.counts) > 1 and max(self.counts) > 1


def layout(counts: Sequence[int], height: int = 1, width: int = 1) -> Layout:
    """The layout that comes nearest to a square with few empty cells.

    Args:
        counts: images of each class.
        height, width: of an image.
    """
    counts = tuple(counts)
    total, most = sum(counts), max(counts)
    side = math.sqrt(total * height / width)  # columns of a square
    best, least = Layout(counts, most, 1), math.inf
    for across in range(1, min(len(counts), math.ceil(3 * side)) + 1):
        middle = side / across
        for columns in range(max(1, int(middle / 3)), min(most, math.ceil(3 * middle)) + 1):
            tried = Layout(counts, columns, across)
            rows, wide = sum(tried.rows), columns * across
            cost = abs(math.log(wide * width / (rows * height)))
            cost += (UNFILLED if len(counts) > 1 else EMPTY) * (1 - total / (rows * wide))
            cost += APART * tried.apart + HIGH * (across > 1 and columns < max(tried.rows))
            if cost < least - 1e-9 or (cost < least + 1e-9 and across == 1):  # wide first
                best, least = tried, cost
    return best


def full_classes(
    labels: np.ndarray, height: int = 1, width: int = 1
) -> tuple[Layout, np.ndarray, np.ndarray]:
    """A layout of full rows for images of these classes: (layout, labels, block of each).

    Args:
        labels: int [N]; the labels that come back begin with them, and more fill up the rows.
        height, width: of an image.
    """
    classes, counts = np.unique(labels, return_counts=True)
    plan = layout(counts.tolist(), height, width)
    room = [plan.columns * plan.rows[i // plan.across] for i in range(len(classes))]
    more = np.repeat(classes, np.subtract(room, counts))
    labels = np.concatenate([labels, more]).astype(labels.dtype)
    return replace(plan, counts=tuple(room)), labels, np.searchsorted(classes, labels)


class Grid:
    """One picture of many images, which are drawn into it some at a time.

    Small images are enlarged by a whole factor, so that a tile has about `tile` pixels.

    Args:
        plan: where the images lie.
        image_shape: (C, H, W).
        gap: black pixels between tiles.
        scale: the factor by which images are enlarged, in place of that for `tile`.

    Attributes:
        picture: uint8 [H', W'] or [H', W', 3].
    """

    def __init__(
        self,
        plan: Layout,
        image_shape: Sequence[int],
        *,
        gap: int = 2,
        tile: int = TILE,
        scale: int | None = None,
    ):
        channels, height, width = image_shape
        self.scale = scale or enlargement(height, width, tile)
        self.plan, self.gap = plan, gap
        self.tile = height * self.scale, width * self.scale
        self.starts = np.cumsum([0, *plan.rows])  # the first row of each row of blocks
        self.drawn = [0] * len(plan.counts)  # images in each block so far
        bands, across = len(plan.rows), min(plan.across, len(plan.counts))
        size = [
            self._offset(int(self.starts[-1]), self.tile[0], bands - 1),
            self._offset(across * plan.columns, self.tile[1], across - 1),
        ]
        self.canvas = np.zeros((*size, channels), np.uint8)
        if plan.apart:
            self._separate(bands, across)

    def _offset(self, index: int, tile: int, breaks: int) -> int:
        """The pixel where a row or a column of tiles begins, behind so many breaks."""
        return self.gap + index * (tile + self.gap) + breaks * BREAK * self.plan.apart

    def _separate(self, bands: int, across: int) -> None:
        """Grey lines between the blocks."""
        line = slice(BREAK // 2 - 1, BREAK // 2 + 1)
        for i in range(1, bands):
            self.canvas[self._offset(int(self.starts[i]), self.tile[0], i - 1) :][line] = GREY
        for i in range(1, across):
            start = self._offset(i * self.plan.columns, self.tile[1], i - 1)
            self.canvas[:, start:][:, line] = GREY

    def draw(self, images: np.ndarray, blocks: Iterable[int] | None = None) -> None:
        """Images [N, C, H, W] in [-1, 1], each into the next cell of its block."""
        tiles = to_uint8(images).repeat(self.scale, axis=2).repeat(self.scale, axis=3)
        height, width = self.tile
        for tile, block in zip(tiles, [0] * len(images) if blocks is None else blocks, strict=True):
            row, column = divmod(self.drawn[block], self.plan.columns)
            self.drawn[block] += 1
            band, place = divmod(int(block), self.plan.across)
            top = self._offset(int(self.starts[band]) + row, height, band)
            left = self._offset(place * self.plan.columns + column, width, place)
            self.canvas[top : top + height, left : left + width] = tile.transpose(1, 2, 0)

    @property
    def picture(self) -> np.ndarray:
        return self.canvas[..., 0] if self.canvas.shape[2] == 1 else self.canvas


def enlargement(height: int, width: int, tile: int = TILE) -> int:
    """The whole factor that brings the longer side nearest to `tile` pixels."""
    return max(1, round(tile / max(height, width)))


def grid(
    images: np.ndarray,
    *,
    columns: int | None = None,
    gap: int = 2,
    tile: int = TILE,
    scale: int | None = None,
) -> np.ndarray:
    """Images [N, C, H, W] in [-1, 1] -> one picture, uint8 [H', W'] or [H', W', 3].

    Rows are filled from the left; without `columns` the grid is about square, and its last row is
    full where that can be. Images smaller than `tile` pixels are enlarged by a whole factor.
    """
    num, *shape = images.shape
    plan = Layout((num,), columns, 1) if columns else layout([num], *shape[1:])
    drawn = Grid(plan, shape, gap=gap, tile=tile, scale=scale)
    drawn.draw(images)
    return drawn.picture


def pairs(left: np.ndarray, right: np.ndarray, *, columns: int) -> np.ndarray:
    """Images [N, C, H, W], each beside its counterpart of the same shape, as one picture."""
    return grid(np.concatenate([left, right], axis=3), columns=columns, gap=8, tile=2 * TILE)


def side_by_side(columns: Sequence[np.ndarray], *, across: int) -> np.ndarray:
    """Each image [C, H, W] of the first column beside that of the others, `across` in a row.

    Args:
        columns: each [N, C, H, W], of the same shape.
    """
    rows = np.stack(columns, axis=1)
    return grid(rows.reshape(-1, *rows.shape[2:]), columns=across * len(columns))


def class_grid(images: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """A grid with a block for each class, whose rows are about as many as make it square.

    Without labels a plain one.
    """
    if labels is None:
        return grid(images)
    _, blocks, counts = np.unique(labels, return_inverse=True, return_counts=True)
    drawn = Grid(layout(counts.tolist(), *images.shape[2:]), images.shape[1:])
    drawn.draw(images, blocks)
    return drawn.picture


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
    """An endless GIF of frames of equal size; the last one stays for `pause` more milliseconds.

    Args:
        frames: uint8 [H, W] or [H, W, 3] of at most 65,535 pixels a side; each is asked for once.
    """
    durations = [milliseconds] * len(frames)
    durations[-1] += pause
    first, *others = range(len(frames))
    with files.replacing(path) as temporary:
        paletted(frames[first]).save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=(paletted(frames[i]) for i in others),
            duration=durations if others else durations[0],  # Pillow takes no list for one frame
            loop=0,
        )


def paletted(picture: np.ndarray) -> Image.Image:
    """A frame with at most 256 colours: those of median cut, by some thousand of its pixels.

    With all of its pixels they cost ten times as long and are hardly better.
    """
    image = Image.fromarray(picture)
    if image.mode == "L":
        return image
    some = image
    if image.getcolors(256) is None:
        step = max(1, math.isqrt(image.width * image.height // PALETTE_PIXELS))
        some = Image.fromarray(picture[step // 2 :: step, step // 2 :: step])
    return image.quantize(palette=some.quantize(256), dither=Image.Dither.NONE)


def save_curves(
    path: str | Path, log: Sequence[Mapping[str, float]], headline: Headline | None = None
) -> None:
    """Losses, D(x) and D(G(z)) against the step, and the headline where it was measured: one PNG.

    Where an evaluation gave coverage too, it has an axis on the right.
    """
    matplotlib = runtime.import_matplotlib()
    evaluated = [row for row in log if headline is not None and headline.key in row]
    num = 3 if evaluated else 2
    figure = matplotlib.figure.Figure(figsize=(7, 3 * num), layout="constrained")
    matplotlib.backends.backend_agg.FigureCanvasAgg(figure)
    losses, scores, *rest = panels = figure.subplots(num, 1, sharex=True)
    _plot(losses, log, {"loss_d": "discriminator", "loss_g": "generator"}, "loss")
    _plot(scores, log, {"d_real": "D(x)", "d_fake": "D(G(z))"}, "mean of sigmoid(score)")
    scores.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    scores.set_ylim(0, 1)
    for axes in (losses, scores):
        _legend(axes)
    for quality in rest:
        _plot(quality, evaluated, {headline.key: headline.short}, headline.title, marker=".")
        floor = evaluated[-1].get("floor")
        if floor is not None:
            quality.axhline(floor, color="C0", linestyle=":", label="floor")
        values = [row[headline.key] for row in evaluated] + [floor] * (floor is not None)
        if headline.logarithmic and min(values) > 0:
            _logarithmic(quality, min(values), max(values))
        axes = [quality]
        if any("coverage" in row for row in evaluated):
            coverage = quality.twinx()
            _plot(coverage, evaluated, {"coverage": "coverage"}, "coverage", color="C1", marker=".")
            coverage.set_ylim(0, 1)
            coverage.grid(False)
            axes.append(coverage)
        _legend(*axes)
        for row in evaluated:
            if "warning" in row:
                quality.axvline(row["step"], color="C3", linewidth=0.8, linestyle=":")
    last = panels[-1]
    last.set_xlabel("step (generator updates)")
    last.set_xlim(0, max([1, *(row["step"] for row in log)]) * 1.02)
    last.xaxis.get_major_locator().set_params(integer=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    files.write(path, buffer.getvalue())


def _plot(axes, log: Sequence[Mapping], curves: Mapping[str, str], label: str, **style) -> None:
    """Curves of the log, key -> name, in one panel; of one point alone, the point."""
    for key, name in curves.items():
        points = [(row["step"], row[key]) for row in log if key in row]
        if points:
            marker = {"marker": "."} if len(points) == 1 else {}
            own = {"label": name, "linewidth": 1, **marker, **style}
            axes.plot(*zip(*points, strict=True), **own)
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)


def _legend(*axes) -> None:
    """One legend for axes that lie on each other, above them, where it covers no curve."""
    handles = [one.get_legend_handles_labels() for one in axes]
    names = [sum(parts, []) for parts in zip(*handles, strict=True)]
    if names[0]:
        axes[0].legend(
            *names, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False
        )


def _logarithmic(axes, low: float, high: float) -> None:
    """A logarithmic axis with plain numbers at its ticks: 1, 2, 5, 10, …; at least two of them."""
    from matplotlib import ticker

    room = max(1.2, math.sqrt(6 * low / high))
    axes.set_yscale("log")
    axes.set_ylim(low / room, high * room)
    few = high / low < 200
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(ticker.NullLocator())
