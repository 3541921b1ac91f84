"""Warnings from the rows of a log: by rule, once each, the same after a kill."""

import pytest

from ms_gan.training.signs import ROWS, SIGNS, Signs
from ms_gan.training.trainer import spread

GOOD = {
    "loss_d": 1.2, "real_score": 0.5, "fake_score": -0.4, "real_spread": 0.8, "fake_spread": 0.6,
}  # fmt: skip
OUTRIGHT = {**GOOD, "loss_d": 0.01, "real_score": 6.0, "fake_score": -7.0}
ALIKE = {**GOOD, "fake_spread": 0.001}
SAID = [text for _, text in SIGNS]


def said(rows, before=()):
    """(number of the row, warning) of every warning, as the trainer puts them into the log."""
    signs, found = Signs(before), []
    for number, row in enumerate(rows):
        found += [(number, text) for text in signs.new(row)]
    return found


@pytest.mark.parametrize(("row", "which"), [(OUTRIGHT, 0), (ALIKE, 1)])
def test_what_lasts_is_said_once(row, which):
    rows = [GOOD] * 3 + [row] * 30 + [GOOD] + [row] * 30
    assert said(rows) == [(3 + ROWS - 1, SAID[which])]


@pytest.mark.parametrize("row", [OUTRIGHT, ALIKE])
def test_what_passes_is_not_said(row):
    assert said(([row] * (ROWS - 1) + [GOOD]) * 5) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"loss_d": -0.5, "real_score": 40.0, "fake_score": 2.0},  # a critic, which has no end
        {"loss_d": 0.01, "real_score": 0.01, "fake_score": 0.0},  # a critic that knows nothing
        {"loss_d": 0.26, "real_score": 0.6, "fake_score": 0.4},  # least squares in balance
        {"real_spread": 0.0, "fake_spread": 0.0},  # a discriminator without an opinion
        {"real_spread": 3.0, "fake_spread": 0.05},
    ],
)
def test_what_is_no_sign(changes):
    assert said([{**GOOD, **changes}] * 50) == []


def test_both_at_once_and_after_a_kill_anywhere():
    """A continued run says the rest of what one that was never interrupted says."""
    rows = [GOOD] * 4 + [{**OUTRIGHT, **ALIKE, "loss_d": 0.01, "real_score": 6.0}] * 20
    whole = said(rows)
    assert [text for _, text in whole] == SAID
    for cut in range(len(rows)):
        log = [dict(row) for row in rows[:cut]]
        for number, text in whole:
            if number < cut:
                log[number]["warning"] = "; ".join(filter(None, [log[number].get("warning"), text]))
        assert said(rows[cut:], log) == [(n - cut, text) for n, text in whole if n >= cut]


def test_logs_of_before_and_other_rows_do_not_count():
    old = {k: v for k, v in ALIKE.items() if "spread" not in k}
    assert said([ALIKE] * (ROWS - 1), [old] * 20 + [{"step": 3, "changed": {}}]) == []


def test_the_spread_of_scores(rng):
    scores = rng.normal(2.0, 3.0, 64)
    assert spread(scores) == pytest.approx(scores.std())
    patches = rng.normal(0, 1, (8, 900)) + scores[:8, None]
    assert spread(patches) == pytest.approx(patches.mean(axis=1).std())
