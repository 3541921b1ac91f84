#!/usr/bin/env bash
# Every command of ms-gan:  bash scripts/ms_gan.sh COMMAND …, such as doctor, keys, train-classifier, train, generate
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec "$PYTHON" -m ms_gan "$@"
