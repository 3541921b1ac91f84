"""The trial of versions, without installing any: what it runs, and the page that it writes."""

import sys

from benchmarks import versions
from benchmarks.versions import Trial


def test_a_run_that_fails_is_named_by_its_last_line(tmp_path, capsys, monkeypatch):
    """The others go on; without an environment nothing does."""
    trial = Trial("2.7.0", sys.executable, tmp_path)

    def fails(self):
        self.call(sys.executable, "-c", "import sys; print('a'); sys.exit('no such kernel')")

    monkeypatch.setattr(
        versions,
        "RUNS",
        {"installs": lambda trial: None, "train": fails, "generate": lambda trial: None},
    )
    assert versions.tried(trial) == {
        "installs": "yes", "train": "no: no such kernel", "generate": "yes",
    }  # fmt: skip
    monkeypatch.setattr(versions, "RUNS", {"installs": fails, "train": fails})
    assert versions.tried(trial) == {"installs": "no: no such kernel"}
    assert capsys.readouterr().out.count("2.7.0: ") == 4


def test_the_table():
    names = list(versions.RUNS)
    rows = {"2.7.0": {names[0]: "no: broken"}, "2.8.0": dict.fromkeys(names, "yes")}
    page = versions.page(rows, {"2.8.0": 1.0}, "3.11.7")
    lines = [line for line in page.splitlines() if line.startswith("| 2.")]
    assert lines[0].split(" | ")[:3] == ["| 2.7.0", "no: broken", "-"]
    assert lines[1].count("yes") == len(names) and lines[1].endswith("| 1.0e+00 |")
    assert "from what 2.8.0 makes" in page and "Python 3.11.7" in page


def test_the_page_holds_every_version():
    """What requirements.txt and the refusal of older ones say is what was tried."""
    from ms_gan.system import runtime

    page = versions.PAGE.read_text()
    assert all(f"| {version} | yes |" in page for version in versions.VERSIONS)
    assert versions.VERSIONS[0].startswith(f"{runtime.OLDEST}.")
    assert versions.VERSIONS[-1].startswith(f"{runtime.NEWEST}.")
    wanted = (versions.ROOT / "requirements.txt").read_text().splitlines()[0]
    assert wanted.startswith(f"mindspore>={runtime.OLDEST},<2.11")
