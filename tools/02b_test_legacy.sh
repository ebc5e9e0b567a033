#!/usr/bin/env bash
# Score with the selective Mahalanobis distance, any challenge year.
#   bash tools/02b_test_legacy.sh DCASE2020T2 -d      (-e for the evaluation data)
# Further flags are passed on: --machine_types valve --dataset_directory D (all: --help)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_python.sh"
case ${1-} in
DCASE*) dataset=(--dataset "$1") && shift ;;
*) dataset=() ;;
esac
exec "$python" -m asd test --config "$root/baseline.yaml" --score MAHALA "${dataset[@]}" "$@"
