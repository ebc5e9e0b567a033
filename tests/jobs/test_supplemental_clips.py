"""Supplemental clips of 2025 on their way from the data folder into a training."""

import pytest

from asd.challenge.catalog import load_challenge
from asd.config import load_config
from asd.jobs.data import challenge_clips, machine_clips
from asd.synthetic.dataset import SyntheticCounts, synthesize

RECIPE = """\
input_s: 0.4
frontend: {class: SpectralNetwork, windows: [512], whole_clip: false, width: 16}
losses: [{class: ArcFace}]
labels: {parts: [machine]}
training: {epochs: 1, batch_size: 8}
backends: {KNN: {class: knn}}
"""
MACHINES = ["ToyCar", "ToyTrain"]  # of the one there are clean clips, of the other noise


@pytest.fixture
def data(tmp_path):
    counts = SyntheticCounts(train_source=6, train_target=3, test_per_group=1)
    year = load_challenge("DCASE2025T2")
    synthesize(tmp_path / "data", year, "dev", MACHINES, clips=counts, seconds=(0.5, 0.5))
    return tmp_path / "data"


def test_they_come_with_training_clips_and_not_among_them(data):
    flags = {"dataset": "DCASE2025T2", "machine_types": MACHINES, "dataset_directory": str(data)}
    config = load_config(None, flags, use_default_file=False)
    every = challenge_clips(config, threads=1)
    assert {(clip.machine, clip.label) for clip in every.supplemental} == {
        ("ToyCar", "machine"), ("ToyTrain", "noise"),
    }  # fmt: skip
    assert {clip.label for clip in every} == {"normal"}
    assert len(machine_clips(config, "ToyCar", "train", 1).supplemental) == 3
    assert machine_clips(config, "ToyCar", "test", 1).supplemental == ()


def test_a_recipe_uses_them_and_no_sample_is_stored_twice(data, tmp_path, asd):
    path = tmp_path / "mine.yaml"
    flags = (
        "-d", "--dataset", "DCASE2025T2", "--machine_types", *MACHINES,
        "--dataset_directory", data, "--result_directory", tmp_path / "results", "--model", path,
    )  # fmt: skip
    path.write_text(RECIPE + "supplemental: {classes: true, noise: 0.5, snr_db: [0, 5]}\n")
    outcome = asd("run", *flags, "--decision_threshold", "none")
    assert outcome.status == 0, outcome.err
    stores = [store.name for store in data.rglob("*.waveform")]
    assert any(name.startswith("supplemental_") for name in stores)
    assert not any(name.startswith("supplemental-train") for name in stores)
