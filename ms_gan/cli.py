"""The command line: argparse, printing, exit codes. MindSpore is imported once it is needed."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

from ms_gan import config as cfg
from ms_gan import runtime
from ms_gan.config import Config, ConfigError
from ms_gan.errors import UserError
from ms_gan.progress import Progress
from ms_gan.run_dir import RunDir, RunError
from ms_gan.version import __version__

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_CONFIG = ROOT / "configs" / "default.yaml"
FIXED_SAMPLES = 25  # 5 x 5, as in the tutorial
FIXED_PER_CLASS = 8  # of conditional nets: one row a class


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit code. What the user can mend is one line on stderr."""
    try:
        arguments = parse(argv)
        arguments.words = sys.argv[1:] if argv is None else argv
        return arguments.run(arguments)
    except UserError as error:
        return fail(str(error))
    except BrokenPipeError:
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return fail(f"{where}{error.strerror or error}")
    except MemoryError:
        return fail("out of memory; use fewer or smaller images at once")
    except KeyboardInterrupt:
        print("\ninterrupted; nothing was lost that had been saved", file=sys.stderr)
        return 128 + signal.SIGINT


def fail(message: str) -> int:
    print(f"ms-gan: {' '.join(message.split())}", file=sys.stderr)
    return 2


def say(line: str) -> None:
    print(line, flush=True)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage is behind --help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"ms-gan: {message}; see {self.prog} --help\n")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Arguments of the command line; overrides may stand before, between and after options."""
    top = parser()
    arguments, rest = top.parse_known_args(argv)
    stray = [word for word in rest if word.startswith("-") or "overrides" not in arguments]
    if stray:
        top.error(f"unrecognized arguments: {' '.join(stray)}")
    if rest:
        arguments.overrides += rest
    return arguments


def parser() -> Parser:
    top = Parser(
        prog="ms-gan", description="Train GANs with MindSpore and generate images from them."
    )
    top.add_argument("--version", action="version", version=f"ms_gan {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a recipe; the same command again continues")
    train.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, help="a recipe (%(default)s)"
    )
    train.add_argument("--run-dir", type=Path, help="folder of the run (runs/<name of the recipe>)")
    train.add_argument("--dry-run", action="store_true", help="check and show the recipe only")
    train.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="for example train.epochs=12"
    )
    train.set_defaults(run=run_train)

    generate = commands.add_parser("generate", help="images from one .ckpt file")
    generate.add_argument("checkpoint", type=Path, metavar="CKPT", help=".ckpt file or run folder")
    generate.add_argument("--num", type=positive, default=64, help="images (%(default)s)")
    generate.add_argument("--seed", type=natural, default=1, help="of the latents (%(default)s)")
    generate.add_argument(
        "--label", type=natural, help="class, of a conditional generator (all in turn)"
    )
    generate.add_argument("--out", type=Path, default=Path("samples"), help="folder (%(default)s)")
    generate.add_argument(
        "--format", choices=("grid", "png", "npy", "gif"), default="grid",
        help="grid: one PNG; png: single PNGs; npy: float32 [N, C, H, W] in [-1, 1]; "
        "gif: a walk between latents (%(default)s)",
    )  # fmt: skip
    generate.add_argument(
        "--device", choices=("auto", "Ascend", "GPU", "CPU"), default="auto", help="(%(default)s)"
    )
    generate.set_defaults(run=run_generate)

    classifier = commands.add_parser(
        "train-classifier", help="train the classifier whose features `evaluate` compares"
    )
    classifier.add_argument("--data", default="mnist", help="a labelled data set (%(default)s)")
    classifier.add_argument("--data-root", metavar="DIR", help="its folder (as for recipes)")
    classifier.add_argument("--size", type=positive, help="height and width, pixels (as stored)")
    classifier.add_argument("--channels", type=int, choices=(1, 3), help="(as stored)")
    classifier.add_argument("--out", type=Path, metavar="FILE", help="(<data>_classifier.ckpt)")
    classifier.add_argument("--epochs", type=positive, default=10, help="(%(default)s)")
    classifier.add_argument("--seed", type=natural, default=0, help="(%(default)s)")
    classifier.add_argument(
        "--device", choices=("auto", "Ascend", "GPU", "CPU"), default="auto", help="(%(default)s)"
    )
    classifier.set_defaults(run=run_train_classifier)

    evaluate = commands.add_parser("evaluate", help="measure how near samples are to real images")
    evaluate.add_argument(
        "checkpoint", type=Path, metavar="CKPT_OR_RUN", help=".ckpt file or run folder"
    )
    evaluate.add_argument("--num", type=positive, default=10_000, help="samples (%(default)s)")
    evaluate.add_argument("--seed", type=natural, default=1, help="of the latents (%(default)s)")
    evaluate.add_argument(
        "--out", type=Path, metavar="FILE.json", help="(beside the checkpoint: *.evaluation.json)"
    )
    evaluate.add_argument(
        "--classifier", type=Path, metavar="FILE", help="of train-classifier (the shipped one)"
    )
    evaluate.add_argument("--data", help="the data set (the one that the checkpoint names)")
    evaluate.add_argument("--data-root", metavar="DIR", help="its folder (as for recipes)")
    evaluate.add_argument(
        "--device", choices=("auto", "Ascend", "GPU", "CPU"), default="auto", help="(%(default)s)"
    )
    evaluate.set_defaults(run=run_evaluate)
    return top


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


def natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected at least 0, got {value}")
    return value


# --- train --------------------------------------------------------------------------------------


def run_train(arguments: argparse.Namespace) -> int:
    config = cfg.load(find_config(arguments.config), arguments.overrides)
    run = RunDir(arguments.run_dir or Path("runs") / config.name)
    run.check(config)
    runtime.limit_instruction_set(convolutions=config.model.name not in runtime.FULLY_CONNECTED)
    say(f"ms_gan {__version__}: {config.name} -> {run.path}")

    from ms_gan import build, data

    device = runtime.set_device(config.runtime.device, say)
    runtime.set_mode(config.runtime.mode)
    dataset = load_data(config, run)
    batches = data.Batches(
        dataset, config.data.batch_size, seed=config.seed, sampling=config.data.sampling
    )
    steps = total_steps(config, batches.steps_per_epoch)
    shape = list(dataset.image_shape)
    say(f"data: {dataset.name}, {len(dataset)} images {shape} ({dataset.source})")
    state = build.build_training(
        config, dataset.image_shape, dataset.num_classes,
        {"ms_gan": __version__, "data": dataset.name, "classes": list(dataset.classes)},
    )  # fmt: skip
    if arguments.dry_run:
        say(cfg.dump(config).rstrip())
        say(build.summary(state))
        return 0
    with run.open(config):
        resume(run, state, steps)
        if state.step >= steps:
            return finished(run, state.step)
        run.rewind(state.step)
        again = command(arguments.words)
        run.write_manifest(manifest(run, dataset, device, state.step, again))
        done, received = train(config, run, state, batches, steps)
        if done:
            return finished(run, state.step)
        say(f"interrupted at step {state.step} of {steps}; everything is saved")
        say(f"to continue: {again}")
        return 128 + received


def find_config(path: Path) -> Path:
    """A path as given; else the same below the project's folder, or a name in its configs/."""
    places = (path, ROOT / path, ROOT / "configs" / f"{path}.yaml")
    return next((place for place in places if place.is_file()), path)


def load_data(config: Config, run: RunDir) -> Any:
    """The recipe's data set; for a run that fell back to another one, that one again."""
    from ms_gan import data

    recorded = run.manifest.get("data", {})
    name, fallback = config.data.name, config.data.fallback
    if fallback and recorded.get("name") == fallback:
        name, fallback = fallback, None
        say(f"data: this run was started on {name} and goes on with it")
    dataset = data.load(
        name, root=None if name == "digits" else config.data.root, size=config.data.size,
        channels=config.data.channels, fallback=fallback, say=say, progress=DownloadProgress(),
    )  # fmt: skip
    if recorded and recorded["md5"] != dataset.md5:
        raise RunError(
            f"{run.path}: was started on other data ({recorded['name']}, {recorded['images']} "
            "images; their md5 differ from today's); choose another folder with --run-dir"
        )
    return dataset


class DownloadProgress:
    """One line that grows on a terminal; one line per file elsewhere."""

    def __call__(self, file: str, done: int, total: int) -> None:
        terminal = sys.stdout.isatty()
        complete = total > 0 and done >= total
        if terminal or complete:
            text = f"downloading {file}: {done / 1e6:.1f} of {total / 1e6:.1f} MB"
            print(f"\r{text}" if terminal else text, end="\n" if complete else "", flush=True)


def total_steps(config: Config, steps_per_epoch: int) -> int:
    if config.train.steps is not None:
        return config.train.steps
    return max(1, config.train.epochs * steps_per_epoch // config.train.d_steps)


def resume(run: RunDir, state: Any, steps: int) -> None:
    """Go on from the newest whole checkpoint, if there is one."""
    from ms_gan import build
    from ms_gan.checkpoint import CheckpointError

    for step, path in reversed(run.checkpoint_files()):
        try:
            build.load_training(path, state)
        except CheckpointError as error:
            say(f"passed over a broken checkpoint: {error}")
            continue
        say(f"continuing at step {step} of {steps}")
        return


def train(
    config: Config, run: RunDir, state: Any, batches: Any, steps: int
) -> tuple[bool, int | None]:
    """Train with a progress bar; return whether the end was reached, and the signal if not."""
    from ms_gan import sampling, trainer

    progress = Progress(steps, sys.stdout)
    progress.start(state.step)
    shown = state.num_classes * FIXED_PER_CLASS or FIXED_SAMPLES
    with StopSignals() as signals:
        done = trainer.train(
            state,
            batches,
            run,
            seed=config.seed,
            steps=steps,
            d_steps=config.train.d_steps,
            same_latents=config.train.same_latents,
            every=config.every,
            fixed_latents=sampling.latents(config.seed, shown, state.latent_dim),
            show=progress.show,
            stop=lambda: signals.received is not None,
        )
    return done, signals.received


class StopSignals:
    """Remember SIGINT and SIGTERM instead of dying of them; a second one interrupts at once.

    MindSpore turns a SIGINT that arrives while a graph runs into a SIGTERM.
    """

    def __init__(self):
        self.received: int | None = None

    def __enter__(self) -> StopSignals:
        self.previous = {s: signal.signal(s, self.handle) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def handle(self, number: int, frame: Any) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def __exit__(self, *error: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)


def finished(run: RunDir, step: int) -> int:
    script = os.environ.get("MS_GAN_SCRIPT")
    program = ["ms-gan", "generate"]
    if script:
        program = ["bash", str(Path(script).with_name("run_generate.sh"))]
    say(f"complete at step {step}: {run.gif_file}, {run.curves_file}, {run.sample_file(step)}")
    say(f"new images: {shlex.join([*program, str(run.generator_file)])}")
    say("train longer with train.steps=…, or anew with --run-dir")
    return 0


def command(words: list[str]) -> str:
    """The command line of this process as a person would type it."""
    script = os.environ.get("MS_GAN_SCRIPT")
    return shlex.join(["bash", script, *words[1:]] if script else ["ms-gan", *words])


def manifest(run: RunDir, dataset: Any, device: str, step: int, again: str) -> dict[str, Any]:
    """What one needs to know to repeat the run; every continuation adds a session."""
    import numpy

    import mindspore

    session = {
        "step": step,
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": again,
        "git_commit": git_commit(),
        "versions": {
            "ms_gan": __version__,
            "mindspore": mindspore.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
        "device": device,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "onednn_max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA", "not limited"),
    }
    return {
        "data": {
            "name": dataset.name,
            "source": dataset.source,
            "images": len(dataset),
            "image_shape": list(dataset.image_shape),
            "classes": list(dataset.classes),
            "md5": dataset.md5,
        },
        "sessions": [*run.manifest.get("sessions", []), session],
    }


def git_commit() -> str | None:
    """The commit of the package's own checkout, with '+' where files differ from it."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty=+"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


# --- generate -----------------------------------------------------------------------------------


def run_generate(arguments: argparse.Namespace) -> int:
    path = arguments.checkpoint
    if path.is_dir():
        path = RunDir(path).generator_file

    from ms_gan import build

    runtime.set_device(arguments.device)
    runtime.set_mode("graph")
    generator, latent_dim, meta = build.load_generator(path)
    check_label(arguments.label, generator.num_classes, path)
    try:
        written = write_samples(arguments, generator, latent_dim)
    except OSError as error:
        raise ConfigError(
            f"{arguments.out}: cannot be written: {error.strerror or error}; "
            "choose another folder with --out"
        ) from None
    trained = f" after {meta['step']} steps" if "step" in meta else ""
    say(f"{meta['config']['name']}{trained} -> {written}")
    return 0


def check_label(label: int | None, num_classes: int, path: Path) -> None:
    if label is None:
        return
    if num_classes == 0:
        raise ConfigError(
            f"--label: the generator in {path} is unconditional and takes no labels; "
            "leave it out or use a conditional one (configs/cgan_mnist.yaml)"
        )
    if label >= num_classes:
        raise ConfigError(f"--label: expected 0 to {num_classes - 1}, got {label}")


def write_samples(arguments: argparse.Namespace, generator: Any, latent_dim: int) -> Path | str:
    """Make the images and write them in the wanted format; return what was written."""
    import io

    import numpy as np

    from ms_gan import files, sampling, visualise

    num, seed, out = arguments.num, arguments.seed, arguments.out
    if arguments.format == "gif":
        z = sampling.interpolation(seed, latent_dim)
    else:
        z = sampling.latents(seed, num, latent_dim)
    labels = sampling.class_labels(len(z), generator.num_classes, arguments.label)
    images = sampling.generate(generator, z, labels)
    out.mkdir(parents=True, exist_ok=True)
    if arguments.format == "grid":
        visualise.save_png(out / "grid.png", visualise.class_grid(images, labels))
        return out / "grid.png"
    if arguments.format == "png":
        for i, image in enumerate(images):
            visualise.save_png(out / f"{i:05d}.png", visualise.to_picture(image))
        return f"{out}/00000.png … {num - 1:05d}.png"
    if arguments.format == "npy":
        buffer = io.BytesIO()
        np.save(buffer, images)
        files.write(out / "samples.npy", buffer.getvalue())
        return out / "samples.npy"
    frames = [visualise.grid(image[None]) for image in images]
    visualise.save_gif(out / "interpolation.gif", frames, milliseconds=80)
    return out / "interpolation.gif"


# --- classifier and evaluation ------------------------------------------------------------------


def run_train_classifier(arguments: argparse.Namespace) -> int:
    out = arguments.out or Path(f"{arguments.data}_classifier.ckpt")
    check_target(out, ".ckpt")

    from ms_gan import classifier

    runtime.set_device(arguments.device)
    runtime.set_mode("graph")
    train, test = classifier.splits(
        arguments.data, root=arguments.data_root, size=arguments.size,
        channels=arguments.channels, say=say, progress=DownloadProgress(),
    )  # fmt: skip
    say(f"data: {train.name}, {len(train)} images {list(train.image_shape)} to train, "
        f"{len(test)} to test ({train.source})")  # fmt: skip
    net = classifier.train(train, epochs=arguments.epochs, seed=arguments.seed, show=say)
    accuracy = classifier.accuracy(net, test)
    meta = {
        "data": train.name,
        "classes": list(train.classes),
        "accuracy": accuracy,
        "test_images": len(test),
        "md5": {"train": train.md5, "test": test.md5},
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "command": command(arguments.words),
        "git_commit": git_commit(),
        "ms_gan": __version__,
    }
    classifier.save(out, net, meta)
    say(f"test accuracy {100 * accuracy:.2f} % of {len(test)} images -> {out}")
    return 0


def run_evaluate(arguments: argparse.Namespace) -> int:
    path = arguments.checkpoint
    if path.is_dir():
        path = RunDir(path).generator_file
    out = arguments.out or path.with_suffix(".evaluation.json")
    check_target(out, ".json")

    from ms_gan import build, classifier, evaluator

    runtime.set_device(arguments.device)
    runtime.set_mode("graph")
    generator, latent_dim, meta = build.load_generator(path)
    name = arguments.data or meta.get("data")
    file = arguments.classifier or shipped_classifier(name, path)
    net, about = classifier.load(file)
    check_classifier(file, net, about, name, meta["image_shape"], path)
    channels, size, _ = meta["image_shape"]
    train, test = classifier.splits(
        name, root=evaluation_root(arguments, meta, name), size=size, channels=channels, say=say,
        progress=DownloadProgress(),
    )  # fmt: skip
    if train.num_classes != net.num_classes:
        raise ConfigError(
            f"{file}: knows {net.num_classes} classes, but {name} has {train.num_classes} here; "
            "train one on these data with ms-gan train-classifier"
        )
    say(f"{path}: {arguments.num} samples against {len(test)} test images of {name}")
    result = evaluator.evaluate(
        generator, latent_dim, net, train, test, num=arguments.num, seed=arguments.seed
    )
    say(evaluator.table(result, train.classes))
    write_evaluation(arguments, out, path, meta, file, about, result, len(test))
    say(f"written to {out}")
    return 0


def shipped_classifier(name: str | None, path: Path) -> Path:
    """The classifier of a data set, if the package has one."""
    from ms_gan import classifier

    if name is None:
        raise ConfigError(
            f"{path}: does not say what it was trained on; say it with --data, "
            "for the MindSpore tutorial --data mnist"
        )
    if name not in classifier.SHIPPED:
        raise ConfigError(
            f"{path}: was trained on {name}, for which no classifier is shipped; train one with "
            f"ms-gan train-classifier --data {name} and give it with --classifier"
        )
    return classifier.ASSETS / classifier.SHIPPED[name]


def check_classifier(
    file: Path, net: Any, about: dict[str, Any], name: str | None, image_shape: Any, path: Path
) -> None:
    """Whether generator and classifier are about the same images."""
    if name is None or about.get("data") != name:
        raise ConfigError(
            f"{file}: is a classifier of {about.get('data')}, but {path} was trained on "
            f"{name or 'unknown data'}; choose another with --classifier, or say --data"
        )
    if list(net.image_shape) != list(image_shape):
        raise ConfigError(
            f"{path}: makes images {list(image_shape)}, but {file.name} takes "
            f"{list(net.image_shape)}; train one with ms-gan train-classifier --data {name} "
            f"--channels {image_shape[0]} --size {image_shape[1]} and give it with --classifier"
        )


def evaluation_root(arguments: argparse.Namespace, meta: dict[str, Any], name: str) -> Any:
    """The folder that was given, else that of the recipe if it is still there."""
    recipe = meta["config"].get("data", {})
    root = recipe.get("root") if recipe.get("name") == name else None
    if arguments.data_root or not root or not Path(root).expanduser().is_dir():
        return arguments.data_root
    return root


def write_evaluation(
    arguments: argparse.Namespace, out: Path, path: Path, meta: dict[str, Any], file: Path,
    about: dict[str, Any], result: dict[str, Any], test_images: int,
) -> None:  # fmt: skip
    """The JSON file: the numbers, and what one needs to know to repeat them."""
    import hashlib
    import json

    from ms_gan import evaluator, files

    def described(checkpoint: Path) -> dict[str, str]:
        digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        return {"file": checkpoint.name, "sha256": digest}

    content = {
        "checkpoint": {
            **described(path), "recipe": meta["config"]["name"], "step": meta.get("step")
        },
        "classifier": {**described(file), "accuracy": about.get("accuracy")},
        "data": about["data"],
        "num": arguments.num,
        "test_images": test_images,
        "seed": arguments.seed,
        "k": evaluator.NEIGHBOURS,
        **result,
        "command": command(arguments.words),
        "git_commit": git_commit(),
        "ms_gan": __version__,
    }  # fmt: skip
    files.write(out, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def check_target(path: Path, suffix: str) -> None:
    """Before long work: whether the file can be written at all."""
    if path.suffix != suffix or path.is_dir():
        raise ConfigError(f"--out {path}: expected the name of a file that ends in {suffix}")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError(f"--out {path}: {path.parent} is not a folder that can be written to")
