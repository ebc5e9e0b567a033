"""The shell scripts, run from another current directory."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = ("01_train.sh", "02a_test.sh", "02b_test.sh", "03_summarize_results.sh")


def test_flags_pass_through(script, shared_tiny, tiny_flags, tmp_path):
    results = tmp_path / "results"
    flags = ("--dataset_directory", shared_tiny.folder, "--result_directory", results,
             "--machine_types", "fan", *tiny_flags)  # fmt: skip
    done = script("01_train.sh", "-d", *flags, "-lr", "0.01", "--epochs", 1, "-tag", "mine")
    assert done.status == 0, done.err
    (folder,) = (results / "models/baseline").iterdir()
    assert folder.name == "DCASE2023T2-AE_DCASE2023T2fan_mine_seed13711"
    assert len((folder / "log.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize("name", SCRIPTS)
def test_mistakes_are_one_line(script, name):
    done = script(name, "-d", "DCASE2023T2", "--epoch", "3")
    assert done.out == ""
    assert done.complaint.startswith("unknown argument")
    assert done.err.count("\n") == 1


def test_no_python_can_import_asd(tmp_path):
    """In a copy without .venv, and with none of the machine's packages in sight."""
    copy = tmp_path / "copy"
    (copy / "tools").mkdir(parents=True)
    for name in ("02a_test.sh", "tools/_python.sh"):
        (copy / name).write_bytes((REPOSITORY / name).read_bytes())
    shim = tmp_path / "bin" / "python3"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    shim.chmod(0o755)
    done = subprocess.run(
        ["bash", copy / "02a_test.sh", "-d"], env={"PATH": f"{shim.parent}:/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        f"asd: error: no Python here can import asd; run: bash {copy}/tools/setup.sh\n"
    )
