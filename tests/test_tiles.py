"""Pictures of any size through nets of one size: no seams, no compilation but one, known pixels."""

import gc

import numpy as np
import pytest

from mindspore import Tensor, nn, ops

from ms_gan.models import cyclegan, inpainting, pix2pix, srgan
from ms_gan.objectives.inputs import INPUTS
from ms_gan.runs import tiles
from ms_gan.runs.translating import Translator
from tests.tiny import randomise, refused


def translator_of(name, net, shape, **options):
    return Translator(net, shape, {}, INPUTS[name](image_shape=shape, **options))


def enlarger(side, scale=2, channels=1, blocks=2):
    """Of tiles of that side, small; the same weights for every size."""
    shape = (channels, scale * side, scale * side)
    net = srgan.Generator(
        image_shape=shape, input_shape=(channels, side, side), g_width=4, blocks=blocks
    )
    translator = translator_of("low_resolution", randomise(net, 0, 0.2), shape, scale=scale)
    net.set_train(False)
    return translator


def whole_pass(small, scale):
    """The same enlarger over a whole picture at once."""
    channels, height, width = small.shape
    shape = (channels, scale * height, scale * width)
    net = srgan.Generator(image_shape=shape, input_shape=small.shape, g_width=4, blocks=2)
    return np.clip(randomise(net, 0, 0.2)(Tensor(small[None])).asnumpy()[0], -1, 1)


def filler(side, channels=1):
    shape = (channels, side, side)
    net = randomise(inpainting.Generator(image_shape=shape, g_width=2, blocks=1), 0, 0.3)
    return translator_of("masked", net, shape)


def smooth(channels, height, width):
    rows, columns = np.mgrid[:height, :width]
    phases = np.arange(channels).reshape(-1, 1, 1)
    return (0.5 * np.sin(rows / 5 + phases) * np.cos(columns / 7)).astype(np.float32)


@pytest.fixture
def passes(monkeypatch):
    """Shapes of what nets received, one for each forward pass, and of what was compiled."""
    gc.collect()  # MindSpore forgets the shapes of all Cells when one goes: not while we count
    found = {"passes": [], "compiled": []}
    compile_cell, generate = nn.Cell.compile, tiles.generate

    def counting(self, *args, **kwargs):
        before = set(self.compile_cache)
        result = compile_cell(self, *args, **kwargs)
        found["compiled"] += [type(self).__name__ for _ in set(self.compile_cache) - before]
        return result

    def counted(net, received, *, batch_size):
        found["passes"] += [(batch_size, *received.shape[1:])] * -(-len(received) // batch_size)
        return generate(net, received, batch_size=batch_size)

    monkeypatch.setattr(nn.Cell, "compile", counting)
    monkeypatch.setattr(tiles, "generate", counted)
    return found


# --- local nets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 4])
def test_enlarging_in_tiles_is_enlarging_at_once(scale, rng):
    """Everywhere but where the border of the picture is seen, which tiles reflect."""
    small = rng.uniform(-1, 1, (1, 53, 41)).astype(np.float32)
    translator = enlarger(32, scale)
    margin = tiles.reach(translator.net)
    assert margin == 1 + 2 * 2 + 1 + scale // 2 + 1  # the net's layers, as if all were at its size
    made = tiles.restore(translator, small)
    at_once = whole_pass(small, scale)
    assert made.shape == at_once.shape == (1, 53 * scale, 41 * scale)
    inside = (slice(None), *(slice(scale * margin, -scale * margin),) * 2)
    assert made[inside].size > 0.3 * made.size
    np.testing.assert_allclose(made[inside], at_once[inside], atol=1e-5)
    # with the reflection drawn around it, everywhere: so at the border there is nothing else
    around = np.pad(small, ((0, 0), (margin, margin), (margin, margin)), mode="reflect")
    np.testing.assert_allclose(made, whole_pass(around, scale)[inside], atol=1e-5)


def test_the_size_of_tiles_is_not_seen(rng):
    small = rng.uniform(-1, 1, (1, 50, 33)).astype(np.float32)
    made = [tiles.restore(enlarger(side), small) for side in (24, 31, 80)]
    for other in made[1:]:
        np.testing.assert_allclose(other, made[0], atol=1e-5)


def test_the_reach_is_enough_and_tiles_have_room(rng):
    translator = enlarger(40)
    margin = tiles.reach(translator.net)
    small = rng.uniform(-1, 1, (2, 1, 40, 40)).astype(np.float32)
    small[1] = small[0]
    small[1, :, :8] += 0.5
    made = translator.net(Tensor(small)).asnumpy()
    differs = np.flatnonzero((made[0] != made[1]).any(axis=(0, 2)))
    assert differs.max() < 2 * (8 + margin) and differs.max() >= 2 * 8
    height, width = tiles.tile_size(enlarger(8))
    assert height == width == 2 * (2 * margin + tiles.CORE)
    assert "tile_size" in refused(ValueError, tiles.restore, enlarger(8), small[0])


def test_what_is_no_local_net():
    def reach(net):
        return tiles.reach(net)

    assert reach(pix2pix.Generator(image_shape=(2, 16, 16), g_width=2, depth=2)) is None
    assert reach(cyclegan.Generator(image_shape=(2, 16, 16), g_width=2, blocks=1)) is None
    assert reach(inpainting.Generator(image_shape=(1, 16, 16), g_width=2, blocks=1)) is None
    assert reach(nn.SequentialCell(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1))) is None
    assert reach(nn.SequentialCell(nn.Conv2d(1, 1, 5), nn.ReLU(), nn.Conv2d(1, 1, 5))) == 4


class Enlarged(nn.Cell):
    """Not local, by a layer that is not known to be."""

    receives = "low_resolution"

    def __init__(self):
        super().__init__()
        self.norm = nn.Flatten()

    def construct(self, x, labels=None):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_an_enlarger_that_is_not_local_is_cross_faded(rng):
    translator = translator_of("low_resolution", Enlarged(), (1, 16, 16), scale=2)
    assert tiles.tile_size(translator) == (16, 16)
    for shape in ((1, 5, 7), (1, 8, 8), (1, 21, 9)):
        small = rng.uniform(-1, 1, shape).astype(np.float32)
        expected = small.repeat(2, axis=1).repeat(2, axis=2)
        np.testing.assert_allclose(tiles.restore(translator, small), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (1, 70), (37, 24), (24, 24)])
def test_pictures_of_any_size(shape, rng):
    """Also those far smaller than the margin of a tile."""
    pixels = rng.integers(0, 256, (3, *shape)).astype(np.uint8)
    made = tiles.restore(enlarger(24, channels=3), pixels)
    assert made.shape == (3, 2 * shape[0], 2 * shape[1])
    assert np.isfinite(made).all() and np.abs(made).max() <= 1


def test_one_compilation_and_passes_of_one_size(passes, rng):
    """For all pictures, of which no tile is made more than once."""
    translator = enlarger(40)  # 2 * 8 of 40 are margins
    for shape in ((1, 9, 9), (1, 48, 25), (1, 200, 230)):
        tiles.restore(translator, rng.uniform(-1, 1, shape).astype(np.float32))
    assert passes["compiled"] == ["Generator"]
    rows = tiles.PIXELS // 80**2
    assert set(passes["passes"]) == {(rows, 1, 40, 40)}
    core = 40 - 2 * tiles.reach(translator.net)
    many = -(-200 // core) * -(-230 // core)
    assert many > 64  # so many are held at once
    assert len(passes["passes"]) == 2 + -(-64 // rows) + -(-(many - 64) // rows)


def test_large_tiles_come_few_at_a_time(monkeypatch):
    monkeypatch.setattr(tiles, "PIXELS", 3 * 80 * 80)
    sizes = []
    monkeypatch.setattr(
        tiles, "generate",
        lambda net, x, batch_size: sizes.append(batch_size) or np.zeros((len(x), 1, 80, 80)),
    )  # fmt: skip
    tiles.restore(enlarger(40), smooth(1, 90, 90))
    assert sizes == [3]


# --- cross-fading -------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [16, 17, 23, 40, 100])
def test_weights_sum_to_one_and_are_smooth(side):
    line = tiles.starts(side, 16, 8)
    assert line[0] == 0 and line[-1] == side - 16 and max(np.diff(line), default=0) <= 8
    total = np.zeros(side)
    steps = []
    for start, weight in tiles.weights(side, 16, line).items():
        total[start : start + 16] += weight
        steps += [np.abs(np.diff(weight)).max(), *(weight[:1] if start else ()),
                  *(weight[-1:] if start + 16 < side else ())]  # fmt: skip
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert max(steps) < 0.25  # no edge: neither within a tile nor where one begins or ends


def pairs(name):
    shape = (2, 16, 16)
    if name == "first":
        net = pix2pix.Generator(image_shape=shape, g_width=3, depth=2)
    else:
        net = cyclegan.Generator(image_shape=shape, g_width=3, blocks=1)
    return translator_of(name, randomise(net, 0, 0.3), shape)


@pytest.mark.parametrize("name, to", [("first", "b"), ("both", "b"), ("both", "a")])
def test_a_picture_of_the_training_size_is_one_pass(name, to, rng):
    translator = pairs(name)
    x = rng.uniform(-1, 1, (1, 1, 16, 16)).astype(np.float32)
    given = x if name == "first" else np.concatenate([x, -x if to == "b" else x], axis=1)
    if to == "a":  # whatever is in the other place
        given = np.concatenate([-x, x], axis=1)
    made = translator.net(Tensor(given)).asnumpy()[0]
    expected = np.clip(made[:1] if to == "a" else made[1:], -1, 1)
    np.testing.assert_allclose(tiles.translate(translator, x[0], to), expected, atol=1e-5)


class Darker(nn.Cell):
    """A translation that depends on nothing but the pixel."""

    receives = "first"

    def construct(self, x, labels=None):
        return ops.concat((x, x * 0.5 - 0.25), axis=1)


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (16, 16), (17, 40), (61, 33)])
def test_tiles_fit_together(shape, rng):
    """What depends on the pixel alone comes out as if there were no tiles."""
    translator = translator_of("first", Darker(), (2, 16, 16))
    pixels = rng.integers(0, 256, (1, *shape)).astype(np.uint8)
    made = tiles.translate(translator, pixels)
    np.testing.assert_allclose(made, (pixels / 127.5 - 1) * 0.5 - 0.25, atol=1e-6)


def test_no_seams_between_tiles_that_differ(rng):
    """Nets whose tiles disagree about brightness: nowhere a step, least of all where tiles end."""

    class Brightness(nn.Cell):
        receives = "first"

        def construct(self, x, labels=None):
            mean = x.mean(axis=(2, 3), keep_dims=True)
            return ops.concat((x, mean + 0 * x), axis=1)

    translator = translator_of("first", Brightness(), (2, 16, 16))
    made = tiles.translate(translator, rng.uniform(-1, 1, (1, 70, 50)).astype(np.float32))
    step = max(np.abs(np.diff(made, axis=axis)).max() for axis in (1, 2))
    assert step < 0.25 * np.ptp(made)


def test_one_compilation_for_translations(passes, rng):
    translator = pairs("both")
    for shape in ((1, 9, 9), (1, 33, 20), (1, 16, 16)):
        tiles.translate(translator, rng.uniform(-1, 1, shape).astype(np.float32), "a")
    assert passes["compiled"] == ["Generator"]
    assert set(passes["passes"]) == {(64, 2, 16, 16)}


# --- filling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 3), (16, 16), (31, 16), (75, 53)])
def test_known_pixels_stay_and_the_hole_is_filled(shape, rng):
    translator = filler(16, channels=3)
    picture = rng.uniform(-1, 1, (3, *shape)).astype(np.float32)
    hole = np.zeros(shape, bool)
    hole[1 : shape[0] // 2, 1 : shape[1] // 2 + 1] = True
    made = tiles.fill(translator, picture, hole)
    assert made.dtype == np.float32 and np.abs(made).max() <= 1
    assert made[:, ~hole].tobytes() == picture[:, ~hole].tobytes()
    assert (made[:, hole] != picture[:, hole]).all()
    # what was in the hole is not looked at
    other = np.where(hole, np.float32(0.9), picture)
    np.testing.assert_array_equal(tiles.fill(translator, other, hole)[:, hole], made[:, hole])


def test_a_hole_in_a_picture_of_the_training_size_is_one_pass(passes, rng):
    translator = filler(16)
    picture = rng.uniform(-1, 1, (1, 16, 16)).astype(np.float32)
    hole = rng.random((16, 16)) < 0.4
    given = np.concatenate([np.where(hole, 0, picture), hole[None]]).astype(np.float32)
    expected = translator.net(Tensor(given[None])).asnumpy()[0]
    passes["compiled"].clear()
    np.testing.assert_allclose(tiles.fill(translator, picture, hole), expected, atol=1e-5)
    assert len(passes["passes"]) == 1


class Mean(nn.Cell):
    """Fills with the mean of what is known in the tile, after a look at nothing else."""

    receives = "masked"

    def construct(self, x, labels=None):
        image, mask = x[:, :1], x[:, 1:]
        known = (1 - mask).sum((2, 3), True)
        mean = image.sum((2, 3), True) / (known + 1e-6)
        return image * (1 - mask) + mean * mask


@pytest.mark.parametrize("inside", [(4, 9), (3, 90)])
def test_a_large_hole_is_filled_from_its_rim(inside, passes):
    """No tile without something known has a say: a plain picture stays plain."""
    translator = translator_of("masked", Mean(), (1, 16, 16))
    picture, hole = np.full((1, 100, 120), 0.6, np.float32), np.zeros((100, 120), bool)
    hole[slice(*inside), slice(*inside)] = True
    picture[:, hole] = -1.0
    made = tiles.fill(translator, picture, hole)
    np.testing.assert_allclose(made, 0.6, atol=1e-3)
    assert passes["compiled"] == ["Mean"]
    if inside == (4, 9):
        assert len(passes["passes"]) == 1  # none of the tiles that lie elsewhere


def test_a_hole_far_away_costs_nothing(passes):
    picture, hole = np.zeros((1, 3000, 4000), np.uint8), np.zeros((3000, 4000), bool)
    hole[1000:1003, 3990:] = True
    made = tiles.fill(filler(16), picture, hole)
    assert (made[:, ~hole] == -1).all() and len(passes["passes"]) == 1


@pytest.mark.parametrize("sides", [(16, 24), (28, 16)])
def test_tiles_need_not_be_square(sides, rng):
    picture = rng.uniform(-1, 1, (1, 31, 33)).astype(np.float32)
    first = translator_of("first", Darker(), (2, *sides))
    np.testing.assert_allclose(tiles.translate(first, picture), picture / 2 - 0.25, atol=1e-6)
    hole = rng.random((31, 33)) < 0.2
    made = tiles.fill(translator_of("masked", Mean(), (1, *sides)), picture, hole)
    assert made[:, ~hole].tobytes() == picture[:, ~hole].tobytes()
    shape = (1, *(2 * side for side in sides))
    net = srgan.Generator(image_shape=shape, input_shape=(1, *sides), g_width=4, blocks=1)
    wide = translator_of("low_resolution", randomise(net, 0, 0.2), shape, scale=2)
    at_once = srgan.Generator(image_shape=(1, 62, 66), input_shape=(1, 31, 33), g_width=4, blocks=1)
    expected = np.clip(randomise(at_once, 0, 0.2)(Tensor(picture[None])).asnumpy()[0], -1, 1)
    inside = (slice(None), *(slice(14, -14),) * 2)
    made = tiles.restore(wide, picture)
    np.testing.assert_allclose(made[inside], expected[inside], atol=1e-5)
