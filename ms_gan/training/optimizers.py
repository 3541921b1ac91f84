"""Optimizers as the recipes need them: the keyword arguments are the options of a recipe.

MindSpore is imported inside the functions, so that options are checked before that takes its time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def adam(parameters: Any, *, lr: Any, beta1: float = 0.5, beta2: float = 0.999, eps: float = 1e-8):
    """nn.Adam that also accepts beta1 = 0 (no momentum), which R3GAN, SNGAN and WGAN-GP use.

    Kingma & Ba 2015, arXiv:1412.6980, algorithm 1 with the efficient form at the end of section 2:
    eps is added to sqrt(v) before its bias is corrected. nn.Adam refuses 0 although its kernel
    computes it rightly.

    Args:
        parameters: those to train.
        lr: learning rate, a number or a schedule.
        beta1: decay of the mean of gradients; 0: no momentum.
        beta2: decay of the mean of their squares.
        eps: added to the root of that mean.
    """
    from mindspore import Tensor, dtype, nn

    _check("beta1", beta1), _check("beta2", beta2), _check_eps(eps)
    optimizer = nn.Adam(
        parameters, learning_rate=lr, beta1=beta1 or 0.5, beta2=beta2 or 0.5, eps=eps
    )
    optimizer.beta1 = Tensor(beta1, dtype.float32)
    optimizer.beta2 = Tensor(beta2, dtype.float32)
    return optimizer


def rmsprop(parameters: Any, *, lr: Any, decay: float = 0.9, eps: float = 1e-8):
    """nn.RMSProp without momentum, as WGAN uses it (Arjovsky et al. 2017, arXiv:1701.07875).

    Args:
        parameters: those to train.
        lr: learning rate, a number or a schedule.
        decay: of the mean of squared gradients.
        eps: added to the root of that mean.
    """
    from mindspore import nn

    _check("decay", decay), _check_eps(eps)
    return nn.RMSProp(parameters, learning_rate=lr, decay=decay, momentum=0.0, epsilon=eps)


def _check(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name}: expected 0 <= x < 1, got {value}")


def _check_eps(eps: float) -> None:
    if not eps > 0:
        raise ValueError(f"eps: expected > 0, got {eps}")


OPTIMIZERS: dict[str, Callable[..., Any]] = {"adam": adam, "rmsprop": rmsprop}
