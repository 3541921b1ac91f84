"""A recipe and a folder: a run that can go on. The one call that trains.

    from ms_gan import session

    run = session.start("lsgan_mnist")
    run.train()                                    # what `ms-gan train` does
    images, labels = run.sampler.samples(seed=1, num=64)

MindSpore is imported inside the functions: a wrong key is answered before that, and what it reads
at import is set first.
"""

from ms_gan.session.asked import check_shared, prepare, resolved
from ms_gan.session.running import Session, start

__all__ = ["Session", "check_shared", "prepare", "resolved", "start"]
