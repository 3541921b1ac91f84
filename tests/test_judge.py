"""What D is asked: packs, transformed images, labels, both batches at once."""

import numpy as np
import pytest

import mindspore as ms
from mindspore import Tensor, nn

from ms_gan.objectives.judge import Judge, join
from ms_gan.objectives.numbers import Columns, Numbers
from tests import tiny
from tests.derivatives import Linear, numpy_of, tensor

SHAPE = (2, 3, 3)


class Shifted(nn.Cell):
    """An augmentation: adds 1, 10 and 100 times its three numbers to every pixel."""

    numbers = 3

    def construct(self, x, numbers):
        shift = (numbers * tensor([[1.0, 10.0, 100.0]])).sum(axis=1)
        return x + shift.reshape((-1, 1, 1, 1))


class Labelled(nn.Cell):
    """D(x, labels) = labels: a conditional discriminator that looks at nothing else."""

    num_classes = 10

    def construct(self, x, labels=None):
        return labels.astype(ms.float32)


def images(rng, n=6):
    return rng.normal(size=(n, *SHAPE))


def test_a_pack_of_images_gets_one_score(rng):
    """Neighbours are joined along the channels, in order."""
    x, w = images(rng), rng.normal(size=(3 * SHAPE[0], *SHAPE[1:]))
    scores = Judge(Linear(w), pack=3)(tensor(x))
    expected = [(w * np.concatenate(x[i : i + 3])).sum() for i in (0, 3)]
    np.testing.assert_allclose(scores.asnumpy(), expected, rtol=1e-4)


def test_a_conditional_discriminator_judges_one_image():
    assert "use pack 1" in tiny.refused(ValueError, Judge, Labelled(), pack=2)


@pytest.mark.parametrize("pack", [1, 2])
def test_it_transforms_with_its_own_columns(rng, pack):
    """Before images are packed; the columns of other parts are not looked at."""
    x, numbers = images(rng), rng.random((6, 5))
    w = np.ones((pack * SHAPE[0], *SHAPE[1:]))
    judge = Judge(Linear(w), augment=Shifted(), columns=Columns(1, 3), pack=pack)
    scores = judge(tensor(x), (None, tensor(numbers)))
    shifts = numbers[:, 1:4] @ [1.0, 10.0, 100.0]
    expected = (x + shifts.reshape(-1, 1, 1, 1)).reshape(6 // pack, -1).sum(axis=1)
    np.testing.assert_allclose(scores.asnumpy(), expected, rtol=1e-4)


def test_labels_reach_the_discriminator(rng):
    labels = Tensor(np.arange(6), ms.int32)
    scores = Judge(Labelled())(tensor(images(rng)), (labels, None))
    assert scores.asnumpy().tolist() == list(range(6))


def test_both_batches_in_one_pass_are_both_passes(rng):
    real, fake = (tensor(images(rng)) for _ in "rf")
    discriminator, numbers = Linear(rng.normal(size=SHAPE)), tensor(rng.random((6, 3)))
    for augment, given in ((None, None), (Shifted(), (None, numbers))):
        judge = Judge(discriminator, augment=augment)
        both = numpy_of(judge(*join(real, fake, given)))
        apart = [numpy_of(judge(x, given)) for x in (real, fake)]
        np.testing.assert_allclose(both, np.concatenate(apart), rtol=1e-6)


def test_columns_are_allotted_one_after_the_other(rng):
    numbers, array = Numbers(), rng.random((4, 6)).astype(np.float32)
    parts = [numbers.allot(width) for width in (1, 0, 3, 2)]
    assert numbers.widths == [1, 0, 3, 2]
    got = [part(Tensor(array)) for part in parts]
    assert got[1] is None
    found = np.concatenate([x.asnumpy() for x in got if x is not None], axis=1)
    np.testing.assert_array_equal(found, array)
    assert parts[0](None) is None
