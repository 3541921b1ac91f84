"""CycleGAN and its kin: nets that share nothing, the official losses, right gradients."""

import numpy as np
import pytest

import mindspore as ms
from mindspore import Tensor, nn

from ms_gan import build
from ms_gan.models import cyclegan, inpainting, pix2pix, srgan
from ms_gan.models.layers import InstanceNorm
from ms_gan.objectives.penalties import R1
from ms_gan.objectives.terms import Cycle, Hole, Identity, Pixel
from ms_gan.training.cells import Added
from tests import derivatives
from tests.tiny import randomise, state_of, values

SHAPE = (2, 8, 8)  # a pair of grey pictures
MODEL = {"name": "cyclegan", "g_width": 4, "blocks": 2, "d_width": 4, "d_depth": 1}


def small_generator():
    return randomise(cyclegan.Generator(image_shape=SHAPE, g_width=4, blocks=2), 0, scale=0.3)


def test_no_two_layers_share_their_weights():
    net = cyclegan.Generator(image_shape=(6, 32, 32), g_width=8, blocks=9)
    blocks = [cell for _, cell in net.cells_and_names() if isinstance(cell, cyclegan.Block)]
    assert len(blocks) == len({id(block) for block in blocks}) == 18
    weights = net.trainable_params()
    assert len({id(p) for p in weights}) == len(weights)
    # 5x5, 3x3 down, 9 blocks of two, 3x3 up, 5x5: 22 layers with a bias, twice
    assert len(weights) == 2 * 2 * (1 + 1 + 18 + 1 + 1)


def test_the_generator_swaps_the_domains(rng):
    net = small_generator()
    x = Tensor(rng.uniform(-1, 1, (3, *SHAPE)).astype(np.float32))
    a, b = x[:, :1], x[:, 1:]
    made = net(x).asnumpy()
    np.testing.assert_allclose(made[:, :1], net.b_to_a(b).asnumpy(), atol=1e-6)
    np.testing.assert_allclose(made[:, 1:], net.a_to_b(a).asnumpy(), atol=1e-6)


def test_cycle_and_identity_are_the_official_sums(rng):
    """lambda (|F(G(a)) - a| + |G(F(b)) - b|), written down with two nets; a mean over both halves
    it."""
    net = small_generator()
    x = Tensor(rng.uniform(-1, 1, (3, *SHAPE)).astype(np.float32))
    a, b = x[:, :1], x[:, 1:]
    there_b, there_a = net.a_to_b(a), net.b_to_a(b)
    cycle = (net.b_to_a(there_b) - a).abs().mean() + (net.a_to_b(there_a) - b).abs().mean()
    same = (net.a_to_b(b) - b).abs().mean() + (net.b_to_a(a) - a).abs().mean()
    fake = net(x)
    for term, expected in ((Cycle(), cycle), (Identity(), same)):
        found = term(x, fake, x, None, None, net(term.again(x, fake)))
        assert float(found.asnumpy()) == pytest.approx(float(expected.asnumpy()) / 2, rel=1e-5)


def test_the_gradient_of_the_generator_reaches_through_what_was_made_again(rng):
    """Against finite differences of the whole loss, written with plain calls of the nets."""
    model = {**MODEL, "blocks": 1}
    state = state_of(
        SHAPE, batch=2, model=model, input="both", loss="least_squares",
        terms={"cycle": 3.0, "identity": 2.0}, optimizer={"lr_g": 1e-3, "lr_d": 1e-3},
    )  # fmt: skip
    net, train_g = state.generator, state.update.train_g
    randomise(net, 1, scale=0.2)
    x = Tensor(rng.uniform(-1, 1, (2, *SHAPE)).astype(np.float32))
    judge = state.update.train_d.network.judge

    def loss():
        fake = net(x)
        swapped = ms.ops.concat((x[:, 1:], x[:, :1]), axis=1)
        scores = judge(fake).asnumpy().astype(np.float64)
        again, same = (net(y).asnumpy().astype(np.float64) for y in (fake, swapped))
        real = x.asnumpy().astype(np.float64)
        adversarial = 0.5 * np.mean((scores - 1) ** 2)
        return adversarial + 3 * np.abs(again - real).mean() + 2 * np.abs(same - real).mean()

    class Kept(nn.Cell):
        """Takes the gradients out of the step in place of a reduction over workers."""

        def __init__(self, like):
            super().__init__()
            self.kept = ms.ParameterTuple(
                [ms.Parameter(p.value() * 0, name=f"kept.{i}") for i, p in enumerate(like)]
            )

        def construct(self, grads):
            stored = ()
            for i in range(len(grads)):
                stored += (ms.ops.assign(self.kept[i], grads[i]),)
            return ms.ops.depend(grads, stored)

    weights = list(train_g.weights)
    kept = train_g.grad_reducer = Kept(weights)
    before = values(state)
    train_g(x, x, None)
    found = [p.asnumpy() for p in kept.kept]
    for p in state.parameters:
        p.set_data(Tensor(before[p.name]))
    step = 3e-5  # small: the loss has edges everywhere
    for index in (0, 4, len(weights) // 2, len(weights) - 2):
        p, value = weights[index], weights[index].asnumpy().copy()
        direction = np.sign(found[index]) + (found[index] == 0)
        slopes = []
        for sign in (1, -1):
            p.set_data(Tensor((value + sign * step * direction).astype(np.float32)))
            slopes.append(loss())
        p.set_data(Tensor(value))
        numeric = (slopes[0] - slopes[1]) / (2 * step)
        assert numeric == pytest.approx((found[index] * direction).sum(), rel=0.03), p.name


@pytest.mark.parametrize("shape", [(3, 2, 5, 4), (2, 1, 8, 8)])
def test_instance_norm(shape, rng):
    x = rng.normal(2.0, 3.0, shape).astype(np.float32)
    mean, variance = x.mean(axis=(2, 3), keepdims=True), x.var(axis=(2, 3), keepdims=True)
    expected = (x - mean) / np.sqrt(variance + 1e-5)
    for training in (True, False):
        found = InstanceNorm().set_train(training)(Tensor(x)).asnumpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_known_pixels_come_back_to_the_last_bit(rng):
    net = randomise(inpainting.Generator(image_shape=(3, 16, 16), g_width=4, blocks=1), 0)
    image = rng.uniform(-1, 1, (4, 3, 16, 16)).astype(np.float32)
    mask = (rng.random((4, 1, 16, 16)) < 0.3).astype(np.float32)
    made = net(Tensor(np.concatenate((image * (1 - mask), mask), axis=1))).asnumpy()
    known = np.broadcast_to(mask == 0, image.shape)
    assert made[known].tobytes() == image[known].tobytes()
    assert np.abs(made[~known] - image[~known]).min() > 0


def test_a_new_enlarger_is_nearly_bicubic(rng):
    net = srgan.Generator(image_shape=(1, 16, 16), input_shape=(1, 8, 8), g_width=8, blocks=1)
    x = rng.uniform(-1, 1, (2, 1, 8, 8)).astype(np.float32)
    up, across = (m.asnumpy() for m in net.matrices)
    assert np.abs(net(Tensor(x)).asnumpy() - up @ x @ across).mean() < 0.2


def test_a_translation_keeps_what_was_given(rng):
    net = pix2pix.Generator(image_shape=(6, 16, 16), g_width=4, depth=2)
    x = rng.uniform(-1, 1, (2, 3, 16, 16)).astype(np.float32)
    made = net(Tensor(x)).asnumpy()
    assert made.shape == (2, 6, 16, 16) and (made[:, :3] == x).all()


def test_terms_of_pixels(rng):
    real, fake = (rng.uniform(-1, 1, (3, 2, 4, 4)).astype(np.float32) for _ in range(2))
    mask = (rng.random((3, 1, 4, 4)) < 0.5).astype(np.float32)
    made_from = np.concatenate((real * (1 - mask), mask), axis=1)
    difference = (fake - real).astype(np.float64)
    expected = {
        "l1": np.abs(difference).mean(),
        "l2": (difference**2).mean(),
        "charbonnier": np.sqrt(difference**2 + 1e-6).mean(),
    }
    for norm, value in expected.items():
        found = Pixel(norm=norm)(Tensor(real), Tensor(fake), Tensor(made_from))
        assert float(found.asnumpy()) == pytest.approx(value, rel=1e-5)
    hole = np.abs(difference)[np.broadcast_to(mask == 1, difference.shape)].mean()
    found = Hole()(Tensor(real), Tensor(fake), Tensor(made_from))
    assert float(found.asnumpy()) == pytest.approx(hole, rel=1e-5)


def gradient(term, real, fake, made_from):
    """float64, with respect to the new images."""
    inputs = (Tensor(x.astype(np.float32)) for x in (real, fake, made_from))
    return ms.grad(term, grad_position=1)(*inputs).asnumpy().astype(np.float64)


def test_gradients_of_the_terms_of_pixels(rng):
    """Their derivatives written out; one pixel is right already, at the edge of |x|."""
    real, fake = (rng.uniform(-1, 1, (3, 2, 4, 4)).astype(np.float32) for _ in range(2))
    fake[0, 0, 0, 0] = real[0, 0, 0, 0]
    mask = (rng.random((3, 1, 4, 4)) < 0.5).astype(np.float32)
    mask[0, 0, 0, 0] = 1.0
    made_from = np.concatenate((real * (1 - mask), mask), axis=1)
    d = (fake - real).astype(np.float64)
    for term, expected in (
        (Pixel(norm="l1"), np.sign(d) / d.size),
        (Pixel(norm="l2"), 2 * d / d.size),
        (Pixel(norm="charbonnier"), d / np.sqrt(d**2 + 1e-6) / d.size),
        (Hole(), mask * np.sign(d) / (2 * mask.sum())),
    ):
        found = gradient(term, real, fake, made_from)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_no_hole_at_all_costs_nothing_and_pulls_nowhere(rng):
    real, fake = (rng.uniform(-1, 1, (2, 1, 4, 4)).astype(np.float32) for _ in range(2))
    made_from = np.concatenate((real, np.zeros_like(real)), axis=1)
    assert float(Hole()(Tensor(real), Tensor(fake), Tensor(made_from)).asnumpy()) == 0
    assert not gradient(Hole(), real, fake, made_from).any()


def test_second_derivatives_of_instance_norm():
    """A gradient penalty's gradient, against finite differences: CycleGAN's D may have one."""
    net = derivatives.Tail([derivatives.conv(1, 2, 3, 1), InstanceNorm(), nn.Tanh()], 32)
    penalty = R1(randomise(net, 0).set_train())
    inputs = (derivatives.images(1), derivatives.images(2))
    found = derivatives.in_one(derivatives.differentiate(penalty, inputs))
    numeric = derivatives.in_one(derivatives.finite_differences(penalty, inputs))
    assert derivatives.relative_error(found, numeric) < derivatives.TOLERANCE


def test_what_does_not_go_together_is_refused():
    from ms_gan.recipe.schema import ConfigError

    for sections, words in (
        ({"model": MODEL}, "'cyclegan' receives both, not latents"),
        ({"input": "both"}, "'gan' receives latents, not both"),
        ({"terms": {"cycle": 1.0}}, "terms.cycle: is for input=both"),
    ):
        with pytest.raises(ConfigError, match=words):
            state_of(SHAPE, batch=2, **sections)


def test_added_is_what_the_parts_are_wrapped_in():
    assert Added and build.TERM.accepted("cycle")["weight"].default == 10.0
