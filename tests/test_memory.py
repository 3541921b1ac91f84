"""Memory does not grow with the number of images, nor with the length of a run."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ms_gan.runs import film, sampling, visualise
from ms_gan.runs.headline import Headline
from ms_gan.runs.run_dir import RunDir
from tests.conftest import ROOT
from tests.tiny import RECIPE

HEADLINE = Headline("distance", "distance", "distance")

# 64x64 in colour: 49,152 bytes an image as float32; 50,000 would be 2,400 MB.
GENERATE = """
import json, resource, sys
from ms_gan import build, cli
from ms_gan.recipe import reader
from ms_gan.runs import checkpoint
recipe, folder = json.loads(sys.argv[1]), sys.argv[2]
state = build.build_training(reader.from_dict(recipe), (3, 64, 64), 0, {})
checkpoint.save(folder + "/g.ckpt", state.parameters, state.meta)
peaks = []
for kind, num in json.loads(sys.argv[3]):
    words = ["generate", folder + "/g.ckpt", "--format", kind, "--num", str(num), "--out", folder]
    assert cli.main([*words, "--device", "CPU"]) == 0
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(json.dumps(peaks))
"""


def peaks_of(folder, *asked):
    """The peak of the process so far, MB, after each of (format, images)."""
    recipe = {**RECIPE, "model": {"name": "gan", "latent_dim": 8, "g_widths": [8], "d_widths": [8]}}
    words = [json.dumps(recipe), str(folder), json.dumps(asked)]
    done = subprocess.run(
        [sys.executable, "-c", GENERATE, *words],
        cwd=ROOT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="no getrusage")
def test_generate_writes_batch_by_batch(tmp_path):
    asked = [(k, 64) for k in ("npy", "png", "grid", "gif")]
    asked += [("npy", 5000), ("png", 300), ("gif", 5000), ("grid", 2500)]
    *_, few, npy, png, gif, grid = peaks_of(tmp_path, *asked)
    assert npy - few < 30  # of 246 MB
    assert png - npy < 10 and gif - png < 10
    assert grid - gif < 100  # 2,500 tiles of 66x66 pixels in colour are 33 MB
    array = np.load(tmp_path / "samples.npy", mmap_mode="r")
    assert array.shape == (5000, 3, 64, 64) and array.dtype == np.float32
    assert len(list(tmp_path.glob("0*.png"))) == 300


def test_batches_are_the_same_images(rng):
    """Latents that are drawn in parts are those that are drawn at once, whatever the parts are."""
    whole = sampling.latents(7, 1000, 13)
    for size in (1, 64, 999):
        stream = sampling.streams.rng(sampling.Stream.LATENTS, 7)
        parts = [
            sampling.draw(stream, min(size, 1000 - start), 13) for start in range(0, 1000, size)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


# --- films ----------------------------------------------------------------------------------------


def filmed(folder, pictures):
    """(the run, the lines) of a film of these pictures, (step, uint8 array)."""
    run, lines = RunDir(folder), []
    run.samples.mkdir(parents=True)
    for step, picture in pictures:
        visualise.save_png(run.sample_file(step), picture)
    assert film.draw(run, HEADLINE, lines.append)
    return run, lines


def frames(run):
    with Image.open(run.gif_file) as gif:
        found = []
        for i in range(gif.n_frames):
            gif.seek(i)
            found.append(np.asarray(gif.convert("RGB")))
        return found, gif.size


def test_a_long_film_is_thinned_out_and_says_so(tmp_path):
    """Every picture is one grey level: the chosen ones are told apart by it."""
    total = 500
    levels = [round(255 * i / (total - 1)) for i in range(total)]
    pictures = [(10 * i, np.full((8, 60), level, np.uint8)) for i, level in enumerate(levels)]
    run, lines = filmed(tmp_path / "run", pictures)
    assert lines == [f"{run.gif_file} shows 300 of 500 pictures, evenly chosen"]
    found, _ = frames(run)
    assert 250 <= len(found) <= 300  # equal neighbours are one frame that stays
    shown = [frame[-1, 0, 0] for frame in found]
    assert shown[0] == levels[0] and shown[-1] == levels[-1]
    assert max(np.diff(np.array(shown, int))) <= 2


FILM = """
import resource, sys
from ms_gan.runs import film
from ms_gan.runs.headline import Headline
from ms_gan.runs.run_dir import RunDir
film.draw(RunDir(sys.argv[1]), Headline("distance", "distance", "distance"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no getrusage")
def test_the_memory_of_a_film_has_a_bound(tmp_path, rng):
    """400 frames of 5x5 pictures of 64x64 in colour, 140 MB of pixels, once took 500 MB."""
    picture = visualise.grid(rng.uniform(-1, 1, (25, 3, 64, 64)).astype(np.float32))
    run = RunDir(tmp_path / "run")
    run.samples.mkdir(parents=True)
    visualise.save_png(run.sample_file(0), picture)
    peaks = []
    for num in (1, 60):
        for step in range(1, num):
            run.sample_file(step).write_bytes(run.sample_file(0).read_bytes())
        visualise.save_png(run.sample_file(num), 255 - picture)  # each frame differs from the last
        done = subprocess.run(
            [sys.executable, "-c", FILM, str(run.path)],
            cwd=ROOT, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks.append(float(done.stdout))
    assert peaks[1] - peaks[0] < 60 * 0.3  # MB; a frame of 256 colours has 0.12


def test_pictures_that_were_changed_are_tolerated(tmp_path, rng):
    """Another size, colour among grey, a damaged one, one that is no picture, a folder."""
    grey, colour = np.full((40, 60), 100, np.uint8), np.zeros((80, 60, 3), np.uint8)
    colour[..., 0] = 200
    run = RunDir(tmp_path / "run")
    run.samples.mkdir(parents=True)
    run.sample_file(7).write_bytes(b"no picture")
    visualise.save_png(run.sample_file(8), rng.integers(0, 255, (40, 60)).astype(np.uint8))
    whole = run.sample_file(8).read_bytes()
    run.sample_file(8).write_bytes(whole[: len(whole) // 2])
    run.sample_file(9).mkdir()
    run.samples.rename(tmp_path / "kept")
    run, lines = filmed(tmp_path / "run2", [(0, grey), (1, colour), (2, grey), (10, grey)])
    for path in (tmp_path / "kept").iterdir():
        path.rename(run.samples / path.name)
    assert film.draw(run, HEADLINE, lines.append)
    assert [("0000007" in line, "0000008" in line) for line in lines] == [(1, 0), (0, 1)]
    found, size = frames(run)
    assert size == (60, 40 + visualise.CAPTION)
    red = found[1][visualise.CAPTION :]
    assert abs(red[20, 30].astype(int) - (200, 0, 0)).max() < 9 and not red[:, :10].any()
    assert abs(found[0][visualise.CAPTION :].astype(int) - 100).max() < 9


def test_very_large_pictures_are_made_smaller(tmp_path):
    run, _ = filmed(tmp_path / "run", [(0, np.zeros((3, 70_000), np.uint8))])
    assert frames(run)[1] == (2000, 1 + visualise.CAPTION)


def test_a_run_without_pictures_has_no_film(tmp_path):
    run, lines = filmed(tmp_path / "run", [])
    assert not run.gif_file.exists() and lines == [] and run.curves_file.is_file()
