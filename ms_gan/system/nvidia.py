"""NVIDIA's driver and the card that it shows, asked through the driver itself."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LIBRARY = "libcuda.so.1"  # comes with the driver, and with nothing else
CACHE_BYTES = "4000000000"  # what MindSpore sets, but after cuInit has read it


@dataclass(frozen=True)
class Card:
    """The one that MindSpore takes: the first that CUDA_VISIBLE_DEVICES leaves."""

    name: str
    capability: tuple[int, int]

    def described(self) -> str:
        return f"{self.name}, compute capability {dotted(self.capability)}"


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver: for which CUDA it is (12000: 12.0), its card, or why there is none."""

    cuda: int
    card: Card | None
    fault: str = ""

    def described(self) -> str:
        own = release()
        number = f"{self.cuda // 1000}.{self.cuda % 1000 // 10}"
        return f"driver {own}, for CUDA up to {number}" if own else f"driver for CUDA {number}"


def dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def driver() -> Driver | None:
    """What the driver says; None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    # The limit of the cache of translated kernels is read here, before MindSpore sets it.
    with variable("CUDA_CACHE_MAXSIZE", os.environ.get("CUDA_CACHE_MAXSIZE") or CACHE_BYTES):
        number = ctypes.c_int()
        try:
            library.cuDriverGetVersion(ctypes.byref(number))
            if code := library.cuInit(0):
                return Driver(number.value, None, said(library, code))
            return first_card(library, number)
        except AttributeError as error:  # a library of that name which is something else
            return Driver(number.value, None, f"{LIBRARY} is not a driver: {error}")


def first_card(library: ctypes.CDLL, number: ctypes.c_int) -> Driver:
    device, value, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    major_minor = []
    calls = [lambda: library.cuDeviceGet(ctypes.byref(device), 0)]
    calls += [lambda: library.cuDeviceGetName(name, len(name), device)]
    for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
        calls += [
            lambda a=attribute: library.cuDeviceGetAttribute(ctypes.byref(value), a, device),
            lambda: major_minor.append(value.value),
        ]
    for call in calls:
        if code := call():
            return Driver(number.value, None, said(library, code))
    card = Card(name.value.decode(errors="replace"), (major_minor[0], major_minor[1]))
    return Driver(number.value, card)


def said(library: ctypes.CDLL, code: int) -> str:
    """What an error of the driver means, in its own words."""
    words = ctypes.c_char_p()
    with suppress(AttributeError):
        if library.cuGetErrorString(code, ctypes.byref(words)) == 0 and words.value:
            return words.value.decode(errors="replace")
    return f"error {code} of the driver"


def release() -> str:
    """The driver's own version, such as 580.65.06; '' where the system does not tell."""
    with suppress(OSError):
        return Path("/sys/module/nvidia/version").read_text().strip()
    return ""


@contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    """An environment variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
