"""Random numbers of the host: no two streams meet, and nothing draws beside them."""

import ast
import re
from itertools import combinations, product

import numpy as np
import pytest

from ms_gan.data import Batches
from ms_gan.data.dataset import Dataset
from ms_gan.system import streams
from ms_gan.system.streams import Choice, Stream
from ms_gan.training.feed import Feed, Rows
from tests.tiny import ROOT

SEEDS = (0, 1, 2, 3, 5, 7, 1234, 2**32 - 1)
COUNTERS = (0, 1, 2, 3, 7, 468, 10**7)


def starts():
    """(stream, seed, counter) -> its first 100 numbers."""
    found = {}
    for stream, seed, counter in product(Stream, SEEDS, COUNTERS):
        if stream is not Stream.LATENTS or counter == 0:  # all latents of a seed are one draw
            found[stream, seed, counter] = streams.rng(stream, seed, counter).random(100)
    return found


def test_no_two_streams_meet_but_for_one_known_pair():
    """Whatever the seeds and counters are: not one number of the first 100 comes twice."""
    found = starts()
    owner = {}
    for key, numbers in found.items():
        for number in numbers:
            owner.setdefault(number, set()).add(key)
    met = {frozenset(keys) for keys in owner.values() if len(keys) > 1}
    assert met == {
        frozenset({(Stream.LATENTS, seed, 0), (Stream.ORDER, seed, 0)}) for seed in SEEDS
    }
    for seed in SEEDS:
        np.testing.assert_array_equal(found[Stream.LATENTS, seed, 0], found[Stream.ORDER, seed, 0])


def test_what_follows_no_seed_meets_no_stream():
    """The same images for everybody, and never in the order of a stream or of each other."""
    orders = {
        (choice, num): streams.chosen(choice, 100, num) for choice in Choice for num in (0, 2000)
    }
    for (choice, num), order in orders.items():
        np.testing.assert_array_equal(np.sort(order), np.arange(100))
        np.testing.assert_array_equal(order, streams.chosen(choice, 100, num))
    of_streams = [
        streams.rng(stream, seed, counter).permutation(100)
        for stream, seed, counter in product(Stream, SEEDS, COUNTERS)
    ]
    for one, other in combinations(orders.values(), 2):
        assert (one != other).any()
    for one, other in product(orders.values(), of_streams):
        assert (one != other).any()


def test_the_numbers_of_the_streams_are_for_ever():
    """Another one would change every run: how a stream begins, written down."""
    assert {stream.name: stream.number for stream in Stream} == {
        "LATENTS": 1, "ORDER": 1, "TRAINING": 2, "SHIFT": 3, "GIVEN": 6, "DRAW": 7,
        "FLIP": 9, "PATCHES": 10,
    }  # fmt: skip
    assert {choice.name: choice.value for choice in Choice} == {
        "SPLIT": 4, "FLOOR": 5, "PAIR": 11, "STACK": 12, "STROKES": 13,
    }  # fmt: skip
    for stream in Stream:
        expected = np.random.default_rng([5, stream.number, 9]).random(10)
        np.testing.assert_array_equal(streams.rng(stream, 5, 9).random(10), expected)


def correlations(rows, z):
    """Largest |r| of a column of row numbers [steps, B] with a column of |z| [steps, K]."""
    columns = np.concatenate([rows, np.abs(z)], axis=1).astype(np.float64)
    return np.abs(np.corrcoef(columns.T)[: rows.shape[1], rows.shape[1] :]).max()


def test_drawn_images_say_nothing_about_the_latents_of_their_step():
    """Else a conditional generator would learn from latents that know the label."""
    steps, batch, size = 4000, 2, 1000
    images, labels = np.zeros((size, 1, 1, 1), np.uint8), np.arange(size, dtype=np.int32)
    dataset = Dataset("rows", images, labels, tuple(map(str, range(size))), "here", {})
    batches = Batches(dataset, batch, seed=0, sampling="random")
    feed = Feed(batches, Rows(batch, latents=2, labelled=True), seed=0)
    fed = [feed.at(step) for step in range(steps)]
    rows, z = (np.stack([tensors[i].asnumpy().ravel() for tensors in fed]) for i in (2, 1))
    assert len(np.unique(rows)) > 0.9 * size
    assert correlations(rows, z) < 0.05
    # What it would be if both came from the same bits: the check sees it.
    keys = [[0, Stream.TRAINING.number, step] for step in range(steps)]
    same = np.stack([np.random.default_rng(key).integers(size, size=batch) for key in keys])
    assert correlations(same, z) > 0.7


# A layer's fixed start, the same for every seed.
ALLOWED = {
    ("models/spectral_norm.py", "np.random.default_rng(rows)"),
    ("convolution/trial.py", "np.random.default_rng(0)"),  # of a trial, of no training
}
DRAWS = re.compile(r"(np|numpy)\.random\.\w+|random\.\w+|(.+\.)?default_rng")


def drawn_numbers(path):
    """The expressions in a module that make or use a random generator of their own."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and DRAWS.fullmatch(ast.unparse(node.func)):
            yield ast.unparse(node)
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("random"):
            yield ast.unparse(node)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "ms_gan").rglob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT / "ms_gan")),
)  # fmt: skip
def test_only_streams_draws_random_numbers(path):
    name = path.relative_to(ROOT / "ms_gan").as_posix()
    found = {(name, expression) for expression in drawn_numbers(path)}
    if name == "system/streams.py":
        assert len(found) == 3, found  # `rng`, `fixed` and `chosen`
    else:
        assert found <= ALLOWED
