#!/usr/bin/env bash
# Train a recipe with N workers together; the same command again continues, also with another N.
#   bash scripts/run_distribute_train.sh N [--config configs/gan_mnist.yaml] [--run-dir DIR] [train.epochs=12 ...]
#   several machines: --local_worker_num M --node_rank R --master_addr ADDRESS [--master_port 8118]; also --log_dir, --join
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec "$PYTHON" -m ms_gan distribute-train "$@"
