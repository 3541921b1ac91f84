"""Whether two checkouts train alike to the last bit: the losses in the log and every weight.

Both run `ms-gan train` with the same Python on the same machine, one after the other; a change that
is not meant to change results is checked so. Bits differ between makes of CPU and versions.

    git worktree add ../before COMMIT
    python -m benchmarks.same_bits ../before --recipes default gan_mnist --steps 50
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import measure

HERE = Path(__file__).resolve().parent.parent
RECIPES = ("default", "gan_mnist", "wgan_gp_mnist", "sngan_mnist")
READ = """
import json, sys
import mindspore as ms
values = ms.load_checkpoint(sys.argv[1])
values = {k: v for k, v in values.items() if not k.startswith("ms_gan")}
print(json.dumps({k: v.asnumpy().tobytes().hex() for k, v in values.items()}))
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("other", type=Path, help="another checkout")
    options.add_argument("--recipes", nargs="+", default=RECIPES, help="names in configs/")
    options.add_argument("--steps", type=int, default=50)
    options.add_argument(
        "--continue-here",
        action="store_true",
        help="half of the steps there, the rest here, against all of them there",
    )
    options.add_argument("--overrides", nargs="*", default=[], metavar="key=value")
    arguments = options.parse_args()
    found = {}
    for recipe in arguments.recipes:
        with tempfile.TemporaryDirectory(prefix="ms_gan_same_bits_") as folder:
            there, here = Path(folder) / "there", Path(folder) / "here"
            words = [recipe, arguments.overrides]
            run(arguments.other, there, *words, arguments.steps)
            if arguments.continue_here:
                run(arguments.other, here, *words, arguments.steps // 2)
            run(HERE, here, *words, arguments.steps)
            found[recipe] = difference(there, here, arguments.steps)
    measure.report(**found)
    sys.exit(any(found.values()))


def run(checkout: Path, folder: Path, recipe: str, overrides: list[str], steps: int) -> None:
    words = [
        "train",
        "--config",
        recipe,
        "--run-dir",
        str(folder),
        f"train.steps={steps}",
        "every.log=5",
        "every.sample=0",
        "every.evaluate=0",
        "every.save=0",
        *overrides,
    ]
    python(checkout, "-m", "ms_gan", *words)


def python(checkout: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True,
                          text=True, cwd=checkout)  # fmt: skip
    if done.returncode:
        sys.exit(f"{checkout}: {done.stderr.strip()}")
    return done.stdout


def difference(there: Path, here: Path, steps: int) -> list[str]:
    """Names of what differs: log lines (without their pace) and parameters."""
    logs = [
        [
            {k: v for k, v in json.loads(line).items() if k != "images_per_second"}
            for line in (run / "log.jsonl").read_text().splitlines()
        ]
        for run in (there, here)
    ]
    name = f"checkpoints/step_{steps:07d}.ckpt"
    left, right = (
        json.loads(python(HERE, "-c", READ, str(run / name)).splitlines()[-1])
        for run in (there, here)
    )
    wrong = ["log.jsonl"] if logs[0] != logs[1] else []
    return wrong + [k for k in {**left, **right} if left.get(k) != right.get(k)]


if __name__ == "__main__":
    main()
