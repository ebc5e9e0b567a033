"""Every challenge year, from synthetic clips to summary tables, through the public commands."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asd.challenge.catalog import challenge_names, load_challenge
from asd.cli import main

pytestmark = pytest.mark.usefixtures("without_pictures")

ROOT = Path(__file__).parents[2]
SCORES = ("MSE", "MAHALA")
# Machine types with few sections, or whose clips tell no attributes.
DEV = {"DCASE2020T2": "ToyConveyor", "DCASE2024T2": "ToyTrain", "DCASE2026T2": "fan"}
FEATURES = ["--n_mels", "16", "--frames", "2"]


def run(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


def machine_of(year: str, split: str) -> str:
    known = list(load_challenge(year).split(split).sections)
    return DEV.get(year, known[0]) if split == "dev" else known[0]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a command on this year's data, with its data and results in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    class World:
        data, results = tmp_path / "data", tmp_path / "results"

        def synthesize(self, year: str, split: str) -> str:
            machine = machine_of(year, split)
            flags = [
                "--dataset",
                year,
                "--machine_types",
                machine,
                "--dataset_directory",
                self.data,
            ]
            counts = ["--train_source", 3, "--train_target", 2, "--test", 2]
            run("synthesize", f"-{split[0]}", *flags, *counts, "--seconds", 0.6, 1.8)
            return machine

        def flags(self, year: str, machine: str) -> list[object]:
            folders = ["--dataset_directory", self.data, "--result_directory", self.results]
            return ["--dataset", year, "--machine_types", machine, *folders, *FEATURES]

        def folder(self, split: str, score: str) -> Path:
            return self.results / f"{split}_data" / f"baseline_{score}"

    return World()


def names(folder: Path, pattern: str) -> set[str]:
    return {path.name for path in folder.glob(pattern)}


def expected_files(year: str, split: str, machine: str, ending: str) -> set[str]:
    """Of every model, the scores of all sections; the official names."""
    sections = load_challenge(year).split(split).sections[machine]
    return {
        f"anomaly_score_{year}{machine}_section_{section}_test_seed13711_id({int(own)}_){ending}.csv"
        for own in sections
        for section in sections
    }


@pytest.mark.parametrize("year", challenge_names())
def test_development_data(world, year):
    machine = world.synthesize(year, "dev")
    flags = world.flags(year, machine)
    run("train", "-d", *flags, "--epochs", 1, "--batch_size", 32)
    run("test", "-d", *flags, "--score", "all")
    run("summarize", year, "-d", "--result_directory", world.results)
    for score in SCORES:
        folder = world.folder("dev", score)
        assert names(folder, "anomaly_score_*") == expected_files(year, "dev", machine, "")
        assert len(names(folder, "result_*_roc.csv")) == len(
            load_challenge(year).dev.sections[machine]
        )
    table = world.results / "dev_data" / "baseline" / "summarize" / year / f"{year}_auc_pauc.csv"
    text = table.read_text()
    assert all(f"baseline_{score}" in text for score in SCORES)
    assert machine in text


@pytest.mark.parametrize("year", challenge_names())
def test_evaluation_data(world, year):
    """Unlabelled, then under labelled names: the same scores, and metrics once labels are there."""
    machine = world.synthesize(year, "eval")
    flags = world.flags(year, machine)
    run("train", "-e", *flags, "--epochs", 1, "--batch_size", 32)
    run("test", "-e", *flags, "--score", "all")
    folder = world.folder("eval", "MAHALA")
    before = expected_files(year, "eval", machine, "_Eval")
    sections = load_challenge(year).eval.sections[machine]
    before |= {f"anomaly_score_{machine}_section_{section}_test.csv" for section in sections}
    assert names(folder, "anomaly_score_*") == before
    assert not names(folder, "result_*")
    own = f"anomaly_score_{year}{machine}_section_%s_test_seed13711_id(%d_)_Eval.csv"
    for section in sections:  # the submission's scores are those of the section's own model
        assert (folder / f"anomaly_score_{machine}_section_{section}_test.csv").read_bytes() == (
            folder / (own % (section, int(section)))
        ).read_bytes()

    unlabelled = scores(folder / (own % (sections[0], int(sections[0]))))
    run("rename", "--dataset", year, "--dataset_directory", world.data)
    run("test", "-e", *flags, "--score", "MAHALA")
    labelled = scores(folder / (own % (sections[0], int(sections[0]))))
    assert sorted(unlabelled.values()) == sorted(labelled.values())
    assert not unlabelled.keys() & labelled.keys()
    assert len(names(folder, "result_*_roc.csv")) == len(sections)
    run("summarize", year, "-e", "--result_directory", world.results)


def scores(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8", newline="") as file:
        return dict(csv.reader(file))


def test_channel_of_2026(world):
    """The near microphone is heard by default; the far one and the mix are other sounds."""
    machine = world.synthesize("DCASE2026T2", "dev")
    flags = [*world.flags("DCASE2026T2", machine), "--epochs", 1, "--batch_size", 32]
    found = {}
    for name in ("default", "left", "right", "mix"):
        channel = [] if name == "default" else ["--channel", name]
        run("run", "-d", *flags, *channel, "--export_dir", name)
        folder = world.results / "dev_data" / f"{name}_MSE"
        found[name] = next(iter(sorted(folder.glob("anomaly_score_*")))).read_bytes()
    assert found["default"] == found["left"]
    assert len(set(found.values())) == 3


def test_legacy_scripts(world):
    """From another folder, with flags after the year; one model per section."""
    machine = world.synthesize("DCASE2022T2", "dev")
    flags = ["-d", "--machine_types", machine, "--seed", "7", *FEATURES]
    flags += ["--dataset_directory", "data", "--result_directory", "results"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    steps = [
        ["01_train_legacy.sh", "--epochs", "1"],
        ["02a_test_legacy.sh"],
        ["02b_test_legacy.sh"],
    ]
    for script, *more in steps:
        command = ["bash", ROOT / "tools" / script, "DCASE2022T2", *flags, *more]
        ended = subprocess.run(
            command, cwd=world.data.parent, env=environment, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
    for score in SCORES:
        usual = expected_files("DCASE2022T2", "dev", machine, "")
        wanted = {name.replace("seed13711", "seed7") for name in usual}
        assert names(world.folder("dev", score), "anomaly_score_*") == wanted
