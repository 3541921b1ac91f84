"""ms_gan: train, understand and use GANs with MindSpore.

Importing the package prepares the process for MindSpore (see :mod:`ms_gan.system.runtime`) but does not
import MindSpore itself, so that the command line answers at once.  Import it before ``mindspore``.

    from ms_gan import build          # YAML -> Config -> objects
    from ms_gan.recipe import config
    from ms_gan.runs import sampling, checkpoint   # .ckpt -> generator -> images
"""

from ms_gan.system import runtime
from ms_gan.version import __version__

runtime.prepare()

__all__ = ["__version__"]
