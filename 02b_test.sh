#!/usr/bin/env bash
# Score the test clips with the selective Mahalanobis distance.
#   ./02b_test.sh -d    development data      ./02b_test.sh -e    evaluation data
# Further flags are passed on: ./02b_test.sh -d --machine_types fan ToyCar (all: ./02b_test.sh --help)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/tools/_python.sh"
exec "$python" -m asd test --config "$root/baseline.yaml" --score MAHALA "$@"
