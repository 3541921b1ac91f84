"""What the generator receives: bicubic as Pillow makes it, holes at uniform places, pairs."""

import numpy as np
import pytest
from PIL import Image

from mindspore import Tensor

from ms_gan.objectives import inputs
from ms_gan.objectives.resize import bicubic_matrix


def pictures(n, height, width, channels=1, seed=0):
    """Pictures with edges and texture, uint8 [n, channels, height, width]."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (n, channels, height // 4, width // 4), np.uint8)
    edges = small.repeat(4, axis=2).repeat(4, axis=3)
    noise = rng.integers(-20, 20, (n, channels, height, width))
    return np.clip(edges + noise, 0, 255).astype(np.uint8)


def to_tensor(images):
    return Tensor((images / 127.5 - 1.0).astype(np.float32))


def to_steps(x):
    return (x.asnumpy() + 1.0) * 127.5


def resized(image, height, width):
    """uint8 [C, H, W] by Pillow, as a grey or as a colour picture."""
    array = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    small = Image.fromarray(array).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(small).reshape(height, width, -1).transpose(2, 0, 1)


@pytest.mark.parametrize("channels,height,width", [(1, 48, 48), (3, 48, 48), (3, 24, 72)])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_a_small_picture_is_the_one_that_pillow_makes(scale, channels, height, width):
    images = pictures(4, height, width, channels)
    given = inputs.LowResolution(image_shape=(channels, height, width), scale=scale)
    assert given.shape == (channels, height // scale, width // scale)
    found = to_steps(given(to_tensor(images)))
    np.testing.assert_allclose(found, np.rint(found), atol=1e-3)  # the steps of a file
    wanted = np.stack([resized(image, *given.shape[1:]) for image in images])
    assert np.abs(found - wanted).max() <= 1.001


def test_enlarging_is_pillows_too():
    # Between Pillow's two passes nothing is to be cut at 0 or 255.
    image = 64 + pictures(1, 16, 16)[0, 0] // 2
    wide = bicubic_matrix(16, 64) @ image @ bicubic_matrix(16, 64).T
    wanted = np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BICUBIC))
    assert np.abs(wide - wanted).max() <= 1.5


def test_a_size_that_cannot_be_divided_is_refused():
    with pytest.raises(ValueError, match="^scale: 4 does not divide images of 30x30"):
        inputs.LowResolution(image_shape=(1, 30, 30), scale=4)


def assert_uniform(counts):
    """Chi-square at 0.1 % (Wilson and Hilferty's approximation); the draws of a test are fixed."""
    counts = np.asarray(counts).ravel()
    expected, dof = counts.mean(), counts.size - 1
    assert expected > 5
    spread = 2 / (9 * dof)
    bound = dof * (1 - spread + 3.09 * spread**0.5) ** 3
    assert ((counts - expected) ** 2 / expected).sum() < bound


def masks(given, numbers):
    """bool [N, H, W]: the holes that these numbers mean."""
    images = Tensor(np.zeros((len(numbers), 1, *given.shape[1:]), np.float32))
    return given(images, None, Tensor(numbers)).asnumpy()[:, 1] == 1


def test_rectangles_have_every_size_and_place_alike(rng):
    given = inputs.Masked(image_shape=(1, 16, 24), smallest=0.25, largest=0.5, strokes=0.0)
    mask = masks(given, rng.random((9000, given.numbers), np.float32))
    rows, columns = mask.any(axis=2), mask.any(axis=1)
    heights, widths = rows.sum(axis=1), columns.sum(axis=1)
    assert (mask.sum(axis=(1, 2)) == heights * widths).all()  # whole rectangles
    assert (heights.min(), heights.max(), widths.min(), widths.max()) == (4, 8, 6, 12)
    together = np.zeros((5, 7), int)
    np.add.at(together, (heights - 4, widths - 6), 1)
    assert_uniform(together)  # so height and width are drawn on their own
    for sides, start, whole in ((heights, rows, 16), (widths, columns, 24)):
        for side in np.unique(sides):
            places = start.argmax(axis=1)[sides == side]
            counts = np.bincount(places, minlength=whole - side + 1)
            assert len(counts) == whole - side + 1
            assert_uniform(counts)
    tops, lefts = rows.argmax(axis=1), columns.argmax(axis=1)
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.04


def test_the_smallest_and_the_largest_numbers_are_holes_too():
    """[0, 1) ends at 1 - 2^-24; at both ends a rectangle lies at the edge of the picture."""
    given = inputs.Masked(image_shape=(1, 28, 28), smallest=0.25, largest=0.5, strokes=0.0)
    ends = np.array([0.0, 1.0 - 2.0**-24], np.float32)
    low, high = masks(given, np.repeat(ends[:, None], given.numbers, axis=1))
    assert low.sum() == 7 * 7 and low[:7, :7].all()
    assert high.sum() == 14 * 14 and high[-14:, -14:].all()
    brushed = inputs.Masked(image_shape=(1, 28, 28), strokes=1.0)
    found = masks(brushed, np.repeat(ends[:, None], given.numbers, axis=1))
    bank = inputs.stroke_bank(28, 28)
    assert (found[0] == bank[0]).all() and (found[1] == bank[-1]).all()


def test_strokes_have_their_share_and_are_taken_alike(rng):
    given = inputs.Masked(image_shape=(1, 16, 16), strokes=0.7)
    numbers = rng.random((9000, given.numbers), np.float32)
    known = {mask.tobytes(): i for i, mask in enumerate(inputs.stroke_bank(16, 16) == 1)}
    which = [known.get(mask.tobytes()) for mask in masks(given, numbers)]
    brushed = np.array([i is not None for i in which])
    assert (brushed == (numbers[:, 0] < 0.7)).all()
    assert abs(brushed.mean() - 0.7) < 3 * (0.7 * 0.3 / 9000) ** 0.5
    assert_uniform(np.bincount([i for i in which if i is not None], minlength=inputs.STROKES))


def test_a_hole_is_a_function_of_its_own_numbers(rng):
    """Not of the image, the others in the batch, the mode, or of what was asked before."""
    given = inputs.Masked(image_shape=(3, 16, 24), strokes=0.5)
    numbers = rng.random((8, given.numbers), np.float32)

    def holes(numbers, training=True):
        images = Tensor(rng.uniform(-1, 1, (len(numbers), 3, 16, 24)).astype(np.float32))
        return given.set_train(training)(images, None, Tensor(numbers)).asnumpy()[:, 3]

    found = holes(numbers)
    assert len({hole.tobytes() for hole in found}) == 8
    assert (holes(numbers, training=False) == found).all()
    assert (holes(numbers[::-1].copy()) == found[::-1]).all()
    others = rng.random((8, given.numbers), np.float32)
    others[3] = numbers[3]
    assert (holes(others)[3] == found[3]).all()
    again = inputs.Masked(image_shape=(1, 16, 24), strokes=0.5)
    assert (masks(again, numbers) == (found == 1)).all()


def test_what_is_known_is_given_and_what_is_not_is_grey(rng):
    given = inputs.Masked(image_shape=(3, 16, 16), strokes=0.5)
    images = rng.uniform(-1, 1, (64, 3, 16, 16)).astype(np.float32)
    numbers = rng.random((64, given.numbers), np.float32)
    found = given(Tensor(images), None, Tensor(numbers)).asnumpy()
    mask = found[:, 3:].repeat(3, axis=1)
    assert set(np.unique(mask)) == {0.0, 1.0}
    assert (found[:, :3][mask == 0] == images[mask == 0]).all()
    assert (found[:, :3][mask == 1] == 0).all()
    holes = found[:, 3].mean(axis=(1, 2))
    assert (holes > 0.05).all() and (holes < 0.55).all()


def test_the_bank_of_strokes_is_always_the_same_and_varied():
    bank = inputs.stroke_bank(28, 28)
    assert (bank == inputs.stroke_bank(28, 28)).all()
    assert len({mask.tobytes() for mask in bank}) == inputs.STROKES
    shares = bank.mean(axis=(1, 2))
    assert shares.min() >= 0.1 and shares.max() < 0.6


def test_pairs():
    x = Tensor(np.arange(2 * 6 * 4 * 4, dtype=np.float32).reshape(2, 6, 4, 4))
    first, both = (kind(image_shape=(6, 4, 4)) for kind in (inputs.First, inputs.Both))
    assert first.shape == (3, 4, 4) and both.shape == (6, 4, 4)
    assert (first(x).asnumpy() == x.asnumpy()[:, :3]).all()
    assert (both(x).asnumpy() == x.asnumpy()).all()
    with pytest.raises(ValueError, match="pairs"):
        inputs.First(image_shape=(3, 4, 4))
