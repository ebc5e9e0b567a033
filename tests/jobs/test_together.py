"""Several models trained as one stack: what they share, and what becomes of one that fails."""

import pytest
import torch

from asd.config import load_config
from asd.detector import Detector
from asd.errors import UserError
from asd.jobs.data import machine_clips
from asd.jobs.jobs import plan_jobs
from asd.jobs.training import device, train_together
from asd.systems.autoencoder import stacked
from asd.systems.autoencoder.stacked_training import StackedTraining


def config_of(**flags):
    return load_config(None, flags, use_default_file=False)


def test_seeds_of_a_machine_type_share_its_features(tmp_path, tiny_data, monkeypatch):
    rows = []

    class Spy(StackedTraining):
        def __init__(self, runs, data):
            rows.append(data[0].rows)
            super().__init__(runs, data)

    monkeypatch.setattr(stacked, "StackedTraining", Spy)
    configs = [
        config_of(machine_types=("fan",), dataset_directory=tiny_data, epochs=1, seed=seed,
               result_directory=tmp_path)
        for seed in (0, 1)
    ]  # fmt: skip
    jobs = [job for config in configs for job in plan_jobs(config)]
    assert train_together(jobs, threads=1) == []
    clips = machine_clips(configs[0], "fan", "train", threads=1)
    features = clips.features(configs[0].system.feature())
    assert [len(one) for one in rows] == [len(features.rows)]


def test_an_unforeseen_error_stops_one_model_and_is_told(tmp_path, tiny_data, monkeypatch):
    save = Detector.save

    def fail(self, path):
        if "ToyCar" in str(path):
            raise RuntimeError("out of ideas")
        save(self, path)

    monkeypatch.setattr(Detector, "save", fail)
    config = config_of(
        machine_types=("ToyCar", "fan"), dataset_directory=tiny_data, epochs=1,
        result_directory=tmp_path,
    )  # fmt: skip
    ((job, reason),) = train_together(plan_jobs(config), threads=1)
    assert job.machines == ("ToyCar",)
    assert reason == "ToyCar id(0_): failed with RuntimeError: out of ideas"
    assert len(list(tmp_path.glob("models/*/*fan*/model.pt"))) == 1


@pytest.mark.parametrize(("asked", "found"), [((), "cuda"), ((1,), "cuda:1")])
def test_the_gpu_that_is_asked_for(monkeypatch, asked, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device(config_of(use_cuda=True, gpu_id=asked)) == found
    assert device(config_of(use_cuda=False, gpu_id=asked)) == "cpu"


@pytest.mark.parametrize("number", [-1, 2])
def test_a_gpu_that_is_not_there(monkeypatch, number):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=f"--gpu_id: there is no GPU {number}; choose from 0 to 1"):
        device(config_of(gpu_id=(number,)))
