#!/usr/bin/env bash
# Run the tests; arguments go to pytest:  bash scripts/run_tests.sh [-m slow] [tests/test_cells.py]
set -euo pipefail
ms_gan_requirements=requirements-tests.txt
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$root"
# All of them on two cores: without arguments alone, since a single file is sooner done on one.
[ $# -gt 0 ] || set -- -n 2 --dist worksteal
exec "$PYTHON" -m pytest "$@"
