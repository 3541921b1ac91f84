"""The bare update of any recipe, on images of no data set: a child of the benchmark.

Where updates differ (levels that grow, lazy penalties) each kind is measured, and the result is
their mean over the run.

    python -m benchmarks.recipes stylegan_sprites [--device GPU] [KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from functools import partial
from statistics import median

from benchmarks import measure
from benchmarks.ours import wait
from benchmarks.systems import CHANNELS

ENOUGH = 2048  # updates where the recipe gives epochs: every kind occurs as often as it should


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("recipe", help="a name in configs/")
    options.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = measure.with_options(options).parse_args()
    from benchmarks.kernels import Noise
    from ms_gan import session
    from ms_gan.recipe import reader

    device = f"runtime.device={arguments.device}"
    config = reader.load(reader.find(arguments.recipe), [device, *arguments.overrides])
    session.prepare(config, say=partial(print, file=sys.stderr))
    import mindspore

    from ms_gan import build
    from ms_gan.portability.cases import image_shape
    from ms_gan.system import runtime
    from ms_gan.training.feed import Feed

    runtime.set_device(arguments.device)
    runtime.set_mode("graph")
    imported = measure.since_start()
    channels, height, width = image_shape(config)
    shape = (CHANNELS.get(arguments.recipe, channels), height, width)
    state = build.build_training(config, shape, 10, {})
    steps = session.resolved(config).train.steps or ENOUGH
    state.settle(steps)
    inputs = Feed(Noise(shape, config.data.batch_size), state.rows, seed=0).at(0)
    wait(state.update(*inputs))
    first = measure.since_start() - imported
    times = []
    kinds = kinds_of(state.updates, steps)
    for step, share in kinds.items():
        update = state.updates.at(step)
        wait(update(*inputs))  # compiles
        found = measure.milliseconds(partial(update, *inputs), wait, arguments.budget / len(kinds))
        times.append((share, median(found)))
    measure.report(
        step_ms=sum(share * ms for share, ms in times),
        kinds_ms=[ms for _, ms in times],
        batch=config.data.batch_size,
        first_step_s=first,
        peak_mib=measure.peak_mib(),
        threads=measure.threads(),
        instruction_set=measure.instruction_set(arguments.device),
        versions={"mindspore": mindspore.__version__},
    )


def kinds_of(updates, steps: int) -> dict[int, float]:
    """An update of each kind -> its share of the run."""
    first: dict[int, int] = {}
    count: Counter[int] = Counter()
    for step in range(steps):
        kind = id(updates.at(step))
        first.setdefault(kind, step)
        count[kind] += 1
    return {step: count[kind] / steps for kind, step in first.items()}


if __name__ == "__main__":
    main()
