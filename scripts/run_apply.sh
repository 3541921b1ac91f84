#!/usr/bin/env bash
# Apply a generator that receives pictures to pictures of any size: enlarge, fill a hole, translate.
#   bash scripts/run_apply.sh CKPT_OR_RUN|--pretrained NAME PICTURE… [--out DIR] [--mask FILE|--hole COLOUR|--rectangle L,T,W,H] [--to a|b]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec "$PYTHON" -m ms_gan apply "$@"
