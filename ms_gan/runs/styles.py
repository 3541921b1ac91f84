"""A generator of styles that is ready to use: truncation, mixing and walks in the space of w.

Karras et al. 2019, arXiv:1812.04948, section 3.1 (mixing) and appendix B (truncation).
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np

from ms_gan.runs import sampling
from ms_gan.runs.sampling import FRAMES, STOPS, Sampler

AVERAGED = 4096  # latents whose mean w is the centre, with this seed
SEED = 0


@dataclass(frozen=True, eq=False)
class StyleSampler(Sampler):
    """A generator that consists of `mapping` (z -> w) and `synthesis` (styles -> images).

    Args:
        truncation: psi: every w becomes centre + psi (w - centre). Below 1 images are more typical
            and vary less; 0 gives one image.
    """

    truncation: float = 1.0

    @property
    def layers(self) -> int:
        """How many styles make an image, from coarse to fine."""
        return self.net.layers

    def truncated(self, psi: float) -> StyleSampler:
        return dataclasses.replace(self, truncation=psi)

    def made(self, z: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Images of these latents, float32 [N, C, H, W] in [-1, 1]."""
        if self.truncation == 1.0:
            return super().made(z, labels)
        return self.images(self.w(z, labels))

    def w(self, z: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Latents as styles, truncated: float32 [N, style_dim]."""
        w = sampling.forward(self.net.mapping, z, labels)
        if self.truncation == 1.0:
            return w
        return self.centre + np.float32(self.truncation) * (w - self.centre)

    @functools.cached_property
    def centre(self) -> np.ndarray:
        """The mean w, float32 [style_dim]; every class has its share in it."""
        z = sampling.latents(SEED, AVERAGED, self.latent_dim)
        w = sampling.forward(self.net.mapping, z, self.labels(AVERAGED))
        return w.mean(axis=0, dtype=np.float64).astype(np.float32)

    def images(self, styles: np.ndarray) -> np.ndarray:
        """Images of styles, float32 [N, C, H, W] in [-1, 1].

        Args:
            styles: float32 [N, layers, style_dim], or [N, style_dim], the same for all layers.
        """
        if styles.ndim == 2:
            styles = np.repeat(styles[:, None], self.layers, axis=1)
        return sampling.generate(self.net.synthesis, styles)

    def mixed(self, coarse: np.ndarray, fine: np.ndarray, cut: int) -> np.ndarray:
        """Images whose first `cut` layers have the styles of one w and whose others have those of
        another: float32 [N, C, H, W].

        Args:
            coarse, fine: float32 [N, style_dim].
            cut: 0 to `layers`.
        """
        styles = np.repeat(fine[:, None], self.layers, axis=1)
        styles[:, :cut] = coarse[:, None]
        return self.images(styles)

    def table(self, seed: int, side: int, cut: int, label: int | None = None) -> np.ndarray:
        """Sources and their mixtures, row by row, float32 [(side + 1) ** 2, C, H, W].

        The first column has the sources of the first `cut` layers, the first row those of the
        others; the corner is empty.
        """
        z, labels = sampling.latents(seed, 2 * side, self.latent_dim), self.labels(2 * side, label)
        w = self.w(z, labels)
        coarse, fine = w[:side], w[side:]
        sources = self.images(w)
        mixed = self.mixed(coarse.repeat(side, axis=0), np.tile(fine, (side, 1)), cut)
        corner = np.full((1, *self.image_shape), -1.0, np.float32)
        parts = [corner, sources[side:]]
        for i in range(side):
            parts += [sources[i : i + 1], mixed[i * side : (i + 1) * side]]
        return np.concatenate(parts)

    def walk(self, seed: int, label: int | None = None) -> np.ndarray:
        """Images along a closed walk on straight lines between styles, float32
        [STOPS * FRAMES, C, H, W]; the class changes as gradually as the style."""
        stops = self.w(sampling.latents(seed, STOPS, self.latent_dim), self.labels(STOPS, label))
        shares = (np.arange(FRAMES) / FRAMES).astype(np.float32)[:, None]
        lines = [
            (1.0 - shares) * a + shares * b
            for a, b in zip(stops, np.roll(stops, -1, axis=0), strict=True)
        ]
        return self.images(np.concatenate(lines))
