"""Earlier images of the generator, which the discriminator sees among the new ones."""

from __future__ import annotations

import numpy as np

from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype

SIZE = 50


class History(nn.Cell):
    """A store of images: D sees new ones, and with probability one half an earlier one instead.

    Shrivastava et al. 2017, arXiv:1612.07828, section 2.3, in the form of CycleGAN's code (Zhu et
    al. 2017, arXiv:1703.10593, section 4): as long as there is room a new image is stored and
    shown; later it is shown, or it takes the place of a stored one, which is shown. The store lies
    in the graph and in every checkpoint, so a continued run goes on exactly. Departs: the images of
    a batch meet neighbouring places from a common random start, so that no two of them meet one.

    Args:
        image_shape: (C, H, W).
        size: how many images it holds, at least as many as a batch.

    Inputs: images float32 [N, C, H, W]; numbers float32 [N, 2] in [0, 1): where, and whether.
    Outputs: float32 [N, C, H, W].
    """

    numbers = 2

    def __init__(self, image_shape: tuple[int, int, int], size: int = SIZE):
        super().__init__(auto_prefix=False)
        self.size = size
        pixels = int(np.prod(image_shape))
        zeros = np.zeros((size, pixels), np.float32)
        self.images = Parameter(Tensor(zeros), name="history.images", requires_grad=False)
        count = Tensor(np.zeros(1, np.float32))
        self.count = Parameter(count, name="history.count", requires_grad=False)
        self.places = Tensor(np.arange(size, dtype=np.float32).reshape(1, size))

    def construct(self, images, numbers):
        n = images.shape[0]
        new = images.reshape((n, -1))
        stored, count = self.images.value(), self.count.value()
        rank = ops.arange(n).astype(mstype.float32)  # of an image within its batch
        room = (count + rank < self.size).astype(mstype.float32)  # [N]: there is a free place
        start = ops.floor(numbers[0, 0] * self.size)
        place = room * (count + rank) + (1.0 - room) * (start + rank)
        place = place - self.size * ops.floor(place / self.size)
        at = (self.places == place.reshape((n, 1))).astype(mstype.float32)  # [N, size], one 1 a row
        # While a batch fills the last places, what finds no room is shown and not stored: two
        # images never meet one place.
        full = (count >= self.size).astype(mstype.float32)
        swap = (full * (numbers[:, 1] < 0.5).astype(mstype.float32)).reshape((n, 1))
        shown = swap * ops.matmul(at, stored) + (1.0 - swap) * new
        write = at * ops.maximum(swap, room.reshape((n, 1)))  # [N, size]
        kept = (1.0 - write.sum(axis=0)).reshape((self.size, 1))
        moved = kept * stored + ops.matmul(write.T, new)
        counted = ops.minimum(count + n, Tensor(float(self.size), mstype.float32))
        written = (ops.assign(self.images, moved), ops.assign(self.count, counted))
        return ops.depend(shown, written).reshape(images.shape)
