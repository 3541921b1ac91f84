"""How folders are arranged: nested roots, splits, classes, and what stands outside of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ms_gan.data.class_names import folded, ordered
from ms_gan.data.finding import Parts, named
from ms_gan.data.found import NAMED, listed
from ms_gan.system.output import shown

TRAIN, TEST, VALIDATION = (
    frozenset(names.split()) for names in ("train training", "test testing", "val valid validation")
)
STRAYS = 0.1  # share of the pictures that may stand outside the class folders


class NoTraining(ValueError):
    """Folders of a split of which none is to be trained on; the text names them."""


@dataclass
class Arrangement:
    """Which pictures are used, in their order, and which class each one is.

    Args:
        pictures: paths below the root.
        classes: names by label; () where there are none.
        labels: by picture.
        reordered: whether the labels follow numbers, where they followed the alphabet once.
        has_test: whether there are test pictures apart.
        left_out: paths with the reason.
        remarks: what a person should know.
    """

    pictures: list[Parts]
    classes: tuple[str, ...] = ()
    labels: list[int] = field(default_factory=list)
    reordered: bool = False
    has_test: bool = False
    left_out: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def arrange(
    pictures: Sequence[Parts], folders: Iterable[Parts] = (), split: str = "train"
) -> Arrangement:
    """Classes are the folders in which all pictures lie, if there are two or more.

    A root that holds one folder alone is entered, as often as it is so. Of folders called train,
    test and val, above the classes or in each of them, train is used, and test (or else val) for
    the split 'test'. A few pictures beside the class folders are left out; with many of them
    there are no classes.

    Args:
        pictures: paths below the root, sorted.
        folders: of all folders, for those without a picture.
        split: 'train' or 'test'; without test pictures all are taken.

    Raises:
        NoTraining: there are test and val, but no train.
    """
    out = Arrangement(list(pictures))
    depth = _nested(out.pictures, 0)
    if depth:
        out.remarks.append(f"all pictures lie below {named(out.pictures[0][:depth])}/")
    at, parts = _splits(out.pictures, depth)
    if parts is None:
        return _classified(out, depth, folders)
    train, test = _chosen(parts, out)
    chosen = test if split == "test" and test else train
    out.has_test = bool(test)
    if at > depth:  # cats/train, dogs/train
        tops = _tops(train, depth)
        return _labelled(out, chosen, depth, tops if len(tops) > 1 else ())
    depth = _nested(train, at + 1)
    training = _classified(Arrangement(list(train)), depth, folders)
    if chosen is train:
        training.left_out += out.left_out
        training.remarks = out.remarks + training.remarks
        training.has_test = out.has_test
        return training
    return _labelled(out, chosen, depth, training.classes)


def _nested(pictures: Sequence[Parts], depth: int) -> int:
    """The first depth from `depth` on at which the pictures are not all below one folder."""
    first = pictures[0]
    while len(first) > depth + 1 and all(
        len(parts) > depth + 1 and parts[depth] == first[depth] for parts in pictures
    ):
        depth += 1
    return depth


def _splits(pictures: Sequence[Parts], depth: int) -> tuple[int, dict[str, list[Parts]] | None]:
    """Where the folders of a split stand, and the pictures by folder; None: there is no split."""
    for at in (depth, depth + 1):
        parts: dict[str, list[Parts]] = {}
        for picture in pictures:
            top = picture[at] if len(picture) > at + 1 else ""
            parts.setdefault(top, []).append(picture)
        names = {top.lower() for top in parts}
        kinds = sum(bool(names & kind) for kind in (TRAIN, TEST, VALIDATION))
        if kinds >= 2 and (at == depth or names <= TRAIN | TEST | VALIDATION):
            return at, parts
    return depth, None


def _chosen(parts: dict[str, list[Parts]], out: Arrangement) -> tuple[list[Parts], list[Parts]]:
    """Training and test pictures of a split; says which, and leaves out the rest."""
    by_kind = {
        kind: sorted(p for top, some in parts.items() if top.lower() in kind for p in some)
        for kind in (TRAIN, TEST, VALIDATION)
    }
    train, test = by_kind[TRAIN], by_kind[TEST] or by_kind[VALIDATION]
    if not train:
        raise NoTraining(" and ".join(sorted(shown(top) for top in parts if top)))
    used = {*train, *test}
    for top, some in parts.items():
        why = f"below {shown(top)}/, not in train/" if top else "outside the folders of the split"
        out.left_out += [(named(p), why) for p in some if p not in used]
    kept = "for measuring" if by_kind[TEST] else "for measuring, as there is no test/"
    out.remarks.append(
        f"a split: {len(train):,} pictures in train/ to train on, {len(test):,} {kept}"
    )
    return train, test


def _classified(out: Arrangement, depth: int, folders: Iterable[Parts]) -> Arrangement:
    """Make classes of the folders at that depth."""
    tops = _tops(out.pictures, depth)
    strays = [parts for parts in out.pictures if len(parts) == depth + 1]
    if len(tops) < 2:
        return _labelled(out, out.pictures, depth, ())
    names = listed([named(parts) for parts in strays], NAMED)
    if len(strays) > STRAYS * len(out.pictures):
        out.remarks.append(
            f"no classes, since {len(strays):,} of {len(out.pictures):,} pictures stand outside "
            f"the folders {listed([shown(top) for top in tops], NAMED)}: {names}"
        )
        return _labelled(out, out.pictures, depth, ())
    if strays:
        out.remarks.append(f"left out, since they stand outside the class folders: {names}")
        out.left_out += [(named(parts), "outside the class folders") for parts in strays]
    _compare(out, tops, depth, folders)
    inside = [parts for parts in out.pictures if len(parts) > depth + 1]
    return _labelled(out, inside, depth, tops)


def _tops(pictures: Iterable[Parts], depth: int) -> tuple[str, ...]:
    """The folders at that depth that hold pictures, in the order of their labels."""
    return ordered({parts[depth] for parts in pictures if len(parts) > depth + 1})


def _compare(out: Arrangement, tops: Sequence[str], depth: int, folders: Iterable[Parts]) -> None:
    """Remark on class folders that look alike, and on those without a picture."""
    alike: dict[str, list[str]] = {}
    for top in tops:
        alike.setdefault(folded(top), []).append(shown(top))
    for names in alike.values():
        if len(names) > 1:
            out.remarks.append(f"classes whose names look alike: {', '.join(map(repr, names))}")
    base = out.pictures[0][:depth]
    out.left_out += [
        (f"{named(parts)}/", "without a picture")
        for parts in folders
        if len(parts) == depth + 1 and parts[:depth] == base and parts[depth] not in tops
    ]


def _labelled(
    out: Arrangement, pictures: Sequence[Parts], depth: int, tops: Sequence[str]
) -> Arrangement:
    """Give every picture the label of its folder; what has another folder is left out."""
    labels = {top: label for label, top in enumerate(tops)}
    known = [parts for parts in pictures if not tops or parts[depth] in labels]
    unknown = [parts for parts in pictures if tops and parts[depth] not in labels]
    out.left_out += [(named(parts), "of no class in train/") for parts in unknown]
    out.pictures, out.classes = known, tuple(tops)
    out.labels = [labels[parts[depth]] if tops else 0 for parts in known]
    out.reordered = list(tops) != sorted(tops)
    return out
