"""Two data sets joined: who lies with whom, what is held out, what a recipe says of it."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from ms_gan import cli, data, session
from ms_gan.data import Batches, DataError, Dataset, pairs
from ms_gan.recipe import reader
from ms_gan.recipe.schema import ConfigError, Part
from ms_gan.runs.run_dir import RunDir, RunError
from ms_gan.system import streams
from tests import tiny
from tests.test_data import write_pair


def picture(path, value):
    """A grey picture of one value but for a corner."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((8, 8), value, np.uint8)
    pixels[0, 0] = 255
    Image.fromarray(pixels).save(path, lossless=True)
    return path


def folder(root, names, first=0, ending=".png"):
    """Picture number i of `names` has the value first + i."""
    for i, name in enumerate(names):
        picture(root / f"{name}{ending}", first + i)
    return root


@pytest.fixture
def two(tmp_path):
    """Folders a and b with twelve names in common, of which b has one as .webp, and others."""
    common = [f"{i:02d}" for i in range(12)]
    folder(tmp_path / "a", [*common, "only a"], 10)
    folder(tmp_path / "b", ["0 only b", *common[:-1], "z", "zz"], 100)
    picture(tmp_path / "b" / f"{common[-1]}.webp", 200)
    return tmp_path


def load(root, **options):
    """The set of a and b as a joined one, and what was said."""
    said = []
    given = {"size": 8, "channels": 1, "root": root / "a", "say": said.append}
    pair = Part("image_folder", {"root": root / "b"})
    return data.load("image_folder", **{**given, "pair": pair, **options}), said


def values(dataset):
    """[N, 2]: the value of both pictures of each row."""
    return dataset.images[:, :, 4, 4].astype(int)


# ---- by name -----------------------------------------------------------------------------------


def test_pictures_of_the_same_name_lie_together(two):
    """Whatever their endings; held out are whole pairs."""
    train, said = load(two, match="names")
    test, _ = load(two, match="names", split="test")
    assert train.images.shape == (10, 2, 8, 8) and test.images.shape == (2, 2, 8, 8)
    b = {f"{i:02d}": 101 + i for i in range(11)} | {"11": 200}
    for dataset in (train, test):
        for name, (one, other) in zip(dataset.names, values(dataset), strict=True):
            assert (one, other) == (10 + int(name), b[name])
    assert sorted(train.names + test.names) == [f"{i:02d}" for i in range(12)]
    assert any(
        "12 pairs of the same name; left out, since they have no partner: only a, 0 only b, z … "
        "(4 in all)" in line for line in said
    )  # fmt: skip
    assert any("2 of 12" in line and "held out" in line for line in said)
    assert train.found.left_out == {
        "without a partner": ["only a"], "without a partner (pair)": ["0 only b", "z", "zz"],
    }  # fmt: skip
    line = train.described()
    assert f"pictures in {two / 'a'} paired with pictures in {two / 'b'}" in line
    assert "image_folder, 10 images [2, 8, 8]" in line and "only a" in line
    assert train.has_test and train.name == "image_folder" and train.classes == ()


def test_a_split_of_a_joined_set_is_what_is_loaded(two):
    options = {"root": two / "a", "size": 8, "channels": 1, "match": "names"}
    options["pair"] = Part("image_folder", {"root": two / "b"})
    train, test = data.splits("image_folder", **options)
    np.testing.assert_array_equal(train.images, load(two, match="names")[0].images)
    np.testing.assert_array_equal(test.images, load(two, match="names", split="test")[0].images)
    assert data.halves(train, train, test) == (train, test)


def test_labels_are_those_of_the_first(tmp_path):
    for i in range(6):
        picture(tmp_path / "a" / ("cat" if i % 2 else "dog") / f"{i}.png", i)
        picture(tmp_path / "b" / ("cat" if i % 2 else "dog") / f"{i}.png", 100 + i)
    found, _ = load(tmp_path, match="names")
    assert found.classes == ("cat", "dog") and len(found) == 5
    for name, label, (one, other) in zip(found.names, found.labels, values(found), strict=True):
        assert name == f"{found.classes[label]}/{one}" and other == one + 100
    assert found.found.classes == dict(
        zip(found.classes, np.bincount(found.labels).tolist(), strict=True)
    )
    unmatched, _ = load(tmp_path)
    assert unmatched.classes == () and not unmatched.labels.any() and unmatched.names == ()


def test_test_pictures_apart_are_joined_too(tmp_path):
    for root, first in (("a", 0), ("b", 100)):
        folder(tmp_path / root / "train", "abcd", first)
        folder(tmp_path / root / "test", "xyz", first + 50)
    train, said = load(tmp_path, match="names")
    test, _ = load(tmp_path, match="names", split="test")
    assert values(train).tolist() == [[i, 100 + i] for i in range(4)]
    assert values(test).tolist() == [[50 + i, 150 + i] for i in range(3)]
    assert not any("held out" in line for line in said)
    both = [load(tmp_path, split=split)[0] for split in ("train", "test")]
    assert [sorted(values(part)[:, 0]) for part in both] == [[0, 1, 2, 3], [50, 51, 52]]
    assert [sorted(values(part)[:, 1]) for part in both] == [[100, 101, 102, 103], [150, 151, 152]]


def test_a_letter_is_the_same_however_its_accent_is_written(tmp_path):
    folder(tmp_path / "a", ["caf\u00e9", "x"])
    folder(tmp_path / "b", ["cafe\u0301", "x"], 100)
    found, _ = load(tmp_path, match="names")
    assert len(found) == 1  # of two pairs one is held out
    assert len(load(tmp_path, match="names", split="test")[0]) == 1


def test_names_that_do_not_fit(tmp_path, two):
    folder(two / "c", ["p", "q"])
    pair = Part("image_folder", {"root": two / "c"})
    line = tiny.refused(DataError, load, two, match="names", pair=pair)
    assert "no picture has the same name" in line and "00 and p" in line and "expected" in line
    picture(two / "b" / "03.webp", 9)
    line = tiny.refused(DataError, load, two, match="names")
    assert line.startswith(f"pictures in {two / 'b'}: names that occur twice") and "03" in line
    line = tiny.refused(
        DataError, data.load, "digits", size=8, match="names", pair=Part("digits")
    )  # fmt: skip
    assert line.startswith("data.match: names, but the images of digits have none; expected")
    assert "without a pair" in tiny.refused(DataError, data.load, "digits", match="names")
    assert "match 'nams'" in tiny.refused(DataError, data.load, "digits", match="nams")


def test_a_pair_without_a_folder_says_which(two):
    line = tiny.refused(DataError, load, two, pair=Part("image_folder"))
    assert line.startswith("data.pair: image_folder: no root") and "data.pair.root" in line


# ---- any with any ------------------------------------------------------------------------------


@pytest.mark.parametrize("one, other", [(7, 7), (20, 7), (7, 20), (1, 5), (2, 2), (100, 99)])
def test_each_occurs_as_often_as_any_other(one, other):
    rows = pairs.any_rows(one, other)
    for num, own in zip((one, other), rows, strict=True):
        counts = np.bincount(own, minlength=num)
        assert len(own) == max(one, other) and counts.max() - counts.min() <= 1
        assert counts.min() >= 1
    np.testing.assert_array_equal(rows, pairs.any_rows(one, other))  # always the same
    if one == other:
        assert (rows[0] != rows[1]).all()  # what belongs together by chance does not lie together


def test_who_lies_with_whom_is_drawn():
    """Not a shift of the order: the distance of partners takes many values."""
    one, other = pairs.any_rows(1000, 1000)
    assert len(np.unique((other - one) % 1000)) > 500
    order = streams.chosen(streams.Choice.PAIR, 1000)
    assert other[order[3]] == order[4] and other[order[-1]] == order[0]


def test_no_picture_that_is_held_out_is_among_the_training_pairs(two):
    train, said = load(two)
    test, _ = load(two, split="test")
    assert len(train) == 12 and len(test) == 3  # of 13 and 15: 10 + 3 and 12 + 3
    for channel in (0, 1):
        seen, kept = (set(values(part)[:, channel]) for part in (train, test))
        assert not seen & kept and len(seen | kept) == (13, 15)[channel]
    assert sum("held out to measure with" in line for line in said) == 2
    assert train.md5 == test.md5 and len(train.md5) == 2
    assert set(train.md5) == {"pictures", "pair.pictures"}


def test_other_kinds_are_brought_to_the_size_of_the_first(two):
    pair = Part("digits")
    found, _ = load(two, pair=pair)
    assert found.images.shape[1:] == (2, 8, 8) and len(found) == 1797 - 300
    assert "8x8 pixels" in found.described() and "scikit-learn" in found.described()
    colour, _ = load(two, pair=pair, channels=3)
    assert colour.images.shape[1:] == (6, 8, 8)
    tall, _ = load(two, size=[8, 12])
    assert tall.images.shape[1:] == (2, 8, 12)


def test_one_picture_alone_cannot_be_held_out(tmp_path):
    folder(tmp_path / "a", "a")
    folder(tmp_path / "b", "bcd")
    line = tiny.refused(DataError, load, tmp_path, split="test")
    assert "one alone cannot be held out" in line and str(tmp_path / "a") in line


def test_a_joined_set_is_a_data_set_like_any_other(two):
    """Batches, and mirroring, which turns both alike."""
    both, _ = load(two, match="names")
    images = both.images.copy()
    images[:, :, :, 0] = 0  # so that left differs from right
    both = Dataset("both", images, both.labels, (), "here", both.md5)
    for flip in (False, True):
        batches = Batches(both, 5, seed=1, flip=flip)
        x, _ = batches.at(0)
        assert x.shape == (5, 2, 8, 8)
        left = x[:, :, 4, 0] == -1
        assert (left[:, 0] == left[:, 1]).all() and left.all() == (not flip)
    plain, mirrored = (Batches(both, 5, seed=1, flip=f).at(0)[0] for f in (False, True))
    for one, other in zip(plain, mirrored, strict=True):
        assert (other == one).all() or (other == one[:, :, ::-1]).all()


# ---- in a recipe -------------------------------------------------------------------------------

TREE = {"name": "pairs", "train": {"steps": 2}, "data": {"name": "image_folder", "root": "a"}}


def resolved(*words, **section):
    tree = {**TREE, "data": {**TREE["data"], **section}}
    for word in words:
        reader.apply_override(tree, word)
    return session.resolved(reader.from_dict(tree))


def test_the_pair_is_as_the_first_but_for_its_folder():
    recipe = resolved(size=16, fit="pad", background="white", pair={"root": "b"}, match="names")
    pair = recipe.data.pair
    assert pair.name == "image_folder" and pair.options == {
        "root": "b", "size": 16, "channels": None, "fit": "pad", "background": "white",
        "broken": "stop",
    }  # fmt: skip
    assert recipe.data.match == "names"
    again = reader.from_dict(yaml.safe_load(reader.dump(recipe)))
    assert session.resolved(again) == recipe
    other = resolved(size=16, fit="pad", pair={"root": "b", "fit": "crop"}).data.pair
    assert other.options["fit"] == "crop" and other.options["root"] == "b"
    usps = resolved(name="mnist", pair="usps", size=16).data.pair
    assert usps == Part("usps", {"root": None, "size": 16, "channels": None, "margin": 0})
    assert resolved().data.pair is None and resolved().data.match == "none"


def test_words_of_the_command_line():
    assert resolved("data.pair.root=2024").data.pair.options["root"] == "2024"
    assert resolved("data.pair.root=b", "data.match=names").data.match == "names"
    assert resolved("data.pair=null", pair={"root": "b"}).data.pair is None
    assert resolved("data.pair.name=usps", "data.size=16").data.pair.name == "usps"
    assert resolved("data.pair=usps", "data.size=16").data.pair.name == "usps"
    typed = resolved("data.pair={root: b, fit: stretch}").data.pair
    assert (typed.name, typed.options["fit"]) == ("image_folder", "stretch")
    assert resolved("data.pair.size=1e1", "data.size=10").data.pair.options["size"] == 10


@pytest.mark.parametrize("words, says", [
    (["data.pair=uspz"], "data.pair.name: no data.pair called 'uspz'"),
    (["data.pair.rot=b"], "data.pair.rot: 'image_folder' has no such option"),
    (["data.pair.fit=crp"], "data.pair.fit: expected one of"),
    (["data.pair.size=8", "data.size=16"], "data.pair.size: 8, but data.size is 16; expected"),
    (["data.pair=usps", "data.pair.fit=pad"], "data.pair.fit: 'usps' has no such option"),
    (["data.match=names"], "data.match: names, but there is no second data set; expected"),
    (["data.match=nams", "data.pair.root=b"], "data.match: expected one of none, names"),
    (["data.pair=[1]"], "data.pair.name: no data.pair called '[1]'"),
    (["data.pair={name: [1]}"], "data.pair: expected a name or {name"),
    (["data.par.root=b"], "par"),
])  # fmt: skip
def test_a_pair_is_checked_as_the_first_is(words, says):
    assert says in tiny.refused(ConfigError, resolved, *words)


# ---- runs --------------------------------------------------------------------------------------


def opened(run):
    run.path.mkdir(exist_ok=True)
    with run.open(reader.from_dict(TREE), size=0, room=0, say=print):
        pass


def session_of(dataset, config):
    """A Session that knows its data alone."""
    holder = session.Session.__new__(session.Session)
    holder.dataset, holder.config, holder.download = dataset, config, None
    return holder


def test_a_run_finds_both_folders_again_and_sees_a_change_of_either(two, tmp_path):
    config = resolved(size=8, channels=1, root=str(two / "a"), pair={"root": str(two / "b")})
    run = RunDir(tmp_path / "run")
    dataset = session.images.load(config, run, print, None)
    opened(run)
    about = {"name": dataset.name, "source": dataset.source, "md5": dataset.md5, "images": 12}
    run.write_manifest({"data": about})
    assert session.images.folder_of(dataset.source) == two / "a"
    assert session.images.folder_of(dataset.source, 1) == two / "b"
    assert session.images.folder_of("three, from train files in /nowhere") is None

    nowhere = resolved(size=8, channels=1, root=None, pair={"root": None})
    said = []
    found = session.images.load(nowhere, run, said.append, None)
    assert found.md5 == dataset.md5
    assert f"data: in {two / 'a'} and {two / 'b'}, where this run was started on them" in said
    session.images.check(run, found, said.append)
    train, test = session_of(found, nowhere).split(said.append)
    assert train is found and len(test) == 3

    for changed in ("a", "b"):
        path = picture(two / changed / "00.png", 250)
        other = session.images.load(config, run, print, None)
        line = tiny.refused(RunError, session.images.check, run, other, print)
        assert "was started on other data" in line and str(two / "b") in line
        picture(path, {"a": 10, "b": 101}[changed])
        session.images.check(run, session.images.load(config, run, print, None), print)


def test_a_run_that_fell_back_goes_on_with_its_pair(two, tmp_path, monkeypatch):
    from ms_gan.data import mnist
    from ms_gan.data.download import DownloadError

    def no_network(*words):
        raise DownloadError("no network")

    monkeypatch.setattr(mnist, "download", no_network)
    monkeypatch.delenv("MS_GAN_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    pair = {"name": "image_folder", "root": str(two / "b")}
    config = resolved(name="mnist", root=None, size=8, fallback="digits", pair=pair)
    run, said = RunDir(tmp_path / "run"), []
    dataset = session.images.load(config, run, said.append, None)
    assert dataset.name == "digits" and dataset.images.shape[1:] == (2, 8, 8)
    opened(run)
    run.write_manifest({"data": {"name": "digits", "source": "", "md5": dataset.md5}})
    again = session.images.load(config, run, said.append, None)
    assert again.md5 == dataset.md5 and "goes on with it" in " ".join(said)
    train, test = session_of(again, config).split(said.append)
    assert train is again and len(test) == 300


def test_a_run_of_two_sets_trains_and_goes_on(tmp_path, monkeypatch, capsys):
    """The variable that named their folder is set for the first command alone."""
    for seed, name in enumerate(("mnist", "usps")):
        for stem in ("train", "t10k"):
            write_pair(tmp_path / "sets" / name, stem=stem, n=24, seed=seed)
    section = {"name": "mnist", "size": 8, "batch_size": 8, "flip": True, "pair": "usps"}
    recipe = tiny.recipe_file(tmp_path, train={"steps": 1}, data=section)
    words = ["train", "--config", str(recipe), "--run-dir", str(tmp_path / "run")]
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setenv("MS_GAN_DATA", str(tmp_path / "sets"))
        assert cli.main(words) == 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["data"]["image_shape"] == [2, 8, 8] and len(manifest["data"]["md5"]) == 4
    monkeypatch.delenv("MS_GAN_DATA", raising=False)
    capsys.readouterr()
    assert cli.main([*words, "train.steps=2"]) == 0
    out = capsys.readouterr().out
    assert f"in {tmp_path / 'sets' / 'mnist'} and {tmp_path / 'sets' / 'usps'}, where" in out
    assert "continuing at step 1 of 2" in out
    write_pair(tmp_path / "sets" / "usps", n=24, seed=5)  # others in their place
    monkeypatch.setenv("MS_GAN_DATA", str(tmp_path / "sets"))
    assert "was started on other data" in tiny.refused_command(capsys, *words, "train.steps=3")
    error = tiny.refused_command(capsys, *words, "data.pair=null")
    assert "data.pair" in error and "another recipe" in error


def test_a_listing_names_both(two, capsys):
    recipe = two / "own.yaml"
    tree = {"data": {"name": "image_folder", "root": str(two / "a"), "size": 8, "match": "names",
                     "pair": {"root": str(two / "b")}}, "train": {"steps": 1}}  # fmt: skip
    recipe.write_text(json.dumps(tree))
    assert cli.main(["train", "--config", str(recipe), "--list-data"]) == 0
    out = capsys.readouterr().out
    assert "image_folder, 10 images [6, 8, 8]" in out and "without a partner (pair): 3" in out


# ---- the real sets -----------------------------------------------------------------------------


def test_mnist_and_usps():
    root = tiny.real("usps").parent
    tiny.real("mnist")
    given = {"root": str(root), "pair": Part("usps", {"root": str(root)})}
    train, test = data.splits("mnist", **given)
    assert train.images.shape == (60000, 2, 28, 28) and test.images.shape == (10000, 2, 28, 28)
    one = data.load("usps", root=root, size=28).images
    rows = pairs.any_rows(60000, 7291)[1]
    np.testing.assert_array_equal(train.images[:100, 1], one[rows[:100], 0])


def test_real_emoji_of_the_same_name(tmp_path):
    import tarfile

    with tarfile.open(tiny.real("emoji") / "emoji.tar.xz") as archive:
        for number, member in enumerate(archive):
            if member.isfile() and number < 4500:  # all of google/, and some of twitter/
                archive.extract(member, tmp_path, filter="data")
    roots = [str(tmp_path / name) for name in ("google", "twitter")]
    said = []
    options = {"root": roots[0], "size": 8, "background": "white", "say": said.append}
    train, test = data.splits(
        "image_folder", match="names", pair=Part("image_folder", {"root": roots[1]}), **options
    )
    here, there = ({p.stem for p in (tmp_path / n).iterdir()} for n in ("google", "twitter"))
    assert sorted(train.names + test.names) == sorted(here & there) and len(here & there) > 500
    assert abs(len(test) - len(here & there) / 6) <= 1
    one = data.load("image_folder", **{**options, "root": roots[1]})
    rows = [one.names.index(name) for name in test.names[:20]]
    np.testing.assert_array_equal(test.images[:20, 3:], one.images[rows])


def test_a_margin_is_black_and_within_the_size(tmp_path):
    write_pair(tmp_path / "usps")
    inner = data.load("usps", root=str(tmp_path), size=20).images
    framed = data.load("usps", root=str(tmp_path), size=28, margin=4).images
    assert framed.shape == (20, 1, 28, 28)
    np.testing.assert_array_equal(framed[:, :, 4:24, 4:24], inner)
    assert framed.sum(dtype=int) == inner.sum(dtype=int)
    for margin, size in ((-1, 28), (14, 28), (4, None)):
        with pytest.raises(DataError, match=f"margin {margin}"):
            data.load("usps", root=str(tmp_path), size=size, margin=margin)
