"""What is shown is large enough to see, about square, and has no ragged edges."""

import numpy as np
import pytest
from PIL import Image

from ms_gan import cli
from ms_gan.evaluation.evaluator import DISTANCE
from ms_gan.runs import checkpoint, visualise
from ms_gan.runs.visualise import Layout, full_classes, layout
from ms_gan.system import runtime
from tests.tiny import RECIPE, refused_command


def levels(labels, height=8, width=8, channels=1):
    """Images of one brightness for each class, none of them black."""
    level = -0.8 + 1.6 * np.asarray(labels) / max(1, max(labels))
    shape = (len(labels), channels, height, width)
    return np.broadcast_to(level.reshape(-1, 1, 1, 1), shape).astype(np.float32)


# --- plain grids ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num", "columns", "rows"),
    [(1, 1, 1), (2, 2, 1), (4, 2, 2), (6, 3, 2), (8, 4, 2), (9, 3, 3), (10, 5, 2), (12, 4, 3),
     (20, 5, 4), (25, 5, 5), (30, 6, 5), (50, 10, 5), (64, 8, 8), (100, 10, 10)],
)  # fmt: skip
def test_the_last_row_is_full_where_that_can_be(num, columns, rows):
    plan = layout([num])
    assert (plan.columns, plan.rows) == (columns, [rows])


def test_a_grid_is_about_square():
    for num in range(1, 400):
        plan = layout([num])
        rows = plan.rows[0]
        assert 0 <= rows * plan.columns - num < plan.columns, num
        assert max(rows, plan.columns) / min(rows, plan.columns) <= (3 if num < 6 else 2.5), num


def test_wide_images_stand_in_fewer_columns():
    plan = layout([24], 32, 96)
    assert plan.columns * 96 / (plan.rows[0] * 32) == pytest.approx(1, abs=0.5)


# --- grids of classes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "each"),
    [(2, 32), (2, 8), (3, 21), (5, 13), (10, 6), (10, 8), (10, 2), (26, 8), (47, 1), (64, 8),
     (100, 1), (1000, 1)],
)  # fmt: skip
def test_classes_are_no_strips(classes, each):
    plan = layout([each] * classes)
    high, wide = sum(plan.rows), plan.columns * plan.across
    assert max(high, wide) / min(high, wide) < 2.1
    assert high * wide >= classes * each


def test_ten_classes_keep_a_row_each():
    """The pictures of runs that go on: 10 rows of 8, 2 pixels apart, as they always were."""
    labels = np.arange(80) % 10
    picture = visualise.class_grid(levels(labels, 28, 28), labels)
    assert picture.shape == (10 * 58 + 2, 8 * 58 + 2)
    assert len(np.unique(picture[2:58, 2:58])) == 1
    assert (np.diff(picture[30::58, 30].astype(int)) > 0).all()


def test_two_classes_stand_one_above_the_other():
    labels = np.arange(64) % 2
    picture = visualise.class_grid(levels(labels, 64, 64, 3), labels)
    assert picture.shape == (8 * 66 + 2 + visualise.BREAK, 8 * 66 + 2, 3)
    middle = picture[:, 30, 0]
    assert set(np.unique(middle[: 4 * 66])) == {0, middle[10]}
    assert set(np.unique(middle[-4 * 66 :])) == {0, middle[-10]} and middle[10] != middle[-10]
    assert visualise.GREY in middle[4 * 66 : 4 * 66 + visualise.BREAK + 2]  # a line in between


@pytest.mark.parametrize(
    "counts", [[7, 6, 6, 7, 6, 6, 7, 6, 6, 7], [58, 6], [1, 2, 3], [22, 21, 21]]
)
def test_rows_of_classes_are_filled_up(counts):
    """Every cell of every class is drawn, by its own images; the first labels stay."""
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.random.default_rng(0).permutation(labels).astype(np.int32)
    plan, filled, blocks = full_classes(labels)
    np.testing.assert_array_equal(filled[: len(labels)], labels)
    assert filled.dtype == np.int32 and len(filled) < 1.6 * len(labels)
    np.testing.assert_array_equal(filled, blocks)
    drawn = visualise.Grid(plan, (1, 8, 8), scale=1)
    drawn.draw(levels(filled), blocks)
    grey = visualise.to_uint8(levels(np.arange(len(counts))))[:, 0, 0, 0]
    area = {level: int((drawn.picture == level).sum()) for level in grey}
    assert area == {level: 64 * count for level, count in zip(grey, plan.counts, strict=True)}
    assert all(count % plan.columns == 0 for count in plan.counts)


def test_missing_labels_and_blocks_beside_each_other():
    plan = Layout((2, 2, 2), columns=2, across=2)
    drawn = visualise.Grid(plan, (1, 4, 4), scale=1, gap=1)
    drawn.draw(levels([0, 1, 2, 0, 1, 2], 4, 4), [0, 1, 2, 0, 1, 2])
    places = drawn.picture[3::5]  # one row of pixels through the tiles of each row
    assert drawn.picture.shape == (2 * 5 + 1 + visualise.BREAK, 4 * 5 + 1 + visualise.BREAK)
    assert len(np.unique(drawn.picture)) == 5 and places.any()  # three classes, black and the lines


# --- generate -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Generators of random weights: grey 28x28, colour 64x64, of two classes, of twelve."""
    from ms_gan import build
    from ms_gan.recipe import reader

    folder, found = tmp_path_factory.mktemp("files"), {}
    for name, shape, classes in (
        ("grey", (1, 28, 28), 0), ("colour", (3, 64, 64), 0), ("two", (3, 64, 64), 2),
        ("twelve", (1, 8, 8), 12),
    ):  # fmt: skip
        model = {**RECIPE["model"], "conditional": classes > 0}
        config = reader.from_dict({**RECIPE, "model": model})
        state = build.build_training(
            config, shape, classes, {"classes": list("abcdefghijkl"[:classes])}
        )
        found[name] = folder / f"{name}.ckpt"
        checkpoint.save(found[name], state.parameters, state.meta)
    return found


def generated(path, folder, *words):
    """The size of what `generate` wrote, (width, height)."""
    words = ["generate", path, "--out", folder, "--device", "CPU", *words]
    assert cli.main([str(word) for word in words]) == 0
    (written,) = folder.iterdir()
    with Image.open(written) as picture:
        return picture.size


@pytest.mark.parametrize(
    ("name", "words", "size"),
    [
        ("grey", ["--format", "gif"], (252, 252)),
        ("colour", ["--format", "gif"], (256, 256)),
        ("twelve", ["--format", "gif"], (256, 256)),
        ("colour", ["--format", "gif", "--scale", 1], (64, 64)),
        ("grey", ["--format", "png", "--num", 1], (28, 28)),
        ("grey", ["--format", "png", "--num", 1, "--scale", 5], (140, 140)),
        ("grey", ["--num", 10], (5 * 58 + 2, 2 * 58 + 2)),
        ("grey", ["--num", 4, "--scale", 4], (2 * 114 + 2, 2 * 114 + 2)),
        ("two", [], (8 * 66 + 2, 8 * 66 + 2 + visualise.BREAK)),
        ("two", ["--label", "a"], (8 * 66 + 2, 8 * 66 + 2)),
    ],
)
def test_generate_shows_images_that_one_can_see(name, words, size, files, tmp_path):
    assert generated(files[name], tmp_path / "out", *words) == size


def test_generate_fills_up_rows_and_says_so(files, tmp_path, capsys):
    """64 of twelve classes are rows of five and six: 72 are drawn, the first 64 as they were."""
    generated(files["twelve"], tmp_path / "out")
    said = capsys.readouterr().out
    assert "72 images instead of 64, so that the rows of all classes are full" in said
    with Image.open(tmp_path / "out" / "grid.png") as picture:
        pixels = np.asarray(picture)[2:, 2:]
    tops = [58 * i + visualise.BREAK * (i // 2) for i in range(8)]  # blocks of 3 x 2 for a class
    lefts = [58 * i + visualise.BREAK * (i // 3) for i in range(9)]
    assert pixels.shape == (tops[-1] + 58, lefts[-1] + 58)
    cells = [pixels[top : top + 56, left : left + 56] for top in tops for left in lefts]
    assert len(cells) == 72 and all(cell.any() for cell in cells)


def test_a_grid_has_a_limit_and_says_so(files, tmp_path, capsys):
    width, height = generated(files["colour"], tmp_path / "out", "--num", 1000, "--scale", 8)
    assert width * height < 40e6
    assert "the first 137 of 1,000 images, as many as a picture can show" in capsys.readouterr().out


def test_the_names_of_many_pngs_sort(files, tmp_path, monkeypatch):
    from ms_gan.cli import generate

    shown = np.zeros((3, 1, 2, 2), np.float32)  # the first ones of many
    monkeypatch.setattr(generate, "batches", lambda *given: [shown])
    words = ["generate", files["grey"], "--out", tmp_path / "o", "--format", "png"]
    assert cli.main([*map(str, words), "--num", "100001"]) == 0
    names = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert names == ["000000.png", "000001.png", "000002.png"]


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--format", "npy", "--scale", 2], "--scale: npy holds the images as they are"),
     (["--format", "gif", "--scale", 999], "expected at most 146"),
     (["--format", "npy", "--num", 10**12], "GB are needed")],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_before_work(words, said, files, tmp_path, capsys):
    out = tmp_path / "out"
    assert said in refused_command(capsys, "generate", files["grey"], "--out", out, *words)
    assert not out.exists() or not list(out.iterdir())


# --- curves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high"),
    [(1.2, 57.0), (60.0, 60.0), (3.0, 3.1), (0.02, 0.9), (1.2, 40_000.0), (7e-4, 9e-4)],
)
def test_a_logarithmic_axis_has_plain_numbers(low, high):
    """Never 6x10^1; at least two ticks, also for one value alone; all values inside."""
    matplotlib = runtime.import_matplotlib()
    figure = matplotlib.figure.Figure(figsize=(7, 3))
    matplotlib.backends.backend_agg.FigureCanvasAgg(figure)
    axes = figure.subplots()
    visualise._logarithmic(axes, low, high)
    bottom, top = axes.get_ylim()
    assert bottom < low <= high < top
    figure.canvas.draw()
    places = axes.yaxis.get_majorticklocs()
    texts = [axes.yaxis.get_major_formatter()(place) for place in places]
    inside = [text for text, place in zip(texts, places, strict=True) if bottom <= place <= top]
    assert 2 <= len(inside) <= 9
    np.testing.assert_allclose([float(text) for text in texts], places)
    assert len(axes.yaxis.get_minorticklocs()) == 0


def ink(path):
    """The coloured pixels of a picture, bool [H, W]."""
    with Image.open(path) as picture:
        return np.ptp(np.asarray(picture.convert("RGB")).astype(int), axis=2) > 60


def test_one_row_and_one_evaluation_are_visible(tmp_path):
    row = {"step": 50, "loss_d": 1.0, "loss_g": 2.0, "d_real": 0.7, "d_fake": 0.2}
    visualise.save_curves(tmp_path / "none.png", [{"step": 50, "changed": {"a": [1, 2]}}], DISTANCE)
    visualise.save_curves(tmp_path / "one.png", [row], DISTANCE)
    evaluated = {**row, DISTANCE.key: 57.0, "floor": 1.2, "coverage": 0.5}
    visualise.save_curves(tmp_path / "evaluated.png", [evaluated], DISTANCE)
    inks = [ink(tmp_path / f"{name}.png") for name in ("none", "one", "evaluated")]
    right = [found[:, -120:].sum() for found in inks]  # the points, far from every legend
    assert right[0] == 0 < right[1] < right[2]


def test_legends_cover_no_curve(tmp_path, monkeypatch):
    """Curves that fill their panels to the corners; each legend lies above its panel."""
    boxes = []

    def keep(*axes):
        legend(*axes)
        boxes.append((axes[0], axes[0].get_legend()))

    legend = visualise._legend
    monkeypatch.setattr(visualise, "_legend", keep)
    rows = [
        {"step": i, "loss_d": i % 7, "loss_g": i % 5, "d_real": i % 2, "d_fake": 1 - i % 2}
        for i in range(1, 100)
    ]
    rows[-1] |= {DISTANCE.key: 9.0, "floor": 1.2, "coverage": 1.0}
    visualise.save_curves(tmp_path / "c.png", rows, DISTANCE)
    assert len(boxes) == 3
    for axes, shown in boxes:
        assert shown.get_window_extent().y0 >= axes.get_window_extent().y1


def test_values_that_no_logarithm_has(tmp_path):
    rows = [{"step": 1, DISTANCE.key: 0.0, "floor": 0.0}, {"step": 2, DISTANCE.key: 3.0}]
    visualise.save_curves(tmp_path / "c.png", rows, DISTANCE)
    assert ink(tmp_path / "c.png").any()
