"""Pictures: what is drawn is where it should be, and files hold what was drawn."""

import os

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from ms_gan.evaluation.evaluator import DISTANCE
from ms_gan.runs import visualise
from ms_gan.runs.headline import Headline


def numbered(num, channels=1, size=28):
    """Images of one brightness each, all different."""
    levels = np.linspace(-0.9, 0.9, num * channels, dtype=np.float32)
    return np.broadcast_to(levels.reshape(num, channels, 1, 1), (num, channels, size, size)).copy()


# --- numbers to pixels ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "pixel"),
    [(-1, 0), (0, 128), (1, 255), (-3, 0), (1.01, 255), (np.inf, 255), (-np.inf, 0),
     (-1 + 0.4 / 127.5, 0), (-1 + 0.6 / 127.5, 1), (1 - 0.6 / 127.5, 254)],
)  # fmt: skip
def test_to_uint8(value, pixel):
    result = visualise.to_uint8(np.array([value], np.float32))
    assert result.dtype == np.uint8 and result[0] == pixel


def test_to_uint8_inverts_the_scaling_of_the_data():
    levels = np.arange(256)
    scaled = (levels / 127.5 - 1).astype(np.float32)
    np.testing.assert_array_equal(visualise.to_uint8(scaled), levels)


def test_to_picture():
    assert visualise.to_picture(np.zeros((1, 4, 6), np.float32)).shape == (4, 6)
    colour = np.stack([np.full((4, 6), v, np.float32) for v in (-1, 0, 1)])
    picture = visualise.to_picture(colour)
    assert picture.shape == (4, 6, 3) and picture[2, 3].tolist() == [0, 128, 255]


# --- grids ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("num", "columns", "shape"),
    [(1, None, (1, 1)), (5, None, (2, 3)), (25, None, (5, 5)), (64, None, (8, 8)),
     (25, 10, (3, 10)), (10, 10, (1, 10)), (3, 10, (1, 10)), (4, 1, (4, 1))],
)  # fmt: skip
def test_grid(num, columns, shape, channels):
    images = numbered(num, channels)
    picture = visualise.grid(images, columns=columns)
    rows, cols = shape
    tile, gap = 56, 2  # 28 pixels are enlarged twice
    size = (rows * (tile + gap) + gap, cols * (tile + gap) + gap)
    assert picture.dtype == np.uint8
    assert picture.shape == (size if channels == 1 else (*size, 3))
    covered = np.zeros(size, bool)
    for i in range(num):
        top, left = gap + i // cols * (tile + gap), gap + i % cols * (tile + gap)
        here = picture[top : top + tile, left : left + tile].reshape(-1, channels)
        assert (here == visualise.to_uint8(images[i, :, 0, 0])).all()
        covered[top : top + tile, left : left + tile] = True
    assert not picture[~covered].any()


@pytest.mark.parametrize(("size", "factor"), [(8, 7), (28, 2), (32, 2), (64, 1), (128, 1)])
def test_small_images_are_enlarged_by_a_whole_factor(size, factor, rng):
    image = rng.uniform(-1, 1, (1, 1, size, size)).astype(np.float32)
    picture = visualise.grid(image, gap=0)
    assert picture.shape == (size * factor, size * factor)
    np.testing.assert_array_equal(picture[::factor, ::factor], visualise.to_picture(image[0]))
    np.testing.assert_array_equal(
        picture[factor - 1 :: factor, factor - 1 :: factor], visualise.to_picture(image[0])
    )


def test_pairs(rng):
    """Each image touches its counterpart; pairs stand apart."""
    left, right = rng.uniform(0.2, 1, (2, 5, 1, 28, 28)).astype(np.float32)
    picture = visualise.pairs(left, right, columns=2)
    assert picture.shape == (3 * (56 + 8) + 8, 2 * (112 + 8) + 8)
    fourth = picture[8 + 64 : 8 + 64 + 56, 8 + 120 : 8 + 120 + 112]
    np.testing.assert_array_equal(fourth[::2, :56:2], visualise.to_picture(left[3]))
    np.testing.assert_array_equal(fourth[::2, 56::2], visualise.to_picture(right[3]))
    assert (picture > 0).sum() == 5 * 56 * 112


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3), (5, 3), (5, 4)])
def test_png_round_trip(tmp_path, rng, shape):
    picture = rng.integers(0, 256, shape).astype(np.uint8)
    visualise.save_png(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.png"), picture)
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("shape", [(60, 120), (60, 120, 3)])
def test_captions(shape):
    picture = np.full(shape, 100, np.uint8)
    one, two = visualise.captioned(picture, "step 1"), visualise.captioned(picture, "step 2")
    bar = visualise.CAPTION
    assert one.shape == (60 + bar, *shape[1:]) and one.dtype == np.uint8
    np.testing.assert_array_equal(one[bar:], picture)
    assert (one[:bar] > 128).sum() > 20  # light letters
    assert not visualise.captioned(picture, "")[:bar].any()  # on black
    assert (one[:bar] != two[:bar]).any()


def frames_of(path):
    """(pictures as RGB, durations, loop) as Pillow reads them back."""
    with Image.open(path) as film:
        pictures, durations = [], []
        for i in range(film.n_frames):
            film.seek(i)
            pictures.append(np.asarray(film.convert("RGB")).astype(int))
            durations.append(film.info["duration"])
        return pictures, durations, film.info.get("loop")


@pytest.mark.parametrize("channels", [1, 3])
def test_gif(tmp_path, channels):
    frames = [visualise.grid(numbered(4, channels) * scale) for scale in (0.1, 0.4, 0.7, 1.0)]
    path = tmp_path / "a.gif"
    visualise.save_gif(path, frames, milliseconds=120, pause=2000)
    pictures, durations, loop = frames_of(path)
    assert durations == [120, 120, 120, 2120]
    assert loop == 0  # for ever
    for picture, frame in zip(pictures, frames, strict=True):
        expected = frame if channels == 3 else np.stack([frame] * 3, axis=-1)
        assert abs(picture - expected).max() <= (0 if channels == 1 else 8)  # 256 colours


def test_gif_of_equal_frames_lasts_as_long(tmp_path):
    """Pillow joins equal neighbours; the film takes the same time, the pause is not lost."""
    a, b = (visualise.grid(numbered(4) * scale) for scale in (0.5, 1.0))
    visualise.save_gif(tmp_path / "a.gif", [a, a, b, b, b], milliseconds=100, pause=1000)
    pictures, durations, _ = frames_of(tmp_path / "a.gif")
    assert sum(durations) == 1500 and durations[-1] >= 1100
    assert (pictures[0][..., 0] == a).all() and (pictures[-1][..., 0] == b).all()


def test_captions_keep_equal_frames_apart(tmp_path):
    picture = visualise.grid(numbered(4))
    frames = [visualise.captioned(picture, f"step {i}") for i in range(5)]
    visualise.save_gif(tmp_path / "a.gif", frames, milliseconds=50, pause=500)
    assert frames_of(tmp_path / "a.gif")[1] == [50, 50, 50, 50, 550]


@pytest.mark.parametrize("num", [1, 4])
def test_gif_of_one_picture(tmp_path, num):
    """A run that is stopped early has drawn once."""
    picture = visualise.grid(numbered(4))
    visualise.save_gif(tmp_path / "a.gif", [picture] * num, pause=500)
    pictures, _, _ = frames_of(tmp_path / "a.gif")
    assert len(pictures) == 1 and (pictures[0][..., 0] == picture).all()


def log(num):
    keys = ("loss_d", "loss_g", "d_real", "d_fake")
    return [{"step": i, **{k: 0.1 * (i % 7) for k in keys}} for i in range(1, num + 1)]


def test_curves(tmp_path):
    inks = []
    for rows in ([], log(1), log(200)):
        visualise.save_curves(tmp_path / "c.png", rows)
        picture = iio.imread(tmp_path / "c.png")[..., :3].astype(int)
        assert picture.shape[0] > 300 and picture.shape[1] > 300
        inks.append((np.ptp(picture, axis=2) > 60).sum())  # coloured pixels are curves
    assert inks[0] == 0 and inks[2] > inks[1] > 0 and inks[2] > 1000


PLAIN = Headline("psnr", "signal to noise, dB", "PSNR", smaller=False, logarithmic=False)


@pytest.mark.parametrize(
    "headline, others", [(DISTANCE, {"coverage": 0.5}), (PLAIN, {})], ids=["distance", "psnr"]
)
def test_curves_of_a_run_that_evaluates(headline, others, tmp_path):
    """A third panel, and in it the curves: more ink for more evaluations, red for a warning."""
    sizes, inks, reds = [], [], []
    for evaluated in ((), (50,), (50, 100, 150), (50, 100, 150, 200)):
        rows = [{"step": i, "other": 1.0} for i in range(1, 201)]
        for step in evaluated:
            found = {headline.key: 9000 / step, "floor": 5.0, **others}
            rows[step - 1] |= found | ({"warning": "modes lost"} if step == 200 else {})
        visualise.save_curves(tmp_path / "c.png", rows, headline)
        picture = iio.imread(tmp_path / "c.png")[..., :3].astype(int)
        sizes.append(picture.shape[0])
        inks.append((np.ptp(picture, axis=2) > 60).sum())
        reds.append((np.abs(picture - (214, 39, 40)).max(axis=2) < 40).sum())
    assert sizes[1] == sizes[2] == sizes[3] == pytest.approx(1.5 * sizes[0], abs=1)
    assert inks[0] == 0 < inks[1] < inks[2] < inks[3]
    assert reds[2] == 0 < reds[3]


def test_curves_of_a_log_with_gaps(tmp_path):
    rows = [{"step": 1, "loss_d": 1.0}, {"step": 2, "other": 3.0}, {"step": 3, "loss_d": 2.0}]
    visualise.save_curves(tmp_path / "c.png", rows)
    assert iio.imread(tmp_path / "c.png").size
