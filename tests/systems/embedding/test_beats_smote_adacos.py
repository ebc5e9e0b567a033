"""The recipe beats_smote_adacos on synthetic data of 2024, with a tiny BEATs."""

import numpy as np
import pytest
import torch
from tiny_encoders import beats

import asd
from asd.audio.clip_set import ClipSet
from asd.audio.recordings import computed_features
from asd.challenge.catalog import load_challenge
from asd.errors import UserError
from asd.synthetic.dataset import SyntheticCounts, synthesize
from asd.systems.memory_run import MemoryRun

MACHINES = ("ToyCar", "fan")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Clips of which some are longer than the input, and classes of three."""
    folder = tmp_path_factory.mktemp("data")
    counts = SyntheticCounts(train_source=24, train_target=6, test_per_group=10)
    synthesize(
        folder, load_challenge("DCASE2024T2"), "dev", MACHINES, clips=counts, seconds=(0.9, 1.2)
    )
    found = asd.load_challenge("DCASE2024T2", folder).dev

    def together(sets):
        return ClipSet([clip for each in sets for clip in each], computed_features(), year=2024)

    train = together(found[name].train for name in MACHINES)
    return train, together(found[name].test for name in MACHINES)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "wide.pt"
    torch.save(beats(width=32), path)
    return str(path)


@pytest.fixture
def recipe(weights):
    def make(**changes):
        small = {
            "input_s": 1.0, "frontend.weights": weights, "frontend.hidden": 32,
            "training.epochs": 2, "training.batch_size": 16, "training.learning_rate": 0.005,
            "oversampling.len_factor": 1.0, "oversampling.neighbours": 2,
        }  # fmt: skip
        return asd.create("beats_smote_adacos", **{**small, **changes})

    return make


def test_it_detects_faults(recipe, data):
    """AUC (source) was 0.72 to 0.87 over three seeds."""
    train, test = data
    model = recipe(**{"training.epochs": 10}).fit(train, seed=0, progress=False)
    found = asd.evaluate(model.score(test), challenge="DCASE2024T2")
    assert np.mean([found.metric("AUC (source)", name, "KNN") for name in MACHINES]) > 0.65, found
    assert 0.4 < found.own_domain["KNN"] < 1


def after(model, train, folder, **options):
    """What a training ends with, and its snapshots."""

    def keep(_, epoch):
        torch.save(epoch.snapshot(), folder / f"{epoch.number}.pt")

    model.prepare(train, MemoryRun(0, keep, **options)).run_alone()
    return model.system.state()


def flat(state, key=""):
    """Every tensor of a state by its path."""
    if isinstance(state, dict):
        parts = [flat(each, f"{key}/{name}") for name, each in state.items()]
        return {path: value for part in parts for path, value in part.items()}
    return {key: state} if isinstance(state, torch.Tensor) else {}


CHOICES = {
    "recipe": {},
    "training pass": {"references": "training_pass"},
    "lora": {"frontend.train": "lora", "frontend.dropout": 0.2, "frontend.width": 8},
}


@pytest.mark.parametrize("choice", CHOICES)
def test_a_training_that_resumes_ends_with_the_same_bits(recipe, data, tmp_path, choice):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    whole = flat(after(recipe(**CHOICES[choice]), data[0], tmp_path / "a"))
    for epoch in (1, 2):  # in the middle, and after all is trained
        first = torch.load(tmp_path / "a" / f"{epoch}.pt", weights_only=True)
        again = flat(
            after(recipe(**CHOICES[choice]), data[0], tmp_path / "b", resume={"training": first})
        )
        assert whole.keys() == again.keys()
        assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_backends_can_compare_with_what_training_saw(recipe, data):
    train, test = data
    state = recipe(references="training_pass").fit(train, progress=False)
    rows = {m: b["KNN"]["all/references"] for m, b in state.system.state()["backends"].items()}
    usual = recipe().fit(train, progress=False).system.state()["backends"]
    clips = {machine: len(b["KNN"]["all/references"]) for machine, b in usual.items()}
    assert clips == {"ToyCar": 30, "fan": 30}
    assert set(rows) == {"ToyCar", "fan"}
    assert sum(map(len, rows.values())) == 10 * 8  # classes of both, of the size of the largest
    held_out = state.system.normal_scores()["fan"]
    assert len(held_out.clips) == 30
    assert np.isfinite(held_out["KNN"]).all()
    assert np.isfinite(state.score(test)["KNN"]).all()


def test_a_saved_detector_gives_the_same_scores(recipe, data, tmp_path):
    model = recipe().fit(data[0], progress=False)
    model.save(tmp_path / "model.asd")
    again = asd.load(tmp_path / "model.asd").score(data[1])["KNN"]
    np.testing.assert_allclose(again, model.score(data[1])["KNN"], atol=1e-5)


def test_arcface_without_oversampling(recipe, data):
    loss = {"class": "ArcFace", "margin": 0.3, "scale": 30.0, "initial": "normal"}
    changes = {"losses[0]": loss, "oversampling": None}
    assert np.isfinite(recipe(**changes).fit(data[0], progress=False).score(data[1])["KNN"]).all()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"training.crop": "each_epoch"}, "oversampling: mixes clips that are cut once; set"),
        ({"training.schedule.warm_up_steps": 5}, "schedule and restarts both set the learning"),
        ({"references": "training_pass", "augmentation.mixup": 0.5}, "embeddings of one clip each"),
        ({"oversampling.neighbors": 3}, "unknown key .*did you mean neighbours?"),
    ],
)
def test_a_recipe_that_cannot_be(recipe, changes, complaint):
    with pytest.raises(UserError, match=complaint):
        recipe(**changes)
