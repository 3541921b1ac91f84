"""StyleGAN2: its layers in float64 NumPy, mixed styles, derivatives of second order."""

from statistics import NormalDist

import imageio.v3 as iio
import numpy as np
import pytest

import mindspore as ms
from mindspore import Tensor, nn, ops

from ms_gan import build, cli, session
from ms_gan.models import equalised, progan, stylegan
from ms_gan.models.growth import first_size
from ms_gan.models.resampling import BILINEAR, SMOOTH, Downsample, Upsample, box
from ms_gan.models.stylegan import ModulatedConv, Synthesis, cuts
from ms_gan.objectives.judge import Judge
from ms_gan.objectives.penalties import R1, GradientPenalty
from ms_gan.objectives.terms import PathLength
from ms_gan.runs import sampling, visualise
from ms_gan.runs.sampling import Sampler
from ms_gan.runs.styles import StyleSampler
from tests.derivatives import (
    TOLERANCE,
    differentiate,
    finite_differences,
    in_one,
    numpy_of,
    relative_error,
    tensor,
)  # fmt: skip
from tests.test_models import conv, modulated
from tests.tiny import (
    RECIPE,
    assert_same_bits,
    copy_run,
    newest,
    randomise,
    recipe_file,
    refused,
    refused_command,
)  # fmt: skip

D = 3  # width of the latents here
TINY = {
    "image_shape": (1, 8, 8), "latent_dim": D, "style_dim": 4, "mapping_layers": 1,
    "g_widths": (3, 2),
}  # fmt: skip


def generator(**options):
    net = randomise(stylegan.Generator(**{**TINY, **options}), 0).set_train(False)
    for p in net.mapping.get_parameters():
        p.set_data(100.0 * p)  # what is scaled by 0.01 again
    return net


# --- layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kernel, up, demodulate", [(3, False, True), (3, True, True), (1, False, False)]
)
def test_modulated_convolution_is_the_one_with_weights_of_each_image(kernel, up, demodulate, rng):
    layer = ModulatedConv(5, 4, 6, kernel=kernel, up=up, demodulate=demodulate)
    randomise(layer, 2)
    x, styles = rng.standard_normal((3, 5, 4, 7)), rng.standard_normal((3, 6))
    weights = {f"layer.{p.name}": numpy_of(p) for p in layer.get_parameters()}
    expected = modulated(x, styles, weights, "layer", up=up, demodulate=demodulate)
    assert expected.shape == ((3, 4, 8, 14) if up else (3, 4, 4, 7))
    made = layer(tensor(x), tensor(styles)).asnumpy()
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)


def test_demodulation_keeps_the_scale_whatever_the_style(rng):
    """Inputs of variance 1 give outputs of variance 1 (equation 3); without, the style's square."""
    x = tensor(rng.standard_normal((2, 16, 32, 32)))
    for demodulate in (True, False):
        layer = ModulatedConv(16, 8, 1, demodulate=demodulate)
        layer.affine.weight.set_data(tensor(np.ones((16, 1))))  # s = style + 1
        ratio = [layer(x, tensor(np.full((2, 1), s - 1.0))).asnumpy().std() for s in (1.0, 30.0)]
        if demodulate:
            assert ratio == pytest.approx([1.0, 1.0], rel=0.1)
        else:
            assert ratio[1] / ratio[0] == pytest.approx(30.0, rel=1e-3)


FILTERS = [(SMOOTH, 2), (BILINEAR, 2), (box(2), 2), (box(4), 4)]


@pytest.mark.parametrize("taps, factor", FILTERS, ids=["smooth", "bilinear", "box2", "box4"])
def test_resampling_filters(taps, factor, rng):
    """Filter, then every factor-th pixel; upwards its transpose; constants stay inside."""
    x, y = (
        rng.standard_normal((2, 3, 8, 12)),
        rng.standard_normal((2, 3, 8 // factor, 12 // factor)),
    )
    down, up = Downsample(3, taps, factor), Upsample(3, taps, factor)
    low, high = numpy_of(down(tensor(x))), numpy_of(up(tensor(y)))
    before = (len(taps) - factor + 1) // 2  # zeros at the near edges, the others at the far ones
    after = len(taps) - factor - before
    padded = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
    kernel = np.outer(taps, taps) / np.sum(taps) ** 2
    expected = np.stack(
        [conv(padded[:, [i]], kernel[None, None], factor, 0)[:, 0] for i in range(3)]
    )
    np.testing.assert_allclose(low, expected.swapaxes(0, 1), atol=1e-6)
    assert (low * y).sum() == pytest.approx((x * high).sum() / factor**2, rel=1e-4)
    ones, inside = (
        tensor(np.full((1, 3, 16, 16), 0.7)),
        (slice(None), slice(None), *[slice(2, -2)] * 2),
    )
    for net in (down, up):
        same = net(ones).asnumpy()
        np.testing.assert_allclose(same[inside], 0.7, rtol=1e-5)
        assert np.allclose(same, 0.7) == (len(taps) == factor)  # the others see the zeros outside


def test_the_sizes_that_are_offered_are_those_that_fit():
    for side in (2, 3, 4, 6, 12, 28, 32, 48, 64, 100):
        message = refused(ValueError, first_size, "g_widths", (1, side, side), 9)
        most = int(message.split()[-1])
        height, width = first_size("g_widths", (1, side, side), most)
        assert height == width == side // 2 ** (most - 1) >= 2
        refused(ValueError, first_size, "g_widths", (1, side, side), most + 1)


# --- the published sizes --------------------------------------------------------------------------


def counts(net):
    """Name -> size of every trainable parameter."""
    return {p.name: int(np.prod(p.shape)) for p in net.trainable_params()}


@pytest.fixture
def hollow(monkeypatch):
    """Weights that have shapes but take no time: zeros of one page."""

    def parameter(name, shape, scale=1.0):
        return ms.Parameter(Tensor(np.broadcast_to(np.float32(0), shape)), name=name)

    monkeypatch.setattr(equalised, "normal", parameter)
    monkeypatch.setattr(stylegan, "normal", parameter)


FULL = (512, 512, 512, 512, 512, 256, 128, 64, 32)  # of 4x4 to 1024x1024


def test_parameters_of_stylegan2_at_1024(hollow):
    """Config F: 30,370,060 in G and 29,012,513 in D.

    G here lacks the strengths of the noise inputs, one for each of the 17 convolutions.
    """
    shape = (3, 1024, 1024)
    g = counts(
        stylegan.Generator(
            image_shape=shape, latent_dim=512, style_dim=512, mapping_layers=8, g_widths=FULL
        )
    )
    d = counts(stylegan.Discriminator(image_shape=shape, d_widths=FULL))
    assert sum(n for name, n in g.items() if name.startswith("mapping")) == 8 * (512 * 512 + 512)
    assert sum(g.values()) == 30_370_060 - 17
    assert sum(d.values()) == 29_012_513


def test_parameters_of_progressive_gan_at_1024(hollow):
    """Table 2 of the paper: 23.1M in each net, level by level.

    The layers to and from images of the lower levels, which it does not list, are counted apart.
    """
    widths = (512, 512, 512, 512, 256, 128, 64, 32, 16)
    options = {"image_shape": (3, 1024, 1024), "levels": (1,) * 9}
    g = counts(progan.Generator(latent_dim=512, g_widths=widths, **options))
    d = counts(progan.Discriminator(d_widths=widths, **options))

    def weights(counted, level):
        own = f"blocks.{level}."
        return [n for name, n in counted.items() if name.startswith(own) and "weight" in name]

    listed = [
        [2_359_296], *[[2_359_296] * 2] * 3, [1_179_648, 589_824], [294_912, 147_456],
        [73_728, 36_864], [18_432, 9_216], [4_608, 2_304],
    ]  # fmt: skip
    assert [weights(g, level) for level in range(9)] == listed
    # D in the order of its layers; at 4x4 it has the channel of the deviation, then the dense one.
    assert [weights(d, level)[::-1] for level in range(1, 9)] == listed[1:]
    assert weights(d, 0) == [9 * 513 * 512]
    assert (g["dense.weight"], d["dense.0.weight"]) == (4_194_304, 4_194_304)
    assert (g["to_rgb.8.weight"], d["from_rgb.8.0.weight"]) == (48, 48)
    for counted, apart in ((g, "to_rgb"), (d, "from_rgb")):
        lower = sum(n for k, n in counted.items() if k.startswith(apart) and f"{apart}.8." not in k)
        assert round((sum(counted.values()) - lower) / 1e6, 1) == 23.1
    assert (sum(g.values()), sum(d.values())) == (23_079_115, 23_087_249)


# --- mixed styles ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layers, mixing", [(8, 0.9), (4, 0.5), (4, 1.0), (2, 0.25)])
def test_every_cut_has_the_same_chance(layers, mixing):
    below = [0.0, *(NormalDist().cdf(x) for x in cuts(layers, mixing)), 1.0]
    chances = np.diff(below)  # of the first latent having 1, 2, … layers, and of having all
    assert chances[:-1] == pytest.approx([mixing / (layers - 1)] * (layers - 1), abs=2e-6)
    assert chances[-1] == pytest.approx(1.0 - mixing, abs=2e-6)


def test_mixed_styles_are_those_of_two_latents(rng):
    """Up to the layer that the last number picks those of the first; the last picks all."""
    net = generator(mixing=0.9)
    assert (net.latent_dim, net.latent_width, net.layers) == (D, 2 * D + 1, 4)
    a, b = rng.standard_normal((2, 5, D)).astype(np.float32)
    limits = cuts(4, 0.9)
    chosen = np.array([[-9.0], *(limits[:, None] + 1e-3), [9.0]], np.float32)
    made = net(Tensor(np.concatenate([a, b, chosen], axis=1))).asnumpy()
    first, second = (net.mapping(Tensor(z)).asnumpy() for z in (a, b))
    for i, cut in enumerate((1, 2, 3, 4, 4)):
        styles = np.concatenate(
            [np.repeat(first[i : i + 1], cut, 0), np.repeat(second[i : i + 1], 4 - cut, 0)]
        )
        expected = net.synthesis(Tensor(styles[None])).asnumpy()[0]
        np.testing.assert_allclose(made[i], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(made[3:], net(Tensor(a)).asnumpy()[3:], rtol=1e-5, atol=1e-6)
    assert np.abs(made[0] - net(Tensor(a)).asnumpy()[0]).max() > 1e-2


def test_without_mixing_latents_have_their_own_width():
    assert generator(mixing=0.0).latent_width == D


# --- a sampler of styles --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sampler():
    return StyleSampler(generator(), (1, 8, 8), {})


def test_truncation(sampler, rng):
    z = rng.standard_normal((4, D)).astype(np.float32)
    plain = Sampler(sampler.net, (1, 8, 8), {}).made(z)
    np.testing.assert_array_equal(sampler.truncated(1.0).made(z), plain)
    one = sampler.truncated(0.0).made(z)
    np.testing.assert_allclose(one, np.repeat(one[:1], 4, 0), atol=1e-5)
    centre, w = sampler.centre, sampler.w(z)
    many = sampling.forward(sampler.net.mapping, sampling.latents(0, 4096, D))
    np.testing.assert_allclose(centre, many.mean(axis=0), atol=1e-5)
    half = sampler.truncated(0.5)
    np.testing.assert_allclose(half.w(z), (w + centre) / 2, atol=1e-5)
    np.testing.assert_allclose(half.made(z), sampler.images((w + centre) / 2), atol=1e-5)
    assert 1e-2 < np.abs(half.made(z) - one).max() < np.abs(plain - one).max()


def test_mixtures_and_their_table(sampler):
    """Cut 0: all of the fine source; all layers: of the coarse one; the table shows both."""
    w = sampler.w(sampling.latents(3, 4, D))
    coarse, fine = w[:2], w[2:]
    np.testing.assert_array_equal(sampler.mixed(coarse, fine, 0), sampler.images(fine))
    np.testing.assert_array_equal(sampler.mixed(coarse, fine, 4), sampler.images(coarse))
    one = np.stack([coarse[0], fine[1], fine[1], fine[1]])
    table = sampler.table(3, 2, 1)
    assert table.shape == (9, 1, 8, 8) and (table[0] == -1).all()
    np.testing.assert_allclose(table[1:3], sampler.images(fine), atol=1e-5)
    np.testing.assert_allclose(table[[3, 6]], sampler.images(coarse), atol=1e-5)
    np.testing.assert_allclose(table[5], sampler.images(one[None])[0], atol=1e-5)
    assert np.abs(table[4] - table[5]).max() > 1e-3 < np.abs(table[4] - table[7]).max()


def test_a_walk_goes_straight_from_style_to_style(sampler, monkeypatch):
    seen = []
    monkeypatch.setattr(sampling, "generate", lambda net, styles: seen.append(styles))
    sampler.walk(2)
    styles = seen[0].reshape(sampling.STOPS, sampling.FRAMES, 4, 4)
    w = sampler.w(sampling.latents(2, sampling.STOPS, D))
    np.testing.assert_allclose(styles[:, 0], np.repeat(w[:, None], 4, 1), atol=1e-6)
    closed = seen[0][np.r_[0 : len(seen[0]), 0]]
    steps = np.diff(closed, axis=0).reshape(sampling.STOPS, sampling.FRAMES, -1)
    np.testing.assert_allclose(steps, np.repeat(steps[:, :1], sampling.FRAMES, 1), atol=1e-5)


# --- derivatives of second order ------------------------------------------------------------------


class Softplus(nn.Cell):
    def construct(self, x):
        return ops.softplus(x)


@pytest.fixture
def bent(monkeypatch):
    """A smooth activation in place of LeakyReLU, whose kinks spoil finite differences."""
    for module in (equalised, stylegan):
        monkeypatch.setattr(module, "LeakyReLU", lambda slope: Softplus())


@pytest.mark.parametrize("penalty", [R1, GradientPenalty])
def test_penalties_of_a_discriminator_that_sees_the_deviation(penalty, bent, rng):
    net = stylegan.Discriminator(image_shape=(1, 4, 4), d_widths=(2, 2), stddev_group=3)
    randomise(net, 4, 1.5)
    for p in net.get_parameters():  # so that every layer has its part in the gradient
        p.set_data((3.0 if ".keep." in p.name or ".shrink." in p.name else 1.0) * p)
    cell = penalty(Judge(net))
    real, fake = (
        tensor(rng.standard_normal((3, 1, 4, 4))),
        tensor(rng.standard_normal((3, 1, 4, 4))),
    )
    inputs = (real, fake, None, tensor(rng.random((3, 1))) if cell.numbers else None)
    gradient, numeric = differentiate(cell, inputs), finite_differences(cell, inputs)
    assert relative_error(in_one(gradient), in_one(numeric)) < TOLERANCE
    for name in (name for name in numeric if name.endswith("weight")):
        assert np.linalg.norm(numeric[name]) > 20 * TOLERANCE * np.linalg.norm(in_one(numeric)), (
            name
        )


class Slopes(nn.Cell):
    """The mean square length of the images' gradient in the styles."""

    def __init__(self, synthesis, y):
        super().__init__(auto_prefix=False)
        self.synthesis, self.y = synthesis, y

    def along(self, styles):
        return (self.synthesis(styles) * self.y).sum()

    def construct(self, styles):
        return ops.grad(self.along, 0)(styles).square().sum()


def test_a_penalty_that_reaches_modulated_convolutions(bent, rng):
    """Its value from differences of images, its gradient from differences of the value."""
    net = randomise(Synthesis((1, 4, 4), (2, 2), (2, 2), 2), 5)
    y, styles = rng.standard_normal((1, 1, 4, 4)), rng.standard_normal((1, 4, 2))
    cell, h = Slopes(net, tensor(y)), 1e-2
    slopes = np.zeros((4, 2))
    for i in np.ndindex(4, 2):
        step = np.zeros((1, 4, 2))
        step[0][i] = h
        sides = [(numpy_of(net(tensor(styles + sign * step))) * y).sum() for sign in (1, -1)]
        slopes[i] = (sides[0] - sides[1]) / (2 * h)
    assert float(cell(tensor(styles))) == pytest.approx((slopes**2).sum(), rel=5e-3)
    gradient = differentiate(cell, (tensor(styles),))
    numeric = finite_differences(cell, (tensor(styles),))
    assert relative_error(in_one(gradient), in_one(numeric)) < TOLERANCE
    for name in ("grow.0.conv.weight", "convs.0.conv.weight", "first.conv.affine.weight"):
        assert np.linalg.norm(numeric[name]) > 1e-3, name


def test_path_length_follows_its_formula(bent, rng):
    """E[(|J^T y| - a)^2] over half a batch; a moves to the mean length by `decay` beforehand."""
    net = randomise(stylegan.Generator(**{**TINY, "image_shape": (1, 4, 4)}), 5, 0.7)
    term = PathLength(net, (1, 4, 4), decay=0.25)
    z = rng.standard_normal((3, net.latent_width)).astype(np.float32)
    numbers = rng.random((3, 16)).astype(np.float32)
    signs = np.where(numbers[:2] < 0.5, 1.0, -1.0).reshape(2, 1, 4, 4)
    styles = numpy_of(net.styles(net.mapping(Tensor(z[:2, :D]))))
    slopes, h = np.zeros(styles.shape), 1e-2
    for i in np.ndindex(styles.shape):
        step = np.zeros(styles.shape)
        step[i] = h
        sides = [numpy_of(net.synthesis(tensor(styles + sign * step))) for sign in (1, -1)]
        slopes[i] = ((sides[0] - sides[1]) * signs / 4.0).sum() / (2 * h)
    lengths = np.sqrt((slopes**2).sum(axis=2).mean(axis=1))
    mean = 0.25 * lengths.mean()
    value = float(term(Tensor(z), None, Tensor(numbers)))
    assert value == pytest.approx(((lengths - mean) ** 2).mean(), rel=5e-3)
    assert float(term.last()) == value and float(term.mean.asnumpy()[0]) == pytest.approx(
        mean, rel=5e-3
    )


# --- a run ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run with a lazy penalty."""
    from ms_gan.system import runtime

    runtime.set_mode("graph")
    folder = tmp_path_factory.mktemp("stylegan")
    assert session.start(recipe_of(folder), folder / "run", say=lambda line: None).train()
    return folder / "run"


def recipe_of(folder):
    nets = {"latent_dim": D, "style_dim": 4, "mapping_layers": 1, "g_widths": [3, 2]}
    return recipe_file(
        folder, model={"name": "stylegan", **nets, "d_widths": [3]},
        regularizer={"name": "r1", "weight": 0.1, "every": 4},
        data={"name": "digits", "size": 8, "batch_size": 16}, train={"steps": 7, "ema_decay": 0.9},
        every={**RECIPE["every"], "save": 3, "keep": 9}, optimizer={"lr_d": 2e-3, "lr_g": 2e-3},
    )  # fmt: skip


def test_a_run_with_a_lazy_penalty_continues_bit_for_bit(run, tmp_path):
    """Killed behind the third update: the next one is plain, the one after it penalised."""
    copy = copy_run(run, tmp_path / "run", 3)
    assert session.start(recipe_of(tmp_path), copy, say=lambda line: None).train()
    assert_same_bits(newest(copy), newest(run))


def test_generate_with_styles(run, tmp_path, capsys):
    words = ["generate", str(run), "--seed", "3", "--num", "4", "--out", str(tmp_path)]
    sampler = build.load_sampler(run / "generator.ckpt")
    assert cli.main([*words, "--format", "npy", "--truncation", "0.5"]) == 0
    expected = sampler.truncated(0.5).samples(3, 4)[0]
    np.testing.assert_array_equal(np.load(tmp_path / "samples.npy"), expected)
    assert cli.main([*words, "--format", "mix", "--cut", "1", "--scale", "2"]) == 0
    picture = iio.imread(tmp_path / "mix.png")
    expected = visualise.grid(sampler.table(3, 2, 1), columns=3, scale=2)
    np.testing.assert_array_equal(picture, expected)
    assert "2 x 2 mixtures; layers 1 to 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, said",
    [
        (["--format", "mix", "--cut", "4"], "--cut: expected 1 to 3, got 4"),
        (["--cut", "1"], "--cut: is for --format mix"),
    ],
)
def test_what_cannot_be_generated(words, said, run, tmp_path, capsys):
    message = refused_command(capsys, "generate", run, *words, "--out", tmp_path / "new")
    assert said in message and not (tmp_path / "new").exists()


@pytest.mark.parametrize("psi", ["-0.5", "much", "nan"])
def test_a_truncation_that_is_no_number(psi, run, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["generate", str(run), "--truncation", psi, "--out", str(tmp_path / "new")])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and not (tmp_path / "new").exists()
    assert f"--truncation: expected a number from 0 to 2, got {psi}" in error
