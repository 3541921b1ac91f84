"""Folders of pictures as people have them: what is found, what is left out, what is decoded."""

import json
import os
import shutil
import socket
import struct
import zlib

import numpy as np
import pytest
import yaml
from PIL import Image, ImageOps, features

from ms_gan import data
from ms_gan.data import Batches, DataError, Dataset, cache, finding
from ms_gan.data.decoding import Look, Unreadable, decode
from ms_gan.recipe.schema import ConfigError
from ms_gan.system import streams
from ms_gan.system.streams import Stream
from tests import tiny

GREY = {"size": 8, "channels": 1}


def load(root, **options):
    """The data set of a folder, and what was said."""
    said = []
    found = data.load("image_folder", root=root, say=said.append, **{**GREY, **options})
    return found, said


def refused(root, **options):
    return tiny.refused(DataError, load, root, **options)


def save(path, value=100, mode="L", size=(8, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **options)
    return path


def noise(path, seed=0, size=(8, 8)):
    """A picture that is not of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def chunk(kind, content):
    length, check = len(content), zlib.crc32(kind + content)
    return struct.pack(">L", length) + kind + content + struct.pack(">L", check)


def png(depth, colour, row, *more, side=8):
    """A PNG of equal rows, written by hand."""
    head = struct.pack(">LLBBBBB", side, side, depth, colour, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * side)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, content)
        for kind, content in ((b"IHDR", head), *more, (b"IDAT", pixels), (b"IEND", b""))
    )


def tiff(pixels, bits, sample_format, *more, order="<"):
    """A grey TIFF of 8x8 as bytes; `more`: tags (number, type, four bytes)."""
    tags = [(256, 8), (257, 8), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, 8),
            (279, len(pixels)), (339, sample_format)]  # fmt: skip
    entries = [(tag, 4, struct.pack(order + "L", value)) for tag, value in tags]
    entries = sorted([*entries, *more])
    body = struct.pack(order + "H", len(entries))
    for tag, kind, value in entries:
        body += struct.pack(order + "HHL", tag, kind, 1) + value
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(order + "L", 8 + len(pixels)) + pixels + body + bytes(4)


def grey(content, **look):
    """The value in the middle of a picture."""
    pixels, _ = decode(content, Look(8, 8, 1, **look))
    return int(pixels[0, 4, 4])


# ---- what a picture file can be ----------------------------------------------------------------

PALETTE = (b"PLTE", bytes([255, 255, 255, 0, 0, 0]))
V4 = struct.pack("<LllHHLLllLL", 108, 8, 8, 1, 32, 3, 256, 2835, 2835, 0, 0) + struct.pack(
    "<LLLL", 0xFF0000, 0xFF00, 0xFF, 0xFF000000
)


def word(value):
    return struct.pack(">H", value)


FILES = {  # what it is -> (content, the grey value that is right on black)
    "16 bits": (png(16, 0, word(65535) * 8), 255),
    "16 bits, half": (png(16, 0, word(32640) * 8), 127),
    "12 of 16 bits": (png(16, 0, word(4095) * 8), 255),
    "8 of 16 bits": (png(16, 0, word(255) * 8), 255),
    "16 bits, transparent": (png(16, 0, word(65535) * 8, (b"tRNS", word(65535))), 0),
    "8 bits, transparent": (png(8, 0, b"\xff" * 8, (b"tRNS", word(255))), 0),
    "4 bits, transparent": (png(4, 0, b"\xff" * 4, (b"tRNS", word(15))), 0),
    "2 bits, transparent": (png(2, 0, b"\xff" * 2, (b"tRNS", word(3))), 0),
    "1 bit, transparent": (png(1, 0, b"\xff", (b"tRNS", word(1))), 0),
    "4 bits, another one is transparent": (png(4, 0, b"\xff" * 4, (b"tRNS", word(3))), 255),
    "1 bit": (png(1, 0, b"\xff"), 255),
    "palette, transparent": (png(8, 3, bytes(8), PALETTE, (b"tRNS", b"\0")), 0),
    "palette, half transparent": (png(8, 3, bytes(8), PALETTE, (b"tRNS", b"\x80")), 128),
    "colour, transparent": (png(8, 2, b"\xff" * 24, (b"tRNS", word(255) * 3)), 0),
    "16-bit colour": (png(16, 2, b"\xff" * 48), 255),
    "grey and alpha": (png(8, 4, b"\xff\x00" * 8), 0),
    "16-bit grey and alpha": (png(16, 4, word(65535) * 16), 255),
    "BMP of 32 bits with an alpha of 0": (
        b"BM" + struct.pack("<LHHL", 14 + 108 + 256, 0, 0, 14 + 108)
        + V4 + b"BGRs" + bytes(48) + b"\xff\xff\xff\x00" * 64, 255,
    ),
    "16 bits in TIFF": (tiff(struct.pack("<64H", *[40000] * 64), 16, 1), 155),
    "big endian": (tiff(struct.pack(">64H", *[40000] * 64), 16, 1, order=">"), 155),
    "16 bits with a sign": (tiff(struct.pack("<64h", *[-9] * 32, *[9] * 32), 16, 2), 255),
    "32 bits": (tiff(struct.pack("<64L", *[40000] * 64), 32, 1), 155),
    "32 bits without sign": (
        tiff(struct.pack("<64L", *[0] * 32, *[2**32 - 1] * 32), 32, 1), 255
    ),
    "fractions of 1": (tiff(struct.pack("<64f", *[0.5] * 64), 32, 3), 127),
    "fractions of 255": (tiff(struct.pack("<64f", *[51.0] * 64), 32, 3), 51),
    "negative fractions": (tiff(struct.pack("<64f", *[-7.0] * 32, *[13.0] * 32), 32, 3), 255),
    "no numbers": (tiff(struct.pack("<64f", *[float("nan")] * 64), 32, 3), 0),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FILES)
def test_the_value_of_every_kind(kind):
    content, right = FILES[kind]
    assert grey(content) == right


@pytest.mark.parametrize("format, mode, value, right", [
    ("JPEG", "CMYK", (0, 0, 0, 0), 255), ("JPEG", "YCbCr", (255, 128, 128), 255),
    ("TIFF", "LAB", (255, 128, 128), 255), ("TIFF", "CMYK", (0, 0, 0, 0), 255),
    ("GIF", "P", 0, 0), ("PPM", "RGB", (90, 90, 90), 90), ("PPM", "I", 65535, 255),
    ("WEBP", "RGBA", (255, 255, 255, 0), 0), ("TIFF", "RGBA", (255, 255, 255, 0), 0),
    ("JPEG2000", "L", 70, 70), ("PNG", "LA", (200, 0), 0), ("PCX", "L", 70, 70),
    ("SGI", "L", 70, 70), ("TGA", "RGBA", (200, 200, 200, 0), 200),
])  # fmt: skip
def test_the_value_of_every_format(tmp_path, format, mode, value, right):
    if format == "WEBP" and not features.check("webp"):
        pytest.skip("a Pillow without WebP")
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    save(tmp_path / "picture.tga", value, mode, format=format, **options)
    pixels, facts = decode((tmp_path / "picture.tga").read_bytes(), Look(8, 8, 1), name="p.tga")
    assert abs(int(pixels[0, 4, 4]) - right) <= 1 and facts.format == format and facts.plain


def test_the_background_is_seen_through_every_kind_of_alpha():
    for content, right in FILES.values():
        if right == 0 and b"tRNS" in content:
            assert grey(content, background=(90, 90, 90)) == 90
    half = FILES["palette, half transparent"][0]
    assert abs(grey(half, background=(255, 255, 255)) - 255) <= 1


@pytest.mark.parametrize("background, right", [
    (None, [0, 0, 0]), (40, [40, 40, 40]), ([9, 200, 30], [9, 200, 30]),
    ("white", [255, 255, 255]), ("#0a0b0c", [10, 11, 12]),
])  # fmt: skip
def test_a_background_is_a_grey_value_a_colour_or_its_name(tmp_path, background, right):
    save(tmp_path / "a.png", (200, 0), "LA")
    found, _ = load(tmp_path, background=background, channels=3)
    assert found.images[0, :, 4, 4].tolist() == right


@pytest.mark.parametrize("background", [-1, 256, [0, 0, 300], "whyte"])
def test_a_background_that_is_no_colour(tmp_path, background):
    assert "background" in refused(save(tmp_path / "a.png").parent, background=background)


@pytest.mark.parametrize("options", [
    {"background": [1, 2]}, {"fit": "crp"}, {"broken": "go"}, {"size": [8]}, {"size": [8, 8, 8]},
    {"size": "8x8"}, {"size": True},
])  # fmt: skip
def test_an_option_of_another_type_is_refused_before_anything_is_read(options):
    (key,) = options
    assert f"data.{key}" in tiny.refused(
        ConfigError, data.load, "image_folder", root="x", **options
    )


def exif(*entries):
    """EXIF by hand: (tag, type, count, four bytes)."""
    body = struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        body += struct.pack("<HHL", tag, kind, count) + value
    return b"Exif\0\0II*\0" + struct.pack("<L", 8) + body + bytes(4)


TURN = (0x0112, 3, 1, struct.pack("<HH", 3, 0))  # upside down
EXIFS = {  # what is wrong with it -> (EXIF, whether it still says how the picture was turned)
    "nothing": (exif(TURN), True),
    "a resolution in letters": (exif(TURN, (0x011A, 2, 4, b"72\0\0")), True),
    "a negative width": (exif(TURN, (0x0100, 8, 1, struct.pack("<hh", -5, 0))), True),
    "a resolution over zero": (
        exif(TURN, (0x011A, 5, 1, struct.pack("<L", 38))) + struct.pack("<LL", 0, 0), True
    ),
    "a text beyond the end": (exif(TURN, (0x010F, 2, 400, struct.pack("<L", 60000))), True),
    "a number of values that cannot be": (exif(TURN, (0x010F, 2, 2**31, bytes(4))), True),
    "an unknown type": (exif(TURN, (0x9999, 77, 1, b"abcd")), True),
    "another table beyond the end": (exif(TURN, (0x8769, 4, 1, struct.pack("<L", 65000))), True),
    "a circle of tables": (exif(TURN, (0x8769, 4, 1, struct.pack("<L", 8))), True),
    "an orientation that there is not": (exif((0x0112, 3, 1, struct.pack("<HH", 9, 0))), False),
    "an orientation in letters": (exif((0x0112, 2, 2, b"3\0\0\0")), False),
    "no table": (b"Exif\0\0II*\0", False),
    "garbage": (b"Exif\0\0\x01\x02\x03 not a table", False),
    "none": (b"Exif\0\0", False),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", EXIFS)
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_of_exif_only_the_orientation_is_needed(tmp_path, format, kind):
    content, turned = EXIFS[kind]
    upper = np.zeros((16, 16), np.uint8)
    upper[:8] = 255
    Image.fromarray(upper).save(tmp_path / "a", format=format, exif=content)
    pixels, _ = decode((tmp_path / "a").read_bytes(), Look(16, 16, 1))
    assert pixels[0, 0, 0] == (0 if turned else 255) and pixels[0, 15, 0] != pixels[0, 0, 0]


@pytest.mark.parametrize("format", ["TIFF", "WEBP", "JPEG", "PNG"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_all_turns_are_those_of_pillow(tmp_path, format, turn):
    pixels = np.arange(12 * 8, dtype=np.uint8).reshape(12, 8) * 2
    tag = Image.Exif()
    tag[0x0112] = turn
    options = {"lossless": True} if format == "WEBP" else {}
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "a", format=format, exif=tag, **options)
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "a")).convert("L")
    found, _ = decode((tmp_path / "a").read_bytes(), Look(upright.height, upright.width, 1))
    np.testing.assert_array_equal(found[0], np.asarray(upright))


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_is_taken_and_said(tmp_path, format):
    frames = [Image.new("RGB", (8, 8), (value,) * 3) for value in (250, 3, 9)]
    more = {"save_all": True, "append_images": frames[1:]}
    frames[0].save(tmp_path / "a", format=format, **more)
    noise(tmp_path / "b.png")
    found, said = load(tmp_path)
    assert abs(int(found.images[0, 0, 4, 4]) - 250) <= 3
    assert "data: 1 picture has several frames or pages; the first one is taken" in said


def test_a_folder_of_deep_pictures_shares_one_range(tmp_path):
    for name, most in (("a", 4095), ("b", 2000), ("c", 9)):
        values = np.linspace(0, most, 64).reshape(8, 8).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    found, said = load(tmp_path)
    assert found.images.max(axis=(1, 2, 3)).tolist() == [255, 2000 * 255 // 4095, 0]
    line = "data: 3 pictures of more than 8 bits, whole numbers from 0 to 4095: 0 becomes black"
    assert said[0].startswith(line)
    again, told = load(tmp_path)  # from the cache
    assert told[1:] == said and np.array_equal(again.images, found.images)


def test_old_16_bit_pictures_are_what_they_were(tmp_path, rng):
    values = rng.integers(0, 65536, (8, 8)).astype(np.uint16)
    values[0, 0] = 65535
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.array_equal(load(tmp_path)[0].images[0, 0], values // 257)


def test_black_drawings_on_a_transparent_ground_are_spoken_of(tmp_path):
    for i in range(4):
        picture = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
        picture.paste((0, 0, 0, 255), (2, 2, 8 + i, 9))
        picture.save(tmp_path / f"{i}.png")
    found, said = load(tmp_path)
    assert found.images.max() == 0
    (line,) = said
    assert "4 of 4 pictures: partly transparent" in line and "data.background=255" in line
    found, said = load(tmp_path, background=255)
    assert found.images.min() == 0 and found.images.max() == 255 and not said


def test_plain_and_dark_pictures_are_spoken_of(tmp_path):
    for i in range(3):
        save(tmp_path / "plain" / f"{i}.png", 10 * i + 50)
        (tmp_path / "dark").mkdir(exist_ok=True)
        row = b"".join(word(x * 300) * 3 for x in range(8))  # 12 bits in 16, in colour
        (tmp_path / "dark" / f"{i}.png").write_bytes(png(16, 2, row))
    assert "3 of 3 pictures: of one colour throughout" in load(tmp_path / "plain")[1][0]
    assert "brighter than 8 of 255" in load(tmp_path / "dark")[1][0]


@pytest.mark.parametrize("content, reason", [
    (b"", "empty file"), (b"<!DOCTYPE html><html>404</html>", "unknown format"),
    (png(8, 0, b"\xff" * 8)[:48], ""), (png(8, 0, b"\xff" * 8, side=20000)[:200], "pixels"),
    (b"\x89PNG\r\n\x1a\n", "unknown format"), (b"GIF89a", ""), (b"\xff\xd8\xff\xe0", ""),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_damage_is_a_few_words(content, reason):
    with pytest.raises(Unreadable, match=reason) as caught:
        decode(content, Look(8, 8, 1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [
    (282, 2, b"72\0\0"), (256 + 8000, 77, b"abcd"), (0x8769, 4, struct.pack("<L", 60000)),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_a_tiff_with_broken_tags_is_read_or_named(tmp_path, kind):
    turn = (274, 3, struct.pack("<HH", 3, 0))
    (tmp_path / "a.tif").write_bytes(tiff(bytes(range(64)), 8, 1, kind, turn))
    try:
        assert load(tmp_path)[0].images[0, 0, 0, 0] == 63
    except DataError as error:
        assert "a.tif: unreadable picture" in str(error)


# ---- the size ----------------------------------------------------------------------------------


def test_rectangles_and_how_pictures_are_fitted(tmp_path):
    wide = np.zeros((20, 40), np.uint8)
    wide[:, 10:30] = 200  # the centred square
    Image.fromarray(wide).save(tmp_path / "a.png")
    crop = load(tmp_path, size=[20, 20])[0].images[0, 0]
    assert crop.min() == 200
    whole = load(tmp_path, size=[20, 40])[0].images[0, 0]
    np.testing.assert_array_equal(whole, wide)
    stretched = load(tmp_path, size=20, fit="stretch")[0].images[0, 0]
    assert stretched.shape == (20, 20) and stretched[10, 10] == 200 and stretched[10, 1] == 0
    padded = load(tmp_path, size=20, fit="pad", background=90)[0].images[0, 0]
    assert (padded[:5] == 90).all() and (padded[15:] == 90).all() and padded[10, 10] == 200
    assert padded[10, 0] == 0  # the picture's own black
    colour = load(tmp_path, size=[10, 30], fit="pad", background=[9, 8, 7], channels=3)[0]
    assert colour.images.shape == (1, 3, 10, 30) and colour.images[0, :, 0, 0].tolist() == [9, 8, 7]


def test_cropping_is_what_it_was(tmp_path, rng):
    pixels = rng.integers(0, 256, (37, 61, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    before = ImageOps.fit(Image.fromarray(pixels), (16, 16), Image.Resampling.BICUBIC)
    found = load(tmp_path, size=16, channels=3)[0].images[0]
    np.testing.assert_array_equal(found, np.asarray(before).transpose(2, 0, 1))


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 5000)])
def test_pictures_of_any_shape(tmp_path, fit, shape):
    save(tmp_path / "a.png", 200, size=shape)
    image = load(tmp_path, size=[8, 16], fit=fit)[0].images[0, 0]
    assert image.shape == (8, 16) and image.max() == 200


def test_rectangles_of_every_data_set():
    found = data.load("digits", size=[12, 20], channels=3)
    assert found.images.shape[1:] == (3, 12, 20)
    square = data.load("digits", size=16)
    assert np.array_equal(square.images, data.load("digits", size=[16, 16]).images)


def test_too_many_pixels_are_refused_in_one_line(tmp_path):
    assert "choose a smaller data.size" in refused(save(tmp_path / "a.png").parent, size=10**9)


# ---- tiles and names ---------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape, grid", [
    ((16, 24), (2, 3)), ((17, 31), (2, 3)), ((8, 8), (1, 1)), ((23, 15), (2, 1)),
    ((8, 100), (1, 12)),
])  # fmt: skip
def test_every_tile_is_a_part_of_the_picture(tmp_path, rng, shape, grid, channels):
    """Side by side, not scaled, from the middle; named by row and column."""
    pixels = rng.integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found, said = load(tmp_path, fit="tiles", channels=channels)
    picture = Image.open(tmp_path / "a.png").convert({1: "L", 3: "RGB"}[channels])
    whole = np.asarray(picture).reshape(*shape, channels)
    top, left = (shape[0] - 8 * grid[0]) // 2, (shape[1] - 8 * grid[1]) // 2
    assert found.images.shape == (grid[0] * grid[1], channels, 8, 8)
    for image, name in zip(found.images, found.names, strict=True):
        row, column = map(int, name.removeprefix("a#").split(","))
        part = whole[top + 8 * row :][:8, left + 8 * column :][:, :8]
        np.testing.assert_array_equal(image, part.transpose(2, 0, 1))
    assert len(set(found.names)) == len(found)
    assert found.names[0] == "a#0,0" and found.names[-1] == f"a#{grid[0] - 1},{grid[1] - 1}"


def test_tiles_of_many_pictures_have_their_labels_and_small_ones_are_left_out(tmp_path):
    sizes = {"cats/a": (11, 30), "cats/b": (12, 20), "dogs/c": (30, 21), "dogs/d": (30, 9)}
    for i, (name, size) in enumerate(sizes.items()):
        noise(tmp_path / f"{name}.png", i, size)
    for _ in range(2):  # read, then from the cache
        found, said = load(tmp_path, size=[6, 10], fit="tiles")
        assert found.image_shape == (1, 6, 10) and len(found) == 3 + 4 + 10
        assert found.names[:4] == ("cats/a#0,0", "cats/a#0,1", "cats/a#0,2", "cats/b#0,0")
        assert found.classes == ("cats", "dogs") and found.labels.tolist() == [0] * 7 + [1] * 10
        assert found.found.left_out == {"smaller than a tile of 10x6": ["dogs/d.png"]}
        assert said[-1] == (
            "data: 17 tiles of 10x6 from 3 pictures; left out, since they are smaller: dogs/d.png"
        )
        line = found.described()
        assert f"tiles of pictures in {tmp_path}" in line and "cats 7, dogs 10" in line
        assert "  0  cats: 7 tiles" in list(found.listing())
    assert found.md5 == load(tmp_path)[0].md5  # of the same pictures
    line = refused(tmp_path, size=99, fit="tiles")
    assert "every picture is smaller than a tile" in line and "choose a smaller data.size" in line
    labelled, _ = load(tmp_path, size=[6, 10], fit="tiles", labelled=True)
    assert labelled.classes == ("cats", "dogs")


def test_what_becomes_of_a_picture_is_so_for_its_tiles(tmp_path):
    """EXIF, transparency and the shared span of deep pictures."""
    wide = np.zeros((8, 16), np.uint8)
    wide[:, 8:] = 200
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    Image.fromarray(wide).save(tmp_path / "a.png", exif=turned)
    save(tmp_path / "b.png", (10, 0), "LA", size=(16, 8))
    for name, most in (("c", 4095), ("d", 2000)):
        deep = np.linspace(0, most, 128).reshape(8, 16).astype(np.uint16)
        Image.fromarray(deep).save(tmp_path / f"{name}.png")
    save(tmp_path / "0 small.png", size=(3, 3))
    found, said = load(tmp_path, fit="tiles", background=90)
    assert found.images[:2].max(axis=(1, 2, 3)).tolist() == [200, 0]
    assert (found.images[2:4] == 90).all()
    assert found.images[4:].max(axis=(1, 2, 3)).tolist() == [
        int(v * 255 / 4095) for v in (deep_value(4095, 7, 7), 4095, deep_value(2000, 7, 7), 2000)
    ]
    assert "2 pictures of more than 8 bits" in said[0]


def deep_value(most, row, column):
    """Of a picture of 8x16 whose values rise evenly."""
    return int(np.linspace(0, most, 128).reshape(8, 16)[row, column])


def test_plain_tiles_are_not_spoken_of_but_plain_pictures_are(tmp_path):
    for i in range(3):
        sky = np.full((16, 64), 90, np.uint8)
        sky[:8, :8] = np.arange(64).reshape(8, 8) + i  # one of sixteen tiles shows something
        Image.fromarray(sky).save(tmp_path / f"{i}.png")
    _, said = load(tmp_path, fit="tiles")
    assert said == ["data: 48 tiles of 8x8 from 3 pictures"]
    for i in range(3):
        save(tmp_path / f"{i}.png", 90, size=(64, 16))
    _, said = load(tmp_path, fit="tiles")
    assert "3 of 3 pictures: of one colour throughout" in said[0]


def test_tiles_of_a_picture_are_held_out_together(tmp_path):
    for i in range(13):
        noise(tmp_path / f"{i}#x.png", i, (8 * (1 + i % 3), 16))
    train, test = data.splits("image_folder", root=tmp_path, fit="tiles", **GREY)
    seen, kept = ({name.rpartition("#")[0] for name in part.names} for part in (train, test))
    assert not seen & kept and len(kept) == 3 and len(seen) == 10
    assert len(train) + len(test) == sum(2 * (1 + i % 3) for i in range(13))


def test_names_are_paths_without_their_ending(tmp_path):
    for name in ("b.PNG", "a.b.png", "noending", "sub/c.jpg", os.fsdecode(b"\xe9.png")):
        save(tmp_path / name, format="PNG")
    expected = ("a.b", "b", "noending", "sub/c", os.fsdecode(b"\xe9"))
    for _ in range(2):  # read, then from the cache
        found, _ = load(tmp_path)
        assert found.names == expected
    assert found.take(np.array([3, 0])).names == ("sub/c", "a.b")
    assert data.load("digits", size=8).names == ()


# ---- which files -------------------------------------------------------------------------------


def test_pictures_are_known_by_content(tmp_path):
    for i, (name, format) in enumerate([
        ("a.tif", "TIFF"), ("b.gif", "GIF"), ("c.jfif", "JPEG"), ("d.ppm", "PPM"),
        ("e", "JPEG"), ("f.jpe", "JPEG"), ("g.txt", "PNG"), ("h.jpg", "GIF"), ("i.TIFF", "TIFF"),
        ("j.bin", "BMP"), ("k.jpeg.part", "JPEG"),
    ]):  # fmt: skip
        save(tmp_path / name, 20 * i, format=format)
    found, _ = load(tmp_path)
    values = found.images[:, 0, 4, 4].astype(int)
    assert np.abs(values - 20 * np.arange(11)).max() <= 2  # all of them, in order of their names
    assert found.found.formats == {"TIFF": 2, "GIF": 2, "JPEG": 4, "PPM": 1, "PNG": 1, "BMP": 1}


def test_what_is_left_out_is_counted_by_kind(tmp_path):
    noise(tmp_path / "a.png")
    for name, content in {
        "notes.txt": "Ä text".encode() * 300, "page.svg": b"<svg/>", "draw.eps": b"%!PS-Adobe-3.0",
        "empty": b"", "film.mp4": b"\0\0\0\x18ftypmp42" + bytes(900),
        "phone.heic": b"\0\0\0\x18ftypheic" + bytes(900), ".hidden.png": b"x", "Thumbs.db": b"x",
        ".DS_Store": b"x", "Desktop.ini": b"x", "camera.NEF": tiff(bytes(64), 8, 1),
        "__MACOSX/._a.png": b"x", "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg": b"x",
        ".thumbnails/t.png": b"x", ".git/config": b"x",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    found, _ = load(tmp_path)
    assert len(found) == 1 and found.found.left_out == {
        "camera raw": ["camera.NEF"],
        "empty": ["empty"],
        "hidden": [".git", ".hidden.png"],
        "neither file nor folder": ["pipe.png", "socket"],
        finding.UNKNOWN: ["film.mp4", "phone.heic"],
        "of the system": [
            ".DS_Store", ".thumbnails", "@eaDir", "Desktop.ini", "Thumbs.db", "__MACOSX",
        ],
        "text": ["draw.eps", "notes.txt", "page.svg"],
    }  # fmt: skip
    line = found.described()
    assert "image_folder, 1 images [1, 8, 8]" in line and "8x8 pixels; no classes" in line
    assert "6 of the system (.DS_Store, .thumbnails, @eaDir, …)" in line
    listing = "\n".join(found.listing())
    assert all(name in listing for names in found.found.left_out.values() for name in names)


def test_links_are_followed_and_circles_end(tmp_path):
    for name in ("cats", "dogs", "birds"):
        for i in range(3):
            noise(tmp_path / "store" / name / f"{i}.png", i)
    linked, mixed = tmp_path / "linked", tmp_path / "mixed"
    for folder in (linked, mixed):
        folder.mkdir()
    for name in ("cats", "dogs", "birds"):
        (linked / name).symlink_to(tmp_path / "store" / name)
    shutil.copytree(tmp_path / "store" / "cats", mixed / "cats")
    (mixed / "birds").symlink_to(tmp_path / "store" / "birds")
    for folder, names in ((linked, ("birds", "cats", "dogs")), (mixed, ("birds", "cats"))):
        found, _ = load(folder)
        assert found.classes == names and len(found) == 3 * len(names)
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.png").symlink_to(tmp_path / "store" / "cats" / "0.png")
    (files / "gone.png").symlink_to("missing.png")
    (files / "circle").symlink_to(files)
    (files / "itself").symlink_to("itself")
    (files / "one").symlink_to("other")
    (files / "other").symlink_to("one")
    found, _ = load(files)
    assert len(found) == 1 and found.found.left_out == {
        "linked to a folder that is read already": ["circle"],
        "linked to nothing": ["gone.png", "itself", "one", "other"],
    }
    (tmp_path / "root").symlink_to(mixed)
    assert load(tmp_path / "root")[0].classes == ("birds", "cats")


def test_many_folders_that_link_to_each_other(tmp_path):
    """Every folder is entered once: following all ways would take for ever."""
    for a in range(12):
        noise(tmp_path / f"{a}" / "a.png", a)
        for b in range(12):
            if a != b:
                (tmp_path / f"{a}" / f"to {b}").symlink_to(tmp_path / f"{b}")
    assert len(load(tmp_path)[0]) == 12


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_is_closed_is_not_passed_over(tmp_path):
    noise(tmp_path / "a.png")
    noise(tmp_path / "closed" / "b.png")
    (tmp_path / "closed").chmod(0)
    try:
        assert "closed: unreadable picture (cannot be listed" in refused(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o755)


def test_nothing_there(tmp_path):
    assert "no such folder" in refused(tmp_path / "none")
    assert "no pictures" in refused(tmp_path)
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(900))
    line = refused(tmp_path)
    assert "no pictures (there are: 1 of a kind that Pillow does not read, 1 text)" in line
    assert "a file, not a folder" in refused(tmp_path / "a.txt")


# ---- broken pictures ---------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path):
    """Twelve whole pictures and twelve that are not."""
    for i in range(12):
        noise(tmp_path / f"good{i:02}.png", i)
        (tmp_path / f"bad{i:02}.png").write_bytes(noise(tmp_path / "t.png").read_bytes()[: 60 - i])
    (tmp_path / "t.png").unlink()
    (tmp_path / "bad00.png").write_bytes(b"")
    return tmp_path


def test_all_broken_pictures_are_named_at_once(damaged):
    line = refused(damaged)
    assert line.startswith(f"{damaged}/bad00.png: unreadable picture (empty file), and 11 more: ")
    assert all(f"bad{i:02}" in line for i in range(10)) and "bad10" not in line and "…" in line
    assert "data.broken=skip, and go on with 12" in line


def test_broken_pictures_are_left_out_where_that_is_asked_for(damaged):
    found, said = load(damaged, broken="skip")
    assert len(found) == 12 and len(found.found.left_out["broken"]) == 12
    assert "bad00.png (empty file)" in said[0] and "12 in all" in said[0]
    alone = damaged / "whole"
    for path in damaged.glob("good*"):
        alone.mkdir(exist_ok=True)
        path.rename(alone / path.name)
    assert load(alone)[0].md5 == found.md5  # as if they had never been there
    assert "unreadable picture" in refused(damaged, broken="stop")


def test_one_broken_picture_and_nothing_else(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG not really")
    assert refused(tmp_path).startswith(f"{tmp_path}/a.png: unreadable picture (unknown format); ")
    assert "no pictures that can be read" in refused(tmp_path, broken="skip")


# ---- the cache, progress -----------------------------------------------------------------------


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ms_gan" / "pictures"


def decoded_again(monkeypatch, root, **options):
    """(images, whether a picture was decoded, what was said)"""
    calls = []
    monkeypatch.setattr(
        "ms_gan.data.reading.decode", lambda *a, **k: calls.append(1) or decode(*a, **k)
    )
    found, said = load(root, **options)
    return found, bool(calls), said


def test_pictures_are_decoded_once(tmp_path, monkeypatch, own_cache):
    root = tmp_path / "p"
    for i in range(3):
        noise(root / "cats" / f"{i}.png", i)
        noise(root / "dogs" / f"{i}.png", i)
    (root / "notes.txt").write_text("text")
    first, again, _ = decoded_again(monkeypatch, root)
    assert again
    second, again, said = decoded_again(monkeypatch, root)
    assert not again and said[0].startswith("data: decoded before, taken from ")
    for name in ("images", "labels"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    for name in ("classes", "md5", "source", "found", "has_test"):
        assert getattr(first, name) == getattr(second, name)
    (root / ".DS_Store").write_bytes(b"x")  # no picture: what is decoded stays good
    third, again, _ = decoded_again(monkeypatch, root)
    assert not again and third.found.left_out == {
        "of the system": [".DS_Store"], "text": ["notes.txt"]
    }  # fmt: skip
    for options in ({"size": 9}, {"channels": 3}, {"background": 9}, {"fit": "pad"}):
        assert decoded_again(monkeypatch, root, **options)[1]
        assert len(list(own_cache.iterdir())) <= cache.KEPT
    times = os.stat(root / "cats" / "0.png")
    noise(root / "cats" / "0.png", 77)
    os.utime(root / "cats" / "0.png", ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert decoded_again(monkeypatch, root)[1]
    (root / "cats" / "1.png").rename(root / "dogs" / "9.png")
    found, again, _ = decoded_again(monkeypatch, root)
    assert again and np.bincount(found.labels).tolist() == [2, 4]


@pytest.mark.parametrize("damage", ["cut", "a byte", "not a zip", "another one", "empty"])
def test_a_damaged_cache_is_passed_over(tmp_path, monkeypatch, own_cache, damage):
    root = noise(tmp_path / "p" / "a.png").parent
    before = load(root)[0]
    (file,) = own_cache.iterdir()
    content = bytearray(file.read_bytes())
    if damage == "another one":
        with open(file, "wb") as other:
            np.savez(other, images=np.zeros(3))
    else:
        content[content.index(before.images.tobytes())] ^= 255
        file.write_bytes({
            "cut": content[: len(content) // 2], "a byte": content, "empty": b"",
            "not a zip": b"x" * 100,
        }[damage])  # fmt: skip
    found, again, said = decoded_again(monkeypatch, root)
    assert again and np.array_equal(found.images, before.images)
    assert len([line for line in said if "is damaged" in line]) == 1
    assert not decoded_again(monkeypatch, root)[1]  # it was mended


def test_a_cache_that_cannot_be_written_costs_one_line(tmp_path, monkeypatch):
    root = noise(tmp_path / "p" / "a.png").parent
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        found, said = load(root)
        assert len(found) == 1 and len([line for line in said if "cannot be kept" in line]) == 1


def test_long_reading_says_how_far_it_is(tmp_path, monkeypatch):
    from ms_gan.data import reading

    for i in range(30):
        noise(tmp_path / f"{i}.png", i)
    monkeypatch.setattr(reading, "FIRST", 0.0)
    monkeypatch.setattr(reading, "LATER", 0.0)
    _, said = load(tmp_path)
    lines = [line for line in said if line.startswith("data: read ")]
    assert len(lines) == 30 and lines[-1] == "data: read 30 of 30 pictures, 0 s left"


# ---- what must not change ----------------------------------------------------------------------


def test_the_md5_and_the_order_are_what_they_were(tmp_path):
    """Run folders go on: of names in their old order and contents, as it always was."""
    import hashlib

    for name in ("b/2.png", "b/10.PNG", "a/x.jpg", "a-b/1.png", "a/deep/z.bmp"):
        noise(tmp_path / name, len(name))
    found, _ = load(tmp_path)
    names = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    digest = hashlib.md5()
    for name in names:
        digest.update(os.fsencode(name.as_posix()) + b"\0" + (tmp_path / name).read_bytes())
    assert found.md5 == {"pictures": digest.hexdigest()}
    assert [str(n) for n in names][:2] == ["a/deep/z.bmp", "a/x.jpg"]
    assert found.labels.tolist() == [0, 0, 1, 2, 2] and found.classes == ("a", "a-b", "b")


# ---- mirrored images ---------------------------------------------------------------------------


def halves(num=40):
    """Images whose left half is bright; image k has the value k."""
    images = np.zeros((num, 1, 2, 6), np.uint8)
    images[..., :3] = np.arange(1, num + 1)[:, None, None, None]
    return Dataset("halves", images, np.arange(num, dtype=np.int32), (), "test", {})


@pytest.mark.parametrize("sampling", ["shuffle", "random"])
def test_flip_mirrors_half_of_the_images_as_a_function_of_seed_and_index(sampling):
    plain = Batches(halves(), 8, seed=3, sampling=sampling)
    flipped = Batches(halves(), 8, seed=3, sampling=sampling, flip=True)
    count = 0
    for index in (0, 1, 4, 5, 23, 1000):
        (x, labels), (y, same) = plain.at(index), flipped.at(index)
        assert np.array_equal(labels, same)
        expected = streams.rng(Stream.FLIP, 3, index).random(8) < 0.5
        mirrored = (y != x).any(axis=(1, 2, 3))
        assert np.array_equal(mirrored, expected)
        assert np.array_equal(y[mirrored], x[mirrored, ..., ::-1])
        count += mirrored.sum()
    assert 12 < count < 36
    other = Batches(halves(), 8, seed=4, flip=True).at(0)[0]
    assert not np.array_equal(other, flipped.at(0)[0])
    assert np.array_equal(flipped.at(5)[0], flipped.at(5)[0])


def test_mirroring_leaves_the_data_set_alone():
    whole = halves()
    before = whole.images.copy()
    Batches(whole, 40, seed=0, flip=True).at(0)
    assert np.array_equal(whole.images, before)


def test_the_stream_has_a_number_of_its_own():
    numbers = {stream.number for stream in Stream if stream is not Stream.FLIP}
    assert Stream.FLIP.number == 9 and 9 not in numbers


# ---- architectures of rectangles ---------------------------------------------------------------

NETS = {
    "gan": {"g_widths": [8], "d_widths": [8], "latent_dim": 4},
    "deep_mlp_conv": {"g_widths": [8], "d_widths": [4, 4], "latent_dim": 4},
    "dcgan": {"g_width": 2, "d_width": 2, "latent_dim": 4},
    "dcgan28": {"g_width": 4, "d_width": 4, "latent_dim": 4},
    "r3gan": {"g_width": 4, "d_width": 4, "latent_dim": 4, "cardinality": 2},
}


@pytest.mark.parametrize("name, shape", [
    ("gan", (3, 7, 5)), ("deep_mlp_conv", (1, 28, 40)), ("dcgan", (3, 32, 40)),
    ("dcgan", (1, 96, 64)), ("dcgan28", (3, 12, 20)), ("r3gan", (3, 20, 12)),
])  # fmt: skip
def test_every_architecture_makes_and_judges_rectangles(name, shape):
    from mindspore import Tensor

    from ms_gan.models import MODELS

    family = MODELS[name]
    options = MODELS.accepted(name)
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in NETS[name].items()}
    roles = {"g": family.generator, "d": family.discriminator}
    nets = {}
    for role, net in roles.items():
        from ms_gan.recipe.registry import options_of

        own = {k: v for k, v in given.items() if k in options_of(net)}
        nets[role] = net(image_shape=shape, **own).set_train(False)
    assert set(given) <= set(options)
    images = nets["g"](Tensor(np.zeros((2, 4), np.float32)))
    assert images.shape == (2, *shape)
    assert nets["d"](images).shape == (2,)


@pytest.mark.parametrize("name, shape, word", [
    ("dcgan", (3, 64, 72), "multiple of its quarter"), ("dcgan", (3, 48, 96), "32x32"),
    ("dcgan28", (1, 28, 30), "divisible by 4"), ("r3gan", (1, 30, 28), "divisible by 4"),
    ("deep_mlp_conv", (1, 20, 40), "28x28"),
])  # fmt: skip
def test_a_size_that_cannot_be_made_is_one_line(name, shape, word):
    from ms_gan.models import MODELS

    for net in MODELS[name]:
        line = tiny.refused(ValueError, net, image_shape=shape)
        assert f"images of {shape[1]}x{shape[2]}" in line and word in line


# ---- the commands ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder of rectangles in colour in two classes, and a recipe for them."""
    folder = tmp_path_factory.mktemp("own")
    for i in range(8):
        for name in ("cats", "dogs"):
            noise(folder / "pictures" / name / f"{i}.png", i, (9, 14))
    noise(folder / "pictures" / "preview.png", 99)
    (folder / "pictures" / "cats" / "bad.png").write_bytes(b"no picture")
    recipe = {
        "name": "own",
        "data": {"name": "image_folder", "root": str(folder / "pictures"), "size": [8, 12],
                 "channels": 3, "batch_size": 4, "flip": True, "fit": "pad", "broken": "skip",
                 "background": [255, 255, 255]},
        "model": {**tiny.NETS, "conditional": True},
        "augment": {"name": "diff_augment", "brightness": 0.5, "saturation": 1.0, "contrast": 0.5},
        "train": {"steps": 3},
        "every": {"log": 1, "sample": 0, "save": 1},
        "runtime": {"device": "CPU"},
    }  # fmt: skip
    (folder / "own.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def test_own_pictures_train_and_go_on(own, capsys):
    from ms_gan import cli

    words = ["train", "--config", own / "own.yaml", "--run-dir", own / "run"]
    code, out, err = tiny.run(*words)
    assert code == 0, err
    line = next(line for line in out.splitlines() if line.startswith("data: image_folder"))
    for part in (
        "16 images [3, 8, 12]", "14x9 pixels", "2 classes: cats 8, dogs 8", "left out:",
        "1 outside the class folders (preview.png)", "1 broken (cats/bad.png",
    ):  # fmt: skip
        assert part in line
    manifest = json.loads((own / "run" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["data"]["classes"] == ["cats", "dogs"]
    code, out, err = tiny.run(*words, "train.steps=4")
    assert code == 0, err
    assert "continuing at step 3 of 4" in out and "data: decoded before" in out
    words = ["generate", own / "run", "--format", "npy", "--label", "DOGS", "--num", 3]
    assert cli.main([str(word) for word in (*words, "--out", own / "out")]) == 0
    out = capsys.readouterr().out
    assert "own after 4 steps, class 1 (dogs) -> " in out
    assert np.load(own / "out" / "samples.npy").shape == (3, 3, 8, 12)


def test_the_whole_list_of_the_data(own, capsys):
    from ms_gan import cli

    words = ["train", "--config", str(own / "own.yaml"), "--list-data", "data.broken=stop"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    for part in ("  0  cats: 8 pictures", "    preview.png", "    cats/bad.png (unknown format)"):
        assert part in out
    assert "step" not in out


@pytest.mark.parametrize("words, part", [
    (["data.size=[8, 12, 3]"], "data.size: expected int or [int, int]"),
    (["data.fit=crp"], "data.fit: expected one of crop, pad, stretch"),
    (["data.broken=stop"], "unreadable picture"),
    (["data.batch_size=40"], "batch_size 40; expected 1 to 16"),
    (["model={name: dcgan}"], "images of 8x12"),
    (["data.background=nocolour"], "background 'nocolour'"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(own, capsys, tmp_path, words, part):
    words = ["train", "--config", own / "own.yaml", "--run-dir", tmp_path / "r", *words]
    assert part in tiny.refused_command(capsys, *words)
    assert not (tmp_path / "r").exists()
