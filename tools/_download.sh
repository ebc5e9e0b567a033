# Sourced by the data_download_*.sh scripts: the commands they are made of.
# Flags are those of `asd download --help`; they go to every command that knows them.

source "$(dirname "${BASH_SOURCE[0]}")/_python.sh"

# download_data DCASE2023T2 -d|-e [flags]
download_data() {
  local dataset="$1" word
  shift
  for word in "$@"; do
    if [[ "$word" == -h || "$word" == --help ]]; then
      exec "$python" -m asd download --help
    fi
  done
  "$python" -m asd download --dataset "$dataset" "$@"
}

# label_eval_clips DCASE2023T2 [flags]: copies test/ to test_rename/. Of the flags only those that
# say where the data are concern it.
label_eval_clips() {
  local dataset="$1" word previous=""
  local where=()
  shift
  for word in "$@"; do
    case "$previous" in --dataset_directory | --config) where+=("$previous" "$word") ;; esac
    case "$word" in --dataset_directory=* | --config=*) where+=("$word") ;; esac
    previous="$word"
  done
  "$python" -m asd rename --dataset "$dataset" ${where[@]+"${where[@]}"}
}
