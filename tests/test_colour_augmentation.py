"""Colours of DiffAugment against NumPy; off they change nothing; derivatives."""

import numpy as np
import pytest

from mindspore import Tensor, nn

from ms_gan import build
from ms_gan.objectives.augmentations import DiffAugment
from ms_gan.objectives.judge import Judge
from ms_gan.objectives.penalties import R1
from ms_gan.recipe import reader
from ms_gan.recipe.schema import ConfigError, Part
from tests import tiny

OFF = {"translation": 0.0, "cutout": 0.0}
PAPER = {"brightness": 0.5, "saturation": 1.0, "contrast": 0.5}


def by_hand(x, numbers, brightness=0.0, saturation=0.0, contrast=0.0):
    """The code of the paper, in float64; rand - 0.5 and rand * 2 there."""
    u = 2.0 * numbers[:, 4:].astype(np.float64) - 1.0
    out = x.astype(np.float64)
    for i, image in enumerate(out):
        image += brightness * u[i, 0]
        grey = image.mean(axis=0)
        image[:] = grey + (image - grey) * (1.0 + saturation * u[i, 1])
        mean = image.mean()
        image[:] = mean + (image - mean) * (1.0 + contrast * u[i, 2])
    return out


@pytest.fixture
def images(rng):
    return rng.uniform(-1, 1, (6, 3, 5, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "options", [PAPER, *({key: value} for key, value in PAPER.items()), {"brightness": 2.0}]
)
def test_the_definition(options, images, mode, rng):
    numbers = rng.random((6, 7), np.float32)
    augment = DiffAugment(image_shape=(3, 5, 4), **OFF, **options)
    out = augment(Tensor(images), Tensor(numbers)).asnumpy()
    np.testing.assert_allclose(out, by_hand(images, numbers, **options), atol=2e-6)
    assert np.abs(out - images).max() > 0.1


def test_colours_come_before_the_shift_and_the_hole(images, rng):
    numbers = rng.random((6, 7), np.float32)
    places = {"translation": 0.3, "cutout": 0.4, "fill": 0.5}
    both = DiffAugment(image_shape=(3, 5, 4), **places, **PAPER)
    colour = DiffAugment(image_shape=(3, 5, 4), **OFF, **PAPER)
    place = DiffAugment(image_shape=(3, 5, 4), **places)
    one = both(Tensor(images), Tensor(numbers)).asnumpy()
    two = place(colour(Tensor(images), Tensor(numbers)), Tensor(numbers[:, :4])).asnumpy()
    np.testing.assert_array_equal(one, two)


def test_off_they_change_no_bit_and_want_no_numbers(images, rng):
    numbers = rng.random((6, 4), np.float32)
    plain = DiffAugment(image_shape=(3, 5, 4))
    off = DiffAugment(image_shape=(3, 5, 4), brightness=0.0, saturation=0.0, contrast=0.0)
    assert plain.numbers == off.numbers == DiffAugment.numbers == 4
    assert DiffAugment(image_shape=(3, 5, 4), contrast=0.1).numbers == 7
    a, b = (net(Tensor(images), Tensor(numbers)).asnumpy() for net in (plain, off))
    np.testing.assert_array_equal(a, b)


class Cubic(nn.Cell):
    """D(x) = sum of x^3 / 3, whose penalty depends on every pixel."""

    def construct(self, x, labels=None):
        return (x * x * x).reshape((x.shape[0], -1)).sum(axis=1) / 3.0


def test_the_second_derivative(images, rng):
    """R1 of D(augment(x)) and its gradient in x, against finite differences of a hand-made one."""
    import mindspore as ms

    numbers = rng.random((6, 7), np.float32)
    penalty = R1(Judge(Cubic(), augment=DiffAugment(image_shape=(3, 5, 4), **OFF, **PAPER)))
    given = (None, Tensor(numbers))

    def gradient_by_hand(x):  # the augmentation is linear in x but for brightness: J^T (y^2)
        y = by_hand(x, numbers, **PAPER) ** 2
        u = 2.0 * numbers[:, 4:].astype(np.float64) - 1.0
        s, c = ((1.0 + PAPER[k] * u[:, i]).reshape(-1, 1, 1, 1) for k, i in
                (("saturation", 1), ("contrast", 2)))  # fmt: skip
        y = c * y + (1 - c) * y.mean(axis=(1, 2, 3), keepdims=True)
        return s * y + (1 - s) * y.mean(axis=1, keepdims=True)

    def value(x):
        return (gradient_by_hand(x) ** 2).sum(axis=(1, 2, 3)).mean()

    def forward(x):
        return penalty(x, x, given, None)

    x = Tensor(images)
    got, slope = ms.value_and_grad(forward)(x)
    scale = float(got.asnumpy()) / value(images)  # the penalty's own factor
    assert scale in (pytest.approx(1.0, rel=1e-4), pytest.approx(0.5, rel=1e-4))
    direction = rng.normal(size=images.shape)
    step = 1e-4
    finite = (value(images + step * direction) - value(images - step * direction)) / (2 * step)
    along = float((slope.asnumpy() * direction).sum())
    assert along == pytest.approx(scale * finite, rel=2e-3)


@pytest.mark.parametrize("options, word", [
    ({"brightness": -0.1}, "brightness: expected 0 to 2"),
    ({"saturation": 1.5}, "saturation: expected 0 to 1"),
    ({"contrast": 1.01}, "contrast: expected 0 to 1"),
])  # fmt: skip
def test_strengths_that_cannot_be(options, word):
    part = Part("diff_augment", options)
    line = tiny.refused(ConfigError, build.AUGMENT.build, part, image_shape=(3, 8, 8))
    assert word in line


def test_grey_images_have_no_saturation():
    part = Part("diff_augment", {"saturation": 0.5})
    line = tiny.refused(ConfigError, build.AUGMENT.build, part, image_shape=(1, 8, 8))
    assert "grey" in line
    assert "changes no pixel" in tiny.refused(ValueError, DiffAugment, image_shape=(1, 8, 8), **OFF)


def test_a_step_gets_the_numbers_that_it_wants():
    """Columns of the parts after it move on, and a recipe trains."""
    augment = {"name": "diff_augment", **PAPER}
    sections = {"augment": augment, "regularizer": {"name": "r1", "weight": 0.1}}
    state = tiny.state_of((3, 8, 8), batch=4, **sections)
    assert 7 in state.rows.numbers
    plain = tiny.state_of((3, 8, 8), batch=4, **{**sections, "augment": "diff_augment"})
    assert 4 in plain.rows.numbers and 7 not in plain.rows.numbers
    config = reader.from_dict({"name": "t", "train": {"steps": 1}, "augment": augment})
    assert config.augment.options == PAPER
