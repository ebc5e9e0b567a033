#!/usr/bin/env bash
# Write and print the summary tables of a data set.
#   ./03_summarize_results.sh DCASE2023T2 -d      (-e for the evaluation data)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/tools/_python.sh"
exec "$python" -m asd summarize --config "$root/baseline.yaml" "$@"
