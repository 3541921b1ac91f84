#!/usr/bin/env bash
# Train a recipe; the same command again continues.
#   bash scripts/run_train.sh [--config configs/gan_mnist.yaml] [--run-dir DIR] [train.epochs=12 ...]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec "$PYTHON" -m ms_gan train "$@"
