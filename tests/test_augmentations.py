"""Augmentation against a loop over pixels; its derivatives; what D and G see; continuing."""

import numpy as np
import pytest

import mindspore as ms
from mindspore import Tensor, nn

from ms_gan import build
from ms_gan.data import Batches, load
from ms_gan.objectives.augmentations import DiffAugment
from ms_gan.objectives.judge import Judge
from ms_gan.objectives.penalties import R1, R1R2
from ms_gan.recipe.schema import ConfigError
from ms_gan.runs import checkpoint
from ms_gan.training.feed import Feed
from tests import tiny
from tests.derivatives import (
    TOLERANCE,
    Linear,
    differentiate,
    finite_differences,
    in_one,
    relative_error,
    smooth,
)
from tests.tiny import values

N, LATENT, SHAPE = 8, 6, (1, 8, 8)
MODEL = {"name": "gan", "latent_dim": LATENT, "g_widths": [12, 16], "d_widths": [20]}


def by_hand(x, draw, translation=0.125, cutout=0.5, fill=-1.0):
    """The definition, pixel by pixel."""
    out = np.full_like(x, fill)
    sizes = x.shape[2:]
    for image, row, target in zip(x, draw.astype(np.float64), out, strict=True):
        most = [int(size * translation + 0.5) for size in sizes]
        shift = [int(u * (2 * m + 1)) - m for u, m in zip(row[:2], most, strict=True)]
        sides = [int(size * cutout + 0.5) for size in sizes]
        starts = [
            int(u * (size + 1 - side % 2)) - side // 2
            for u, size, side in zip(row[2:], sizes, sides, strict=True)
        ]
        for i, j in np.ndindex(sizes):
            a, b = i - shift[0], j - shift[1]
            if not (0 <= a < sizes[0] and 0 <= b < sizes[1]):
                continue
            if starts[0] <= i < starts[0] + sides[0] and starts[1] <= j < starts[1] + sides[1]:
                continue
            target[:, i, j] = image[:, a, b]
    return out


def draws(rng, num):
    """Uniform numbers, among them both ends."""
    draw = rng.random((num, 4), np.float32)
    draw[0], draw[1] = 0.0, 1.0 - 2.0**-24
    return draw


@pytest.mark.parametrize(
    "options", [{}, {"translation": 0.3, "cutout": 0.0}, {"translation": 0.0, "cutout": 0.3},
                {"translation": 1.0, "cutout": 0.8, "fill": 0.25}],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 6)])
def test_the_definition_to_the_last_bit(shape, options, mode, rng):
    x = rng.uniform(-1, 1, (40, *shape)).astype(np.float32)
    draw = draws(rng, 40)
    augment = DiffAugment(image_shape=shape, **options)
    out = augment(Tensor(x), Tensor(draw)).asnumpy()
    np.testing.assert_array_equal(out, by_hand(x, draw, **options))
    assert (out != x).any(axis=(1, 2, 3)).mean() > 0.5


def test_every_shift_is_equally_likely(rng):
    """A lonely pixel in the middle of 16x16: 5 x 5 places, each with the same share."""
    num = 5000
    x = np.full((num, 1, 16, 16), -1, np.float32)
    x[:, :, 8, 8] = 1
    augment = DiffAugment(image_shape=(1, 16, 16), cutout=0.0)
    out = augment(Tensor(x), Tensor(rng.random((num, 4), np.float32))).asnumpy()
    share = (out == 1).mean(axis=(0, 1))
    assert share.sum() == pytest.approx(1.0) and np.count_nonzero(share) == 25
    np.testing.assert_allclose(share[6:11, 6:11], 1 / 25, atol=5 * np.sqrt(0.04 * 0.96 / num))


def test_the_gradient_goes_back_where_the_pixel_came_from(rng):
    """T is affine in x, so the gradient of <w, T(x)> is T's matrix, transposed, times w."""
    x = rng.uniform(-1, 1, (6, *SHAPE)).astype(np.float32)
    w = rng.standard_normal(x.shape).astype(np.float32)
    draw = draws(rng, 6)
    numbers = 1.0 + np.arange(64, dtype=np.float32).reshape(SHAPE)  # of each pixel
    origins = by_hand(np.broadcast_to(numbers, x.shape), draw, fill=0.0).astype(int)
    expected = np.zeros((6, 65), np.float32)
    for row, places, weights in zip(expected, origins, w, strict=True):
        np.add.at(row, places.ravel(), weights.ravel())

    class Weighted(nn.Cell):
        def __init__(self):
            super().__init__()
            self.augment = DiffAugment(image_shape=SHAPE)

        def construct(self, x, w, draw):
            return (w * self.augment(x, draw)).sum()

    got = ms.grad(Weighted())(Tensor(x), Tensor(w), Tensor(draw)).asnumpy()
    np.testing.assert_array_equal(got.reshape(6, 64), expected[:, 1:])


def test_r1_of_a_linear_judge_has_the_closed_form(rng):
    """1/2 mean ||T' w||^2: D's slope counts only where the image is seen."""
    w = rng.standard_normal(SHAPE).astype(np.float32)
    draw = draws(rng, N)
    real = Tensor(rng.uniform(-1, 1, (N, *SHAPE)).astype(np.float32))
    penalty = R1(Judge(Linear(w), augment=DiffAugment(image_shape=SHAPE)))
    visible = by_hand(np.ones((N, *SHAPE), np.float32), draw, fill=0.0)
    expected = 0.5 * ((visible * w) ** 2).sum(axis=(1, 2, 3)).mean()
    value = penalty(real, real, (None, Tensor(draw))).asnumpy()
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert expected < 0.95 * 0.5 * (w**2).sum()


def test_second_order_gradients_through_the_augmentation(rng):
    shape = (1, 4, 4)
    network = smooth(3)
    augment = DiffAugment(image_shape=shape, translation=0.25, cutout=0.3)
    penalty = R1R2(Judge(network, augment=augment))
    real, fake = (Tensor(rng.normal(size=(3, *shape)), ms.float32) for _ in range(2))
    draw = Tensor(np.array([[0.9, 0.5, 0, 0], [0.2, 0.9, 0.5, 0.6], [0.5, 0.5, 1, 1]]), ms.float32)
    inputs = (real, fake, (None, draw))
    gradients, numeric = differentiate(penalty, inputs), finite_differences(penalty, inputs)
    assert relative_error(in_one(gradients), in_one(numeric)) < TOLERANCE
    without = differentiate(R1R2(network), (real, fake))
    assert relative_error(in_one(without), in_one(numeric)) > 0.1


# --- in the adversarial step --------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return load("digits", size=8)


def state_of(num_classes=0, *, shape=SHAPE, **sections):
    defaults = {"model": MODEL, "augment": "diff_augment", "train": {"ema_decay": 0.9}}
    return tiny.state_of(shape, num_classes, batch=N, **{**defaults, **sections})


def discriminator(state):
    return state.update.train_d.network.judge.discriminator


def inputs(rng, parts=1):
    real = rng.uniform(-1, 1, (parts * N, *SHAPE)).astype(np.float32)
    z = rng.standard_normal((parts * N, LATENT)).astype(np.float32)
    return real, z, draws(rng, parts * N)


def softplus(x):
    return np.logaddexp(0, x)


@pytest.mark.parametrize("d_steps", [1, 2])
def test_d_and_g_see_augmented_images_and_nothing_else(d_steps, rng):
    """Losses and scores from images that NumPy transformed, judged by D before and after."""
    train = {"d_steps": d_steps}
    state, twin = state_of(train=train), state_of(train=train)
    real, z, draw = inputs(rng, d_steps)
    last = slice((d_steps - 1) * N, None)
    if d_steps == 2:  # the first update of D, by a step that is one
        twin.update.train_d(
            Tensor(real[:N]), twin.generator(Tensor(z[:N])), (None, Tensor(draw[:N]))
        )
    fake = twin.generator(Tensor(z[last])).asnumpy()
    seen = [Tensor(by_hand(x, draw[last])) for x in (real[last], fake)]
    expected = [discriminator(twin)(x).asnumpy() for x in seen]
    loss_d, loss_g, *scores = state.update(Tensor(real), Tensor(z), None, Tensor(draw))
    for got, wanted in zip(scores, expected, strict=True):
        np.testing.assert_allclose(got.asnumpy(), wanted, rtol=1e-4, atol=1e-5)
    wanted_d = softplus(-expected[0]).mean() + softplus(expected[1]).mean()
    assert float(loss_d) == pytest.approx(wanted_d, rel=1e-5)
    after = discriminator(state)(seen[1]).asnumpy()  # G is judged by the new D
    assert float(loss_g) == pytest.approx(softplus(-after).mean(), rel=1e-5)
    plain = discriminator(state)(Tensor(fake)).asnumpy()
    assert abs(softplus(-after).mean() - softplus(-plain).mean()) > 1e-4


@pytest.mark.parametrize(
    "sections",
    [
        {"loss": "wasserstein", "regularizer": "gradient_penalty"},
        {"train": {"pack": 2}, "regularizer": "r1"},
        {"runtime": {"mode": "pynative"}},
        {"model": {**MODEL, "conditional": True}, "loss": "relativistic"},
    ],
    ids=["gradient_penalty", "pack and r1", "pynative", "conditional"],
)
def test_it_goes_with_every_part(sections, digits):
    from ms_gan.system import runtime

    runtime.set_mode(sections.get("runtime", {}).get("mode", "graph"))
    try:
        state = state_of(10, **sections)
        feed = Feed(Batches(digits, N, seed=0), state.rows, seed=0)
        before = values(state)
        for step in range(2):
            outputs = state.update(*feed.at(step))
    finally:
        runtime.set_mode("graph")
    assert all(np.isfinite(x.asnumpy()).all() for x in outputs)
    after = values(state)
    for role in ("generator", "discriminator"):
        weights = [k for k in before if k.startswith(role) and k.endswith("weight")]
        assert all((before[k] != after[k]).any() for k in weights)


def test_continuing_is_exact(digits, tmp_path):
    """Four steps = two steps, a file, another state, two steps: bit for bit."""

    def run(state, until):
        feed = Feed(Batches(digits, N, seed=0), state.rows, seed=5)
        while state.step < until:
            state.update(*feed.at(state.step))
            state.step += 1
        return state

    first = run(state_of(), 2)
    checkpoint.save(tmp_path / "half.ckpt", first.parameters, first.meta)
    whole = values(run(first, 4))
    second = state_of(seed=9)
    build.load_training(tmp_path / "half.ckpt", second)
    continued = values(run(second, 4))
    tiny.assert_same_bits(whole, continued)
    assert all(not name.startswith("augment") for name in whole), "it owns no parameter"


def test_only_a_recipe_that_names_it_draws_its_numbers():
    assert sum(state_of().rows.numbers) == DiffAugment.numbers
    assert sum(state_of(augment=None).rows.numbers) == 0


@pytest.mark.parametrize(
    "augment, shape, expected",
    [
        ("diff_augmentation", SHAPE, "did you mean 'diff_augment'?"),
        ({"name": "diff_augment", "cutoff": 0.5}, SHAPE, "did you mean 'cutout'?"),
        ({"name": "diff_augment", "image_shape": [1, 8, 8]}, SHAPE, "no such option"),
        ({"name": "diff_augment", "translation": 2.0}, SHAPE, "translation: expected 0 to 1"),
        ({"name": "diff_augment", "cutout": 1.0}, SHAPE, "cutout: expected 0 <= x < 1"),
        ({"name": "diff_augment", "fill": -2.0}, SHAPE, "fill: expected -1 to 1"),
        ({"name": "diff_augment", "translation": 0, "cutout": 0.0}, SHAPE, "changes no pixel"),
        ("diff_augment", (2, 1, 1), "leaves nothing of images [2, 1, 1]"),
    ],
)
def test_what_cannot_work_is_one_line(augment, shape, expected):
    message = tiny.refused(ConfigError, state_of, shape=shape, augment=augment)
    assert expected in message and message.startswith("augment")
