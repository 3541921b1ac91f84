"""A page on which one moves through the latents of a generator, which runs in the browser.

The net is the ONNX file of `export`, compared with the package before the page is written; what
runs it is ONNX Runtime Web (:mod:`ms_gan.export.web`). All is in the page: it asks no network.
"""

from __future__ import annotations

import base64
import functools
import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mindspore import Tensor, nn, ops

from ms_gan.export import formats, web
from ms_gan.export import subject as subjects
from ms_gan.export.packages import ExportError
from ms_gan.export.subject import Port, Subject
from ms_gan.export.web import Runtime
from ms_gan.runs import sampling, template
from ms_gan.runs.sampling import Sampler
from ms_gan.runs.styles import StyleSampler
from ms_gan.system import files
from ms_gan.version import __version__

PAGE = Path(__file__).parent / "page"
BANK = 256  # latents of `generate` in the page, with subjects.SEED: four for each set of corners
CHANNELS = (1, 3)  # that a browser can show
MOST = 1.5  # of the truncation


class Truncated(nn.Cell):
    """A generator of styles whose truncation is an input: centre + psi (w - centre).

    Inputs: z float32 [N, latent_dim]; psi float32 [N, 1]; labels int32 [N] of a conditional one.
    Outputs: images float32 [N, C, H, W] in [-1, 1].
    """

    def __init__(self, net: nn.Cell, centre: np.ndarray):
        super().__init__(auto_prefix=False)
        self.net, self.centre = net, Tensor(centre[None])

    def construct(self, z, psi, labels=None):
        w = self.centre + psi * (self.net.mapping(z, labels) - self.centre)
        return ops.clamp(self.net.synthesis(self.net.styles(w)), -1.0, 1.0)


def of_sampler(sampler: Sampler) -> Subject:
    """What the page runs: the generator as it is exported, and of styles also `psi`."""
    subject = subjects.of_sampler(sampler)
    if not isinstance(sampler, StyleSampler):
        return subject

    def examples(num: int) -> tuple[np.ndarray, ...]:
        z, *labels = subject.examples(num)
        return z, np.linspace(1, 0, num, dtype=np.float32)[:, None], *labels

    def expected(z: np.ndarray, psi: np.ndarray, *labels: np.ndarray) -> tuple[np.ndarray, ...]:
        w = sampler.w(z, *labels)
        return (sampler.images(sampler.centre + psi * (w - sampler.centre)),)

    z, *labels = subject.inputs
    return Subject(
        net=Truncated(sampler.net, sampler.centre).set_train(False),
        inputs=(z, Port("psi", (1,)), *labels), outputs=subject.outputs,
        examples=examples, expected=expected, about=subject.about, tolerance=subject.tolerance,
    )  # fmt: skip


def write(sampler: Sampler, path: Path, runtime: Runtime) -> float:
    """Write the page of a generator; it appears whole or not at all.

    Returns the largest difference of any number of the images between the net in the page, run by
    ONNX Runtime, and the package.

    Raises:
        ExportError: the net cannot be exported or shown; a package is missing.
        OSError: the page cannot be written.
    """
    channels = sampler.image_shape[0]
    if channels not in CHANNELS:
        raise ExportError(
            f"{path}: not written: its images have {channels} channels; expected 1 (grey) or 3 "
            "(colour), which a browser can show"
        )
    subject = of_sampler(sampler)
    model, difference = formats.made(subject, "onnx", path)
    files.write(path, render(sampler, subject, model, runtime))
    return difference


def render(sampler: Sampler, subject: Subject, model: bytes, runtime: Runtime) -> str:
    """The page as text."""
    words = template.vocabulary(PAGE)
    latents = sampling.latents(subjects.SEED, BANK, sampler.latent_dim)
    names = [port.name for port in subject.inputs]
    data = {
        "shape": list(sampler.image_shape),
        "latentDim": sampler.latent_dim,
        "classes": list(sampler.classes),
        "truncation": "psi" in names,
        "seed": subjects.SEED,
        "words": {key: words["text"][key] for key in words["script"]},
    }
    script, _, _ = runtime[web.SCRIPT].decode().partition("//# sourceMappingURL")
    about: Mapping[str, Any] = subject.about
    return environment().get_template("explore.html").render(
        about=about, data=data, script=script, glue=packed(runtime[web.GLUE]),
        wasm=packed(runtime[web.WASM]), model=packed(model), most=MOST,
        latents=packed(latents.astype("<f4").tobytes()),
        web=f"{web.PACKAGE} {web.VERSION}", version=__version__,
    )  # fmt: skip


def packed(content: bytes) -> str:
    """Bytes as text for a page: compressed, in base64."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


@functools.cache
def environment() -> Any:
    return template.environment(template.vocabulary(PAGE)["text"], PAGE, template.PAGE)
