#!/usr/bin/env bash
# Downloads all data of DCASE 2026 Task 2 to data/dcase2026t2/{dev,eval}_data/raw/. There is no list of
# labels for its evaluation clips.
# Flags: --machine_types, --dataset_directory, --keep_archives and more, see `asd download --help`.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_download.sh"

download_data DCASE2026T2 -d "$@"
download_data DCASE2026T2 -e "$@"
