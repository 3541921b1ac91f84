"""Import ms_gan first: it prepares the process before anything imports MindSpore."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest

import ms_gan  # noqa: F401

# One instruction set for all tests and the processes that they start, whichever comes first: from
# here on the choice of ms_gan counts as the user's, so a fully connected recipe does not lift it.
os.environ.pop("MS_GAN_SET_ISA", None)
# What the script that runs the tests says of itself is not about the commands that they try.
os.environ.pop("MS_GAN_SCRIPT", None)

from tests.tiny import ROOT, recipe_file, run  # noqa: E402


def pytest_collection_finish(session):
    """What is there by now stays: nobody need look at it again. MindSpore collects garbage before
    each compilation, of half a million objects of imports and tests: 0.26 s, a tenth of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=["graph", "pynative"])
def mode(request):
    """Both execution modes, one after the other; graph mode is restored."""
    from ms_gan.system import runtime

    runtime.set_mode(request.param)
    yield request.param
    runtime.set_mode("graph")


@pytest.fixture(autouse=True)
def graph_mode(request):
    """Tests that import MindSpore run in graph mode unless they ask for another one."""
    if "mode" not in request.fixturenames and "mindspore" in __import__("sys").modules:
        from ms_gan.system import runtime

        runtime.set_mode("graph")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """What is decoded or downloaded in a test does not go to the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium, or a loud skip."""
    from tests.browser import launched

    with launched() as started:
        yield started


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def mnist_root():
    """The folder of the real MNIST, or a loud skip."""
    for place in (os.environ.get("MS_GAN_DATA"), ROOT.parent / "shared" / "data"):
        if place and list(Path(place).rglob("train-images*idx3-ubyte*")):
            return str(place)
    pytest.skip("REAL MNIST NOT FOUND: set MS_GAN_DATA to the folder that holds it")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a finished run: RECIPE's 12 steps by the command, uninterrupted.

    Tests that change it take a copy (tiny.copy_run).
    """
    folder = tmp_path_factory.mktemp("trained")
    code, _, err = run("train", "--config", recipe_file(folder), "--run-dir", folder / "run")
    assert code == 0, err
    return folder / "run"
