"""What the generator receives, made inside the step from real images and numbers of the host.

An input is a Cell `(real, z, numbers) -> what the generator gets`. It announces `latents`, how many
normal numbers it wants for each image, and `numbers`, how many uniform ones.
"""

from __future__ import annotations

from mindspore import nn


class Latents(nn.Cell):
    """Normal numbers and nothing else (Goodfellow et al. 2014, arXiv:1406.2661, algorithm 1).

    Args:
        latent_dim: of the generator.

    Attributes:
        latents: normal numbers of an image. 0: the input is made of real images alone.
        numbers: uniform numbers of an image.

    Inputs: real float32 [N, C, H, W]; z float32 [N, latents] or None; numbers float32
    [N, numbers] or None. Outputs: z.
    """

    numbers: int = 0

    def __init__(self, latent_dim: int):
        super().__init__(auto_prefix=False)
        self.latents = latent_dim

    def construct(self, real, z=None, numbers=None):
        return z


INPUTS: dict[str, type[nn.Cell]] = {
    "latents": Latents,
}
