"""Train a discriminator to optimality on a known mixture and compare it with the closed form.

    python scripts/optimal_discriminator.py --out docs/images/theory_optimal_discriminator.png

Goodfellow et al. 2014, arXiv:1406.2661, proposition 1: against a fixed generator the optimal
discriminator is D*(x) = p_data(x) / (p_data(x) + p_g(x)), and the loss there is 2 log 2 - 2 JS.
Everything is one-dimensional, so that densities and the divergence JS are known.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import ms_gan  # noqa: E402, I001  before mindspore
import numpy as np  # noqa: E402
from mindspore import Tensor, nn  # noqa: E402

from ms_gan import runtime  # noqa: E402
from ms_gan.cells import DiscriminatorWithLossCell, TrainDiscriminatorCell  # noqa: E402
from ms_gan.losses import non_saturating  # noqa: E402
from ms_gan.models.layers import LeakyReLU  # noqa: E402
from ms_gan.optimizers import Adam  # noqa: E402
from ms_gan.schedules import Ramp  # noqa: E402

P_DATA = ((0.5, -2.0, 0.6), (0.5, 1.5, 0.8))  # weight, mean, standard deviation
P_G = ((1.0, 0.0, 1.5),)
GRID = np.linspace(-8.0, 8.0, 4096)  # the densities outside are below 1e-7
