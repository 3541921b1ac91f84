"""Every architecture: shapes, names, parameter counts, gradients, labels, and NumPy's own forward.

All runs are compiled (GRAPH_MODE). A new row of MODELS is tested without a change here, once its
parameter counts are pinned in COUNTS. What a generator receives is made by its row of INPUTS.
"""

import functools
import inspect

import numpy as np
import pytest

import mindspore as ms
from mindspore import Tensor, nn, ops

from ms_gan.models import MODELS, r3gan, resampling
from ms_gan.models.layers import InstanceNorm
from ms_gan.models.spectral_norm import SpectralNorm
from ms_gan.objectives.inputs import INPUTS
from ms_gan.objectives.judge import Judge
from ms_gan.objectives.penalties import R1R2
from ms_gan.objectives.resize import bicubic_matrix
from ms_gan.recipe.registry import options_of
from ms_gan.system import runtime
from ms_gan.training import cells
from tests.derivatives import ValueAndGrad
from tests.tiny import refused

N = 6
CLASSES = 10
# One number: the side of a square. The first one is what most tests take.
SIZES = {
    "dcgan": (32, 64, 128),
    "srgan": (16, (24, 40)),
    "inpainting": (16, (24, 40)),
    "pix2pix": (16, (24, 40)),
    "cyclegan": (16, (24, 40)),
}
OTHER_SIZES = (28, 32, 64)
PAIRED = {"first", "both"}  # inputs for which an image is two pictures, joined along the channels
INPUT_OPTIONS = {"low_resolution": {"scale": 2}}
PATCHES = {"srgan": 1, "inpainting": 1, "pix2pix": 1, "cyclegan": 2}  # how many nets give scores
# The largest value where no tanh stands at the end, of nets that are new.
BOUNDS = {"srgan": 2.0, "inpainting": 6.0, "progan": 8.0, "stylegan": 20.0}
# Narrow nets of the same depth, for everything but the parameter counts.
SMALL = {
    "gan": {"g_widths": [12, 16, 20], "d_widths": [20, 12]},
    "deep_mlp_conv": {"g_widths": [8, 12, 16, 20, 20], "d_widths": [4, 6, 8, 10, 12]},
    "dcgan": {"g_width": 4, "d_width": 4},
    "dcgan28": {"g_width": 4, "d_width": 4},
    "r3gan": {"g_width": 8, "d_width": 8},
    "progan": {"levels": [2, 2], "g_widths": [6, 5], "d_widths": [6, 5]},
    "stylegan": {"style_dim": 8, "mapping_layers": 2, "g_widths": [6, 5], "d_widths": [6, 5]},
    "srgan": {"g_width": 4, "blocks": 1, "d_width": 4, "depth": 1},
    "inpainting": {"g_width": 4, "blocks": 1, "d_width": 4, "depth": 1},
    "pix2pix": {"g_width": 4, "depth": 3, "d_width": 4, "d_depth": 1},
    "cyclegan": {"g_width": 4, "blocks": 1, "d_width": 4, "d_depth": 1},
}
# One size more, where it is looked at what lies between the first and the last.
THREE = {"g_widths": [6, 5, 4], "d_widths": [6, 5, 4]}
THREE_LEVELS = {"levels": [2, 2, 2], **THREE}
# Of nets whose D judges images together: each alone.
ALONE = {"progan": {"stddev_group": 0}, "stylegan": {"stddev_group": 0}}
# What differs from the defaults, in the second element.
VARIANTS = [(name, {}) for name in MODELS] + [
    (
        "gan",
        {
            "g_norm": "none",
            "g_activation": "leaky_relu",
            "d_activation": "relu",
            "output": "sigmoid",
            "d_norm": "spectral",
        },
    ),
    ("gan", {"conditional": True}),
    ("dcgan", {"d_norm": "none", "g_norm": "none"}),
    ("dcgan", {"d_norm": "spectral"}),
    ("dcgan28", {"d_norm": "none", "g_norm": "none", "blocks": 1}),
    ("dcgan28", {"d_norm": "spectral", "conditional": True}),
    ("r3gan", {"blocks": 2, "cardinality": 4, "expansion": 1, "conditional": True}),
    ("progan", {"conditional": True, "stddev_group": 0}),
    ("stylegan", {"conditional": True, "stddev_group": 0, "mixing": 0.0}),
    ("srgan", {"scale": 4, "blocks": 2, "d_norm": "none"}),
    ("inpainting", {"blocks": 2, "d_norm": "instance", "output": "tanh"}),
    ("pix2pix", {"g_norm": "none", "d_norm": "spectral"}),
    ("cyclegan", {"halvings": 2, "blocks": 2, "d_norm": "none"}),
]
CONDITIONAL = [name for name in MODELS if "conditional" in MODELS.accepted(name)]
PENALISED = [
    (name, {**({"d_norm": "none"} if "d_norm" in MODELS.accepted(name) else {}), **labels})
    for name in MODELS
    for labels in ({}, {"conditional": True})
    if not labels or name in CONDITIONAL
] + [
    ("gan", {"d_norm": "spectral"}),
    ("dcgan28", {"d_norm": "spectral"}),
    ("srgan", {"d_norm": "spectral"}),
    ("pix2pix", {"d_norm": "instance"}),
    ("cyclegan", {"d_norm": "instance"}),
]
# Degree of a gradient penalty in an inner layer of D, and in the last one. A norm takes a factor of
# the weights before it away; InstanceNorm stands in front of the last layer, spectral norm in all.
DEGREES = {"none": (2.0, 2.0), "spectral": (0.0, 0.0), "instance": (0.0, 2.0)}
BRANCHES = {"cyclegan": ("of_a.", "of_b.")}  # nets side by side, whose degrees add up


def label(value):
    if isinstance(value, dict):
        return ",".join(f"{k}={v}" for k, v in value.items()) or "default"
    return str(value)


def sizes_of(name):
    return SIZES.get(name, OTHER_SIZES)


def received_by(name):
    """The key in INPUTS of what the generator receives."""
    return getattr(MODELS[name].generator, "receives", "latents")


def shape_of(name, size=None, channels=1):
    """(C, H, W) of the images; `channels` of one picture."""
    size = size or sizes_of(name)[0]
    sides = (size, size) if isinstance(size, int) else size
    return (channels * (2 if received_by(name) in PAIRED else 1), *sides)


@functools.cache
def _input(kind, image_shape, options):
    return INPUTS[kind](image_shape=image_shape, **dict(options))


def input_of(name, image_shape, **options):
    """The Cell that makes what the generator receives, with what it knows of the options."""
    kind = received_by(name)
    accepted = {k: v for k, v in options.items() if k in options_of(INPUTS[kind])}
    options = {**INPUT_OPTIONS.get(kind, {}), **accepted} if kind != "latents" else {}
    return _input(kind, image_shape, tuple(sorted(options.items())))


def build(name, size=None, channels=1, *, small=True, **options):
    """The pair in one container, in training mode; each constructor gets what it knows."""
    shape = shape_of(name, size, channels)
    given = {"image_shape": shape, **(SMALL.get(name, {}) if small else {})}
    if received_by(name) != "latents":
        given["input_shape"] = input_of(name, shape, **options).shape
    if options.get("conditional"):
        given["num_classes"] = CLASSES
    given.update(options)
    ms.set_seed(0)
    nets = []
    for constructor in (MODELS[name].generator, MODELS[name].discriminator):
        accepted = options_of(constructor)
        nets.append(constructor(**{k: v for k, v in given.items() if k in accepted}))
    gan = cells.GAN(*nets)
    gan.set_train()
    return gan


def fill_zeros(net, rng):
    """Noise in parameters that start at zero: they hide the gradient of what stands before them."""
    for p in net.trainable_params():
        if not p.asnumpy().any():
            p.set_data(Tensor(0.1 * rng.standard_normal(p.shape).astype(np.float32)))


def in_use(net):
    """The parameters that an image depends on: of nets that grow, those of the last level."""
    growth = getattr(net, "growth", None)
    below = () if growth is None else tuple(f"_rgb.{i}." for i in range(growth.levels - 1))
    return [p for p in net.trainable_params() if not any(part in p.name for part in below)]


def images(name, rng, size=None, channels=1):
    return Tensor(rng.uniform(-1, 1, (N, *shape_of(name, size, channels))).astype(np.float32))


def made_from(name, rng, size=None, channels=1, **options):
    """What the generator receives: latents, or what its input makes of random images."""
    if received_by(name) == "latents":
        width = MODELS.accepted(name)["latent_dim"].default
        return Tensor(rng.standard_normal((N, width)).astype(np.float32))
    given = input_of(name, shape_of(name, size, channels), **options)
    numbers = Tensor(rng.random((N, given.numbers), np.float32)) if given.numbers else None
    return given(images(name, rng, size, channels), None, numbers)


def class_ids(shift=0):
    return Tensor((np.arange(N) + shift) % CLASSES, ms.int32)


class Pair(nn.Cell):
    """What the generator receives -> images, scores."""

    def __init__(self, gan):
        super().__init__(auto_prefix=False)
        self.generator = gan.generator
        self.discriminator = gan.discriminator

    def construct(self, made_from, labels=None):
        x = self.generator(made_from, labels)
        return x, self.discriminator(x, labels)


# --- shapes and names


def patches(name, shape):
    """Scores of an image beyond the one of a net that judges it as a whole, as a shape."""
    if name not in PATCHES:
        return ()
    # Halved once (depth 1), then two layers of stride 1 that lose a line each.
    return (PATCHES[name] * np.prod([side // 2 - 2 for side in shape[1:]]),)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "name,size", [(name, size) for name in MODELS for size in sizes_of(name)], ids=label
)
@pytest.mark.parametrize("mode", ["pynative"], indirect=True)
def test_shapes_and_ranges(name, size, channels, rng, mode):
    """Without a graph, which takes five times as long: those of the gradients below are graphs."""
    shape = shape_of(name, size, channels)
    x, scores = Pair(build(name, size, channels))(made_from(name, rng, size, channels))
    assert x.shape == (N, *shape) and x.dtype == ms.float32
    assert scores.shape == (N, *patches(name, shape)) and scores.dtype == ms.float32
    # tanh on CPUs overshoots by some rounding errors
    bound = BOUNDS.get(name, 1.0 + 1e-6)
    assert np.abs(x.asnumpy()).max() <= bound and x.asnumpy().std() > 1e-4
    assert np.isfinite(scores.asnumpy()).all()


@pytest.mark.parametrize("name,options", VARIANTS, ids=label)
def test_contracts_of_the_constructors(name, options):
    gan = build(name, **options)
    names = [p.name for p in gan.get_parameters()]
    assert len(names) == len(set(names))
    assert {n.split(".")[0] for n in names} == {"generator", "discriminator"}
    assert names == [p.name for p in build(name, **options).get_parameters()]
    for net in (gan.generator, gan.discriminator):
        assert net.num_classes == (CLASSES if options.get("conditional") else 0)
        assert list(options_of(type(net))) == list(inspect.signature(type(net)).parameters)
    sigmoids = [c for _, c in gan.discriminator.cells_and_names() if isinstance(c, nn.Sigmoid)]
    assert not sigmoids, "scores are unbounded: the sigmoid belongs to the loss"


@pytest.mark.parametrize("name", list(MODELS))
def test_a_generator_says_how_it_is_called(name):
    """Whoever draws latents and labels asks the net: how wide they are, and how many classes."""
    latent = MODELS.accepted(name).get("latent_dim")
    assert build(name).generator.latent_dim == (latent.default if latent else 0)
    assert (latent is None) == (received_by(name) != "latents") and received_by(name) in INPUTS
    for options in ({}, {"conditional": True}) if name in CONDITIONAL else ({},):
        generator = build(name, **({"latent_dim": 7} if latent else {}), **options).generator
        assert generator.latent_dim == (7 if latent else 0)
        assert generator.num_classes == (CLASSES if options else 0)


def convolves(net):
    """Whether a layer is a convolution, calls one, or has a weight such as one has."""
    layers = [cell for _, cell in net.cells_and_names()]
    kinds = {type(part).__name__ for cell in layers for part in (cell, *vars(cell).values())}
    return any("Conv" in kind for kind in kinds) or any(p.ndim > 3 for p in net.get_parameters())


def test_the_models_without_convolutions_are_listed():
    """Only they may use AVX-512, with which MindSpore's convolutions crawl."""
    found = {name for name in MODELS if not any(map(convolves, build(name).cells()))}
    assert found == set(runtime.FULLY_CONNECTED)


@pytest.mark.parametrize(
    "name,options,expected",
    [
        (
            "gan",
            {},
            "generator.model.0.weight generator.model.3.moving_mean generator.model.8.bias",
        ),
        ("gan", {}, "discriminator.model.0.weight discriminator.model.4.bias"),
        (
            "gan",
            {"conditional": True},
            "generator.embedding.weight discriminator.projection.weight",
        ),
        ("deep_mlp_conv", {}, "generator.model.10.bias discriminator.model.8.weight"),
        ("deep_mlp_conv", {}, "discriminator.head.weight discriminator.head.bias"),
        ("dcgan", {"d_norm": "batch"}, "generator.model.0.weight generator.model.1.gamma"),
        ("dcgan", {"d_norm": "batch"}, "discriminator.model.3.beta discriminator.model.8.weight"),
        ("dcgan28", {}, "generator.dense.weight generator.model.5.weight discriminator.head.bias"),
        ("r3gan", {}, "generator.basis generator.modulation.weight generator.model.0.mix.bias"),
        ("r3gan", {}, "discriminator.basis discriminator.model.1.shrink.weight"),
        (
            "progan",
            {**THREE_LEVELS, "conditional": True},
            "generator.embedding.weight generator.blocks.0.0.weight generator.blocks.1.1.bias "
            "generator.blocks.2.4.weight generator.to_rgb.2.bias generator.dense.weight",
        ),
        (
            "progan",
            {**THREE_LEVELS, "conditional": True},
            "discriminator.from_rgb.0.0.weight discriminator.blocks.0.1.weight "
            "discriminator.blocks.2.2.bias discriminator.dense.0.bias discriminator.head.weight "
            "discriminator.projection.weight",
        ),
        (
            "stylegan",
            {**THREE, "conditional": True},
            "generator.mapping.layers.2.weight generator.mapping.embedding.weight "
            "generator.synthesis.constant generator.synthesis.first.conv.affine.bias "
            "generator.synthesis.grow.1.conv.weight generator.synthesis.convs.0.bias "
            "generator.synthesis.to_rgb.2.conv.affine.weight generator.synthesis.to_rgb.0.bias",
        ),
        (
            "stylegan",
            {**THREE, "conditional": True},
            "discriminator.model.0.weight discriminator.model.2.keep.0.weight "
            "discriminator.model.3.shrink.1.bias discriminator.model.3.skip.1.weight "
            "discriminator.model.5.weight discriminator.dense.0.weight discriminator.head.bias "
            "discriminator.projection.weight",
        ),
        ("srgan", {}, "generator.head.weight generator.body.0.first.weight generator.join.bias"),
        ("srgan", {"scale": 4}, "generator.enlarge.2.0.weight generator.tail.bias"),
        ("srgan", {}, "discriminator.model.0.layer.weight discriminator.model.4.u"),
        ("inpainting", {}, "generator.whole.both.weight generator.quarter.1.both.bias"),
        (
            "inpainting",
            {"blocks": 2},
            "generator.far.1.both.weight generator.to_half.conv.weight generator.last.bias",
        ),
        ("inpainting", {}, "discriminator.model.2.layer.bias discriminator.model.2.u"),
        ("pix2pix", {}, "generator.translate.down.2.0.weight generator.translate.last.bias"),
        ("pix2pix", {}, "generator.translate.up.1.0.0.weight discriminator.model.5.weight"),
        (
            "cyclegan",
            {},
            "generator.a_to_b.0.weight generator.b_to_a.6.body.3.bias generator.a_to_b.11.bias",
        ),
        ("cyclegan", {}, "discriminator.of_a.model.0.weight discriminator.of_b.model.5.bias"),
    ],
    ids=label,
)
def test_names_are_pinned(name, options, expected):
    """Checkpoints are read by these names."""
    names = {p.name for p in build(name, **options).get_parameters()}
    assert set(expected.split()) <= names


# --- parameter counts

# Dense a -> b with bias: ab + b. Convolution k x k, a -> b: kkab (+ b). BatchNorm of b: 2b;
# instance and spectral norm: nothing. Channels are those of one picture, of which a pair has two.
COUNTS = [
    # G 100*128+128 + (128*256+256+2*256) + (256*512+512+2*512) + (512*1024+1024+2*1024)
    #   + 1024*784+784; D 784*512+512 + 512*256+256 + 256+1
    ("gan", 28, 1, {}, 1_510_032, 533_505),
    # G 100*128+128 + 128*784+784; D 784*128+128 + 128+1
    ("gan", 28, 1, {"g_widths": [128], "d_widths": [128]}, 114_064, 100_609),
    # + 10*32 and 32*128 in G, + 10*256 in D
    ("gan", 28, 1, {"conditional": True}, 1_514_448, 536_065),
    # G 12,928 + 33,024 + 131,584 + 525,312 + 1,049,600 + 1024*784+784
    # D 25*(64 + 64*128 + 128*256 + 256*512 + 512*1024) + (64+128+256+512+1024) + 1024+1
    ("deep_mlp_conv", 28, 1, {}, 2_556_048, 17_412_609),
    # 16*(100*512 + 512*256 + 256*128 + 128*64 + 64*C) + 2*(512+256+128+64)
    # 16*(C*64 + 64*128 + 128*256 + 256*512 + 512) + 2*(128+256+512)
    ("dcgan", 64, 3, {}, 3_576_704, 2_765_568),
    ("dcgan", 64, 1, {}, 3_574_656, 2_763_520),
    # the generator of the paper's figure 1, 1,024 channels at 4x4
    ("dcgan", 64, 3, {"g_width": 128, "d_width": 16}, 12_658_432, 175_296),
    # G 100*3136 + 2*64 + 16*64*32 + 2*32 + 16*32; D 16*32 + 16*32*64 + 2*64 + 3136+1
    ("dcgan28", 28, 1, {}, 347_072, 36_545),
    # + 9*64*64 + 2*64 in both
    ("dcgan28", 28, 1, {"blocks": 1}, 384_064, 73_537),
    # block of width w: 2ww + 2w + 9*2w*2w/8 + 2w + 2ww = 8.5ww + 4w: 8,832 (32), 35,072 (64)
    # G 64*49 + 64*64 + 35,072 + 64*32 + 8,832 + 16*32
    # D 16*32 + 8,832 + 32*64 + 35,072 + 64*49 + 64
    ("r3gan", 28, 1, {}, 53_696, 49_664),
    # G dense 64 -> 64*16 (65,536) and 64 biases; 3x3 64 -> 64 (36,928) three times,
    #   64 -> 32 (18,464), 32 -> 32 (9,248), 32 -> 16 (4,624), 16 -> 16 (2,320); 1x1 64 -> 3
    #   (195) twice, 32 -> 3 (99), 16 -> 3 (51)
    # D 1x1 3 -> 64 (256) twice, 3 -> 32 (128), 3 -> 16 (64); 3x3 16 -> 16 (2,320), 16 -> 32
    #   (4,640), 32 -> 32 (9,248), 32 -> 64 (18,496), 64 -> 64 (36,928) twice, 65 -> 64 (37,504);
    #   dense 64*16 -> 64 (65,600), 64 -> 1 (65)
    ("progan", 32, 3, {}, 211_580, 212_433),
    # + 10*32 and 32*64*16 in G, + 10*64 in D
    ("progan", 32, 3, {"conditional": True}, 244_668, 213_073),
    # 7x7, 14x14, 28x28: dense 64 -> 64*49 (200,704) and 64; 36,928 three times, 18,464, 9,248;
    #   1x1 64 -> 1 (65) twice, 32 -> 1 (33); D 128 twice, 64; 9,248, 18,496, 36,928 twice, 37,504;
    #   dense 64*49 -> 64 (200,768), 65
    (
        "progan",
        28,
        1,
        {"levels": [1, 1, 1], "g_widths": [64, 64, 32], "d_widths": [64, 64, 32]},
        339_427,
        340_257,
    ),
    # G mapping 64 -> 128 (8,320), 3 times 128 -> 128 (16,512); constant 64*16; a modulated 3x3
    #   a -> b has 129a of the style, 9ab and b: 64 -> 64 (45,184) three times, 64 -> 32 (26,720),
    #   32 -> 32 (13,376), 32 -> 16 (8,752), 16 -> 16 (4,384); to images 129a + 3a + 3: 8,451 twice,
    #   4,227, 2,115
    # D 1x1 3 -> 16 (64); a block a -> b has 3x3 a -> a, a -> b, and ab: 16 -> 32 (7,472), 32 -> 64
    #   (29,792), 64 -> 64 (77,952); 3x3 65 -> 64 (37,504); dense 64*16 -> 64 (65,600), 64 -> 1 (65)
    ("stylegan", 32, 3, {}, 270_908, 218_449),
    # + 10*128 and 128*128 in G, + 10*64 in D
    ("stylegan", 32, 3, {"conditional": True}, 288_572, 219_089),
    # G convolutions 3x3 with bias: 1 -> 32 (320), 10 in blocks and one after them 32 -> 32
    #   (11 * 9,248), 32 -> 128 (36,992), 32 -> 1 (289)
    # D 4x4 with bias: 1 -> 32 (544) -> 64 (32,832) -> 128 (131,200) -> 1 (2,049)
    ("srgan", 48, 1, {}, 139_329, 166_625),
    # the width and depth of SRResNet (arXiv:1609.04802, figure 4), 24x24 to 96x96:
    # G 3 -> 64 (1,792), 33 times 64 -> 64 (36,928), two times 64 -> 256 (147,712), 64 -> 3 (1,731)
    # D as above, but for 3 -> 32 (1,568)
    ("srgan", 96, 3, {"scale": 4, "g_width": 64, "blocks": 16}, 1_517_571, 167_649),
    # gated a -> b: 3x3 (the first 5x5), a -> 2b, with w = g_width: (2, w), (w, 2w), (2w, 2w),
    #   (2w, 4w), (4w, 4w), 3 times (4w, 4w), at half (4w, 2w), at full size (2w, w);
    #   Up a -> b is 3x3, a -> 4b: (4w, 2w), (2w, w); last 3x3 w -> 1
    # G w = 24: 2,448 + 20,832 + 41,568 + 83,136 + 4 * 166,080 + 83,040 + 20,784
    #   + 166,080 + 41,568 + 217; D as of srgan
    ("inpainting", 28, 1, {}, 1_123_993, 166_625),
    # w = 16: 1,632 + 9,280 + 18,496 + 36,992 + 4 * 73,856 + 36,928 + 9,248 + 73,856 + 18,496 + 145
    ("inpainting", 28, 1, {"g_width": 16}, 500_497, 166_625),
    # G down 4x4: 3 -> 32 (1,568) -> 64 (32,832) -> 128 (131,200) -> 128 (262,272); up 3x3, to four
    #   times the channels: 128 -> 4*128 (590,336), 256 -> 4*64 (590,080), 128 -> 4*32 (147,584),
    #   64 -> 4*32 (73,856); last 3x3 32 -> 3 (867)
    # D 6 -> 32 (3,104), + 32,832 + 131,200 + 2,049
    ("pix2pix", 32, 3, {}, 1_830_595, 169_185),
    # G twice: 5x5 3 -> 24 (1,824), 3x3 24 -> 48 (10,416), 6 times 48 -> 48 (20,784),
    #   48 -> 4*24 (41,568), 5x5 24 -> 3 (1,803); D twice 1,568 + 32,832 + 131,200 + 2,049
    ("cyclegan", 32, 3, {}, 360_630, 335_298),
    # G twice: 1 -> 16 (416), 16 -> 32 (4,640), 6 times 32 -> 32 (9,248), 32 -> 4*16 (18,496),
    #   16 -> 1 (401); D twice: 1 -> 24 (408) -> 48 (18,480) -> 96 (73,824) -> 1 (1,537)
    ("cyclegan", 28, 1, {"g_width": 16, "d_width": 24}, 158_882, 188_498),
]


def test_every_architecture_has_pinned_counts():
    missing = set(MODELS) - {row[0] for row in COUNTS}
    assert not missing, f"add a row to COUNTS for {sorted(missing)}"


@pytest.mark.parametrize("name,size,channels,options,count_g,count_d", COUNTS, ids=label)
def test_parameter_counts(name, size, channels, options, count_g, count_d):
    gan = build(name, size, channels, small=False, **options)
    counts = [
        sum(p.size for p in net.trainable_params()) for net in (gan.generator, gan.discriminator)
    ]
    assert counts == [count_g, count_d]


def test_dcgan_layers_are_the_published_ones():
    gan = build("dcgan", 64, 1, small=False)
    shapes = {p.name: p.shape for p in gan.trainable_params() if p.name.endswith("weight")}
    assert list(shapes.values()) == [
        *[(100, 512, 4, 4), (512, 256, 4, 4), (256, 128, 4, 4), (128, 64, 4, 4), (64, 1, 4, 4)],
        *[(64, 1, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4), (1, 512, 4, 4)],
    ]
    values = {p.name: p.asnumpy() for p in gan.trainable_params()}
    for name, value in values.items():
        if name.endswith("weight") and value.size > 2000:
            assert abs(value.mean()) < 2e-3 and value.std() == pytest.approx(0.02, rel=0.05), name
        if name.endswith("gamma"):
            assert value.mean() == pytest.approx(1, abs=0.01)
            assert value.std() == pytest.approx(0.02, rel=0.4), name
        if name.endswith("beta"):
            assert not value.any(), name


# --- what is refused


BOTH = "generator discriminator"


@pytest.mark.parametrize(
    "name,size,expected,roles",
    [
        ("deep_mlp_conv", 27, "28x28 and larger", BOTH),
        ("dcgan", 28, "32x32, 64x64 and 128x128", BOTH),
        ("dcgan", 48, "32x32, 64x64 and 128x128", BOTH),
        ("dcgan28", 30, "sizes divisible by 4", BOTH),
        ("r3gan", 27, "sizes divisible by 4", BOTH),
        ("progan", 28, "cannot have 4 sizes", BOTH),
        ("stylegan", 28, "give a list of 1 to 3", BOTH),
        # Patches are judged of pictures of any size, if there is one: three places after two
        # halvings, of which the two last layers leave one.
        ("srgan", 8, "12x12", "discriminator"),
        ("inpainting", 30, "sizes divisible by 4", "generator"),
        ("inpainting", 8, "12x12", "discriminator"),
        ("pix2pix", 24, "sizes divisible by 16 (depth 4)", "generator"),
        ("pix2pix", 8, "12x12", "discriminator"),
        ("cyclegan", 27, "sizes divisible by 2", "generator"),
        ("cyclegan", 8, "12x12", "discriminator"),
    ],
)
def test_impossible_sizes(name, size, expected, roles):
    for role in roles.split():
        constructor = getattr(MODELS[name], role)
        message = refused(ValueError, constructor, image_shape=shape_of(name, size))
        assert f"{size}x{size}" in message and expected in message


@pytest.mark.parametrize("name", PATCHES)
def test_the_smallest_picture_whose_patches_are_judged(name):
    """One score of each net: 12x12 halved twice is 3x3, of which two layers leave 1x1."""
    discriminator = build(name, 12, small=False, d_width=4, depth=2, d_depth=2).discriminator
    x = Tensor(np.zeros((N, *shape_of(name, 12)), np.float32))
    assert discriminator(x).shape == (N, PATCHES[name])


@pytest.mark.parametrize(
    "name,options",
    [
        ("gan", {"g_activation": "gelu"}),
        ("gan", {"d_activation": "selu"}),
        ("gan", {"g_norm": "layer"}),
        ("gan", {"d_norm": "batch"}),
        ("gan", {"output": "linear"}),
        ("gan", {"g_widths": [128, 0]}),
        ("gan", {"d_widths": ["wide"]}),
        ("gan", {"latent_dim": 0}),
        ("gan", {"embedding_dim": 0, "conditional": True}),
        ("deep_mlp_conv", {"d_widths": [-1]}),
        ("dcgan", {"d_norm": "layer"}),
        ("dcgan", {"g_norm": "spectral"}),
        ("dcgan", {"g_width": 0}),
        ("dcgan28", {"d_norm": "layer"}),
        ("dcgan28", {"d_width": -4}),
        ("dcgan28", {"blocks": -1}),
        ("r3gan", {"blocks": 0}),
        ("r3gan", {"cardinality": 7}),
        ("r3gan", {"expansion": 0}),
        ("progan", {"levels": []}),
        ("progan", {"levels": [5, -1]}),
        ("progan", {"fade": 1.5}),
        ("progan", {"latent_dim": 0}),
        ("progan", {"g_widths": [4, 4, 4]}),
        ("progan", {"d_widths": [4, 0]}),
        ("progan", {"embedding_dim": 0, "conditional": True}),
        ("progan", {"stddev_group": -1}),
        ("stylegan", {"latent_dim": 0}),
        ("stylegan", {"style_dim": 0}),
        ("stylegan", {"mapping_layers": 0}),
        ("stylegan", {"mixing": 1.5}),
        ("stylegan", {"g_widths": []}),
        ("stylegan", {"g_widths": [4, 4, 4, 4]}),
        ("stylegan", {"d_widths": [4, 4, 0]}),
        ("stylegan", {"stddev_group": -1}),
        ("srgan", {"scale": 7, "size": 28}),
        ("srgan", {"g_width": 0}),
        ("srgan", {"blocks": 0}),
        ("srgan", {"d_width": 0}),
        ("srgan", {"depth": 0}),
        ("srgan", {"d_norm": "batch"}),
        ("inpainting", {"g_width": 0}),
        ("inpainting", {"blocks": 0}),
        ("inpainting", {"d_norm": "layer"}),
        ("inpainting", {"output": "sigmoid"}),
        ("pix2pix", {"g_width": -1}),
        ("pix2pix", {"depth": 0}),
        ("pix2pix", {"d_depth": 0}),
        ("pix2pix", {"g_norm": "batch"}),
        ("pix2pix", {"d_norm": "batch"}),
        ("cyclegan", {"g_width": 0}),
        ("cyclegan", {"halvings": 0}),
        ("cyclegan", {"blocks": 0}),
        ("cyclegan", {"d_width": 0}),
        ("cyclegan", {"d_depth": 0}),
        ("cyclegan", {"d_norm": "layer"}),
    ],
    ids=label,
)
def test_bad_options_are_named_in_one_line(name, options):
    option = next(iter(options))
    assert refused(ValueError, build, name, **options).startswith(f"{option}: ")


@pytest.mark.parametrize("name", CONDITIONAL)
def test_conditional_without_labels(name):
    for constructor in (MODELS[name].generator, MODELS[name].discriminator):
        with pytest.raises(ValueError, match="conditional: the data set has no labels"):
            constructor(image_shape=(1, 32, 32), num_classes=0, conditional=True)
        assert constructor(image_shape=(1, 32, 32), num_classes=10).num_classes == 0


# --- gradients


class Gradients(nn.Cell):
    """Non-saturating losses of both nets, and the gradient of each in its own weights."""

    def __init__(self, gan):
        super().__init__(auto_prefix=False)
        self.pair = Pair(gan)
        self.weights_d = ms.ParameterTuple(in_use(gan.discriminator))
        self.weights_g = ms.ParameterTuple(in_use(gan.generator))
        self.grad_d = ms.value_and_grad(self.loss_d, None, self.weights_d)
        self.grad_g = ms.value_and_grad(self.loss_g, None, self.weights_g)

    def loss_d(self, real, made_from, labels):
        fake = self.pair.generator(made_from, labels)
        real_scores = self.pair.discriminator(real, labels)
        fake_scores = self.pair.discriminator(fake, labels)
        return ops.softplus(-real_scores).mean() + ops.softplus(fake_scores).mean()

    def loss_g(self, real, made_from, labels):
        return ops.softplus(-self.pair(made_from, labels)[1]).mean()

    def construct(self, real, made_from, labels=None):
        return self.grad_d(real, made_from, labels), self.grad_g(real, made_from, labels)


def biases_before_a_norm(net):
    """A shift that the normalisation takes away again: its gradient is zero but for rounding."""
    names = set()
    layers = [cell for _, cell in net.cells_and_names() if not list(cell.cells())]
    for layer, following in zip(layers, layers[1:], strict=False):
        normalised = isinstance(following, nn.BatchNorm1d | nn.BatchNorm2d | InstanceNorm)
        if normalised and getattr(layer, "has_bias", False):
            # else there is one for each pixel
            if layer.bias.size == getattr(following, "num_features", layer.bias.size):
                names.add(layer.bias.name)
    return names


@pytest.mark.parametrize("name,options", VARIANTS, ids=label)
def test_every_parameter_has_a_gradient(name, options, rng):
    gan = build(name, **options)
    fill_zeros(gan, rng)
    labels = class_ids() if options.get("conditional") else None
    flat = biases_before_a_norm(gan.generator) | biases_before_a_norm(gan.discriminator)
    cell = Gradients(gan)
    for (loss, grads), weights in zip(
        cell(images(name, rng), made_from(name, rng, **options), labels),
        (cell.weights_d, cell.weights_g),
        strict=True,
    ):
        assert np.isfinite(float(loss))
        largest = max(np.abs(g.asnumpy()).max() for g in grads)
        for p, g in zip(weights, grads, strict=True):
            size = np.abs(g.asnumpy()).max()
            assert np.isfinite(size), p.name
            if p.name in flat:
                assert size < 1e-5 * largest, p.name
            else:
                assert size > 1e-7 * largest, p.name


@pytest.mark.parametrize("name,options", PENALISED, ids=label)
def test_gradient_of_a_gradient_penalty(name, options, rng):
    """Second order: finite, not zero in any weight, and what the penalty's degree says.

    Without biases a net of LeakyReLUs times c is what any one of its layers times c makes of it, so
    the penalty P is of degree 2 in each layer: <dP/dW, W> = 2P; where a norm takes c away again,
    <dP/dW, W> = 0. (Finite differences do not serve: P jumps where a LeakyReLU bends.)
    """
    discriminator = build(name, **options).discriminator
    fill_zeros(discriminator, rng)
    norm = options.get("d_norm", "none")
    for p in discriminator.trainable_params():
        if p.name.endswith("bias"):
            p.set_data(Tensor(np.zeros(p.shape, np.float32)))
        elif norm == "instance":  # far from the 1e-5 beside a variance
            p.set_data(10.0 * p)
    labels = class_ids() if options.get("conditional") else None
    weights = ms.ParameterTuple(in_use(discriminator))
    cell = ValueAndGrad(R1R2(Judge(discriminator)), weights)
    value, grads = cell(images(name, rng), images(name, rng), (labels, None))
    assert np.isfinite(float(value)) and float(value) > 0
    degrees = {}
    for p, g in zip(weights, grads, strict=True):
        g = g.asnumpy().astype(np.float64)
        assert np.isfinite(g).all(), p.name
        if not p.name.endswith("bias"):  # the image gradient does not change with a bias
            assert np.abs(g).max() > 0, p.name
            degrees[p.name.split(".", 1)[1]] = (g * p.asnumpy()).sum() / float(value)
    if name not in SMALL:
        return  # of a new architecture's degrees this test knows nothing
    if options.get("conditional"):  # the score is the sum of both
        head = "model.4.weight" if name == "gan" else "head.weight"
        degrees[head] += degrees.pop("projection.weight")
    first, *others = BRANCHES.get(name, ("",))
    for parameter in [n for n in degrees if n.startswith(tuple(others))]:
        branch = next(branch for branch in others if parameter.startswith(branch))
        degrees[first + parameter.removeprefix(branch)] += degrees.pop(parameter)
    for parameter in [n for n in degrees if ".skip." in n]:  # both branches make the sum
        block = parameter.partition(".skip.")[0]
        keep = degrees.pop(block + ".keep.0.weight")
        assert keep == pytest.approx(degrees[block + ".shrink.1.weight"], rel=1e-3), block
        degrees[block] = degrees.pop(block + ".shrink.1.weight") + degrees.pop(parameter)
    blocks = {}  # of the branch beside a skip connection only the product counts
    for parameter in [n for n in degrees if ".expand." in n or ".mix." in n or ".shrink." in n]:
        block = parameter.rsplit(".", 2)[0]
        blocks.setdefault(block, []).append(degrees.pop(parameter))
    assert len(degrees) >= 3
    inner, last = DEGREES[norm]
    *before, end = degrees.items()
    for (parameter, degree), expected in [*((row, inner) for row in before), (end, last)]:
        assert degree == pytest.approx(expected, rel=1e-3, abs=1e-3), parameter
    for block, (first, *others) in blocks.items():
        assert others == pytest.approx([first, first], rel=1e-3, abs=1e-4), block


# --- labels and neighbours


@pytest.mark.parametrize("name", CONDITIONAL)
def test_labels_change_a_conditional_pair(name, rng):
    gan = build(name, conditional=True)
    z = made_from(name, rng)
    for net, inputs in ((gan.generator, z), (gan.discriminator, images(name, rng))):
        net.set_train(False)
        first, again, other = (net(inputs, class_ids(s)).asnumpy() for s in (0, CLASSES, 1))
        assert np.array_equal(first, again)
        changed = np.abs(first - other).reshape(N, -1).max(axis=1)
        assert (changed > 1e-5).all()
        with pytest.raises(ValueError, match="labels: missing"):
            net(inputs)


@pytest.mark.parametrize("name", list(MODELS))
def test_an_unconditional_pair_ignores_labels_and_neighbours(name, rng):
    """In evaluation mode image i depends on row i of the input only, so any batch size serves."""
    pair = Pair(build(name, **ALONE.get(name, {})))
    pair.set_train(False)
    given = made_from(name, rng)
    x, scores = (t.asnumpy() for t in pair(given))
    x_labelled, scores_labelled = (t.asnumpy() for t in pair(given, class_ids()))
    assert np.array_equal(x, x_labelled) and np.array_equal(scores, scores_labelled)
    others = made_from(name, rng).asnumpy().copy()
    others[:2] = given.asnumpy()[:2]
    x_others, scores_others = (t.asnumpy() for t in pair(Tensor(others)))
    np.testing.assert_allclose(x_others[:2], x[:2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scores_others[:2], scores[:2], rtol=1e-5, atol=1e-6)
    assert np.abs(x_others[2:] - x[2:]).max() > 1e-4


# --- spectral normalisation


@pytest.mark.parametrize(
    "name", [name for name in MODELS if options_of(MODELS[name].discriminator).get("d_norm")]
)
def test_spectral_norm_bounds_every_layer(name, rng):
    discriminator = build(name, d_norm="spectral", small=True).discriminator
    x = images(name, rng)
    for _ in range(60):  # one power iteration each
        discriminator(x)
    wrapped = [c for _, c in discriminator.cells_and_names() if isinstance(c, SpectralNorm)]
    weights = [p for p in discriminator.trainable_params() if p.name.endswith("weight")]
    assert len(wrapped) == len(weights) >= 3
    for cell in wrapped:
        weight = cell.layer.weight.asnumpy().astype(np.float64)
        matrix = weight.reshape(weight.shape[0], -1)
        u = cell.u.asnumpy().astype(np.float64)
        sigma = np.linalg.norm(u @ matrix)  # what the cell divides by
        assert np.linalg.norm(matrix, 2) / sigma < 1.02


# --- an independent forward in float64


def weights_of(net):
    return {p.name.split(".", 1)[1]: p.asnumpy().astype(np.float64) for p in net.get_parameters()}


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def relu(x):
    return np.maximum(x, 0)


def batch_norm(x, w, name, training):
    axes = (0, *range(2, x.ndim))
    column = (1, -1) + (1,) * (x.ndim - 2)
    mean, variance = w[name + ".moving_mean"], w[name + ".moving_variance"]
    if training:
        mean, variance = x.mean(axes), x.var(axes)
    x = (x - mean.reshape(column)) / np.sqrt(variance.reshape(column) + 1e-5)
    return x * w[name + ".gamma"].reshape(column) + w[name + ".beta"].reshape(column)


def conv(x, weight, stride, padding, groups=1, dilation=1):
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    k = dilation * (weight.shape[-1] - 1) + 1
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride, ::dilation, ::dilation]
    parts = zip(np.split(windows, groups, 1), np.split(weight, groups, 0), strict=True)
    return np.concatenate([np.einsum("nchwij,ocij->nohw", a, b) for a, b in parts], 1)


def conv_transpose(x, weight, stride, padding):
    n, _, h, w = x.shape
    k = weight.shape[-1]
    out = np.zeros((n, weight.shape[1], (h - 1) * stride + k, (w - 1) * stride + k))
    for i in range(h):
        for j in range(w):
            patch = np.einsum("nc,coij->noij", x[:, :, i, j], weight)
            out[:, :, i * stride : i * stride + k, j * stride : j * stride + k] += patch
    return out[:, :, padding : out.shape[2] - padding, padding : out.shape[3] - padding]


def dense(x, w, name):
    return x @ w[name + ".weight"].T + w.get(name + ".bias", 0.0)


def gan_forward(g, d, z, y, options, training):
    """The tutorial's layers; y one-hot or None."""
    sigmoid = options.get("output") == "sigmoid"
    g_act = leaky if options.get("g_activation") == "leaky_relu" else relu
    h = z if y is None else np.concatenate([z, y @ g["embedding.weight"].T], 1)
    h = g_act(dense(h, g, "model.0"))
    normed = options.get("g_norm") != "none"
    index, step = 2, 3 if normed else 2
    for _ in SMALL["gan"]["g_widths"][1:]:
        h = dense(h, g, f"model.{index}")
        if normed:
            h = batch_norm(h, g, f"model.{index + 1}", training)
        h, index = g_act(h), index + step
    h = dense(h, g, f"model.{index}")
    x = 2 / (1 + np.exp(-h)) - 1 if sigmoid else np.tanh(h)
    d_act = relu if options.get("d_activation") == "relu" else leaky
    h = (x + 1) / 2 if sigmoid else x
    for index in (0, 2):
        h = d_act(dense(h, d, f"model.{index}"))
    scores = dense(h, d, "model.4")[:, 0]
    if y is not None:
        scores = scores + (h * (y @ d["projection.weight"].T)).sum(1)
    return x.reshape(N, 1, 28, 28), scores


def dcgan_forward(g, d, z, y, options, training):
    """32x32: three stages between 1x1 and the image."""
    h = conv_transpose(z[:, :, None, None], g["model.0.weight"], 1, 0)
    for index in (0, 3, 6):
        if index:
            h = conv_transpose(h, g[f"model.{index}.weight"], 2, 1)
        h = relu(batch_norm(h, g, f"model.{index + 1}", training))
    x = np.tanh(conv_transpose(h, g["model.9.weight"], 2, 1))
    h = leaky(conv(x, d["model.0.weight"], 2, 1))
    for index in (2, 5):
        h = conv(h, d[f"model.{index}.weight"], 2, 1)
        h = leaky(batch_norm(h, d, f"model.{index + 1}", training))
    return x, conv(h, d["model.8.weight"], 1, 0)[:, 0, 0, 0]


def dcgan28_forward(g, d, z, y, options, training):
    h = z if y is None else np.concatenate([z, y @ g["embedding.weight"].T], 1)
    h = dense(h, g, "dense").reshape(N, -1, 7, 7)
    h = relu(batch_norm(h, g, "model.0", training))
    last = 2 + 3 * options.get("blocks", 0)
    for i in range(2, last, 3):
        h = relu(batch_norm(conv(h, g[f"model.{i}.weight"], 1, 1), g, f"model.{i + 1}", training))
    h = conv_transpose(h, g[f"model.{last}.weight"], 2, 1)
    h = relu(batch_norm(h, g, f"model.{last + 1}", training))
    x = np.tanh(conv_transpose(h, g[f"model.{last + 3}.weight"], 2, 1))
    h = conv(leaky(conv(x, d["model.0.weight"], 2, 1)), d["model.2.weight"], 2, 1)
    h = leaky(batch_norm(h, d, "model.3", training))
    for i in range(5, 3 + last, 3):
        h = leaky(batch_norm(conv(h, d[f"model.{i}.weight"], 1, 1), d, f"model.{i + 1}", training))
    h = h.reshape(N, -1)
    scores = dense(h, d, "head")[:, 0]
    return x, scores if y is None else scores + (h * (y @ d["projection.weight"].T)).sum(1)


def residual_block(x, w, name):
    h = leaky(conv(x, w[name + ".expand.weight"], 1, 0) + _column(w[name + ".expand.bias"]))
    h = leaky(conv(h, w[name + ".mix.weight"], 1, 1, groups=8) + _column(w[name + ".mix.bias"]))
    return x + conv(h, w[name + ".shrink.weight"], 1, 0)


def _column(bias):
    return bias[:, None, None]


def blur_down(x):
    """Every second pixel of the image smoothed by [1, 2, 1] / 4 in both directions."""
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    x = (x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]) / 4
    x = (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4
    return x[:, :, ::2, ::2]


def bilinear_up(x):
    """The pixels themselves at even places, the mean of both neighbours (0 outside) between."""
    for axis in (2, 3):
        following = np.roll(x, -1, axis)
        following[(slice(None),) * axis + (-1,)] = 0
        x = np.stack([x, (x + following) / 2], axis + 1)
        x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    return x


def r3gan_forward(g, d, z, y, options, training):
    h = z if y is None else np.concatenate([z, y @ g["embedding.weight"].T], 1)
    h = dense(h, g, "modulation")[:, :, None, None] * g["basis"]
    h = residual_block(h, g, "model.0")
    h = bilinear_up(conv(h, g["model.1.weight"], 1, 0))
    h = residual_block(h, g, "model.3")
    x = np.tanh(conv_transpose(h, g["model.4.weight"], 2, 1))
    h = residual_block(conv(x, d["model.0.weight"], 2, 1), d, "model.1")
    h = residual_block(conv(blur_down(h), d["model.3.weight"], 1, 0), d, "model.4")
    h = (h * d["basis"]).sum((2, 3))
    scores = dense(h, d, "head")[:, 0]
    return x, scores if y is None else scores + (h * (y @ d["projection.weight"].T)).sum(1)


def same(x, w, name, stride=1, dilation=1):
    """A convolution with a bias that keeps the size, or divides it by the stride."""
    weight = w[name + ".weight"]
    padding = dilation * ((weight.shape[-1] - 1) // 2)
    return conv(x, weight, stride, padding, dilation=dilation) + _column(w[name + ".bias"])


def instance_norm(x):
    centred = x - x.mean((2, 3), keepdims=True)
    return centred / np.sqrt((centred**2).mean((2, 3), keepdims=True) + 1e-5)


def shuffled(x):
    """[N, 4 C, H, W] -> [N, C, 2 H, 2 W], four channels as the 2x2 pixels of one place."""
    n, c, h, w = x.shape
    made = np.zeros((n, c // 4, 2 * h, 2 * w))
    for i in range(4):
        made[:, :, i // 2 :: 2, i % 2 :: 2] = x[:, i::4]
    return made


def patch_scores(x, d, prefix="", normed=False):
    """Strides 2, 1, 1: depth 1."""
    index = 0
    for i, stride in enumerate((2, 1, 1)):
        if i:
            x, index = leaky(x), index + 1
        name = f"{prefix}model.{index}"
        x, index = conv(x, d[name + ".weight"], stride, 1) + _column(d[name + ".bias"]), index + 1
        if normed and i == 1:
            x, index = instance_norm(x), index + 1
    return x.reshape(N, -1)


def srgan_forward(g, d, x, y, options, training):
    up, across = (bicubic_matrix(side, 2 * side).astype(np.float64) for side in x.shape[2:])
    h = first = same(x, g, "head")
    h = h + same(relu(same(h, g, "body.0.first")), g, "body.0.second")
    h = relu(shuffled(same(first + same(h, g, "join"), g, "enlarge.0.0")))
    x = up @ x @ across.T + same(h, g, "tail")
    return x, patch_scores(x, d)


def gated(x, w, name, stride=1, dilation=1):
    features, gates = np.split(same(x, w, name + ".both", stride, dilation), 2, axis=1)
    return relu(features) / (1 + np.exp(-gates))


def inpainting_forward(g, d, x, y, options, training):
    whole = gated(x, g, "whole")
    half = gated(gated(whole, g, "half.0", stride=2), g, "half.1")
    h = gated(gated(half, g, "quarter.0", stride=2), g, "quarter.1")
    h = gated(h, g, "far.0", dilation=2)
    h = relu(shuffled(same(h, g, "to_half.conv")))
    h = gated(np.concatenate([h, half], 1), g, "at_half")
    h = relu(shuffled(same(h, g, "to_whole.conv")))
    h = gated(np.concatenate([h, whole], 1), g, "at_whole")
    h = same(h, g, "last")
    made = np.tanh(h) if options.get("output") == "tanh" else h
    x = np.where(x[:, -1:] == 1, made, x[:, :-1])
    return x, patch_scores(x, d)


def down(x, w, name):
    """4x4 with stride 2."""
    return conv(x, w[name + ".weight"], 2, 1) + _column(w[name + ".bias"])


def pix2pix_forward(g, d, x, y, options, training):
    """Halved three times; normalised inside, but for the innermost map."""
    one = leaky(down(x, g, "translate.down.0.0"))
    two = leaky(instance_norm(down(one, g, "translate.down.1.0")))
    h = leaky(down(two, g, "translate.down.2.0"))
    h = leaky(instance_norm(shuffled(same(h, g, "translate.up.0.0.0"))))
    h = np.concatenate([h, two], 1)
    h = leaky(instance_norm(shuffled(same(h, g, "translate.up.1.0.0"))))
    h = leaky(shuffled(same(np.concatenate([h, one], 1), g, "translate.up.2.0.0")))
    x = np.concatenate([x, np.tanh(same(h, g, "translate.last"))], 1)
    return x, patch_scores(x, d, normed=True)


def translated(x, g, prefix):
    h = relu(instance_norm(same(x, g, prefix + ".0")))
    h = relu(instance_norm(same(h, g, prefix + ".3", stride=2)))
    inner = relu(instance_norm(same(h, g, prefix + ".6.body.0")))
    h = h + instance_norm(same(inner, g, prefix + ".6.body.3"))
    h = relu(instance_norm(shuffled(same(h, g, prefix + ".7"))))
    return np.tanh(same(h, g, prefix + ".11"))


def cyclegan_forward(g, d, x, y, options, training):
    a, b = np.split(x, 2, axis=1)
    a, b = translated(b, g, "b_to_a"), translated(a, g, "a_to_b")
    scores = [patch_scores(a, d, "of_a.", normed=True), patch_scores(b, d, "of_b.", normed=True)]
    return np.concatenate([a, b], 1), np.concatenate(scores, 1)


def equalised(x, w, name, gain=2**0.5, padding=None, stride=1):
    """A dense layer or a convolution whose weights are scaled, and LeakyReLU where there is gain.

    Names of layers that a LeakyReLU follows are those of its list.
    """
    weight = w[name + ".weight"]
    weight = weight * gain / np.sqrt(weight[0].size)
    if weight.ndim == 2:
        return x @ weight.T + w.get(name + ".bias", 0.0)
    y = conv(x, weight, stride, weight.shape[-1] // 2 if padding is None else padding)
    return y + _column(w[name + ".bias"]) if name + ".bias" in w else y


def pixel_norm(x):
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-8)


def with_deviation(x, group):
    """The channel of the standard deviation, of groups that lie len(x) / group rows apart."""
    while len(x) % group:
        group -= 1
    channel = np.zeros((len(x), 1, *x.shape[2:]))
    for i in range(len(x) // group):
        own = slice(i, None, len(x) // group)
        channel[own] = np.sqrt(x[own].var(axis=0) + 1e-8).mean()
    return np.concatenate([x, channel], 1)


def scores_of(h, d, y):
    h = leaky(equalised(h.reshape(N, -1), d, "dense.0"))
    scores = equalised(h, d, "head", 1.0)[:, 0]
    return scores if y is None else scores + (h * (y @ rows_of(d, "projection", 1.0))).sum(1)


def rows_of(w, name, length=None):
    """The learned rows of a product with one-hot labels, sqrt(width) long or as long as it says."""
    table = w[name + ".weight"].T
    return table if length is None else table * length / np.sqrt(table.shape[1])


def nearest(x):
    return x.repeat(2, axis=2).repeat(2, axis=3)


def halved(x):
    """Means of 2x2 pixels."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).mean(axis=(3, 5))


def progan_forward(g, d, z, y, options, training):
    h = z if y is None else np.concatenate([z, y @ rows_of(g, "embedding")], 1)
    h = equalised(pixel_norm(h), g, "dense", np.sqrt(2) / 4).reshape(N, -1, 7, 7)
    h = pixel_norm(leaky(h + _column(g["bias"])))
    for name in ("blocks.0.0", "blocks.1.1", "blocks.1.4", "blocks.2.1", "blocks.2.4"):
        h = nearest(h) if name.endswith(".1") else h
        h = pixel_norm(leaky(equalised(h, g, name)))
    x = equalised(h, g, "to_rgb.2", 1.0)
    h = leaky(equalised(x, d, "from_rgb.2.0"))
    for name in ("blocks.2.0", "blocks.2.2", "blocks.1.0", "blocks.1.2"):
        h = leaky(equalised(h, d, name))
        h = halved(h) if name.endswith(".2") else h
    stddev = options.get("stddev_group") != 0
    h = with_deviation(h, 4) if stddev else h
    return x, scores_of(leaky(equalised(h, d, f"blocks.0.{int(stddev)}")), d, y)


def smoothed(x, before, after, gain=1.0):
    """Every place the weighted mean [1, 3, 3, 1] of its neighbourhood, zeros outside."""
    x = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
    for axis in (2, 3):
        x = np.lib.stride_tricks.sliding_window_view(x, 4, axis) @ np.array([1, 3, 3, 1]) / 8
    return gain * x


def modulated(x, styles, w, name, *, up=False, demodulate=True):
    """arXiv:1912.04958, equations 1 and 3 as they stand there: weights [o, i, k, k] of each image.

    Upwards it is the transposed convolution, filtered.
    """
    weight = w[name + ".weight"]
    if up:
        weight = weight.swapaxes(0, 1)
    weight = weight / np.sqrt(weight[0].size)
    scales = styles @ w[name + ".affine.weight"].T / np.sqrt(styles.shape[1])
    made = []
    for image, scale in zip(x, scales + w[name + ".affine.bias"], strict=True):
        own = weight * scale[None, :, None, None]
        if demodulate:
            own = own / np.sqrt((own**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)
        if up:
            whole = conv_transpose(image[None], own.swapaxes(0, 1), 2, 0)
            made.append(smoothed(whole, 1, 1, gain=4.0))
        else:
            made.append(conv(image[None], own, 1, own.shape[-1] // 2))
    return np.concatenate(made)


def styled(x, styles, w, name, up=False):
    h = modulated(x, styles, w, name + ".conv", up=up)
    return np.sqrt(2) * leaky(h + _column(w[name + ".bias"]))


def enlarged(x):
    """Zeros between the pixels, then the filter: the transpose of a reduction."""
    n, c, h, w = x.shape
    spread = np.zeros((n, c, 2 * h, 2 * w))
    spread[:, :, ::2, ::2] = x
    return smoothed(spread, 2, 1, gain=4.0)


def stylegan_forward(g, d, z, y, options, training):
    h = pixel_norm(z)
    if y is not None:
        h = np.concatenate([h, pixel_norm(y @ rows_of(g, "mapping.embedding"))], 1)
    for name in ("mapping.layers.0", "mapping.layers.2"):  # slow: stored a hundred times as large
        slow = {f"{name}.{kind}": 0.01 * g[f"{name}.{kind}"] for kind in ("weight", "bias")}
        h = leaky(equalised(h, slow, name))
    start = np.repeat(g["synthesis.constant"], N, 0)
    x, image = styled(start, h, g, "synthesis.first"), 0.0
    for i in range(3):
        if i:
            x = styled(x, h, g, f"synthesis.grow.{i - 1}", up=True)
            x = styled(x, h, g, f"synthesis.convs.{i - 1}")
            image = enlarged(image)
        name = f"synthesis.to_rgb.{i}"
        image = image + modulated(x, h, g, name + ".conv", demodulate=False)
        image = image + _column(g[name + ".bias"])
    h = leaky(equalised(image, d, "model.0"))
    for name in ("model.2", "model.3"):
        inner = leaky(equalised(h, d, name + ".keep.0"))
        inner = leaky(equalised(smoothed(inner, 2, 2), d, name + ".shrink.1", padding=0, stride=2))
        aside = equalised(smoothed(h, 1, 1)[:, :, ::2, ::2], d, name + ".skip.1", 1.0)
        h = (inner + aside) / np.sqrt(2)
    stddev = options.get("stddev_group") != 0
    h = with_deviation(h, 4) if stddev else h
    return image, scores_of(leaky(equalised(h, d, f"model.{4 + stddev}")), d, y)


FORWARDS = [
    ("gan", {}, gan_forward),
    ("gan", {"conditional": True}, gan_forward),
    (
        "gan",
        {
            "g_norm": "none",
            "g_activation": "leaky_relu",
            "d_activation": "relu",
            "output": "sigmoid",
        },
        gan_forward,
    ),
    ("dcgan", {}, dcgan_forward),
    ("dcgan28", {"conditional": True}, dcgan28_forward),
    ("dcgan28", {"blocks": 2}, dcgan28_forward),
    ("r3gan", {"conditional": True}, r3gan_forward),
    ("progan", THREE_LEVELS, progan_forward),
    ("progan", {**THREE_LEVELS, "conditional": True, "stddev_group": 0}, progan_forward),
    ("stylegan", THREE, stylegan_forward),
    ("stylegan", {**THREE, "conditional": True, "stddev_group": 0}, stylegan_forward),
    ("srgan", {"d_norm": "none"}, srgan_forward),
    ("inpainting", {"d_norm": "none"}, inpainting_forward),
    ("inpainting", {"d_norm": "none", "output": "tanh"}, inpainting_forward),
    ("pix2pix", {}, pix2pix_forward),
    ("cyclegan", {}, cyclegan_forward),
]


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    "name,options,forward", FORWARDS, ids=[f"{n}-{label(o)}" for n, o, _ in FORWARDS]
)
def test_forward_equals_numpy_float64(name, options, forward, training, rng):
    gan = build(name, **options)
    fill_zeros(gan, rng)
    for p in gan.get_parameters():  # statistics that differ from those of a fresh net
        if p.name.endswith("moving_mean"):
            p.set_data(Tensor(rng.uniform(-0.1, 0.1, p.shape).astype(np.float32)))
        if p.name.endswith("moving_variance"):
            p.set_data(Tensor(rng.uniform(0.01, 0.1, p.shape).astype(np.float32)))
    g, d = weights_of(gan.generator), weights_of(gan.discriminator)
    given = made_from(name, rng)
    labels = class_ids() if options.get("conditional") else None
    y = None if labels is None else np.eye(CLASSES)[labels.asnumpy()]
    expected = forward(g, d, given.asnumpy().astype(np.float64), y, options, training)
    pair = Pair(gan)
    pair.set_train(training)
    for ours, theirs in zip(pair(given, labels), expected, strict=True):
        error = np.linalg.norm(ours.asnumpy() - theirs) / np.linalg.norm(theirs)
        assert error < 1e-4


# --- r3gan's own parts


def test_upsampling_is_four_times_the_transpose_of_downsampling(rng):
    x = rng.standard_normal((2, 3, 8, 8)).astype(np.float32)
    y = rng.standard_normal((2, 3, 4, 4)).astype(np.float32)
    down = resampling.Downsample(3)(Tensor(x)).asnumpy()
    up = resampling.Upsample(3)(Tensor(y)).asnumpy()
    assert down.shape == y.shape and up.shape == x.shape
    assert 4 * (down * y).sum() == pytest.approx((up * x).sum(), rel=1e-4)
    np.testing.assert_allclose(down, blur_down(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(up, bilinear_up(y), rtol=1e-5, atol=1e-6)


def test_residual_blocks_start_as_the_identity_and_keep_the_variance(rng):
    ms.set_seed(0)
    block = r3gan.ResidualBlock(32, cardinality=8, expansion=2, depth=2)
    x = Tensor(rng.standard_normal((4, 32, 7, 7)).astype(np.float32))
    assert np.array_equal(block(x).asnumpy(), x.asnumpy())
    gain = np.sqrt(2 / 1.04) * 2**-0.25
    assert block.expand.weight.asnumpy().std() == pytest.approx(gain / np.sqrt(32), rel=0.1)
    assert block.mix.weight.asnumpy().std() == pytest.approx(gain / np.sqrt(8 * 9), rel=0.1)
