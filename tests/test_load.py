"""Long runs and many calls: memory, handles and the cost of a step stay what they were."""

import os
import resource
import statistics
import time
from pathlib import Path

import pytest
import yaml

from ms_gan.runs.run_dir import RunDir
from tests.kills import NETS, SMALL
from tests.tiny import start

pytestmark = pytest.mark.slow
STEPS = int(os.environ.get("MS_GAN_STEPS", "200000"))


def held(pid):
    """Bytes of memory and number of open files of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    pages = int(status.partition("VmRSS:")[2].split()[0]) * 1024
    return pages, len(os.listdir(f"/proc/{pid}/fd"))


def test_a_long_run_does_not_grow(tmp_path):
    tree = {"name": "long", "data": SMALL, "model": NETS, "train": {"steps": STEPS},
            "every": {"log": 50, "sample": STEPS // 100, "save": STEPS // 100, "keep": 2},
            "runtime": {"device": "CPU"}}  # fmt: skip
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(tree))
    process = start("train", "--config", tmp_path / "long.yaml", "--run-dir", tmp_path / "run")
    run, seen = RunDir(tmp_path / "run"), []
    while process.poll() is None:
        time.sleep(0.1)
        saved = run.checkpoint_files()
        if saved and saved[-1][0] >= STEPS // 5:  # what is made once is there by then
            try:
                seen.append(held(process.pid))
            except (OSError, ValueError, IndexError):  # it has just ended
                break
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, (out, err)
    seen = seen[: -max(1, len(seen) // 20)]  # without the film and the curves
    first, last = seen[0], seen[-1]
    print(f"{STEPS} steps: {first[0] / 1e6:.0f} -> {last[0] / 1e6:.0f} MB, {last[1]} files open")
    assert last[0] < 1.05 * first[0] + 10e6 and last[1] <= first[1] + 2
    paces = [row["images_per_second"] for row in run.read_log()]
    tenth = len(paces) // 10
    early, late = (statistics.median(p) for p in (paces[tenth : 3 * tenth], paces[-2 * tenth :]))
    print(f"{early:.0f} -> {late:.0f} images/s")
    assert late > 0.6 * early
    assert len(os.listdir(run.checkpoints)) == 2


def test_a_thousand_generations_in_one_process(trained):
    from ms_gan import build

    sampler = build.load_sampler(trained / "generator.ckpt")
    expected = sampler.samples(3, 64)[0].tobytes()
    for call in range(1000):
        assert sampler.samples(3, 64)[0].tobytes() == expected
        if call == 100:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_eight_processes_generate_at_once(trained, tmp_path):
    processes = [
        start("generate", trained / "generator.ckpt", "--num", 16, "--seed", 5, "--format", "npy",
              "--out", tmp_path / str(i))
        for i in range(8)
    ]  # fmt: skip
    for process in processes:
        out, err = process.communicate(timeout=600)
        assert (process.returncode, err) == (0, ""), (out, err)
    made = {(tmp_path / str(i) / "samples.npy").read_bytes() for i in range(8)}
    assert len(made) == 1
