"""Do generated digits help a classifier that has few real ones? Accuracies, a table, a picture.

    python scripts/data_augmentation.py
    python scripts/data_augmentation.py train.steps=3000 --split validation --seeds 100

For every number of real images and every seed: draw a class-balanced subset of the training
images, train a conditional GAN on it alone, then one classifier for each arm of `ARMS`, all with
the same net, initial weights and number of updates. `--split validation` scores on training images
outside the subset instead of the test images, for choosing settings, on seeds that are not
reported. What is finished is kept in `--out` and not computed again; the same command continues.
Further `key=value` words change the GAN's recipe, which is configs/cgan_mnist.yaml with `RECIPE`.
"""

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # works without installing
try:
    from ms_gan.system import runtime

    runtime.check_installed()
except ImportError as error:  # one line: which Python to take, or what to install
    sys.exit(str(error))

import numpy as np  # noqa: E402

RECIPE = [  # narrower and faster than the original: minutes on one core
    "data.batch_size=64", "augment=diff_augment", "train.steps=3000",
    "model.g_widths=[128, 256, 512]", "model.d_widths=[256, 128]",
    "optimizer.lr_d=5e-4", "optimizer.lr_g=5e-4",
]  # fmt: skip
ARMS = {  # name -> share of generated images in a batch, whether images are shifted
    "real": (0.0, False),
    "generated": (0.5, False),
    "shifted": (0.0, True),
    "shifted + generated": (0.5, True),
}
GAINS = (("generated", "real"), ("shifted", "real"), ("shifted + generated", "shifted"))
BATCH, LR = 64, 3e-3  # of the classifier
PER_CLASS = 1000  # generated images
HELD_OUT = 5000  # training images of `--split validation`
SUBSET, SHIFTS = 5, 6  # streams of random numbers
MARKS = ("<!-- table of scripts/data_augmentation.py -->", "<!-- end of the table -->")


def draw_subset(dataset, size, seed):
    """(a class-balanced subset of `size` images, HELD_OUT of the others, or all if fewer)"""
    each, rest = divmod(size, dataset.num_classes)
    if rest or size < BATCH:
        raise ValueError(f"--sizes: {size}; expected classes of equal size, {BATCH} or more images")
    order = np.random.default_rng([seed, SUBSET]).permutation(len(dataset))
    labels = dataset.labels[order]
    chosen = np.zeros(len(order), bool)
    for label in range(dataset.num_classes):
        places = np.flatnonzero(labels == label)
        if len(places) <= each:
            raise ValueError(f"--sizes: {size}; there are {len(places)} images of class {label}")
        chosen[places[:each]] = True
    return dataset.take(order[chosen]), dataset.take(order[~chosen][:HELD_OUT])


def generate(subset, config):
    """PER_CLASS images of each class from a GAN trained on the subset, a Dataset, classes in turn.

    The images are those of the moving average of the generator after the last update.
    """
    import io
    import tempfile
    from dataclasses import replace

    from ms_gan import session
    from ms_gan.runs import visualise
    from ms_gan.runs.progress import Progress

    size = min(config.data.batch_size, len(subset))
    config = replace(config, data=replace(config.data, batch_size=size))
    with tempfile.TemporaryDirectory(prefix="ms_gan_augmentation_") as folder:
        run = session.start(config, folder, dataset=subset, say=lambda line: None)
        run.train(progress=Progress(run.steps, io.StringIO()))
    sampler = replace(run.sampler, meta={})  # which says no shares, so classes take turns
    images, labels = sampler.samples(config.seed, PER_CLASS * subset.num_classes)
    return replace(subset, images=visualise.to_uint8(images), labels=labels)


def train_classifier(real, generated, arm, seed, updates):
    """A classifier of the evaluation, trained with one arm of ARMS, in inference mode."""
    from mindspore import Tensor, nn

    from ms_gan import data
    from ms_gan.evaluation import classifier
    from ms_gan.system import runtime
    from ms_gan.training.schedules import RampSchedule

    share, shift = ARMS[arm]
    num = int(share * BATCH)
    sources = [data.Batches(real, BATCH - num, seed=seed)]
    if num:
        sources.append(data.Batches(generated, num, seed=seed))
    runtime.set_seed(seed)
    net = classifier.Classifier(image_shape=real.image_shape, num_classes=real.num_classes)
    optimizer = nn.Adam(net.trainable_params(), learning_rate=RampSchedule(LR, 0.0, updates))
    update = nn.TrainOneStepCell(classifier.WithLoss(net), optimizer)
    update.set_train()
    for index in range(updates):
        parts = [source.at(index) for source in sources]
        x, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        if shift:
            x = classifier.shifted(x, np.random.default_rng([seed, SHIFTS, index]))
        update(Tensor(x), Tensor(labels))
    net.set_train(False)
    return net


def measure(out, settings, sizes, seeds, say):
    """Every accuracy that is missing in results.json of the folder `out`, saved one by one."""
    from ms_gan import data
    from ms_gan.evaluation import classifier
    from ms_gan.system import files

    results = read(out, settings)
    train, test = data.splits(settings["data"])
    for seed in seeds:
        for size in sizes:
            arms = results.setdefault(str(size), {})
            missing = [arm for arm in ARMS if str(seed) not in arms.setdefault(arm, {})]
            if not missing:
                continue
            subset, held_out = draw_subset(train, size, seed)
            generated = pool(out / f"generated_{size}_{seed}.npz", subset, seed, settings, say)
            for arm in missing:
                start = time.monotonic()
                net = train_classifier(subset, generated, arm, seed, settings["updates"])
                scored = test if settings["split"] == "test" else held_out
                arms[arm][str(seed)] = accuracy = round(classifier.accuracy(net, scored), 6)
                content = {"settings": settings, "accuracy": results}
                files.write(out / "results.json", json.dumps(content, indent=1))
                seconds = time.monotonic() - start
                say(f"{size} images, seed {seed}, {arm}: {100 * accuracy:.2f} % ({seconds:.0f} s)")
    return results


def read(out, settings):
    """{size: {arm: {seed: accuracy}}} of a folder; ValueError if its settings were others."""
    path = out / "results.json"
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["settings"] != settings:
        raise ValueError(f"{path}: made with other settings; choose another --out")
    return content["accuracy"]


def pool(path, subset, seed, settings, say):
    """The generated images of a subset, from their file if it is there."""
    from dataclasses import replace

    from ms_gan.recipe import reader
    from ms_gan.system import files

    if not path.is_file():
        start = time.monotonic()
        made = generate(subset, reader.from_dict({**settings["recipe"], "seed": seed}))
        with files.replacing(path) as temporary:
            np.savez_compressed(temporary, images=made.images, labels=made.labels)
        say(f"{len(subset)} images, seed {seed}: GAN {time.monotonic() - start:.0f} s")
    with np.load(path) as found:
        return replace(subset, images=found["images"], labels=found["labels"])


def table(results):
    """Markdown: mean and standard deviation of the accuracies, and of the gains seed by seed."""
    heads = [*ARMS, *(f"{a} - {b}" for a, b in GAINS)]
    lines = ["| real images | seeds | " + " | ".join(heads) + " |", "|---" * (2 + len(heads)) + "|"]
    for size in sorted(results, key=int):
        seeds = sorted(set.intersection(*(set(results[size][arm]) for arm in ARMS)), key=int)
        if not seeds:
            continue
        values = {a: 100 * np.array([results[size][a][seed] for seed in seeds]) for a in ARMS}
        cells = [spread(values[arm], "") for arm in ARMS]
        cells += [spread(values[a] - values[b], "+") for a, b in GAINS]
        lines.append(f"| {int(size):,} | {len(seeds)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values, sign):
    """mean ± standard deviation over the seeds"""
    mean = f"{values.mean():{sign}.2f}"
    return f"{mean} ± {values.std(ddof=1):.2f}" if len(values) > 1 else mean


def draw(path, out, sizes, seed):
    """Five generated images of each class for every size, one class in each column."""
    from ms_gan import data
    from ms_gan.runs import visualise

    panels = []
    for size in sizes:
        with np.load(out / f"generated_{size}_{seed}.npz") as found:
            columns = int(found["labels"].max()) + 1
            images = data.to_float(found["images"][: 5 * columns])
        panels.append(visualise.captioned(visualise.grid(images, columns=columns), f"{size} real"))
    visualise.save_png(path, np.concatenate(panels, axis=0))


def fill(page, text):
    """Put the table between the marks of a page."""
    from ms_gan.system import files

    head, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    _, mark, tail = rest.partition(MARKS[1])
    if not mark:
        raise ValueError(f"{page}: has no lines {MARKS[0]} and {MARKS[1]}")
    files.write(page, f"{head}{MARKS[0]}\n{text}\n{MARKS[1]}{tail}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/data_augmentation"))
    parser.add_argument("--data", default="mnist", help="mnist, fashion_mnist, kmnist, digits")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 500, 2000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--updates", type=int, default=500, help="of each classifier")
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--picture", type=Path, help="default: generated.png in --out")
    parser.add_argument("--pages", type=Path, nargs="*", default=[], help="get the table")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the GAN's recipe")
    words = parser.parse_intermixed_args()

    import ms_gan  # noqa: F401, I001  sets what MindSpore reads at import
    from ms_gan.recipe import reader
    from ms_gan.system import runtime
    from ms_gan.errors import UserError

    try:
        config = reader.load(ROOT / "configs" / "cgan_mnist.yaml", [*RECIPE, *words.overrides])
        settings = {
            "data": words.data,
            "split": words.split,
            "updates": words.updates,
            "recipe": reader.to_dict(config),
        }
        words.out.mkdir(parents=True, exist_ok=True)
        runtime.set_device(config.runtime.device)
        runtime.set_mode("graph")
        results = measure(
            words.out, settings, words.sizes, words.seeds, lambda line: print(line, flush=True)
        )
        text = table(results)
        print(text)
        for page in words.pages:
            fill(page, text)
        picture = words.picture or words.out / "generated.png"
        draw(picture, words.out, words.sizes, words.seeds[0])
        print(picture)
    except (UserError, ValueError, OSError) as error:
        sys.exit(f"data_augmentation: {error}")


if __name__ == "__main__":
    main()
