"""Several models trained as one stack: what they share, and what becomes of one that fails."""

import pytest
import torch
from asd.jobs.models import save_model

from asd.config import Config
from asd.errors import UserError
from asd.jobs import training
from asd.jobs.data import training_data
from asd.jobs.jobs import plan_jobs
from asd.jobs.training import device, train_together
from asd.systems.autoencoder import stacked
from asd.systems.autoencoder.stacked_training import StackedTraining


def test_seeds_of_a_machine_type_share_its_features(tmp_path, tiny_data, monkeypatch):
    rows = []

    class Spy(StackedTraining):
        def __init__(self, runs, data):
            rows.append(data[0].rows)
            super().__init__(runs, data)

    monkeypatch.setattr(stacked, "StackedTraining", Spy)
    configs = [
        Config(machine_types=("fan",), dataset_directory=tiny_data, epochs=1, seed=seed,
               result_directory=tmp_path)
        for seed in (0, 1)
    ]  # fmt: skip
    jobs = [job for config in configs for job in plan_jobs(config)]
    assert train_together(jobs, threads=1) == []
    _, features = training_data(configs[0], "fan", ("00",), threads=1)
    assert [len(one) for one in rows] == [len(features.rows)]


def test_an_unforeseen_error_stops_one_model_and_is_told(tmp_path, tiny_data, monkeypatch):
    def fail(path, model):
        if "ToyCar" in str(path):
            raise RuntimeError("out of ideas")
        save_model(path, model)

    monkeypatch.setattr(training, "save_model", fail)
    config = Config(
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
    assert device(Config(use_cuda=True, gpu_id=asked)) == found
    assert device(Config(use_cuda=False, gpu_id=asked)) == "cpu"


@pytest.mark.parametrize("number", [-1, 2])
def test_a_gpu_that_is_not_there(monkeypatch, number):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=f"--gpu_id: there is no GPU {number}; choose from 0 to 1"):
        device(Config(gpu_id=(number,)))
