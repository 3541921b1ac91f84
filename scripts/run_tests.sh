#!/usr/bin/env bash
# Run the tests; arguments go to pytest:  bash scripts/run_tests.sh [-m slow] [tests/test_cells.py]
set -euo pipefail
ms_gan_requirements=requirements-tests.txt
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$root"
exec "$PYTHON" -m pytest "$@"
