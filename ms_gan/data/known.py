"""The data sets of the MNIST kind: how they look on disk, where they are downloaded from."""

from dataclasses import dataclass, field

STEMS = {"train": ("train",), "test": ("t10k", "test")}  # the first is MNIST's own
DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class IdxSet:
    """A row of `IDX_SETS`."""

    classes: tuple[str, ...]
    folders: tuple[str, ...]  # its folder's name in lower case, letters and digits only
    mirrors: tuple[str, ...] = ()  # each ends with a slash; none: it is not downloaded
    md5: dict[str, str] = field(default_factory=dict)  # of the files as the mirrors serve them
    unnamed: bool = False  # files in a folder that bears no data set's name are taken for this one
    origin: str = ""  # where to get it, if it is not downloaded


IDX_SETS = {
    "mnist": IdxSet(
        classes=DIGITS,
        folders=("mnist", "mnistdata"),
        unnamed=True,
        mirrors=(
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        md5={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion_mnist": IdxSet(
        classes=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        folders=("fashionmnist", "fashion"),
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        md5={
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "kmnist": IdxSet(
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        folders=("kmnist", "kuzushijimnist"),
        mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        md5={
            "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
            "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
            "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
            "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
        },
    ),
    "usps": IdxSet(
        classes=DIGITS,
        folders=("usps", "uspsdata", "uspsdigits"),
        origin="Hull 1994, 7,291 + 2,007 digits of 16x16, as IDX files",
    ),
}


def file_names(split: str) -> tuple[str, str]:
    """MNIST's own names of the image and the label file, without `.gz`."""
    stem = STEMS[split][0]
    return f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"


def expected_files(split: str) -> str:
    """`file_names` for people."""
    return f"{' and '.join(file_names(split))} (also .gz)"
