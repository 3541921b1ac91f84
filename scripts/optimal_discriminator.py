"""Train a discriminator on known densities and compare it with the closed form.

    python scripts/optimal_discriminator.py --out docs/images/theory_optimal_discriminator.png

Goodfellow et al. 2014, arXiv:1406.2661, Proposition 1 and Theorem 1: against a fixed generator the
optimal discriminator is D*(x) = p_data(x) / (p_data(x) + p_g(x)), and its loss is 2 log 2 - 2 JS.
In one dimension both densities are known, so both statements can be checked.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # works without installing
try:
    from ms_gan.system import runtime

    runtime.check_installed()
except ImportError as error:  # one line: which Python to take, or what to install
    sys.exit(str(error))

import numpy as np  # noqa: E402

P_DATA = ((0.5, -2.0, 0.6), (0.5, 1.5, 0.8))  # weight, mean, standard deviation of each Gaussian
P_G = ((1.0, 0.0, 1.5),)
GRID = np.linspace(-9.0, 9.0, 4097)  # what lies outside weighs less than 1e-8
STEP = GRID[1] - GRID[0]


def density(mixture, x):
    """p(x) of a mixture of Gaussians."""
    parts = [w / s * np.exp(-(((x - m) / s) ** 2) / 2) for w, m, s in mixture]
    return np.sum(parts, axis=0) / np.sqrt(2 * np.pi)


def sample(mixture, rng, num):
    """`num` numbers of a mixture, as images float32 [num, 1, 1, 1] of one pixel."""
    weights, means, deviations = np.array(mixture).T
    part = rng.choice(len(weights), num, p=weights)
    x = means[part] + deviations[part] * rng.standard_normal(num)
    return x.astype(np.float32).reshape(num, 1, 1, 1)


def optimal(x):
    """D*(x) = p_data / (p_data + p_g)."""
    return density(P_DATA, x) / (density(P_DATA, x) + density(P_G, x))


def jensen_shannon():
    """JS(p_data, p_g) by numerical integration, in nats."""
    p, q = density(P_DATA, GRID), density(P_G, GRID)
    m = (p + q) / 2
    return float(np.sum(p * np.log(p / m) + q * np.log(q / m)) * STEP / 2)


def train(steps=3000, batch_size=1024, seed=0):
    """(D on GRID as probabilities, D's loss on 2 x 400,000 numbers that it has not seen)."""
    import ms_gan  # noqa: F401, I001  sets what MindSpore reads at import
    from mindspore import Tensor
    from ms_gan.models.gan import Discriminator
    from ms_gan.objectives.judge import Judge
    from ms_gan.objectives.losses import non_saturating
    from ms_gan.system import runtime
    from ms_gan.training import cells
    from ms_gan.training.optimizers import adam
    from ms_gan.training.schedules import RampSchedule

    runtime.set_mode("graph")
    runtime.set_seed(seed)
    rng = np.random.default_rng(seed)
    discriminator = Discriminator(image_shape=(1, 1, 1), d_widths=(64, 64))
    lr = RampSchedule(5e-3, 1e-5, steps)
    optimizer = adam(discriminator.trainable_params(), lr=lr, beta1=0.9, beta2=0.999)
    judge = Judge(discriminator, join=False)
    with_loss = cells.DiscriminatorWithLossCell(judge, non_saturating())
    update = cells.TrainDiscriminatorCell(with_loss, optimizer)
    update.set_train()
    for _ in range(steps):
        update(Tensor(sample(P_DATA, rng, batch_size)), Tensor(sample(P_G, rng, batch_size)))

    num = 400_000
    scores = discriminator(Tensor(GRID.astype(np.float32).reshape(-1, 1, 1, 1))).asnumpy()
    loss, _, _ = with_loss(Tensor(sample(P_DATA, rng, num)), Tensor(sample(P_G, rng, num)))
    return 0.5 + 0.5 * np.tanh(scores.astype(np.float64) / 2), float(loss.asnumpy())


def compare(learned, loss):
    """Mean |D - D*| under (p_data + p_g) / 2, and JS as the loss says it."""
    weight = (density(P_DATA, GRID) + density(P_G, GRID)) / 2
    error = float(np.sum(weight * np.abs(learned - optimal(GRID))) * STEP)
    return error, (2 * np.log(2) - loss) / 2


def draw(path, learned):
    """Densities above, D and D* below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.plot(GRID, density(P_DATA, GRID), label="p_data")
    top.plot(GRID, density(P_G, GRID), label="p_g")
    bottom.plot(GRID, learned, label="D(x), trained", linewidth=2.5, alpha=0.6)
    bottom.plot(GRID, optimal(GRID), "k--", label="p_data / (p_data + p_g)", linewidth=1)
    bottom.set(xlim=(-5, 5), ylim=(0, 1), xlabel="x", ylabel="D(x)")
    top.set(ylabel="density", ylim=(0, None))
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("optimal_discriminator.png"))
    parser.add_argument("--steps", type=int, default=3000)
    arguments = parser.parse_args()
    learned, loss = train(arguments.steps)
    error, divergence = compare(learned, loss)
    print(f"mean |D(x) - D*(x)| under (p_data + p_g) / 2: {error:.4f}")
    print(f"JS from the loss {loss:.4f}: {divergence:.4f}; integrated: {jensen_shannon():.4f}")
    draw(arguments.out, learned)
    print(arguments.out)
