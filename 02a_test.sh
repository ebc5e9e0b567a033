#!/usr/bin/env bash
# Score the test clips with the mean squared error (simple autoencoder mode).
#   ./02a_test.sh -d    development data      ./02a_test.sh -e    evaluation data
# Further flags are passed on: ./02a_test.sh -d --machine_types fan ToyCar (all: ./02a_test.sh --help)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/tools/_python.sh"
exec "$python" -m asd test --config "$root/baseline.yaml" --score MSE "$@"
