"""Classes of a folder of pictures: which folders are classes, in which order, by which name."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ms_gan import cli, data
from ms_gan.cli.generate import label_of
from ms_gan.data import DataError, class_names
from ms_gan.data.classes import NoTraining, arrange
from ms_gan.errors import UsageError
from ms_gan.system.output import shown
from tests import tiny


def arranged(*names, folders=(), split="train"):
    pictures = sorted(tuple(name.split("/")) for name in names)
    return arrange(pictures, [tuple(folder.split("/")) for folder in folders], split)


def some(folder, num=4, first=0):
    return [f"{folder}/{i}.png" for i in range(first, first + num)]


def save(root, *names):
    """Pictures of which each has a grey value of its own, in the order of the names."""
    for i, name in enumerate(names):
        path = os.path.join(os.fsencode(root), name if isinstance(name, bytes) else name.encode())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            Image.new("L", (8, 8), 20 * i + 5).save(file, format="PNG")
    return root


def load(root, **options):
    said = []
    found = data.load("image_folder", root=root, size=8, channels=1, say=said.append, **options)
    return found, said


# ---- arrangements ------------------------------------------------------------------------------


def test_class_folders_and_what_lies_deeper():
    out = arranged("cat/1.png", "cat/deep/2.png", "dog/3.png")
    assert out.classes == ("cat", "dog") and out.labels == [0, 0, 1] and not out.remarks


@pytest.mark.parametrize("names", [
    some("pictures"), [n.split("/")[1] for n in some("x")], some("a/b"), [*some("a", 1)],
])  # fmt: skip
def test_one_folder_is_no_class(names):
    out = arranged(*names)
    assert out.classes == () and set(out.labels) == {0} and len(out.pictures) == len(names)


def test_a_nested_root_is_entered_and_said():
    out = arranged(*some("deep/set/cats"), *some("deep/set/dogs"))
    assert out.classes == ("cats", "dogs") and out.remarks == ["all pictures lie below deep/set/"]


@pytest.mark.parametrize("strays, classes", [(1, ("cats", "dogs")), (2, ()), (20, ())])
def test_pictures_beside_the_class_folders(strays, classes):
    """A few are left out, many say that the folders are no classes; both are said."""
    names = [f"{i}.png" for i in range(strays)]
    out = arranged(*some("cats", 5), *some("dogs", 5), *names)
    assert out.classes == classes
    (remark,) = out.remarks
    assert "0.png" in remark
    if classes:
        assert out.left_out == [("0.png", "outside the class folders")] and len(out.pictures) == 10
    else:
        assert remark.startswith("no classes, since") and not out.left_out
        assert len(out.pictures) == 10 + strays


SPLIT = [*some("train/cats"), *some("train/dogs"), *some("test/cats", 2), *some("test/dogs", 3)]


def test_of_a_split_train_is_trained_on_and_test_is_for_measuring():
    out = arranged(*SPLIT)
    assert out.classes == ("cats", "dogs") and out.labels == [0] * 4 + [1] * 4 and out.has_test
    assert {parts[0] for parts in out.pictures} == {"train"}
    assert out.remarks == ["a split: 8 pictures in train/ to train on, 5 for measuring"]
    test = arranged(*SPLIT, split="test")
    assert test.labels == [0, 0, 1, 1, 1] and {parts[0] for parts in test.pictures} == {"test"}


@pytest.mark.parametrize("names, classes, num, num_test", [
    ([*some("Training/a"), *some("Training/b"), *some("VAL/a", 3)], ("a", "b"), 8, 3),
    ([*some("train"), *some("test", 2), *some("val", 1)], (), 4, 2),
    ([*some("set/train/a"), *some("set/train/b"), *some("set/valid/b", 1)], ("a", "b"), 8, 1),
    ([*some("cats/train"), *some("cats/test", 1), *some("dogs/train"), *some("dogs/test", 2)],
     ("cats", "dogs"), 8, 3),
    ([*some("train/in/a"), *some("train/in/b"), *some("test/in/a", 1), *some("test/in/c", 1)],
     ("a", "b"), 8, 1),
])  # fmt: skip
def test_splits_in_any_place(names, classes, num, num_test):
    out = arranged(*names)
    assert out.classes == classes and len(out.pictures) == num and out.has_test
    assert len(arranged(*names, split="test").pictures) == num_test


def test_what_a_split_leaves_out():
    out = arranged(*SPLIT, *some("val/cats", 1), *some("unlabelled", 1), "cover.png")
    assert sorted(out.left_out) == [
        ("cover.png", "outside the folders of the split"),
        ("unlabelled/0.png", "below unlabelled/, not in train/"),
        ("val/cats/0.png", "below val/, not in train/"),
    ]
    test = arranged(*SPLIT, *some("test/birds", 1), split="test")
    assert ("test/birds/0.png", "of no class in train/") in test.left_out


def test_a_split_without_train_is_refused(tmp_path):
    with pytest.raises(NoTraining):
        arranged(*some("test/a"), *some("val/a"))
    save(tmp_path, "test/a/1.png", "val/a/1.png")
    assert "a folder called train" in tiny.refused(DataError, load, tmp_path)


@pytest.mark.parametrize("names", [
    ["bus", "car", "train"], ["test", "control"], ["train"], ["val", "vol"],
])  # fmt: skip
def test_folders_with_such_names_that_are_no_split(names):
    out = arranged(*(picture for name in names for picture in some(name)))
    assert out.classes == (tuple(sorted(names)) if len(names) > 1 else ()) and not out.has_test


def test_class_folders_without_a_picture():
    out = arranged(*some("cats"), *some("dogs"), folders=["cats", "dogs", "birds", "cats/more"])
    assert out.classes == ("cats", "dogs") and out.left_out == [("birds/", "without a picture")]


def test_names_that_look_alike_are_spoken_of():
    out = arranged(*some("Cats"), *some("cats"), *some("cafe\u0301"), *some("caf\u00e9"))
    assert len(out.classes) == 4 and len(out.remarks) == 2
    assert "classes whose names look alike: 'Cats', 'cats'" in out.remarks


def test_ten_thousand_classes():
    out = arranged(*(f"{i}/a.png" for i in range(10_000)))
    assert out.classes == tuple(map(str, range(10_000)))
    labels = dict(zip(out.pictures, out.labels, strict=True))
    assert all(labels[f"{i}", "a.png"] == i for i in range(10_000))


# ---- their order -------------------------------------------------------------------------------


@pytest.mark.parametrize("names, right", [
    (["10", "9", "0"], ["0", "9", "10"]), (["b", "10", "9"], ["10", "9", "b"]),
    (["-1", "1", "0", "-10"], ["-10", "-1", "0", "1"]), (["002", "01", "1"], ["01", "1", "002"]),
    (["10a", "9a"], ["10a", "9a"]), (["1.5", "10", "2"], ["1.5", "10", "2"]),
    (["٣", "١"], ["١", "٣"]), (["9" * 30, "1"], ["1", "9" * 30]),
])  # fmt: skip
def test_numbers_sort_as_numbers_and_names_as_they_did(names, right):
    assert class_names.ordered(names) == tuple(right)


def test_another_order_of_labels_is_other_data(tmp_path):
    """A conditional run with the labels of before must not go on with others."""
    few = save(tmp_path / "few", "0/a.png", "1/a.png", "2/a.png")
    many = save(tmp_path / "many", "0/a.png", "2/a.png", "10/a.png")
    assert list(load(few)[0].md5) == ["pictures"]  # the order of before: run folders go on
    found, _ = load(many)
    assert list(found.md5) == ["pictures", "classes"]
    value = dict(zip(found.labels.tolist(), found.images[:, 0, 0, 0].tolist(), strict=True))
    assert found.classes == ("0", "2", "10") and value == {0: 5, 1: 25, 2: 45}


# ---- their names -------------------------------------------------------------------------------


def test_names_in_other_encodings_and_with_odd_letters(tmp_path):
    latin, gbk = "été".encode("latin-1"), "猫狗".encode("gbk")
    save(tmp_path, latin + b"/1.png", gbk + b"/1.png", "new\nline/1.png", "中文/1.png")
    found, _ = load(tmp_path)
    assert sorted(found.classes) == sorted(
        [r"\xe9t\xe9", shown(os.fsdecode(gbk)), r"new\nline", "中文"]
    )
    json.dumps(found.classes, ensure_ascii=False).encode()  # as the manifest is written
    assert "\n" not in found.described() and r"\xe9t\xe9 1" in found.described()
    assert class_names.find(os.fsdecode(latin), found.classes) == found.classes.index(r"\xe9t\xe9")


def test_a_root_in_another_encoding(tmp_path):
    root = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"bilder\xfc"))
    os.mkdir(root)
    found, _ = load(save(root, "a.png"))
    assert found.source.endswith(r"bilder\xfc")


FIND = [  # names, what is asked for, the label
    (["cats", "dogs"], "dogs", 1), (["cats", "dogs"], "DOGS", 1), (["cats", "dogs"], "1", 1),
    (["cats", "dogs"], "2", None), (["cats", "dogs"], "-1", None), (["cats", "dogs"], "dgos", None),
    (["a", "7", "c"], "7", 1), (["a", "7", "c"], "2", 2), (["10", "2"], "2", 1),
    (["0", "1", "10", "2"], "2", 3),  # an old checkpoint, whose labels were sorted as text
    (["3", "5", "7"], "1", None), (["00", "01", "10"], "1", 1), (["Cats", "cats"], "cats", 1),
    (["Cats", "cats"], "CATS", None), (["cafe\u0301", "x"], "caf\u00e9", 0), (["x"], "", None),
    (["0", "1"], "01", 1), (["a b", "c"], "a b ", 0), (["1.5", "2.5"], "1", 1),
]  # fmt: skip


@pytest.mark.parametrize("names, text, right", FIND)
def test_a_class_by_name_or_number(names, text, right):
    assert class_names.find(text, names) == right


def sampler(*names, **meta):
    return SimpleNamespace(num_classes=len(names), classes=names, meta=meta)


@pytest.mark.parametrize("text, parts", [
    ("dgos", ["expected cats, dogs, or 0 to 1, got dgos (did you mean 'dogs'?)"]),
    ("5", ["got 5;"]), ("a\nb", [r"got a\nb"]),
])  # fmt: skip
def test_a_class_that_there_is_not(text, parts):
    line = tiny.refused(UsageError, label_of, text, sampler("cats", "dogs"), "x.ckpt")
    assert line.startswith("--label: ") and all(part in line for part in parts)


def test_many_classes_are_not_all_named():
    line = tiny.refused(UsageError, label_of, "x", sampler(*map(str, range(5000))), "x.ckpt")
    assert "(5,000 in all)" in line and len(line) < 200 and "or 0 to" not in line
    assert "unconditional" in tiny.refused(UsageError, label_of, "1", sampler(), "x.ckpt")


def test_the_command_lists_its_classes(capsys, tmp_path):
    assert cli.main(["generate", "--list-classes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and lines[7].split()[:2] == ["7", "7"] and lines[7].endswith("%")
    assert cli.main(["generate", "--label", "7", "--num", "4", "--out", str(tmp_path)]) == 0
    assert ", class 7 (7) -> " in capsys.readouterr().out
    words = ["generate", "--pretrained", "mnist-unconditional", "--list-classes"]
    assert "unconditional" in tiny.refused_command(capsys, *words)


@pytest.mark.parametrize("num, shown", [(3, [0, 1, 2]), (64, range(64)), (9999, None)])
def test_the_picture_of_a_run_shows_some_of_many_classes(monkeypatch, num, shown):
    from ms_gan.runs import sampling

    asked = []

    def generate(net, z, labels):
        asked.append(labels)
        return np.zeros((len(z), 1, 2, 2), np.float32)

    monkeypatch.setattr(sampling, "generate", generate)
    net = SimpleNamespace(latent_dim=2, num_classes=num)
    sampling.Sampler(net, (1, 2, 2), {}).gallery(0)
    (labels,) = asked
    if shown is None:
        assert len(labels) == 8 * 64 and labels.min() == 0 and labels.max() == num - 1
    else:
        assert np.array_equal(labels, sampling.class_labels(8 * num, num))  # as it always was


# ---- splits of a data set ----------------------------------------------------------------------


def test_held_out_pictures_are_those_of_the_folder_test(tmp_path):
    save(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png", "test/b/2.png")
    options = {"root": tmp_path, "size": 8, "channels": 1}
    train, test = data.splits("image_folder", **options)
    assert (len(train), len(test)) == (2, 3) and test.labels.tolist() == [0, 1, 1]
    whole = data.load("image_folder", **options)
    assert whole.has_test and np.array_equal(data.split(whole, **options)[1].images, test.images)
    flat = save(tmp_path / "flat", *(f"{i}.png" for i in range(12)))
    train, test = data.splits("image_folder", root=flat, size=8)
    assert len(train) + len(test) == 12 and len(test) == 2


def test_one_picture(tmp_path):
    found, _ = load(save(tmp_path, "a.png"))
    assert len(found) == 1 and "1 images" in found.described()
    line = tiny.refused(DataError, data.Batches, found, 2, seed=0)
    assert "one image is too few" in line
