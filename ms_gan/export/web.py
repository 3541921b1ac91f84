"""ONNX Runtime Web, what runs an ONNX file in a browser: three files of one version of an npm
package (MIT licence), from a folder, the package's archive or the user's cache."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ms_gan.errors import UsageError
from ms_gan.system import files

PACKAGE, VERSION = "onnxruntime-web", "1.27.0"
SCRIPT, GLUE, WASM = FILES = (
    "ort.wasm.min.js",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
)
SHA256 = {
    SCRIPT: "ea3a767b15df7dbe3d695ec9c182ca0f15b2ce7750156c6b70276e11c28997f0",
    GLUE: "0a1e718d99c41b22c21f2520ff4f9e883a6b5533856e398d21816ee8eb8185d3",
    WASM: "d1ab1b94b16a65b29d710d0b587b29e7bed336827577623913479b8afe8113e6",
}
MIRRORS = (  # of the folder dist of the package
    f"https://cdn.jsdelivr.net/npm/{PACKAGE}@{VERSION}/dist/",
    f"https://unpkg.com/{PACKAGE}@{VERSION}/dist/",
)
WITHOUT_NETWORK = (
    f"where there is a network, `npm pack {PACKAGE}@{VERSION}` gets {PACKAGE}-{VERSION}.tgz; "
    "then --runtime FILE.tgz"
)
BELOW = ("", "dist", "package/dist", f"node_modules/{PACKAGE}/dist", f"{PACKAGE}/dist")

Runtime = Mapping[str, bytes]  # file -> content


def kept_in() -> Path:
    """The folder of the user's cache in which the files are kept; it may not be there yet."""
    return files.cache_folder() / f"{PACKAGE}-{VERSION}"


def kept() -> Runtime | None:
    """The files that are kept there, if all are and all are whole."""
    found = in_folder(kept_in())
    return found if found and not wrong(found) else None


def keep(runtime: Runtime) -> None:
    """Keep them for the next time, where the cache can be written."""
    with suppress(OSError):
        kept_in().mkdir(parents=True, exist_ok=True)
        for name, content in runtime.items():
            files.write(kept_in() / name, content)
    files.replaced.difference_update(kept_in() / name for name in FILES)


def given(place: Path) -> Runtime:
    """The files in a folder (of the package, or of node_modules) or in the package's archive.

    Raises:
        UsageError: they are not there, or are of another version.
    """
    runtime = in_folder(place) if place.is_dir() else in_archive(place)
    if runtime is None:
        raise UsageError(
            f"--runtime {place}: holds no {', '.join(FILES)}; expected the package {PACKAGE} "
            f"{VERSION}, a folder or its .tgz; {WITHOUT_NETWORK}"
        )
    if name := wrong(runtime):
        raise UsageError(
            f"--runtime {place}: {name} is not that of {PACKAGE} {VERSION} (its sha256 differs); "
            f"expected just that version; {WITHOUT_NETWORK}"
        )
    return runtime


def in_folder(place: Path) -> Runtime | None:
    for folder in (place / below for below in BELOW):
        if all((folder / name).is_file() for name in FILES):
            return {name: (folder / name).read_bytes() for name in FILES}
    return None


def in_archive(place: Path) -> Runtime | None:
    try:
        with tarfile.open(place) as archive:
            members = [archive.extractfile(f"package/dist/{name}") for name in FILES]
            return {name: part.read() for name, part in zip(FILES, members, strict=True) if part}
    except FileNotFoundError:
        raise UsageError(f"--runtime {place}: no such file or folder; {WITHOUT_NETWORK}") from None
    except (tarfile.TarError, KeyError, EOFError):
        return None


def wrong(runtime: Runtime) -> str | None:
    """The first file that is not the one that is meant."""
    for name in FILES:
        if hashlib.sha256(runtime.get(name, b"")).hexdigest() != SHA256[name]:
            return name
    return None
