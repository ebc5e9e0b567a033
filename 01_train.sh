#!/usr/bin/env bash
# Train the configured system for every machine type of the challenge.
#   ./01_train.sh -d    development data      ./01_train.sh -e    evaluation data
# Further flags are passed on: ./01_train.sh -d --machine_types fan ToyCar (all: ./01_train.sh --help)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/tools/_python.sh"
exec "$python" -m asd train --config "$root/baseline.yaml" "$@"
