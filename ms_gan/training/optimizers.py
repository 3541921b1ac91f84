"""Adam as the recipes need it."""

from __future__ import annotations

from mindspore import Tensor, nn
from mindspore import dtype as mstype


class Adam(nn.Adam):
    """nn.Adam that also accepts beta1 = 0 (no momentum), which R3GAN, SNGAN and WGAN-GP use.

    Kingma & Ba 2015, arXiv:1412.6980, algorithm 1 with the efficient form at the end of section 2:
    eps is added to sqrt(v) before its bias is corrected. nn.Adam refuses 0 although its kernel
    computes it rightly.
    """

    def __init__(self, parameters, *, lr: float, beta1: float, beta2: float, eps: float = 1e-8):
        super().__init__(
            parameters, learning_rate=lr, beta1=beta1 or 0.5, beta2=beta2 or 0.5, eps=eps
        )
        self.beta1 = Tensor(beta1, mstype.float32)
        self.beta2 = Tensor(beta2, mstype.float32)
