"""Train small GANs on a ring of Gaussians and count the modes that each of them makes.

    python scripts/mode_collapse.py --out docs/images/theory_mode_collapse.png

Points of a plane stand for images [2, 1, 1]. Nets, batches, steps and learning rates are equal;
only loss, regularizer and `pack` differ. A mode is captured when at least 1% of the samples lie
within 3 standard deviations of its centre, which is stricter than the usual "at least one sample"
(Lin et al. 2017, arXiv:1712.04086); quality is the share of samples within 3 standard deviations
of any centre, 0.989 for the data.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # works without installing
try:
    from ms_gan.system import runtime

    runtime.check_installed()
except ImportError as error:  # one line: which Python to take, or what to install
    sys.exit(str(error))

import numpy as np  # noqa: E402

NUM_MODES, RADIUS, STD = 8, 0.75, 0.02
ANGLES = 2 * np.pi * np.arange(NUM_MODES) / NUM_MODES
CENTRES = RADIUS * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
NUM_SAMPLES = 2500
MIN_SHARE = 0.01  # 25 of 2,500 samples; a fair share is 312
LR_D, LR_G, BATCH, EVERY = 5e-4, 1e-3, 128, 250  # EVERY: steps between two counts
NETS = {"latent_dim": 8, "g_widths": (64, 64), "d_widths": (64, 64), "g_norm": "none"}

COMBINATIONS = {  # name -> loss, regularizer and its weight, points that D judges at once
    "non_saturating": ("non_saturating", None, 1),
    "non_saturating, pack 2": ("non_saturating", None, 2),
    "relativistic + r1_r2": ("relativistic", ("r1_r2", 0.1), 1),
}


def data(rng, num):
    """`num` points of the ring, float32 [num, 2, 1, 1]; every mode is equally likely."""
    points = CENTRES[rng.integers(NUM_MODES, size=num)] + STD * rng.standard_normal((num, 2))
    return points.astype(np.float32).reshape(num, 2, 1, 1)


def count(points):
    """(captured modes, quality) of samples [N, 2]; see the top of this file."""
    distances = np.linalg.norm(points[:, None] - CENTRES, axis=2)  # [N, modes]
    inside = distances <= 3 * STD  # the circles do not overlap: one mode at most
    return int((inside.mean(axis=0) >= MIN_SHARE).sum()), float(inside.any(axis=1).mean())


class Feed:
    """Points of the ring and latents; asked step by step, the same for every combination."""

    def __init__(self, seed, latent_dim):
        self.rng, self.latent_dim = np.random.default_rng(seed), latent_dim

    def at(self, step):
        from mindspore import Tensor

        z = self.rng.standard_normal((BATCH, self.latent_dim)).astype(np.float32)
        return Tensor(data(self.rng, BATCH)), Tensor(z), None, None


class Modes:
    """What measures while training: the captured modes and the quality of fixed latents."""

    improved = False

    def __init__(self, seed, latent_dim):
        watch = np.random.default_rng([seed, 1])
        self.z = watch.standard_normal((NUM_SAMPLES, latent_dim)).astype(np.float32)
        self.history = []

    def measure(self, step, sampler, row):
        from ms_gan.runs import sampling

        images = sampling.generate(sampler.net, self.z, batch_size=NUM_SAMPLES)
        self.points = images.reshape(-1, 2)
        modes, quality = count(self.points)
        self.history.append((step, modes, quality))
        return {"modes": modes, "quality": quality, "floor": NUM_MODES}


def train(name, seed=0, steps=4000, lr_d=LR_D):
    """(samples [NUM_SAMPLES, 2] at the end, [(step, modes, quality)]) of one combination."""
    import ms_gan  # noqa: F401, I001  sets what MindSpore reads at import
    from ms_gan.system import runtime

    runtime.limit_instruction_set(convolutions=False)
    from ms_gan import build
    from ms_gan.recipe.schema import Config, Data, Every, Optimizer, Part, Train
    from ms_gan.runs.headline import Headline
    from ms_gan.runs.run_dir import RunDir
    from ms_gan.training import trainer

    loss, penalty, pack = COMBINATIONS[name]
    config = Config(
        name="ring",
        seed=seed,
        data=Data(batch_size=BATCH),
        model=Part("gan", NETS),
        loss=Part(loss),
        regularizer=penalty and Part(penalty[0], {"weight": penalty[1]}),
        optimizer=Optimizer(lr_d=lr_d, lr_g=LR_G),
        train=Train(steps=steps, pack=pack),
        every=Every(log=0, sample=0, save=0, evaluate=EVERY),
    )
    runtime.set_mode("graph")
    state = build.build_training(config, (2, 1, 1), 0, {})
    modes = Modes(seed, state.sampler.latent_dim)
    with tempfile.TemporaryDirectory(prefix="ms_gan_ring_") as folder:
        run = RunDir(folder)
        with run.open(config):
            trainer.train(
                state, Feed(seed, state.sampler.latent_dim), run, steps=steps, every=config.every,
                gallery=lambda sampler: np.zeros((2, 2), np.uint8),
                headline=Headline("modes", "captured modes", "modes", smaller=False),
                show=lambda *values, last: None, quality=modes,
            )  # fmt: skip
    return modes.points, modes.history


def table(results, seeds):
    """One line for each combination; `results` is {(name, seed): what `train` returns}."""
    lines = [f"{'':24}modes of {NUM_MODES}: min median max   quality: min median max"]
    for name in COMBINATIONS:
        ends = np.array([results[name, seed][1][-1][1:] for seed in seeds])  # [seeds, 2]
        low, middle, high = ends.min(axis=0), np.median(ends, axis=0), ends.max(axis=0)
        modes = f"{low[0]:14.0f} {middle[0]:6g} {high[0]:3.0f}"
        lines.append(f"{name:24}{modes}{low[1]:15.2f} {middle[1]:6.2f} {high[1]:.2f}")
    return "\n".join(lines)


def draw(path, results, seeds):
    """Data and samples of the first seed above, modes over time of every seed below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    columns = len(COMBINATIONS) + 1
    rows = [range(columns), ["time"] * columns]
    axes = figure.subplot_mosaic([list(row) for row in rows], height_ratios=(3, 2))
    real = data(np.random.default_rng(0), NUM_SAMPLES).reshape(-1, 2)
    panels = [("data", real, "black")]
    for i, name in enumerate(COMBINATIONS):
        panels.append((name, results[name, seeds[0]][0], f"C{i}"))
        for seed in seeds:
            steps, modes, _ = zip(*results[name, seed][1], strict=True)
            label = name if seed == seeds[0] else None
            axes["time"].plot(steps, modes, f"C{i}", label=label, alpha=0.7)
    for i, (name, points, colour) in enumerate(panels):
        axes[i].scatter(*points.T, s=2, alpha=0.3, color=colour, linewidths=0)
        modes, quality = count(points)
        axes[i].set_title(f"{name}\n{modes} modes, quality {quality:.2f}", fontsize=10)
        axes[i].set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal", xticks=[], yticks=[])
    axes["time"].set(xlabel="step", ylabel="captured modes", ylim=(-0.3, NUM_MODES + 0.3))
    axes["time"].grid(alpha=0.3)
    axes["time"].legend(loc="upper left")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("mode_collapse.png"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--lr-d", type=float, default=LR_D, help=f"of D; that of G is {LR_G:g}")
    arguments = parser.parse_args()
    results = {}
    for name in COMBINATIONS:
        for seed in arguments.seeds:
            results[name, seed] = train(name, seed, arguments.steps, arguments.lr_d)
            step, modes, quality = results[name, seed][1][-1]
            print(f"{name}, seed {seed}, step {step}: {modes} modes, quality {quality:.2f}")
    print(table(results, arguments.seeds))
    draw(arguments.out, results, arguments.seeds)
    print(arguments.out)
