"""What a step receives: a pure function of (seed, step), of the shape that the step takes."""

import ast
import threading

import numpy as np
import pytest

from mindspore import Tensor

from ms_gan.data import Batches
from ms_gan.data.dataset import Dataset
from ms_gan.training.feed import Ahead, Feed, Rows
from tests import tiny
from tests.tiny import ROOT, refused

N, SHAPE = 4, (1, 4, 4)
# batch, d_steps, same_latents, latents, numbers, labelled
ROWS = {
    "plain": Rows(N, latents=5),
    "with labels": Rows(N, latents=5, labelled=True),
    "two updates": Rows(N, d_steps=2, latents=5, numbers=(1, 4), labelled=True),
    "other latents": Rows(N, same_latents=False, latents=5, numbers=(0, 4)),
    "both": Rows(N, d_steps=3, same_latents=False, latents=5, numbers=(1, 0, 2), labelled=True),
    "numbers of the regularizer": Rows(N, latents=5, numbers=(2, 0)),
    "no latents": Rows(N, d_steps=2, numbers=(0, 3)),
}
each = pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, *SHAPE), np.uint8)
    return Dataset("noise", images, np.arange(50, dtype=np.int32) % 10, tuple("0123456789"), "", {})


def feed_of(dataset, rows, seed=3):
    return Feed(Batches(dataset, rows.batch, seed=7), rows, seed=seed)


def arrays(feed, step):
    return [None if x is None else x.asnumpy() for x in feed.at(step)]


def same(one, other):
    return [
        a is b if a is None or b is None else a.tobytes() == b.tobytes()
        for a, b in zip(one, other, strict=True)
    ]


# --- a pure function of (seed, step) --------------------------------------------------------------


@each
def test_a_step_is_the_same_whatever_was_asked_before(dataset, rows):
    feed, other = feed_of(dataset, rows), feed_of(dataset, rows)
    forwards = [arrays(feed, step) for step in (0, 1, 30)]
    backwards = [arrays(other, step) for step in (30, 1, 0)]
    for one, again in zip(forwards, reversed(backwards), strict=True):
        assert all(same(one, again))


@each
def test_steps_and_seeds_have_numbers_of_their_own(dataset, rows):
    _, z, _, numbers = arrays(feed_of(dataset, rows), 5)
    for seed, step in ((3, 6), (4, 5), (5, 3)):
        _, other_z, _, other_numbers = arrays(feed_of(dataset, rows, seed), step)
        for one, other in ((z, other_z), (numbers, other_numbers)):
            assert one is None or not np.isin(one, other).any()


def test_big_seeds_and_steps(dataset):
    feed = feed_of(dataset, ROWS["both"], seed=2**32 - 1)
    assert all(np.isfinite(x).all() for x in arrays(feed, 10**7))


# --- rows, types, ranges --------------------------------------------------------------------------


@each
def test_rows_types_and_ranges(dataset, rows):
    real, z, labels, numbers = arrays(feed_of(dataset, rows), 2)
    assert real.shape == (rows.batch * rows.d_steps, *SHAPE) and real.dtype == np.float32
    assert real.min() >= -1 and real.max() <= 1 and real.std() > 0.4
    if rows.latents:
        made = rows.batch * (rows.d_steps + (not rows.same_latents))
        assert z.shape == (made, rows.latents) and z.dtype == np.float32
    if rows.labelled:
        assert labels.shape == (len(real),) and labels.dtype == np.int32
    if sum(rows.numbers):
        assert numbers.shape == (len(real), sum(rows.numbers)) and numbers.dtype == np.float32
        assert numbers.min() >= 0 and numbers.max() < 1
        assert (numbers.std(axis=0) > 0.1).all()
    given = [x is not None for x in (z, labels, numbers)]
    assert given == [rows.latents > 0, rows.labelled, sum(rows.numbers) > 0]


@each
def test_update_i_gets_batch_number_i(dataset, rows):
    batches = Batches(dataset, rows.batch, seed=7)
    feed = Feed(batches, rows, seed=3)
    for step in (0, 4, 11):  # an epoch has 12 batches
        real, _, labels, _ = arrays(feed, step)
        for i in range(rows.d_steps):
            part = slice(i * N, (i + 1) * N)
            images, classes = batches.at(step * rows.d_steps + i)
            np.testing.assert_array_equal(real[part], images)
            if rows.labelled:
                np.testing.assert_array_equal(labels[part], classes)


def test_latents_are_normal_and_numbers_uniform(dataset):
    rows = Rows(N, d_steps=10, latents=100, numbers=(1, 99))
    fed = [arrays(feed_of(dataset, rows), step) for step in range(25)]
    z, numbers = (np.stack([x[i] for x in fed]).astype(np.float64) for i in (1, 3))
    n = z.size
    assert n == numbers.size == 100_000
    assert abs(z.mean()) < 4 / np.sqrt(n)
    assert abs((z**2).mean() - 1) < 4 * np.sqrt(2 / n)
    assert abs((z**4).mean() - 3) < 4 * np.sqrt(96 / n)
    assert abs(numbers.mean() - 1 / 2) < 4 * np.sqrt(1 / 12 / n)
    assert abs((numbers**2).mean() - 1 / 3) < 4 * np.sqrt(4 / 45 / n)


# --- bits that runs of earlier versions have ------------------------------------------------------


@each
@pytest.mark.parametrize("seed, step", [(0, 0), (3, 7), (2**32 - 1, 10**6)])
def test_the_formula_to_the_last_bit(dataset, rows, seed, step):
    """A normal block, then one uniform block after the other.

    The first one, of the regularizer, has a column even where nobody wants it: so runs that were
    begun before there was an augmentation continue to the bit.
    """
    _, z, _, numbers = arrays(feed_of(dataset, rows, seed), step)
    rng = np.random.default_rng([seed, 2, step])
    expected_z = rng.standard_normal((rows.made, rows.latents), np.float32)
    blocks = []
    for i, width in enumerate(rows.numbers):
        drawn = max(width, 1) if i == 0 else width
        blocks.append(rng.random((rows.made, drawn), np.float32)[: rows.real, :width])
    if rows.latents:
        assert z.tobytes() == expected_z.tobytes()
    if sum(rows.numbers):
        np.testing.assert_array_equal(numbers, np.concatenate(blocks, axis=1))


def test_numbers_of_one_part_do_not_move_those_before(dataset):
    """A term beside a penalty leaves its interpolation, and both leave the latents, as they are."""
    alone, both, neither = (
        arrays(feed_of(dataset, Rows(N, latents=5, numbers=numbers)), 2)
        for numbers in ((1, 4), (1, 4, 3), (0, 0))
    )
    np.testing.assert_array_equal(both[3][:, :5], alone[3])
    assert all(x[1].tobytes() == alone[1].tobytes() for x in (both, neither))
    without_penalty = arrays(feed_of(dataset, Rows(N, latents=5, numbers=(0, 4))), 2)
    np.testing.assert_array_equal(without_penalty[3], alone[3][:, 1:])


# --- feed and step cannot disagree ----------------------------------------------------------------


def test_batches_of_another_size_are_refused(dataset):
    batches = Batches(dataset, 5, seed=0)
    message = refused(ValueError, Feed, batches, Rows(4, latents=5), seed=0)
    assert message == "batches of 5 images, but the step takes 4"


@pytest.mark.parametrize(
    "train", [{}, {"d_steps": 2}, {"same_latents": False}, {"d_steps": 3, "same_latents": False}]
)
def test_how_the_rows_lie_is_said_once(dataset, train):
    """A recipe says it to the state; the step that slices and the feed that fills read it there."""
    sections = {"regularizer": "gradient_penalty", "augment": "diff_augment"}
    state = tiny.state_of(SHAPE, 10, batch=N, train=train, **sections)
    assert state.update.rows is state.rows
    rows = {"d_steps": 1, "same_latents": True, **train}
    assert {name: getattr(state.rows, name) for name in rows} == rows
    real, z, labels, numbers = arrays(feed_of(dataset, state.rows), 0)
    assert (len(real), len(z), len(numbers)) == (state.rows.real, state.rows.made, state.rows.real)
    assert labels is None  # the generator is unconditional
    assert (z.shape[1], numbers.shape[1]) == (tiny.NETS["latent_dim"], 1 + 4)


def test_nobody_else_is_told():
    """No function takes d_steps or same_latents: two who are told can be told different things."""
    for path in (ROOT / "ms_gan").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.arguments):
                names = {a.arg for a in (*node.posonlyargs, *node.args, *node.kwonlyargs)}
                assert not names & {"d_steps", "same_latents"}, path


@pytest.mark.parametrize(
    "real, z, message",
    [
        (N, 2 * N, f"real: {N} rows; this step takes {2 * N}"),
        (3 * N, 3 * N, f"real: {3 * N} rows; this step takes {2 * N}"),
        (2 * N, N, f"z: {N} rows; this step takes {2 * N}"),
        (2 * N, 3 * N, f"z: {3 * N} rows; this step takes {2 * N}"),
    ],
)
def test_the_step_refuses_rows_that_do_not_fit(real, z, message, mode):
    """It would train on half a batch, or on latents of nobody, without a word."""
    state = tiny.state_of(SHAPE, batch=N, train={"d_steps": 2})
    before = tiny.values(state)
    with pytest.raises(ValueError, match=message):
        state.update(
            Tensor(np.zeros((real, *SHAPE), np.float32)), Tensor(np.zeros((z, 8), np.float32))
        )
    tiny.assert_same_bits(before, tiny.values(state))


def test_a_step_made_ahead_is_the_step_that_was_asked_for():
    """In order, again, backwards and far away; an error comes from the call whose step it is."""

    class Numbered:
        def at(self, step):
            if step == 5:
                raise OSError("a picture is gone")
            return step, threading.get_ident()

    ahead = Ahead(Numbered())
    given = [ahead.at(step) for step in (0, 1, 2, 2, 7, 8, 3, 4)]
    assert [step for step, _ in given] == [0, 1, 2, 2, 7, 8, 3, 4]
    threads = {thread for _, thread in given}
    assert len(threads) == 1 and threading.get_ident() not in threads
    with pytest.raises(OSError, match="a picture is gone"):
        ahead.at(5)
    assert ahead.at(6)[0] == 6
