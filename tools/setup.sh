#!/usr/bin/env bash
# Make .venv in the repository, or reuse it, and install the project into it with pinned versions.
#   bash tools/setup.sh         what running needs
#   bash tools/setup.sh test    what the tests need, too
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
extra=${1:+[$1]}

find_python() {
    for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "asd: error: needs Python 3.10 to 3.13; install one and try again" >&2
    return 2
}

if [ ! -x "$root/.venv/bin/python" ]; then
    "$(find_python)" -m venv "$root/.venv"
fi
# Installing takes seconds even when nothing changes; the stamp says what was installed last.
wanted=$(cat "$root/pyproject.toml" "$root/tools/constraints.txt"; echo "$extra")
stamp=$root/.venv/.asd-installed
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "installing into $root/.venv ..." >&2
    "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint "$root/tools/constraints.txt" --editable "$root$extra"
    printf '%s\n' "$wanted" >"$stamp"
fi
