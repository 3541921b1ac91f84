"""Signs of a training that goes wrong, in the numbers that are logged anyway.

What is said is a function of the rows of the log, so a continued run says what one that was never
interrupted says, and everything once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

ROWS = 10  # logged rows in a row that show a sign, before it is said
LOW = 0.05  # a loss of D, as with D(x) = 0.975 and D(G(z)) = 0.025
APART = 0.9  # between the mean scores of real and generated images: least squares wants 1
ALIKE = 0.01  # spread of the scores of generated images, of that of the real ones


def outright(row: Mapping[str, Any]) -> bool:
    """D tells every image: its loss is near 0. A critic's loss is below 0 when it wins."""
    return 0 <= row["loss_d"] < LOW and row["real_score"] - row["fake_score"] > APART


def alike(row: Mapping[str, Any]) -> bool:
    """D gives all generated images one score, but not all real ones."""
    return row["fake_spread"] < ALIKE * row["real_spread"]


# What a row shows -> the warning, with what helps.
SIGNS = (
    (
        outright,
        f"the discriminator wins outright: its loss is below {LOW} in {ROWS} logged rows, which "
        "teaches the generator little; lower optimizer.lr_d, or give a regularizer (r1_r2), an "
        "augment, or fewer d_steps",
    ),
    (
        alike,
        f"the samples look alike to the discriminator in {ROWS} logged rows: the generator may "
        "have collapsed; go back to an older checkpoint with smaller learning rates, or start with "
        "train.pack=2 or a regularizer (r1_r2)",
    ),
)
KEYS = ("loss_d", "real_score", "fake_score", "real_spread", "fake_spread")


class Signs:
    """Looks at the last rows of a log as it grows.

    Args:
        rows: of the log so far.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]):
        rows = list(rows)
        self.last = [row for row in rows if row.keys() >= set(KEYS)][-ROWS:]
        self.said = [str(row["warning"]) for row in rows if "warning" in row]

    def new(self, row: Mapping[str, Any]) -> list[str]:
        """What the row shows that was not said before."""
        self.last = [*self.last[-ROWS + 1 :], row]
        found = [text for shows, text in SIGNS if self.lasting(shows) and not self.known(text)]
        self.said += found
        return found

    def lasting(self, shows: Callable[[Mapping[str, Any]], bool]) -> bool:
        return len(self.last) == ROWS and all(shows(row) for row in self.last)

    def known(self, text: str) -> bool:
        return any(text in earlier for earlier in self.said)
