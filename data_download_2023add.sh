#!/usr/bin/env bash
# Downloads the additional training data of DCASE 2023 Task 2 to data/dcase2023t2/eval_data/raw/.
# Flags: --machine_types, --dataset_directory, --keep_archives and more, see `asd download --help`.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/tools/_download.sh"

download_data DCASE2023T2 -e --parts train "$@"
