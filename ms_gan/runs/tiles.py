"""Pictures of any size through a net of one size: overlapping tiles, some in each forward pass.

The net is compiled once, for tiles of one size (:func:`tile_size`) and a fixed number of them. What
comes of the tiles is put together in one of two ways:

* A net that is **local**, whose pixels depend on what is near them alone (:func:`reach`): each tile
  loses a margin as wide as the net sees, so the result is that of one pass over the whole picture.
* Any **other** net, whose pixels depend on all of the tile (instance normalisation) or on more than
  a margin could hold: tiles are as large as the training images, and are cross-faded with weights
  that sum to one. A picture of exactly that size is one tile, so one plain forward pass.

Pictures are float32 [C, H, W] in [-1, 1], or uint8.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mindspore import Tensor, nn

from ms_gan.runs.sampling import BATCH, generate
from ms_gan.runs.translating import Translator, as_float

LOCAL = (nn.Conv2d, nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.PixelShuffle)
BICUBIC = 2  # pixels around a place that bicubic enlargement sees
CORE = 64  # a tile of a local net holds at least so many pixels a side within its margins
PIXELS = 2**17  # that a forward pass makes, about
ENOUGH = 0.5  # of a tile must be known before a hole in it is filled
COVERED = 0.25  # of the weights of all tiles must be there before a pixel counts as filled
Place = tuple[int, int]  # top, left
Make = Callable[[np.ndarray], np.ndarray]  # of tiles, float32 [N, …]


def tile_size(translator: Translator) -> tuple[int, int]:
    """(H, W) of the pictures that a net of tiles makes: the `size` of `build.load_sampler`.

    Args:
        translator: the generator in the size of its training.
    """
    height, width = translator.image_shape[1:]
    margin = reach(translator.net)
    if receives(translator) != "low_resolution" or margin is None:
        return height, width
    least = scale_of(translator) * (2 * margin + CORE)
    return max(height, least), max(width, least)


def receives(translator: Translator) -> str:
    """The name of the input, a key of `objectives.inputs.INPUTS`."""
    return translator.net.receives


def scale_of(translator: Translator) -> int:
    """How many times larger a picture becomes."""
    return translator.image_shape[1] // translator.given.shape[1]


def reach(net: nn.Cell) -> int | None:
    """How many pixels of the input around a place the net sees at most, by its layers.

    None where it is not local: a layer that is not in `LOCAL`, or that makes pictures smaller. An
    upper bound: convolutions count as if all were of the size of the input. (An average over the
    whole picture in `construct` itself, which is no layer, would not be seen.)
    """
    seen = 0
    for _, cell in net.cells_and_names():
        if isinstance(cell, nn.Conv2d):
            if set(cell.stride) != {1}:
                return None
            sides = zip(cell.kernel_size, cell.dilation, strict=True)
            seen += max(kernel // 2 * dilation for kernel, dilation in sides)
        elif not isinstance(cell, LOCAL) and not list(cell.cells()):
            return None
    return max(seen, BICUBIC)


# --- enlarging ----------------------------------------------------------------------------------


def restore(translator: Translator, small: np.ndarray) -> np.ndarray:
    """A picture enlarged: [C, h, w] -> float32 [C, s h, s w] in [-1, 1].

    Args:
        translator: of generators that receive `low_resolution`, built for tiles of
            :func:`tile_size`.
    """
    scale = scale_of(translator)
    large = np.empty((translator.image_shape[0], *(scale * side for side in small.shape[1:])),
                     np.float32)  # fmt: skip
    for rows, columns, piece in enlarge(translator, small):
        large[:, rows, columns] = piece
    return large


def enlarge(translator: Translator, small: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """The same in pieces (rows, columns, float32 [C, rows, columns]) that cover the picture, so
    that nobody has to hold it as floats. Where two overlap, they agree but for rounding.

    Of a local net, what lies beyond the border of the picture is its reflection, at any size.
    """
    margin, scale = reach(translator.net), scale_of(translator)
    tile, sides = translator.given.shape[1:], small.shape[1:]
    if margin is None:
        made = faded(translator, small, small.shape[0], lambda tiles: forward(translator, tiles))
        yield slice(0, made.shape[1]), slice(0, made.shape[2]), made
        return
    core = [side - 2 * margin for side in tile]
    if min(core) < 1:
        raise ValueError(
            f"tiles of {tile[0]}x{tile[1]} are nothing but margins of {margin} pixels; build the "
            "net for pictures of tile_size"
        )
    room = [max(inner, whole) for inner, whole in zip(core, sides, strict=True)]
    beyond = [(margin, margin + wide - whole) for wide, whole in zip(room, sides, strict=True)]
    around = np.pad(small, [(0, 0), *beyond], mode="reflect")
    places = [starts(wide, inner, inner) for wide, inner in zip(room, core, strict=True)]
    inside = slice(scale * margin, -scale * margin)
    for place, made in passes(
        translator, around, list(itertools.product(*places)),
        lambda tiles: forward(translator, tiles),
    ):  # fmt: skip
        height, width = (
            min(inner, whole - at) for inner, whole, at in zip(core, sides, place, strict=True)
        )
        piece = made[:, inside, inside][:, : scale * height, : scale * width]
        top, left = (scale * at for at in place)
        yield slice(top, top + piece.shape[1]), slice(left, left + piece.shape[2]), piece


# --- filling ------------------------------------------------------------------------------------


def fill(translator: Translator, picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """A picture [C, H, W] with its hole filled: float32 [C, H, W], outside the hole as it was.

    Only tiles that hold some of the hole are made. A hole too large for them is filled from its rim
    inwards: what has been filled is known to what lies further in.

    Args:
        translator: of generators that receive `masked`, in the size of their training.
        hole: bool [H, W], not everywhere.
    """

    def make(tiles: np.ndarray) -> np.ndarray:
        real, mask = Tensor(tiles[:, :-1]), Tensor(np.ascontiguousarray(tiles[:, -1:]))
        return forward(translator, translator.given.given(real, mask).asnumpy())

    tile, whole = translator.image_shape[1:], np.array(as_float(picture))
    near = (slice(None), *(nearby(hole.any(axis=1 - axis), tile[axis]) for axis in (0, 1)))
    part, inner = padded(whole[near], tile)
    missing = padded(hole[near[1:]][None], tile)[0][0]
    while missing.any():
        given = np.concatenate([part, missing[None].astype(np.float32)])
        made, weight = fade(
            translator, given, len(part), make, parts=4,
            chosen=lambda places, missing=missing: fillable(missing, places, tile),
        )  # fmt: skip
        now = missing & (weight >= COVERED)
        if not now.any():
            now = missing & (weight > 0)
        part[:, now] = made[:, now] / weight[now]
        missing = missing & ~now
    whole[near] = np.where(hole[near[1:]], part[inner], whole[near])
    return whole


def nearby(line: np.ndarray, tile: int) -> slice:
    """The part of a side that holds all of a hole, and a tile more on both ends.

    Args:
        line: bool [side], where the hole is.
    """
    places = np.flatnonzero(line)
    return slice(max(0, places[0] - tile), min(len(line), places[-1] + 1 + tile))


def fillable(missing: np.ndarray, places: Sequence[Place], tile: Place) -> list[Place]:
    """The tiles that hold some of the hole, and enough besides; else those that hold most."""
    height, width = tile
    sums = np.pad(missing.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    top, left = np.array(places).T
    counts = (
        sums[top + height, left + width] - sums[top, left + width] - sums[top + height, left]
        + sums[top, left]
    )  # fmt: skip
    most = max((1 - ENOUGH) * height * width, counts[counts > 0].min())
    return [places[i] for i in np.flatnonzero((counts > 0) & (counts <= most))]


# --- translating --------------------------------------------------------------------------------


def translate(translator: Translator, picture: np.ndarray, to: str = "b") -> np.ndarray:
    """A picture [C, H, W] in the other domain: float32 [C, H, W] in [-1, 1].

    Args:
        translator: of generators that receive `first` or `both`, in the size of their training.
        to: of those that receive both, the domain of what is made: 'b' (from a) or 'a' (from b).
    """
    channels = translator.image_shape[0] // 2

    def make(tiles: np.ndarray) -> np.ndarray:
        if receives(translator) == "both":  # each half is translated by itself
            tiles = np.concatenate([tiles, tiles], axis=1)
        made = forward(translator, tiles)
        return made[:, :channels] if to == "a" else made[:, channels:]

    return faded(translator, picture, channels, make)


# --- tiles --------------------------------------------------------------------------------------


def forward(translator: Translator, received: np.ndarray) -> np.ndarray:
    """What the generator makes of tiles, always so many in a pass that it makes about `PIXELS`."""
    _, height, width = translator.image_shape
    rows = max(1, min(BATCH, PIXELS // (height * width)))
    return generate(translator.net, received, batch_size=rows)


def passes(
    translator: Translator, picture: np.ndarray, places: Sequence[Place], make: Make
) -> Iterator[tuple[Place, np.ndarray]]:
    """Each place with what is made of the tile there; no more than `BATCH` tiles are held."""
    height, width = translator.given.shape[1:]
    for i in range(0, len(places), BATCH):
        some = places[i : i + BATCH]
        tiles = [picture[:, top : top + height, left : left + width] for top, left in some]
        yield from zip(some, make(as_float(np.stack(tiles))), strict=True)


def faded(translator: Translator, picture: np.ndarray, channels: int, make: Make) -> np.ndarray:
    """What is made of all tiles of a picture, cross-faded: float32 [channels, s H, s W].

    A picture smaller than a tile is reflected beyond its borders until it is as large.
    """
    around, inner = padded(picture, translator.given.shape[1:])
    scale = scale_of(translator)
    made, _ = fade(translator, around, channels, make, parts=2)
    return made[(slice(None), *(slice(scale * at.start, scale * at.stop) for at in inner[1:]))]


def fade(
    translator: Translator,
    picture: np.ndarray,
    channels: int,
    make: Make,
    *,
    parts: int,
    chosen: Callable[[list[Place]], list[Place]] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The sum of what is made of tiles times their weights, [channels, s H, s W], and of the
    weights, [s H, s W].

    Args:
        picture: at least as large as a tile.
        make: tiles float32 [N, C, h, w] -> float32 [N, channels, s h, s w].
        parts: of its side, after which the next tile begins (or a little earlier).
        chosen: which of all tiles are made; without it all, and the weights sum to one.
    """
    scale, tile, sides = scale_of(translator), translator.given.shape[1:], picture.shape[1:]
    lines = [starts(side, length, max(1, length // parts))
             for side, length in zip(sides, tile, strict=True)]  # fmt: skip
    down, across = (
        weights(scale * side, scale * length, [scale * start for start in line])
        for side, length, line in zip(sides, tile, lines, strict=True)
    )
    made = np.zeros((channels, *(scale * side for side in sides)), np.float32)
    total = np.zeros(made.shape[1:], np.float32)
    places = list(itertools.product(*lines))
    for (top, left), image in passes(
        translator, picture, chosen(places) if chosen else places, make
    ):
        weight = np.outer(down[top * scale], across[left * scale])
        where = (
            slice(scale * top, scale * top + image.shape[1]),
            slice(scale * left, scale * left + image.shape[2]),
        )
        made[(slice(None), *where)] += weight * image
        total[where] += weight
    return made, total


def starts(side: int, tile: int, step: int) -> list[int]:
    """Where tiles begin, the first at 0, the last at the end of the side, `step` or less apart."""
    room = side - tile
    return np.linspace(0, room, math.ceil(room / step) + 1).round().astype(int).tolist()


def weights(side: int, tile: int, line: Sequence[int]) -> dict[int, np.ndarray]:
    """Of each tile its weights float32 [tile], by its start: a bell, all of which sum to one."""
    bell = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    total = np.zeros(side)
    for start in line:
        total[start : start + tile] += bell
    return {start: (bell / total[start : start + tile]).astype(np.float32) for start in line}


def padded(picture: np.ndarray, tile: Sequence[int]) -> tuple[np.ndarray, tuple[slice, ...]]:
    """A picture [C, H, W] reflected beyond its borders until it is as large as a tile, and where it
    lies in that."""
    sides = picture.shape[1:]
    less = [max(0, length - side) for length, side in zip(tile, sides, strict=True)]
    around = np.pad(picture, [(0, 0), *((n // 2, n - n // 2) for n in less)], mode="reflect")
    inner = (slice(n // 2, n // 2 + side) for n, side in zip(less, sides, strict=True))
    return around, (slice(None), *inner)
