#!/usr/bin/env bash
# Measure how near a generator's samples are to the real test images: a table and a JSON file.
#   bash scripts/run_evaluate.sh CKPT_OR_RUN|--pretrained NAME [--num 10000] [--seed 1] [--out FILE.json]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec "$PYTHON" -m ms_gan evaluate "$@"
