#!/usr/bin/env bash
# Export a generator or a classifier as ONNX or MindIR, and compare the file with it.
#   bash scripts/run_export.sh CKPT_OR_RUN|--pretrained NAME|--classifier FILE [--format onnx|mindir] [--out FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec "$PYTHON" -m ms_gan export "$@"
