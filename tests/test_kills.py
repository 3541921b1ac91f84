"""Runs that were killed end as the run that never was: every file, every bit."""

import os
import random
import re

import pytest

from tests import kills

KILLS = int(os.environ.get("MS_GAN_KILLS", "40"))  # of each recipe, in the long version
# In this order, on one run: each process goes on where the one before was killed.
MOMENTS = (
    ("write .config.", 1),  # half of the recipe
    ("after mkdir|mkdir checkpoints", 1),
    ("write .manifest.", 1),
    ("write samples/.0", 1),  # the first picture
    ("write log.jsonl", 2),  # a line is cut
    ("write .*step_0.0.ckpt", 20),  # half of a checkpoint
    ("^replace checkpoints", 1),  # complete, but not yet in its place
    ("after replace checkpoints", 2),  # in its place, but nothing that follows
    ("unlink checkpoints/step", 1),  # the old one is still there
    ("write .progress.", 1),  # the film
)


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory):
    """name of a recipe -> (content, events) of the run without a kill; made once."""
    made = {}

    def of(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name) / "run"
            killed, events = kills.train(name, folder)
            assert not killed
            made[name] = kills.content(folder), events
        return made[name]

    return of


def test_ten_kills_at_the_writes_of_a_run(never_killed, tmp_path):
    whole, _ = never_killed("plain")
    folder = tmp_path / "run"
    for pattern, nth in MOMENTS:
        killed, events = kills.train("plain", folder, pattern=pattern, nth=nth)
        assert killed and re.search(pattern, events[-1]), (pattern, sorted(set(events)))
    assert not kills.train("plain", folder)[0]
    kills.assert_equal(kills.content(folder), whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", kills.RECIPES)
def test_kills_at_any_write_and_at_any_moment(name, never_killed, tmp_path):
    """Of each recipe, 40: three fifths at an event that chance chooses, the others at a moment."""
    wanted = {"write": KILLS * 3 // 5, "moment": KILLS - KILLS * 3 // 5}
    whole, events = never_killed(name)
    kinds = sorted(set(events))
    chance, done, chains = random.Random(f"kills of {name}"), {"write": 0, "moment": 0}, 0
    while left := {kind: wanted[kind] - done[kind] for kind in done if wanted[kind] > done[kind]}:
        chains += 1
        folder = tmp_path / f"run_{chains}"
        for _ in range(8):
            (kind,) = chance.choices(list(left), left.values())
            if kind == "write":
                event = chance.choice(kinds)
                nth = chance.randint(1, events.count(event))
                killed, _ = kills.train(name, folder, pattern=f"^{re.escape(event)}$", nth=nth)
            else:
                killed = kills.kill_after(name, folder, chance.uniform(0, 4))
            done[kind] += killed
            left = {kind: wanted[kind] - done[kind] for kind in done if wanted[kind] > done[kind]}
            if not killed or not left:
                break
        if killed:
            assert not kills.train(name, folder)[0]
        kills.assert_equal(kills.content(folder), whole)
        so_far = f"{done['write']} kills at writes, {done['moment']} at moments"
        print(f"{name}: {so_far}: {chains} runs equal the one without", flush=True)
