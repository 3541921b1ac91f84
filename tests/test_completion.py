"""The Tab key in a real bash, and that the command line answers at once."""

import importlib.util
import resource
import shlex
import shutil
import subprocess

import pytest

from tests.tiny import refused_command, run

ASK = """
. {script}
ask() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_ms_gan; echo "${{COMPREPLY[@]}}"; }}
complete -p ms-gan
ask ms-gan ev
ask ms-gan generate --sca
ask ms-gan generate --format ''
ask ms-gan report no
"""


def test_a_shell_completes_commands_options_values_and_files(tmp_path):
    if importlib.util.find_spec("shtab") is None or not shutil.which("bash"):
        pytest.skip("NO COMPLETION WAS TRIED: pip install shtab, and a bash")
    code, script, err = run("completion", "bash")
    assert (code, err) == (0, "")
    (tmp_path / "script").write_text(script)
    (tmp_path / "notes.txt").touch()
    asked = ASK.format(script=shlex.quote(str(tmp_path / "script")))
    done = subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] == ["evaluate", "--scale", "grid png npy gif", "notes.txt"]


def test_without_the_library_it_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install shtab" in refused_command(capsys, "completion", "zsh")


def test_help_takes_less_than_half_a_second_of_a_core():
    """Whatever else the machine has to do."""

    def spent():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    run("--help")  # files are in memory and compiled from here on
    before = spent()
    code, out, _ = run("--help")
    assert code == 0 and "train" in out and spent() - before < 0.5
