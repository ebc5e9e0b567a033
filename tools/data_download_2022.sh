#!/usr/bin/env bash
# Downloads all data of DCASE 2022 Task 2 to data/dcase2022t2/{dev,eval}_data/raw/ and copies the
# evaluation clips from test/ to test_rename/ under the labelled names published afterwards.
# Flags: --machine_types, --dataset_directory, --keep_archives and more, see `asd download --help`.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_download.sh"

download_data DCASE2022T2 -d "$@"
download_data DCASE2022T2 -e "$@"
label_eval_clips DCASE2022T2 "$@"
