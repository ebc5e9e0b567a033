import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WHERE = ["--config=my.yaml", "--dataset_directory", "my data"]
FLAGS = ["--machine_types", "fan", *WHERE, "--keep_archives"]

DOWNLOADS = {
    "data_download_2023dev.sh": ["DCASE2023T2 -d"],
    "data_download_2023add.sh": ["DCASE2023T2 -e --parts train"],
    "data_download_2023eval.sh": ["DCASE2023T2 -e --parts test"],
    **{
        f"tools/data_download_{year}.sh": [f"DCASE{year}T2 -d", f"DCASE{year}T2 -e"]
        for year in range(2020, 2027)
    },
}


def run(script, flags, tmp_path, status=0):
    """The commands that a script calls, through a Python that writes them down."""
    calls = tmp_path / "calls"
    calls.touch()
    python = tmp_path / "python3"
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -m ] || exit 0\nprintf "%s|" "$@" >> {calls}\n'
        f"echo >> {calls}\nexit {status}\n"
    )
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", ROOT / script, *flags],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    return done.returncode, [line.split("|")[:-1] for line in calls.read_text().splitlines()]


@pytest.mark.parametrize("script", DOWNLOADS)
def test_commands(script, tmp_path):
    status, calls = run(script, FLAGS, tmp_path)
    assert status == 0
    expected = [
        ["-m", "asd", "download", "--dataset", *words.split(), *FLAGS]
        for words in DOWNLOADS[script]
    ]
    if "-e" in DOWNLOADS[script][-1] and not script.endswith(("add.sh", "2026.sh")):
        expected.append(
            ["-m", "asd", "rename", "--dataset", DOWNLOADS[script][0].split()[0], *WHERE]
        )
    assert calls == expected


def test_help_downloads_nothing(tmp_path):
    status, calls = run("tools/data_download_2024.sh", ["--help"], tmp_path)
    assert (status, calls) == (0, [["-m", "asd", "download", "--help"]])


def test_stops_when_a_download_fails(tmp_path):
    status, calls = run("tools/data_download_2024.sh", [], tmp_path, status=2)
    assert status == 2
    assert len(calls) == 1


def test_there_is_a_script_for_every_year_and_no_other():
    folders = (ROOT, ROOT / "tools")
    found = [p for folder in folders for p in folder.glob("data_download_*.sh")]
    assert {p.relative_to(ROOT).as_posix() for p in found} == set(DOWNLOADS)
