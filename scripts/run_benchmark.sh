#!/usr/bin/env bash
# Time a full update: ms_gan, the MindSpore tutorial's way, PyTorch, the floor. Two tables, a JSON file.
#   bash scripts/run_benchmark.sh [--systems mlp] [--recipes srgan_x2] [--rounds 5] [--device GPU]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec "$PYTHON" -m benchmarks.run "$@"
