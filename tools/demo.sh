#!/usr/bin/env bash
# The whole main job on a small synthetic data set: install, synthesise, train, test, summarise.
# Needs Python 3.10 to 3.13 and git; writes to demo/ in the repository. Flags go to training:
#   bash tools/demo.sh --epochs 30
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$root/tools/setup.sh"
export PATH="$root/.venv/bin:$PATH"
where=(--dataset_directory "$root/demo/data" --result_directory "$root/demo/results")
rm -rf "$root/demo"

say() { printf '\n== %s\n' "$*" >&2; }

say "synthesising seven machine types: normal and faulty, source and target domain"
asd synthesize -d --dataset_directory "$root/demo/data"
asd synthesize -e --dataset_directory "$root/demo/data"
say "./01_train.sh -d"
"$root/01_train.sh" -d "${where[@]}" --epochs 15 --batch_size 64 "$@"
say "./02a_test.sh -d"
"$root/02a_test.sh" -d "${where[@]}"
say "./02b_test.sh -d"
"$root/02b_test.sh" -d "${where[@]}"
say "./03_summarize_results.sh DCASE2023T2 -d"
"$root/03_summarize_results.sh" DCASE2023T2 -d --result_directory "$root/demo/results"

cat <<END

Tables and figures:        demo/results/dev_data/baseline/summarize/DCASE2023T2/
Scores, decisions, plots:  demo/results/dev_data/baseline_MSE/ and baseline_MAHALA/
Models and loss curves:    demo/results/models/baseline/
The clips, to listen to:   demo/data/dcase2023t2/dev_data/raw/
END
