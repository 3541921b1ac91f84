#!/usr/bin/env bash
# Generate images from one .ckpt file or run folder; without one, from weights that are shipped.
#   bash scripts/run_generate.sh [CKPT] [--num 64] [--seed 1] [--out DIR] [--format grid|png|npy|gif]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec "$PYTHON" -m ms_gan generate "$@"
