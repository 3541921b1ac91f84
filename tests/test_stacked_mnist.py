"""Three digits in one image: which ones, that they are composed when asked for, and by whom."""

import hashlib

import numpy as np
import pytest

from ms_gan import data, session
from ms_gan.data import Batches, DataError, mnist, stacked
from ms_gan.data.download import DownloadError
from ms_gan.data.stacked import Stacked
from ms_gan.recipe import reader
from ms_gan.runs.run_dir import RunDir
from tests import tiny
from tests.test_data import idx


def write(folder, num, stem, seed=0):
    """Digits in IDX files: image k holds the value k % 251 throughout, its label is random."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.broadcast_to((np.arange(num) % 251)[:, None, None], (num, 28, 28))
    labels = np.random.default_rng(seed).integers(0, 10, num)
    for what, array in (("images", images), ("labels", labels)):
        (folder / f"{stem}-{what}-idx{array.ndim}-ubyte").write_bytes(idx(array))
    return labels


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "mnist", 200, "train")
    write(tmp_path / "mnist", 50, "t10k", seed=1)
    return tmp_path


def load(root, **options):
    return data.load("stacked_mnist", root=str(root), **{"num": 500, **options})


# ---- the lazy array ----------------------------------------------------------------------------

DIGITS = np.random.default_rng(0).integers(0, 256, (9, 4, 5), np.uint8)
ROWS = np.random.default_rng(1).integers(0, 9, (20, 3))
WHOLE = np.stack([DIGITS[ROWS[:, channel]] for channel in range(3)], axis=1)
LAZY = Stacked(DIGITS, ROWS)


@pytest.mark.parametrize("index", [
    0, -1, np.int64(7), slice(None), slice(3, 9), slice(None, None, -2), slice(0, 0),
    np.array([3, 3, 0, 19]), [1, 2], np.arange(20) % 2 == 0, np.array([], np.int64), Ellipsis,
    (slice(None), 0), (slice(2, 5), slice(1, 2)), (3, 1), (np.array([4, 2]), 2, 1), (5, 1, 2, 3),
    (..., slice(None, None, -1)), (slice(None), slice(None), 2), (slice(1, 2), ..., 0),
], ids=str)  # fmt: skip
def test_it_gives_what_the_whole_array_gives(index):
    np.testing.assert_array_equal(LAZY[index], WHOLE[index])


def test_it_is_like_an_array_and_is_not_one():
    assert (LAZY.shape, LAZY.dtype, LAZY.ndim, len(LAZY)) == (WHOLE.shape, np.uint8, 4, 20)
    assert LAZY.nbytes == WHOLE.nbytes and LAZY.size == WHOLE.size
    np.testing.assert_array_equal(np.asarray(LAZY), WHOLE)
    assert np.asarray(LAZY, np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.stack(list(LAZY)), WHOLE)
    taken = LAZY.take(np.array([5, 1]), axis=0)
    assert isinstance(taken, Stacked)
    np.testing.assert_array_equal(taken[:], WHOLE[[5, 1]])
    with pytest.raises(IndexError):
        LAZY[20]
    with pytest.raises(ValueError, match="axis 1"):
        LAZY.take([0], axis=1)


def test_what_it_gives_may_be_written_to():
    before = LAZY[:]
    for index in (0, slice(None), [1, 2]):
        LAZY[index][...] = 7
    np.testing.assert_array_equal(LAZY[:], before)


# ---- which digits ------------------------------------------------------------------------------


def test_an_image_has_the_digits_that_its_label_says(root):
    labels = write(root / "mnist", 200, "train")
    found = load(root)
    assert found.image_shape == (3, 28, 28) and len(found) == 500
    digits = found.images[:, :, 9, 9].astype(int)  # value k is digit k
    expected = labels[digits] @ [100, 10, 1]
    np.testing.assert_array_equal(found.labels, expected)
    assert found.labels.dtype == np.int32 and found.num_classes == 1000
    assert found.classes[0] == "000" and found.classes[42] == "042" and found.classes[-1] == "999"
    counts = [np.bincount(digits[:, channel], minlength=200) for channel in range(3)]
    assert np.min(counts) >= 2 and np.max(counts) <= 3  # 500 of 200: each two or three times
    assert (digits[:, 0] != digits[:, 1]).mean() > 0.95
    assert (digits[:200] != digits[200:400]).mean() > 0.95  # another order in the second round


def test_an_image_is_the_same_whatever_the_number(root):
    small, large = load(root, num=30), load(root, num=450)
    np.testing.assert_array_equal(small.images[:], large.images[:30])
    np.testing.assert_array_equal(small.labels, large.labels[:30])
    np.testing.assert_array_equal(small.images[:], load(root, num=30).images[:])


def test_the_first_rows_are_for_ever():
    rows = [stacked.chosen(60000, 3, channel).tolist() for channel in range(3)]
    assert hashlib.md5(str(rows).encode()).hexdigest() == "61dfee542db58388f109e87b4c6b59b1"


def test_test_images_are_of_test_digits(root):
    train, test = data.splits("stacked_mnist", root=str(root), num=500)
    assert (len(train), len(test)) == (500, 100)
    assert test.images[:].max() < 50 <= train.images[:].max()
    assert set(test.md5) == {"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}
    assert train.md5 == data.load("mnist", root=str(root)).md5


def test_size_and_other_options(root):
    small = load(root, size=16, channels=3)
    assert small.image_shape == (3, 16, 16)
    one = data.load("mnist", root=str(root), size=16)
    np.testing.assert_array_equal(small.images[3, 1], one.images[small.images.rows[3, 1], 0])
    assert "num 0" in tiny.refused(DataError, load, root, num=0)
    assert "channels 1" in tiny.refused(DataError, load, root, channels=1)


def test_everything_takes_the_lazy_images(root):
    """Batches with mirrors, taking, halves: as if the array had been composed."""
    lazy = load(root)
    whole = data.Dataset("x", lazy.images[:], lazy.labels, lazy.classes, "here", {})
    for options in ({}, {"flip": True}, {"sampling": "random"}):
        for one, other in zip(
            *(Batches(d, 32, seed=3, **options).at(4) for d in (lazy, whole)), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    rows = np.array([4, 400, 4])
    taken = lazy.take(rows)
    assert isinstance(taken.images, Stacked)
    np.testing.assert_array_equal(taken.images[:], whole.take(rows).images)
    np.testing.assert_array_equal(taken.labels, lazy.labels[rows])
    train, test = data.splits("stacked_mnist", root=str(root), num=500)
    assert data.halves(train, train, test) == (train, test)
    assert lazy.images.rows.nbytes < lazy.images.nbytes / 50
    assert "stacked_mnist, 500 images [3, 28, 28]" in lazy.described()
    np.testing.assert_allclose(lazy.class_shares.sum(), 1)


# ---- without MNIST -----------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def no_network(*words):
        raise DownloadError("no network")

    monkeypatch.setattr(mnist, "download", no_network)
    monkeypatch.delenv("MS_GAN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_digits_stand_in(offline):
    assert "cannot download mnist" in tiny.refused(DataError, data.load, "stacked_mnist", num=5)
    said = []
    options = {"num": 600, "fallback": "digits", "size": 20}
    train = data.load("stacked_mnist", say=said.append, **options)
    assert train.name == "stacked_digits" and train.images.shape == (600, 3, 20, 20)
    assert "600 images made of the 1,797 embedded digits" in said[-1] and "\n" not in said[-1]
    test = data.load("stacked_mnist", split="test", **options)
    assert len(test) == 120
    pixels = [{image.tobytes() for image in d.images.digits} for d in (train, test)]
    assert not pixels[0] & pixels[1] and len(pixels[0] | pixels[1]) == 1797
    assert data.DATASETS["stacked_digits"].like == "stacked_mnist"
    assert (
        data.DATASETS["stacked_digits"].stacks == data.DATASETS["stacked_mnist"].stacks == "mnist"
    )


def test_a_run_keeps_to_the_digits(offline, root, monkeypatch):
    tree = {"name": "x", "data": {"name": "stacked_mnist", "num": 600, "fallback": "digits"},
            "train": {"steps": 1}}  # fmt: skip
    config = session.resolved(reader.from_dict(tree))
    run, said = RunDir(root / "run"), []
    dataset = session.images.load(config, run, said.append, None)
    run.path.mkdir()
    with run.open(config, size=0, room=0, say=print):
        pass
    run.write_manifest({"data": {"name": dataset.name, "source": "", "md5": dataset.md5}})
    monkeypatch.setenv("MS_GAN_DATA", str(root))  # where MNIST is
    again = session.images.load(config, run, said.append, None)
    assert again.md5 == dataset.md5 and again.name == "stacked_digits"
    assert "data: this run was started on stacked_digits and goes on with it" in said
    shown = tiny.state_of((3, 28, 28), batch=4).sampler.real_gallery(again)  # real.png of a run
    assert shown.shape[2] == 3 and shown.std() > 10
    holder = session.Session.__new__(session.Session)
    holder.dataset, holder.config, holder.download = again, config, None
    train, test = holder.split(said.append)
    assert train is again and len(test) == 120


def test_real_mnist():
    root = str(tiny.real("mnist").parent)
    train, test = data.splits("stacked_mnist", root=root)
    assert (len(train), len(test)) == (128000, 25600)
    for dataset in (train, test):
        assert len(np.unique(dataset.labels)) == 1000
    assert (
        train.images.digits.nbytes + train.images.rows.nbytes < 60e6 < 300e6 < train.images.nbytes
    )
    singles = data.load("mnist", root=root)
    rows = train.images.rows[77]
    np.testing.assert_array_equal(train.images[77], singles.images[rows, 0])
    assert train.labels[77] == singles.labels[rows] @ [100, 10, 1]
