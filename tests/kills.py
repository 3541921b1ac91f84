"""Real trainings that are killed: at an exact write, or at any moment; and what must be equal."""

import json
import signal
import time
from pathlib import Path

import yaml

from ms_gan.runs import checkpoint
from ms_gan.runs.run_dir import RunDir
from tests.tiny import python

# Stands before the command in a process of its own: every change of a file of the run is an event,
# and the process kills itself at the one that is asked for; of a write, half has been done by then.
KILLS_ITSELF = r"""
import builtins, io, json, os, re, signal, sys, time
plan = json.loads(sys.argv[1])
sys.argv = ["ms-gan", *sys.argv[2:]]
names = open(plan["names"], "w", buffering=1)
matches = 0

def event(kind, path, half=None):
    global matches
    path = os.path.abspath(os.fspath(path)) if not isinstance(path, int) else ""
    if not path.startswith(plan["folder"]):
        return
    name = re.sub(r"\d+", "0", os.path.relpath(path, plan["folder"]))
    names.write(f"{kind} {name}\n")
    if plan.get("pattern") and re.search(plan["pattern"], f"{kind} {name}"):
        matches += 1
    if matches and matches == plan.get("nth"):
        if half:
            half()
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

class Writer:
    def __init__(self, file, path):
        self.file, self.path = file, path
    def write(self, content):
        def half():
            self.file.write(content[: len(content) // 2])
            self.file.flush()
        event("write", self.path, half)
        return self.file.write(content)
    def __getattr__(self, name):
        return getattr(self.file, name)
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.file.close()

def opened(path, mode="r", *arguments, **options):
    if set(mode) & set("wax+"):
        event("open", path)
        return Writer(real_open(path, mode, *arguments, **options), path)
    return real_open(path, mode, *arguments, **options)

real_open = builtins.open
builtins.open = io.open = opened

def hooked(name, of=0, after=False):
    real = getattr(os, name)
    def function(*arguments, **options):
        event(name, arguments[of])
        result = real(*arguments, **options)
        if after:
            event(f"after {name}", arguments[of])
        return result
    setattr(os, name, function)

hooked("replace", of=1, after=True)
hooked("unlink")
hooked("mkdir")
from ms_gan import cli
sys.exit(cli.main())
"""

SMALL = {"name": "digits", "size": 8, "batch_size": 16}
NETS = {"name": "gan", "latent_dim": 4, "g_widths": [8, 8], "d_widths": [8]}
EVERY = {"log": 2, "sample": 4, "save": 3, "keep": 2}
RECIPES = {
    "plain": {
        "data": SMALL, "model": NETS, "train": {"steps": 9}, "every": EVERY,
    },
    "conditional": {
        "data": SMALL, "model": {**NETS, "conditional": True},
        "train": {"steps": 9, "ema_decay": 0.9}, "every": {**EVERY, "evaluate": 4},
    },
    "penalised": {
        "data": SMALL, "model": NETS, "loss": "wasserstein",
        "regularizer": {"name": "gradient_penalty", "weight": 10.0},
        "train": {"steps": 9, "d_steps": 2, "ema_decay": 0.9}, "every": EVERY,
    },
    "relativistic": {
        "data": {**SMALL, "flip": True, "sampling": "random"}, "model": NETS,
        "loss": "relativistic", "regularizer": {"name": "r1_r2", "weight": 1.0},
        "optimizer": {"lr_d": {"start": 1e-3, "end": 1e-4, "steps": 9}, "lr_g": 1e-3},
        "train": {"steps": 9, "history": 16, "ema_decay": 0.9}, "every": EVERY,
    },
    "pictures": {
        "data": {**SMALL, "size": 16}, "input": {"name": "low_resolution"},
        "model": {"name": "srgan", "g_width": 8, "blocks": 1},
        "terms": {"pixel": 10.0}, "train": {"steps": 9}, "every": EVERY,
    },
    "growing": {  # three levels, in whose fades and at whose changes it is killed; a lazy penalty
        "data": {**SMALL, "size": 16},
        "model": {
            "name": "progan", "levels": [3, 3, 3], "latent_dim": 8, "g_widths": [8, 8, 4],
            "d_widths": [8, 8, 4],
        },
        "loss": "non_saturating", "regularizer": {"name": "r1", "weight": 1.0, "every": 2},
        "train": {"steps": 9, "ema_decay": 0.9}, "every": EVERY,
    },
    "styles": {
        "data": {**SMALL, "size": 16},
        "model": {
            "name": "stylegan", "latent_dim": 8, "style_dim": 8, "mapping_layers": 2,
            "g_widths": [8, 4], "d_widths": [8, 4],
        },
        "loss": "non_saturating", "regularizer": {"name": "r1", "weight": 1.0, "every": 2},
        "train": {"steps": 9, "ema_decay": 0.9}, "every": EVERY,
    },
}  # fmt: skip


def words(name, folder):
    """The command that trains that recipe in the folder."""
    recipe = Path(folder).parent / f"{name}.yaml"
    tree = {"name": name, **RECIPES[name], "runtime": {"device": "CPU"}}
    recipe.write_text(yaml.safe_dump(tree))
    return ["train", "--config", recipe, "--run-dir", folder]


def train(name, folder, **plan):
    """Start it; it ends at the event of the plan, else at its end. Return whether it was killed,
    and the events until then.

    Args:
        plan: the `nth` event that a `pattern` finds.
    """
    names = Path(folder).parent / "events.txt"
    plan |= {"names": str(names), "folder": str(folder)}
    process = python("-c", KILLS_ITSELF, json.dumps(plan), *words(name, folder))
    out, err = process.communicate(timeout=300)
    assert process.returncode in (0, -signal.SIGKILL), (out, err)
    return process.returncode != 0, names.read_text().splitlines()


def kill_after(name, folder, seconds):
    """Kill it so many seconds after its folder is there; whether it was still at work."""
    process = python("-m", "ms_gan", *words(name, folder))
    while not (Path(folder) / "config.yaml").is_file() and process.poll() is None:
        time.sleep(0.002)
    time.sleep(seconds)
    process.kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGKILL), (out, err)
    return process.returncode != 0


def content(folder):
    """What a run has made: path -> bytes, or what is compared in their place."""
    run, found = RunDir(folder), {}
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if path.suffix == ".ckpt":
            arrays, meta = checkpoint.load(path)
            found[name] = {key: array.tobytes() for key, array in arrays.items()}, meta
        elif path == run.log_file:
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in r.items() if k != "images_per_second"} for r in rows]
        elif path == run.report_file:  # says when it was made, and where
            found[name] = path.read_text(encoding="utf-8").endswith("</html>")
        elif path == run.manifest_file:
            found[name] = run.manifest["data"], run.manifest["drawn"]
        else:
            found[name] = path.read_bytes()
    return found


def assert_equal(killed, whole):
    """Both are what :func:`content` gives."""
    assert killed.keys() == whole.keys()
    for name in whole:
        assert killed[name] == whole[name], name
