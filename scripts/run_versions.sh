#!/usr/bin/env bash
# Try every MindSpore from 2.7.0 on in an environment of its own: train, continue, generate, evaluate. A table.
#   bash scripts/run_versions.sh [2.9.0 ...] [--keep FOLDER] [--out docs/versions.md]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec "$PYTHON" -m benchmarks.versions "$@"
