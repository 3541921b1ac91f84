# Sourced by the other scripts: sets PYTHON to an interpreter that has what requirements.txt asks for.
# Takes the current Python when it has it (the usual case on Ascend), otherwise makes .venv, and says so.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
MS_GAN_SCRIPT="$0"    # so that messages name the command that the person typed
export MS_GAN_SCRIPT

fail() { echo "$(basename "$0"): $*" >&2; exit 2; }

requirements="$root/${ms_gan_requirements:-requirements.txt}"    # run_tests.sh asks for more
[ -f "$requirements" ] || requirements="$root/requirements.txt"

has_requirements() {  # PYTHON [FILE]
    "$1" - "${2:-$requirements}" >/dev/null 2>&1 <<'PYTHON'
import pathlib, sys
from importlib.metadata import version
from packaging.requirements import Requirement
def check(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].strip()
        if text.startswith("-r "):
            check(path.with_name(text[3:]))
        elif text:
            wanted = Requirement(text)
            assert wanted.specifier.contains(version(wanted.name), prereleases=True)
check(pathlib.Path(sys.argv[1]))
PYTHON
}

supported() {  # PYTHON: one for which MindSpore 2.10 has a wheel
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

make_venv() {
    local base=""
    for candidate in python python3 python3.12 python3.11 python3.10; do
        if supported "$candidate"; then base="$candidate"; break; fi
    done
    [ -n "$base" ] || fail "needs Python 3.10, 3.11 or 3.12 (MindSpore 2.10 has no wheel for others); install one and run this again"
    echo "setting up: the current Python lacks some of $(basename "$requirements"); installing into $root/.venv (once, some minutes)"
    has_requirements "$root/.venv/bin/python" "$root/requirements.txt" \
        || "$base" -m venv --clear "$root/.venv" \
        || fail "cannot make $root/.venv; install Python's venv module (Debian: apt-get install python3-venv) or make the folder writable"
    "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" \
        || fail "pip could not install $(basename "$requirements"); check the network or pip's index and run this again"
}

find_python() {
    for candidate in python python3 "$root/.venv/bin/python"; do
        if has_requirements "$candidate"; then PYTHON="$candidate"; return; fi
    done
    exec 9>"$root/.venv.lock" || fail "$root is not writable; use a Python that has requirements.txt, or another copy"
    if command -v flock >/dev/null; then flock 9 || true; fi    # two scripts at once make one .venv
    PYTHON="$root/.venv/bin/python"
    has_requirements "$PYTHON" || make_venv
    exec 9>&-
    has_requirements "$PYTHON" || fail "$root/.venv lacks some of requirements.txt; remove it and run this again"
}

find_python
