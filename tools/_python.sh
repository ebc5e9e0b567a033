# Sourced by the scripts: sets $root, the repository, and $python, a Python that can import asd.
# The active environment is preferred, then .venv in the repository.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=
for candidate in "$(command -v python3)" "$(command -v python)" "$root/.venv/bin/python"; do
    # Asked from another folder: here, any Python would find asd/ beside it. torch stands for all
    # that asd needs; looking for it is quicker than importing it.
    if [ -x "$candidate" ] && (cd / && "$candidate" -c 'import asd, importlib.util, sys
sys.exit(importlib.util.find_spec("torch") is None)' 2>/dev/null); then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "asd: error: no Python here can import asd; run: bash $root/tools/setup.sh" >&2
    exit 2
fi
