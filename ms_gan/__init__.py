"""ms_gan: train, understand and use GANs with MindSpore.

Importing the package prepares the process for MindSpore (see :mod:`ms_gan.system.runtime`) but does
not import MindSpore itself, so that the command line answers at once.  Import it before
``mindspore``.

    from ms_gan import session    # recipe -> run:         session.start("gan_mnist").train()
    from ms_gan import build      # .ckpt -> generator:    build.load_sampler(path).samples(1, 64)
"""

from ms_gan.system import signals

if signals.is_command():
    signals.watch()  # Ctrl-C while everything else is imported

from ms_gan.system import runtime  # noqa: E402
from ms_gan.version import __version__  # noqa: E402

runtime.prepare()

__all__ = ["__version__"]
