#!/usr/bin/env bash
# Downloads the evaluation data of DCASE 2023 Task 2 to data/dcase2023t2/eval_data/raw/ and
# copies test/ to test_rename/ under the labelled names that the organisers published afterwards.
# Flags: --machine_types, --dataset_directory, --keep_archives and more, see `asd download --help`.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/tools/_download.sh"

download_data DCASE2023T2 -e --parts test "$@"
label_eval_clips DCASE2023T2 "$@"
