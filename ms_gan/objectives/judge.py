"""What every loss, penalty and term asks for scores: D, and what stands in front of it."""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from ms_gan.objectives.numbers import Columns

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Judge(nn.Cell):
    """(images, given) -> scores, whoever asks.

    With an augmentation it sees transformed images only. Image i of a real batch and image i of a
    generated one are transformed alike. A penalty's gradient is with respect to the untransformed
    images, as in R3GAN (arXiv:2501.05441).

    With `pack` > 1 it is PacGAN (Lin et al. 2017, arXiv:1712.04086, section 2): so many images,
    joined along the channels, get one score.

    Args:
        discriminator: (x [N, pack * C, H, W], labels) -> scores [N].
        augment: (x, numbers) -> x, or None.
        columns: which of the step's random numbers are the augmentation's; None: all.
        pack: images per judgement; divides every batch. Labels are then ignored.
        join: whether `joins` may be true.

    Attributes:
        joins: one pass over two batches gives the scores and the state of two passes: no layer
            mixes the images of a batch (BatchNorm) or counts passes (`joins = False` in its class).

    Inputs: x float32 [N, C, H, W]; given (labels int32 [N] or None, numbers float32 [N, K] or
    None), or None for neither. Outputs: scores float32 [N / pack].
    """

    def __init__(
        self,
        discriminator: nn.Cell,
        *,
        augment: nn.Cell | None = None,
        columns: Columns | None = None,
        pack: int = 1,
        join: bool = True,
    ):
        super().__init__(auto_prefix=False)
        if pack > 1 and getattr(discriminator, "num_classes", 0):
            raise ValueError("a conditional discriminator judges one image at a time; use pack 1")
        self.discriminator = discriminator
        self.augment = augment
        self.columns = columns
        self.pack = pack
        self.joins = join and all(alone(cell) for _, cell in discriminator.cells_and_names())

    def construct(self, x, given=None):
        labels, numbers = (None, None) if given is None else given
        if self.augment is not None:
            x = self.augment(x, numbers if self.columns is None else self.columns(numbers))
        if self.pack > 1:
            n, c, h, w = x.shape
            return self.discriminator(x.reshape((n // self.pack, self.pack * c, h, w)))
        return self.discriminator(x, labels)


def alone(cell: nn.Cell) -> bool:
    """Whether a layer treats every image for itself, and every pass alike."""
    return getattr(cell, "joins", True) and not isinstance(cell, BATCH_NORMS)


def join(real: Tensor, fake: Tensor, given):
    """Real and generated images one after the other, [2N, C, H, W], and what is given for both."""
    if given is None:
        return ops.concat((real, fake)), None
    labels, numbers = given
    return ops.concat((real, fake)), (_twice(labels), _twice(numbers))


def _twice(values):
    return None if values is None else ops.concat((values, values))
