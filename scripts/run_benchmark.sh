#!/usr/bin/env bash
# Time a full update: ms_gan, the MindSpore tutorial's way, PyTorch, the floor. One table and a JSON file.
#   bash scripts/run_benchmark.sh [--systems mlp dcgan28 r3gan dcgan64] [--rounds 5] [--out benchmark.json]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec "$PYTHON" -m benchmarks.run "$@"
