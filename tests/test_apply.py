"""`ms-gan apply`: pictures as people have them, through tiny nets of every kind."""

import gc

import numpy as np
import pytest
from PIL import Image

from mindspore import nn

from ms_gan import cli
from ms_gan.data import picture
from ms_gan.data.dataset import DataError
from ms_gan.runs import shipped
from ms_gan.training import trainer
from tests.tiny import NETS, refused, refused_command, run, state_of

SRGAN = {"name": "srgan", "g_width": 4, "blocks": 1, "d_width": 4, "depth": 1}
INPAINTING = {"name": "inpainting", "g_width": 4, "blocks": 1, "d_width": 4, "depth": 1}
PIX2PIX = {"name": "pix2pix", "g_width": 4, "depth": 2, "d_width": 4, "d_depth": 1}
CYCLE = {"name": "cyclegan", "g_width": 2, "blocks": 1, "d_width": 4, "d_depth": 1}
KINDS = {  # name -> image shape, model, input
    "latents": ((1, 28, 28), NETS, "latents"),
    "larger": ((1, 16, 16), SRGAN, {"name": "low_resolution", "scale": 2}),
    "larger_colour": ((3, 16, 16), SRGAN, {"name": "low_resolution", "scale": 4}),
    "fill": ((1, 16, 16), INPAINTING, "masked"),
    "fill_colour": ((3, 16, 16), INPAINTING, "masked"),
    "first": ((2, 16, 16), PIX2PIX, "first"),
    "both": ((6, 16, 16), CYCLE, "both"),
}


@pytest.fixture(scope="module")
def generators(tmp_path_factory):
    """name -> the file of an untrained generator of that kind."""
    folder, found = tmp_path_factory.mktemp("generators"), {}
    for name, (shape, model, given) in KINDS.items():
        data = {"background": "white"} if name == "both" else {}
        state = state_of(shape, batch=4, model=model, input=given, data=data)
        found[name] = folder / f"{name}.ckpt"
        trainer.save_generator(state, found[name])
    return found


@pytest.fixture
def call(generators, tmp_path, capsys, monkeypatch):
    """`ms-gan apply` in a folder of its own: (exit code, lines, error)."""
    monkeypatch.chdir(tmp_path)

    def calling(kind, *words):
        capsys.readouterr()
        code = cli.main(["apply", str(generators[kind]), *map(str, words)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return calling


@pytest.fixture
def refuse(generators, tmp_path, capsys, monkeypatch):
    """The one line with which it refuses, after which nothing lies there that did not before."""
    monkeypatch.chdir(tmp_path)

    def refusing(kind, *words):
        before = sorted(tmp_path.rglob("*"))
        error = refused_command(capsys, "apply", generators[kind], *words)
        assert sorted(tmp_path.rglob("*")) == before
        return error

    return refusing


def save(path, mode="RGB", size=(23, 17), seed=0, **options):
    """A picture of noise; its array [H, W(, C)]."""
    channels = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}[mode]
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 256, (*size[::-1], *channels)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array if mode != "LA" else array[..., 0])
    if mode == "LA":
        image.putalpha(Image.fromarray(array[..., 1]))
    image.save(path, **options)
    return array


def read(path):
    with Image.open(path) as image:
        return np.array(image)


# --- reading a picture --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_picture_is_read_to_the_last_bit(mode, tmp_path):
    array = save(tmp_path / "a.png", mode)
    found = picture.read(tmp_path / "a.png")
    array = array if array.ndim == 3 else array[..., None]
    colours = 3 if "RGB" in mode else 1
    np.testing.assert_array_equal(found.pixels, array[..., :colours].transpose(2, 0, 1))
    assert found.sides == (17, 23) and not found.remarks and not found.lossy
    if mode[-1] == "A":
        np.testing.assert_array_equal(found.alpha, array[..., -1])
    else:
        assert found.alpha is None


def test_what_is_said_of_pictures(tmp_path):
    deep = np.linspace(0, 65535, 35).reshape(5, 7).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    found = picture.read(tmp_path / "deep.png")
    assert found.pixels.shape == (1, 5, 7) and found.pixels.max() == 255
    assert "8 bits" in found.remarks[0]
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert picture.read(tmp_path / "moving.gif").remarks == ("the first of several frames",)
    assert picture.read(tmp_path / "moving.gif").pixels.shape == (3, 4, 4)
    save(tmp_path / "a.jpg")
    assert picture.read(tmp_path / "a.jpg").lossy
    (tmp_path / "broken.png").write_bytes((tmp_path / "deep.png").read_bytes()[:60])
    for name, why in (("broken.png", "unreadable"), ("none.png", "cannot be read")):
        assert why in refused(DataError, picture.read, tmp_path / name)


def test_a_picture_is_upright(tmp_path):
    array = save(tmp_path / "plain.png", "RGBA", (6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(array).save(tmp_path / "turned.png", exif=exif)
    found = picture.read(tmp_path / "turned.png")
    turned = np.rot90(array, -1)
    np.testing.assert_array_equal(found.pixels, turned[..., :3].transpose(2, 0, 1))
    np.testing.assert_array_equal(found.alpha, turned[..., 3])


def test_transparent_colours_of_palettes(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=1)
    found = picture.read(tmp_path / "a.png")
    assert found.pixels[:, 0].T.tolist() == [[10, 20, 30], [40, 50, 60]]
    assert found.alpha.tolist() == [[255, 0]]


# --- enlarging ----------------------------------------------------------------------------------


def test_larger_pictures_of_every_kind(call, tmp_path):
    for mode in ("L", "LA", "RGB", "RGBA"):
        save(tmp_path / f"{mode}.png", mode)
    code, lines, _ = call("larger", *(f"{m}.png" for m in ("L", "LA", "RGB", "RGBA")))
    assert code == 0 and lines[0] == "test after 0 steps: 4 pictures -> applied"
    assert lines[1] == "L.png 23x17 -> applied/L.png 46x34"
    said = " (the generator is grey: brightness by it, colours bicubic)"
    assert lines[3] == f"RGB.png 23x17 -> applied/RGB.png 46x34{said}"
    for mode in ("L", "LA", "RGB", "RGBA"):
        with Image.open(tmp_path / f"{mode}.png") as small:
            with Image.open(tmp_path / "applied" / f"{mode}.png") as large:
                assert large.mode == mode and large.size == (46, 34)
                if mode[-1] == "A":
                    alpha = small.getchannel("A").resize((46, 34), Image.Resampling.BICUBIC)
                    assert large.getchannel("A").tobytes() == alpha.tobytes()


def test_a_grey_generator_leaves_the_colours(call, tmp_path):
    """Colours are those of Pillow's bicubic enlargement, the brightness is that of a grey copy."""
    rows, columns = np.mgrid[:17, :23]
    array = np.stack([90 + 3 * rows, 90 + 2 * columns, 150 - 2 * rows], axis=2).astype(np.uint8)
    Image.fromarray(array).save(tmp_path / "c.png")
    brightness, *colours = Image.fromarray(array).convert("YCbCr").split()
    brightness.save(tmp_path / "y.png")
    assert call("larger", "c.png", "y.png")[0] == 0
    with Image.open("applied/c.png") as made:
        found = [np.asarray(part).astype(int) for part in made.convert("YCbCr").split()]
    expected = [read("applied/y.png"), *(np.asarray(c.resize((46, 34), 3)) for c in colours)]
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= 3  # there and back again through red, green and blue


def test_a_colour_generator_takes_grey(call, tmp_path):
    save(tmp_path / "grey.png", "L", (5, 3))
    code, lines, _ = call("larger_colour", "grey.png", "--out", "x/y")
    assert code == 0 and "brightness is kept" in lines[1]
    assert read("x/y/grey.png").shape == (12, 20)


def test_the_profile_of_colours_stays(call, tmp_path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save(tmp_path / "a.png", icc_profile=profile)
    assert call("larger_colour", "a.png")[0] == 0
    with Image.open("applied/a.png") as made:
        assert made.info["icc_profile"] == profile


def test_one_compilation_for_all_pictures_of_a_call(call, tmp_path, monkeypatch):
    gc.collect()  # MindSpore forgets the shapes of all Cells when one goes: not while we count
    names, compile_cell = [], nn.Cell.compile

    def counting(self, *args, **kwargs):
        before = set(self.compile_cache)
        result = compile_cell(self, *args, **kwargs)
        names.extend(type(self).__name__ for _ in set(self.compile_cache) - before)
        return result

    monkeypatch.setattr(nn.Cell, "compile", counting)
    save(tmp_path / "a.png", size=(9, 5))
    save(tmp_path / "b.png", size=(130, 101))
    for kind, options in (
        ("larger", ()), ("fill", ("--rectangle", "1,1,3,2")), ("first", ()),
        ("both", ("--to", "a")),
    ):  # fmt: skip
        assert call(kind, "a.png", "b.png", *options)[0] == 0
        assert names == ["Generator"], kind
        names.clear()
        gc.collect()


# --- filling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fill", "fill_colour"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_known_pixels_come_back_to_the_last_bit(kind, mode, call, tmp_path):
    array = save(tmp_path / "a.png", mode, (37, 21))
    code, lines, _ = call(kind, "a.png", "--rectangle", "30,2,7,9")
    assert code == 0
    by_itself = kind == "fill" and "RGB" in mode
    assert ("each by itself" in lines[1]) == by_itself
    made = read("applied/a.png")
    assert made.shape == array.shape
    hole = np.zeros((21, 37), bool)
    hole[2:11, 30:37] = True
    np.testing.assert_array_equal(made[~hole], array[~hole])
    assert (made[hole] != array[hole]).any()
    if mode[-1] == "A":
        assert (made[hole][:, -1] == 255).all()


def test_holes_by_mask_and_by_colour_are_the_same(call, tmp_path):
    array = save(tmp_path / "a.png", "RGB", (20, 30))
    hole = np.random.default_rng(1).random((30, 20)) < 0.1
    array[hole] = (255, 0, 255)
    Image.fromarray(array).save(tmp_path / "a.png")
    Image.fromarray(hole).save(tmp_path / "mask.png")  # 1 bit
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.fromarray((hole * 255).astype(np.uint8)).resize((20, 30)).convert("RGBA").save(
        masks / "a.tif"
    )
    made = []
    for i, words in enumerate(
        (["--mask", "mask.png"], ["--hole", "magenta"], ["--hole", "#ff00ffff"], ["--mask", masks])
    ):
        assert call("fill_colour", *words, "a.png", "--out", f"out{i}")[0] == 0
        made.append(read(f"out{i}/a.png"))
        np.testing.assert_array_equal(made[i], made[0])
    np.testing.assert_array_equal(made[0][~hole], array[~hole])
    assert not (made[0][hole] == (255, 0, 255)).all(axis=1).any()


def test_what_is_clear_can_be_the_hole(call, tmp_path):
    array = save(tmp_path / "a.png", "RGBA")
    array[..., 3] = 200
    array[3:9, 4:11] = 0
    Image.fromarray(array).save(tmp_path / "a.png")
    assert call("fill_colour", "a.png", "--hole", "#00000000")[0] == 0
    made = read("applied/a.png")
    assert (made[3:9, 4:11, 3] == 255).all()
    made[3:9, 4:11] = 0
    np.testing.assert_array_equal(made, array)


def test_a_jpeg_is_no_exact_mask_or_colour(call, tmp_path):
    array = np.full((32, 32), 40, np.uint8)
    mask = np.zeros((32, 32), np.uint8)
    mask[11:19, 13:22] = 255
    Image.fromarray(array).save(tmp_path / "a.jpg")
    Image.fromarray(mask).save(tmp_path / "mask.jpg", quality=60)
    assert (read("mask.jpg") > 0).sum() > 72  # black is not black any more
    assert call("fill", "a.jpg", "--mask", "mask.jpg")[0] == 0
    assert ((read("applied/a.png") != 40) <= (mask > 0)).all()
    colours = np.full((32, 32, 3), 40, np.uint8)
    colours[8:16, 8:16] = 255
    Image.fromarray(colours).save(tmp_path / "b.jpg", quality=100)
    lines = call("fill", "b.jpg", "--hole", "white")[1]
    assert "a JPEG: pixels nearly of that colour are kept" in lines[1]


def test_holes_that_are_none(refuse, tmp_path):
    save(tmp_path / "a.png", "L", (20, 10))
    save(tmp_path / "other.png", "L", (21, 10))
    for name, value in (("black", 0), ("white", 255)):
        Image.new("L", (20, 10), value).save(tmp_path / f"{name}.png")
    (tmp_path / "empty").mkdir()
    cases = {
        (): "expected where the hole is; give --mask FILE, --hole COLOUR or --rectangle",
        ("--mask", "white.png", "--hole", "red"): "--mask and --hole: each says where",
        ("--mask", "none.png"): "--mask: none.png: no such file",
        ("--mask", "black.png"): "a.png: no hole: black.png is black everywhere",
        ("--mask", "white.png"): "a.png: nothing but a hole",
        ("--mask", "other.png"): "other.png: a mask of 21x10 pixels; expected 20x10",
        ("--mask", "empty"): "empty: no mask for a.png; expected a.png",
        ("--hole", "#ff0000"): "no hole: no pixel is exactly #ff0000",
        ("--hole", "blau"): "--hole: blau is no colour",
        ("--rectangle", "1,2,3"): "--rectangle: expected LEFT,TOP,WIDTH,HEIGHT",
        ("--rectangle", "1,2,0,4"): "--rectangle: expected LEFT,TOP,WIDTH,HEIGHT",
        ("--rectangle", "15,2,6,4"): "a hole up to 21,6 in a picture of 20x10",
        ("--rectangle", "0,0,20,10"): "nothing but a hole",
        ("--mask", "masks/a.png", "--out", "masks"): "masks/a.png: is a picture that is read",
        ("--mask", "masks", "--out", "masks"): "masks/a.png: is a picture that is read",
        ("--to", "b"): "--to: for a generator that translates both ways",
    }
    save(tmp_path / "masks" / "a.png", "L", (20, 10))
    for words, said in cases.items():
        assert said in refuse("fill", "a.png", *words), words


# --- translating --------------------------------------------------------------------------------


def test_translations(call, tmp_path):
    save(tmp_path / "grey.png", "L", (40, 9))
    save(tmp_path / "colour.png", "RGB", (16, 16))
    array = save(tmp_path / "clear.png", "RGBA", (16, 16))
    array[..., 3] = 0
    Image.fromarray(array).save(tmp_path / "clear.png")
    Image.new("RGB", (16, 16), "white").save(tmp_path / "white.png")
    code, lines, _ = call("first", "grey.png", "colour.png")
    assert code == 0 and lines[2].endswith("applied/colour.png 16x16 (made grey)")
    assert read("applied/grey.png").shape == (9, 40)
    made = {}
    for to in "ab":
        code, lines, _ = call(
            "both", "grey.png", "--to", to, "clear.png", "white.png", "--out", to
        )  # options between pictures
        assert code == 0 and len(lines) == 4
        assert lines[1].endswith("40x9 (grey taken for colours)")
        assert lines[2].endswith("(on #ffffff where it is transparent)")
        np.testing.assert_array_equal(read(f"{to}/clear.png"), read(f"{to}/white.png"))
        made[to] = read(f"{to}/grey.png")
        assert made[to].shape == (9, 40, 3)
    assert (made["a"] != made["b"]).any()


def test_which_way_has_to_be_said(refuse, tmp_path):
    save(tmp_path / "a.png")
    assert "give --to b for pictures of a, --to a for pictures of b" in refuse("both", "a.png")
    assert "translates one way; leave it out" in refuse("first", "a.png", "--to", "b")
    assert "makes pictures larger; leave it out" in refuse("larger", "a.png", "--to", "b")
    for kind in ("larger", "first"):
        assert "--hole: for a generator that fills holes" in refuse(kind, "a.png", "--hole", "red")


# --- which generator, which pictures, where to --------------------------------------------------


def test_generators_of_latents_and_of_pictures_know_of_each_other(
    generators, refuse, tmp_path, capsys
):
    save(tmp_path / "a.png")
    assert f"ms-gan generate {generators['latents']}" in refuse("latents", "a.png")
    error = refused_command(capsys, "generate", generators["larger"])
    assert f"ms-gan apply {generators['larger']} PICTURE…" in error


def test_shipped_generators(generators, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(shipped.TRANSLATORS, "larger", generators["larger"])
    save(tmp_path / "a.png")
    for words in (["a.png", "--pretrained", "larger"], ["--pretrained", "larger", "a.png"]):
        assert cli.main(["apply", *words]) == 0
    assert "in place of one that was there: applied/a.png" in capsys.readouterr().out
    both = ["--pretrained", "larger", generators["larger"], "a.png"]
    assert "there is a checkpoint too" in refused_command(capsys, "apply", *both)


def test_words_that_are_missing_or_wrong(generators, refuse, tmp_path, capsys):
    save(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    assert "apply: no picture; expected pictures" in refuse("larger")
    assert "nowhere.png: no such file" in refuse("larger", "a.png", "nowhere.png")
    assert "empty: a folder without pictures" in refuse("larger", "empty")
    assert "a.png: a file, not a folder" in refuse("larger", "a.png", "--out", "a.png")
    assert "would be replaced; choose another folder" in refuse("larger", "a.png", "--out", ".")
    for words, said in (
        ([], "apply: no generator"),
        (["a.png"], "a.png: a picture; expected the generator first"),
        (["empty", "a.png"], "empty: holds no run"),
        (["--pretrained", "sr-x2"], "apply: no picture"),
    ):
        assert said in refused_command(capsys, "apply", *words)


def test_pictures_of_one_name_and_of_folders(call, tmp_path):
    save(tmp_path / "a.png", seed=1)
    save(tmp_path / "x" / "A.png", seed=2)
    save(tmp_path / "x" / "a.jpg", seed=3)
    save(tmp_path / "x" / "deep" / "a.png", seed=4)
    save(tmp_path / "x" / "out" / "made.png", seed=5)  # of an earlier call
    (tmp_path / "x" / "notes.txt").write_text("no picture")
    code, lines, _ = call("larger_colour", "a.png", "a.png", "x", "--out", "x/out")
    assert code == 0
    places = [line.replace(" 23x17", "").removesuffix(" 92x68") for line in lines]
    assert places == [
        "test after 0 steps: 4 pictures -> x/out",
        "a.png -> x/out/a.png",
        "x/A.png -> x/out/A-2.png",
        "x/a.jpg -> x/out/a-3.png",
        "x/deep/a.png -> x/out/deep/a.png",
    ]
    made = [read(tmp_path / "x" / "out" / name).tobytes() for name in ("a.png", "A-2.png")]
    assert made[0] != made[1]


def test_a_picture_that_fails_among_others(call, refuse, tmp_path):
    for name in ("a", "c"):
        save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert "b.png: unreadable picture (unknown format)" in refuse("larger", "b.png")
    code, lines, error = call("larger", "a.png", "b.png", "c.png")
    assert code == 2 and len(lines) == 4 and error.count("\n") == 1
    assert lines[2].startswith("b.png: unreadable picture (unknown format); ")
    assert "1 of 3 pictures failed: b.png; the lines above say why" in error
    assert sorted(path.name for path in (tmp_path / "applied").iterdir()) == ["a.png", "c.png"]
    (tmp_path / "d.png").write_bytes(b"")
    error = call("larger", "b.png", "d.png")[2]
    assert "2 of 2 pictures failed" in error and "others" not in error


def test_a_folder_that_cannot_be_written(call, tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    code, _, error = call("larger", "a.png", "--out", "file/inner")
    assert code == 2 and error.count("\n") == 1 and "choose another folder with --out" in error


def test_the_command_as_a_process(generators, tmp_path):
    save(tmp_path / "photo.jpg", size=(48, 32))
    code, out, err = run("apply", generators["larger"], "photo.jpg", cwd=tmp_path)
    assert code == 0, err
    assert "photo.jpg 48x32 -> applied/photo.png 96x64" in out and not err
