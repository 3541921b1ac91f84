"""The store of earlier images: filled first, then half of the images are old ones."""

import numpy as np

from mindspore import Tensor

from ms_gan.training.history import History
from tests.tiny import state_of, values

SHAPE = (1, 2, 2)


def numbered(first, n):
    """Images that say their number in every pixel."""
    return np.arange(first, first + n, dtype=np.float32).reshape(n, 1, 1, 1) * np.ones((1, *SHAPE))


def reference(size, batches, numbers):
    """What is shown, image by image, in plain Python."""
    store, shown = [], []
    for images, draw in zip(batches, numbers, strict=True):
        full, start = len(store) >= size, int(np.floor(draw[0, 0] * size))
        out = []
        for rank, image in enumerate(images):
            if len(store) < size and not full:
                store.append(image)
                out.append(image)
            elif full and draw[rank, 1] < 0.5:
                place = (start + rank) % size
                out.append(store[place])
                store[place] = image
            else:
                out.append(image)
        shown.append(np.stack(out))
    return shown, np.stack(store)


def test_it_is_the_plain_algorithm(mode, rng):
    size, n = 6, 4  # the second batch finds room for two
    history = History(SHAPE, size)
    batches = [numbered(4 * i, n).astype(np.float32) for i in range(12)]
    numbers = [rng.random((n, 2), np.float32) for _ in batches]
    expected, store = reference(size, batches, numbers)
    for images, draw, wanted in zip(batches, numbers, expected, strict=True):
        found = history(Tensor(images), Tensor(draw)).asnumpy()
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(history.images.asnumpy().reshape(size, *SHAPE), store)


def test_half_of_what_is_shown_is_old_and_ages_are_geometric(rng):
    size, n, steps = 20, 4, 1500
    history = History(SHAPE, size)
    ages = []
    for step in range(steps):
        images = numbered(step * n, n).astype(np.float32)
        shown = history(Tensor(images), Tensor(rng.random((n, 2), np.float32))).asnumpy()
        if step > 50:
            ages.extend(step - shown[:, 0, 0, 0] // n)
    ages = np.array(ages)
    assert abs((ages == 0).mean() - 0.5) < 0.02
    # A place is met by n / 2 of 20 images a step: an old image stays 10 steps on average.
    assert abs(ages[ages > 0].mean() - size / (n / 2)) < 1.0


def test_it_is_in_the_step_and_in_the_checkpoint(rng):
    state = state_of(
        (2, 8, 8), batch=4,
        model={"name": "cyclegan", "g_width": 4, "blocks": 1, "d_width": 4, "d_depth": 1},
        input="both", loss="least_squares", train={"steps": 3, "history": 8},
    )  # fmt: skip
    names = {p.name for p in state.parameters}
    assert {"history.images", "history.count"} <= names
    numbers = sum(state.rows.numbers)
    for step in range(3):
        real = rng.uniform(-1, 1, (4, 2, 8, 8)).astype(np.float32)
        state.update(Tensor(real), None, None, Tensor(rng.random((4, numbers), np.float32)))
        assert values(state)["history.count"] == min(8, 4 * (step + 1))
    assert np.abs(values(state)["history.images"]).max() > 0
