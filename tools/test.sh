#!/usr/bin/env bash
# Lint, types and the whole test suite, in .venv, which is made if it is not there.
# Flags go to pytest: bash tools/test.sh -k store
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$root/tools/setup.sh" test
cd "$root"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
# A worker per core; a file stays with one worker, as its tests share what was trained.
exec .venv/bin/python -m pytest --numprocesses auto --dist loadfile "$@"
