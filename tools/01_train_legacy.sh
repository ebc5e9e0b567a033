#!/usr/bin/env bash
# Train one model per machine type and section of a challenge year, 2020 to 2026.
#   bash tools/01_train_legacy.sh DCASE2020T2 -d      (-e for the evaluation data)
# Further flags are passed on: --machine_types valve --dataset_directory D (all: --help)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_python.sh"
case ${1-} in
DCASE*) dataset=(--dataset "$1") && shift ;;
*) dataset=() ;;
esac
exec "$python" -m asd train --config "$root/baseline.yaml" "${dataset[@]}" "$@"
