#!/usr/bin/env bash
# Run an experiment of the documents, a Python file beside this one; without a name, list them.
#   bash scripts/run_experiment.sh mode_collapse [--out FILE.png …]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
known="$(cd "$root/scripts" && echo *.py)"
[ -n "${1:-}" ] && [ -f "$root/scripts/$1.py" ] || fail "${1:+no experiment called '$1'; }there are: ${known//.py/}"
exec "$PYTHON" "$root/scripts/$1.py" "${@:2}"
