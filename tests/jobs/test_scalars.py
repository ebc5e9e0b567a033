"""Losses for TensorBoard."""

import csv
import sys

import pytest


@pytest.fixture
def words(shared_tiny, tiny_flags, tmp_path):
    return (
        "train", "-d", "--machine_types", "fan", "--dataset_directory", shared_tiny.folder,
        "--feature_directory", tmp_path / "features", "--result_directory", tmp_path / "results",
        *tiny_flags, "--epochs", 2,
    )  # fmt: skip


def test_tensorboard_that_is_not_installed(words, asd, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    complaint = asd(*words, "--jobs", 1, "--tensorboard", tmp_path / "board").complaint
    assert "pip install 'asd[tensorboard]'" in complaint


def test_the_losses_of_the_log(words, asd, tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert asd(*words, "--jobs", 1, "--tensorboard", tmp_path / "board").status == 0
    (folder,) = (tmp_path / "board").iterdir()
    events = accumulators.EventAccumulator(str(folder)).Reload()
    (log,) = (tmp_path / "results").rglob("log.csv")
    rows = list(csv.DictReader(log.open(newline="")))
    assert set(events.Tags()["scalars"]) == set(rows[0])
    for name in rows[0]:
        found = events.Scalars(name)
        assert [event.step for event in found] == [1, 2]
        assert [event.value for event in found] == pytest.approx([float(r[name]) for r in rows])
