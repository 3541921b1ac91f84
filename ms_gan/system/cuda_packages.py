"""The CUDA 11 libraries that MindSpore 2.10's GPU plugin needs, as packages of pip."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ms_gan.system.program import ROOT


@dataclass(frozen=True)
class Package:
    """One that pip installs into `nvidia/`: the version that was measured, and what is used of it.

    Another version of the same major number fits too: names and calls of the files are the same.
    """

    name: str
    version: str
    folder: str
    files: tuple[str, ...]

    def names(self) -> list[str]:
        return [f"{self.folder}/lib/{file}" for file in self.files]


# In the order in which they are loaded: each file needs only files above it.
PACKAGES = (
    Package("nvidia-cuda-runtime-cu11", "11.8.89", "cuda_runtime", ("libcudart.so.11.0",)),
    Package("nvidia-cuda-nvrtc-cu11", "11.8.89", "cuda_nvrtc", ("libnvrtc.so.11.2",)),
    Package("nvidia-cublas-cu11", "11.11.3.6", "cublas", ("libcublasLt.so.11", "libcublas.so.11")),
    Package(
        "nvidia-cudnn-cu11", "8.9.6.50", "cudnn",
        ("libcudnn.so.8", "libcudnn_ops_infer.so.8", "libcudnn_cnn_infer.so.8",
         "libcudnn_ops_train.so.8", "libcudnn_cnn_train.so.8"),
    ),
    Package("nvidia-curand-cu11", "10.3.0.86", "curand", ("libcurand.so.10",)),
    Package("nvidia-cusparse-cu11", "11.7.5.86", "cusparse", ("libcusparse.so.11",)),
    Package("nvidia-cusolver-cu11", "11.4.1.48", "cusolver", ("libcusolver.so.11",)),
    Package("nvidia-cufft-cu11", "10.9.0.58", "cufft", ("libcufft.so.10",)),
)  # fmt: skip
REQUIREMENTS = "requirements-gpu.txt"
SIZE = "about 2 GB"


@dataclass(frozen=True)
class Installed:
    """What there is of a package: its version (None: unknown) and its files (None: incomplete)."""

    package: Package
    version: str | None
    files: tuple[Path, ...] | None

    @property
    def fits(self) -> bool:
        wanted = self.package.version.split(".")[0]
        return self.files is not None and (
            self.version is None or self.version.split(".")[0] == wanted
        )

    def described(self) -> str:
        """Its name and version for pip, and what is there in its place."""
        wanted = f"{self.package.name}=={self.package.version}"
        if self.fits:
            return f"{self.package.name} {self.version or 'of unknown version'}"
        if self.version is None:
            return wanted
        if self.version == self.package.version:
            return f"{wanted} (installed, but its files are missing or another package's)"
        return f"{wanted} ({self.version} is installed)"


def installed() -> list[Installed]:
    """Every package of `PACKAGES`, as this Python sees it."""
    return [Installed(package, version(package.name), found(package)) for package in PACKAGES]


def version(name: str) -> str | None:
    """Of a package that is installed; None where it is not."""
    from importlib import metadata  # not for machines without a driver

    with suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return None


def found(package: Package) -> tuple[Path, ...] | None:
    """The files, all in one folder; None where some are missing or belong to another CUDA.

    Packages for CUDA 12 lie in the same folders, and some of their files have the same names: the
    one that was installed later has replaced the other's.
    """
    sizes = {}
    if version(package.name.replace("cu11", "cu12")):
        if version(package.name) is None:
            return None
        from importlib import metadata

        listed = metadata.files(package.name) or ()
        sizes = {str(file).removeprefix("nvidia/"): file.size for file in listed}
    for entry in sys.path:
        files = tuple(Path(entry or ".") / "nvidia" / name for name in package.names())
        if all(file.is_file() for file in files):
            wanted = [sizes.get(name) for name in package.names()]
            same = (
                size in (None, file.stat().st_size)
                for file, size in zip(files, wanted, strict=True)
            )
            return files if all(same) else None
    return None


def install(again: Sequence[Package] = ()) -> str:
    """What to type, for the Python that runs: everything, or some packages in place of theirs."""
    own = Path(sys.executable).absolute().with_name("pip")
    pip = shutil.which("pip")
    words = [sys.executable, "-m", "pip"]
    if pip and Path(pip).absolute() == own:  # of the Python that is current
        words = ["pip"]
    if again:
        listed = (f"{package.name}=={package.version}" for package in again)
        return shlex.join([*words, "install", "--force-reinstall", *listed])
    requirements = ROOT / REQUIREMENTS
    if not requirements.is_file():  # the package alone was installed
        return shlex.join([*words, "install", *(f"{p.name}=={p.version}" for p in PACKAGES)])
    with suppress(OSError):
        if Path.cwd() == ROOT:
            requirements = Path(REQUIREMENTS)
    return shlex.join([*words, "install", "-r", str(requirements)])
