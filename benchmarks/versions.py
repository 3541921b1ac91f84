"""Which versions of MindSpore work: each in an environment of its own, the smoke runs, one table.

    bash scripts/run_versions.sh                        # all; writes docs/versions.md
    bash scripts/run_versions.sh 2.9.0 --out table.md

The environments (3 GB each) are removed as soon as they are not needed, unless --keep names a
folder for them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("2.7.0", "2.7.1", "2.7.2", "2.8.0", "2.9.0", "2.10.0")
PAGE = ROOT / "docs" / "versions.md"
RECIPE = {
    "name": "smoke",
    "data": {"name": "digits", "batch_size": 64},
    "model": {"name": "gan", "latent_dim": 8, "g_widths": [16, 24], "d_widths": [16]},
    "train": {"steps": 12, "ema_decay": 0.9},
    "every": {"log": 2, "sample": 6, "save": 6, "keep": 4},
    "runtime": {"device": "CPU"},
}
CONVOLUTIONS = {  # BatchNorm, transposed convolutions
    **RECIPE, "name": "convolutions", "model": {"name": "dcgan28", "latent_dim": 8},
}  # fmt: skip
PENALTY = {  # the gradient of a gradient, augmentation, beta1 = 0
    **RECIPE,
    "name": "penalty",
    "model": {**RECIPE["model"], "g_norm": "none", "conditional": True},
    "loss": "relativistic",
    "regularizer": {"name": "r1_r2", "weight": 0.1},
    "augment": {"name": "diff_augment"},
    "optimizer": {"beta1": 0.0},
}
READ = """
import sys, json
from ms_gan.runs import checkpoint
def values(path):
    return {k: v.tolist() for k, v in checkpoint.load(path)[0].items()}
left, right = map(values, sys.argv[1:3])
sys.exit(left != right)
"""


class Failed(Exception):
    """One of the runs did; its last line."""


class Trial:
    """One version: its environment, and the runs in it.

    Args:
        version: of MindSpore.
        base: the Python of which the environment is made.
        folder: for the environment and the runs.
    """

    def __init__(self, version: str, base: str, folder: Path):
        self.version, self.base, self.folder = version, base, folder
        self.venv = folder / "venv"
        self.python = self.venv / "bin" / "python"

    def install(self) -> None:
        """The environment of this version, with the rest of requirements.txt."""
        if self.python.is_file():
            return
        self.call(self.base, "-m", "venv", str(self.venv))
        lines = (ROOT / "requirements.txt").read_text().splitlines()
        wanted = [line.partition("#")[0].strip() for line in lines]
        others = [line for line in wanted if line and not line.startswith("mindspore")]
        pip = (str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        self.call(*pip, f"mindspore=={self.version}", *others)

    def generate(self) -> None:
        self.command("generate", "--pretrained", "mnist", "--format", "npy", "--out", "made")

    def train(self) -> None:
        self.command("train", "--config", self.recipe(RECIPE), "--run-dir", "whole")

    def goes_on(self) -> None:
        """What is interrupted and continued is what runs through, to the last bit."""
        for steps in (6, 12):
            self.command(
                *("train", "--config", self.recipe(RECIPE), "--run-dir", "parts"),
                f"train.steps={steps}",
            )
        last = Path("checkpoints") / "step_0000012.ckpt"
        self.call(str(self.python), "-c", READ, f"whole/{last}", f"parts/{last}")

    def convolutions(self) -> None:
        self.command("train", "--config", self.recipe(CONVOLUTIONS), "--run-dir", "convolutions")

    def penalty(self) -> None:
        self.command("train", "--config", self.recipe(PENALTY), "--run-dir", "penalty")

    def evaluate(self) -> None:
        self.command("evaluate", "whole", "--num", "512")

    def workers(self) -> None:
        self.command("distribute-train", "2", "--config", self.recipe(RECIPE), "--run-dir", "two")

    def recipe(self, tree: dict) -> str:
        path = self.folder / f"{tree['name']}.yaml"
        path.write_text(yaml.safe_dump(tree))
        return str(path)

    def command(self, *words: str) -> None:
        self.call(str(self.python), "-m", "ms_gan", *words)

    def call(self, *words: str) -> None:
        """Run something; raise Failed where it fails."""
        env = {k: v for k, v in os.environ.items() if k != "MS_GAN_SCRIPT"}
        env |= {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(self.folder / "cache")}
        done = subprocess.run(words, cwd=self.folder, env=env, capture_output=True, text=True)
        if done.returncode:
            lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
            raise Failed(lines[-1][:160])


RUNS: dict[str, Callable[[Trial], None]] = {
    "installs": Trial.install,
    "generate": Trial.generate,
    "train": Trial.train,
    "continues to the last bit": Trial.goes_on,
    "evaluate": Trial.evaluate,
    "convolutions, BatchNorm": Trial.convolutions,
    "R1 + R2, beta1 = 0": Trial.penalty,
    "two workers": Trial.workers,
}


def tried(trial: Trial) -> dict[str, str]:
    """run -> 'yes' or why not."""
    found = {}
    for name, run in RUNS.items():
        start = time.monotonic()
        try:
            run(trial)
            found[name] = "yes"
        except Failed as error:
            found[name] = f"no: {error}"
        print(
            f"{trial.version}: {name}: {found[name]} ({time.monotonic() - start:.0f} s)", flush=True
        )
        if name == "installs" and found[name] != "yes":
            break
    return found


def images(trial: Trial):
    """What the shipped generator makes there, or None."""
    import numpy as np

    files = sorted(trial.folder.rglob("made/*.npy"))
    return np.load(files[0]).astype(np.float64) if files else None


def page(rows: dict[str, dict[str, str]], differences: dict[str, float], python: str) -> str:
    """docs/versions.md"""
    lines = [
        "# Versions of MindSpore",
        "",
        "The driver or the CANN of a card often decides which MindSpore one has. Each version "
        "below was installed into an environment of its own, with the rest of `requirements.txt`, "
        f"and ran what the columns say, on a CPU, with Python {python}:",
        "",
        "```bash",
        "bash scripts/run_versions.sh                    # makes this page; 3 GB for each version",
        "```",
        "",
        f"| MindSpore | {' | '.join(RUNS)} | largest difference of an image |",
        f"|---|{'---|' * len(RUNS)}---|",
    ]
    for version, found in rows.items():
        cells = [found.get(name, "-") for name in RUNS]
        far = f"{differences[version]:.1e}" if version in differences else "-"
        lines.append(f"| {version} | {' | '.join(cells)} | {far} |")
    newest = list(rows)[-1]
    lines += [
        "",
        "* *generate*: 64 digits by the shipped generator. *largest difference*: of a pixel, -1 to "
        f"1, from what {newest} makes.",
        "* *continues to the last bit*: 6 updates, then 6 more, against 12 at once.",
        "* *convolutions* (`dcgan28`), *R1 + R2* (with an augmentation and labels) and *two "
        "workers*: 12 updates.",
        "",
        "The full tests run with 2.10.0, and every figure of these documents is of 2.10.0. On GPU "
        "and Ascend no other version was tried.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("versions", nargs="*", default=VERSIONS)
    options.add_argument("--python", default=sys.executable, help="of the environments (this one)")
    options.add_argument("--keep", type=Path, help="folder in which the environments stay")
    options.add_argument("--out", type=Path, default=PAGE, help="the page (docs/versions.md)")
    arguments = options.parse_args()
    rows, made = {}, {}
    for version in arguments.versions:
        above = arguments.keep or Path(tempfile.mkdtemp(prefix="ms_gan_versions_"))
        folder = (above / version).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        trial = Trial(version, arguments.python, folder)
        rows[version], made[version] = tried(trial), images(trial)
        if not arguments.keep:
            shutil.rmtree(above)
    newest = made[list(made)[-1]]
    differences = {
        version: abs(array - newest).max()
        for version, array in made.items()
        if array is not None and newest is not None
    }
    asked = [arguments.python, "-c", "import platform; print(platform.python_version())"]
    python = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    arguments.out.write_text(page(rows, differences, python), encoding="utf-8")
    print(f"{arguments.out}: written")


if __name__ == "__main__":
    main()
