"""Several epochs of one training, scored each for itself and by their mean."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from tones import hidden_tones

from asd.errors import UserError
from asd.jobs.folder_run import FolderRun
from asd.jobs.jobs import ModelFolder
from asd.systems.embedding.kept_epochs import KeptEpochs
from asd.systems.embedding.recipe import parse_recipe
from asd.systems.embedding.system import EmbeddingSystem
from asd.systems.memory_run import MemoryRun

PACK = Path(__file__).resolve().parents[4] / "shared" / "golden" / "components" / "unlabelled"
RECIPE = """\
input_s: 0.5
frontend: {class: SpectralNetwork, windows: [128], whole_clip: false, width: 16, high_hz: 4000}
losses:
  - {class: SubclusterAdaCos, subclusters: 2, dynamic: false}
training: {epochs: 3, batch_size: 16, learning_rate: 0.005, keep_epochs: [3, 1]}
backends:
  KNN: {class: knn}
  KMEANS: {class: kmeans, n_clusters: 2}
"""
NAMES = tuple(f"{a}-{b}" for a in ("KNN", "KMEANS") for b in ("ENSEMBLE", "EPOCH1", "EPOCH3"))


@pytest.fixture(scope="module")
def clips():
    return hidden_tones(1)[0]


@pytest.fixture(scope="module")
def fitted(clips):
    system = EmbeddingSystem(parse_recipe(RECIPE, "mine"))
    system.fit(clips, MemoryRun(0))
    return system


@pytest.mark.parametrize(("ensemble", "weights"), [("default", ()), ("weighted", (1.0, 2.0, 0.5))])
def test_the_mean_of_epochs_equals_the_published_ensemble(ensemble, weights):
    if not PACK.is_dir():
        pytest.skip("the numbers of the public program are not here")

    def column(name, key):
        with (PACK / name).open(newline="") as file:
            return {row["path"]: float(row[key]) for row in csv.DictReader(file)}

    own = [column(f"ensemble_epoch{n}.csv", "AS-TargetKmeansCos-16-plain") for n in (12, 14, 16)]
    expected = column(f"ensemble_{ensemble}.csv", "AS-ensemble")
    kept = KeptEpochs((12, 14, 16), weights)
    scores = {
        name: np.array([own[i][path] for path in expected])
        for i, name in enumerate(kept.members(["KMEANS"]))
    }
    found = kept.with_ensembles(scores, ["KMEANS"])["KMEANS-ENSEMBLE"]
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-12)


def test_each_epoch_and_the_mean_are_scores_of_their_own(fitted):
    assert fitted.score_names == NAMES
    scores = fitted.score(hidden_tones(2)[0])
    assert tuple(scores) == NAMES
    for name in ("KNN", "KMEANS"):
        first, last = scores[f"{name}-EPOCH1"], scores[f"{name}-EPOCH3"]
        assert not np.allclose(first, last)
        np.testing.assert_allclose(scores[f"{name}-ENSEMBLE"], (first + last) / 2)
    table = fitted.normal_scores()["ToyA"]
    mean = (table["KNN-EPOCH1"] + table["KNN-EPOCH3"]) / 2
    np.testing.assert_allclose(table["KNN-ENSEMBLE"], mean)


def test_only_networks_of_the_scores_that_are_wanted_are_run(fitted, monkeypatch):
    clips = hidden_tones(2)[0]
    every, run = fitted.score(clips), []
    embed_by = fitted._embed_by

    def told(chosen, epoch):
        run.append(epoch)
        return embed_by(chosen, epoch)

    monkeypatch.setattr(fitted, "_embed_by", told)
    for wanted, epochs in (
        (["KNN-EPOCH1"], {1}), (["KMEANS-ENSEMBLE"], {1, 3}), (["KNN-EPOCH3", "KMEANS-EPOCH3"], {3})
    ):  # fmt: skip
        run.clear()
        found = fitted.score(clips, wanted)
        assert set(run) == epochs
        for name in wanted:
            np.testing.assert_array_equal(found[name], every[name])


def test_a_kept_epoch_scores_as_a_training_that_ends_there(fitted, clips):
    alone = EmbeddingSystem(
        parse_recipe(RECIPE.replace("keep_epochs: [3, 1]", "keep_epochs: []"), "m")
    )
    short = EmbeddingSystem(
        parse_recipe(RECIPE.replace("epochs: 3, b", "epochs: 1, b").replace("[3, 1]", "[]"), "m")
    )
    for system, epoch in ((alone, 3), (short, 1)):
        system.fit(clips, MemoryRun(0))
        np.testing.assert_array_equal(
            system.score(clips)["KNN"], fitted.score(clips)[f"KNN-EPOCH{epoch}"]
        )
    np.testing.assert_array_equal(fitted.embed(clips), alone.embed(clips))


def test_a_stored_model_scores_alike(fitted, clips, tmp_path):
    torch.save(fitted.state(), tmp_path / "model.pt")
    again = EmbeddingSystem(fitted.parameters)
    again.load_state(torch.load(tmp_path / "model.pt", weights_only=True))
    for name, values in fitted.score(clips).items():
        np.testing.assert_array_equal(again.score(clips)[name], values)


def test_a_training_that_goes_on_keeps_the_epochs_of_before(fitted, clips, tmp_path):
    class Killed(BaseException):
        pass

    def kill(epoch):
        if epoch.number == 2:
            raise Killed

    folder = ModelFolder(tmp_path / "model")
    for options in ({"on_epoch": kill}, {"restart": True}):
        run = FolderRun(folder, 0, {}, {}, **options)
        run.prepare_folder()
        system = EmbeddingSystem(fitted.parameters)
        try:
            system.fit(clips, run)
        except Killed:
            continue
    for name, values in fitted.score(clips).items():
        np.testing.assert_array_equal(system.score(clips)[name], values)


def test_one_epoch_can_be_exported_and_the_mean_says_why_not(fitted, clips):
    module = fitted.module("KNN-EPOCH1", 4800, 8000, "ToyA")
    wave = clips.features(fitted.inputs()["waveform"]).clip(0)
    with torch.inference_mode():
        score = module(torch.from_numpy(wave)[None]).item()
    assert score == pytest.approx(fitted.score(clips)["KNN-EPOCH1"][0], abs=2e-3)
    with pytest.raises(UserError, match="KNN-ENSEMBLE is a mean over 2 networks"):
        fitted.module("KNN-ENSEMBLE", 4800, 8000, "ToyA")


def test_weights_go_with_their_epochs_and_there_is_one_for_each(fitted, clips):
    weighted = parse_recipe(RECIPE.replace("[3, 1]", "[3, 1], epoch_weights: [1, 3]"), "mine")
    kept = weighted.training.kept_epochs()
    scores = fitted.score(clips, ["KNN-EPOCH1", "KNN-EPOCH3"])
    expected = (3 * scores["KNN-EPOCH1"] + scores["KNN-EPOCH3"]) / 4
    found = kept.with_ensembles(scores, ["KNN"])["KNN-ENSEMBLE"]
    np.testing.assert_allclose(found, expected)
    for text in ("[3, 1], epoch_weights: [1]", "[3, 3], epoch_weights: [1, 2]"):
        system = EmbeddingSystem(parse_recipe(RECIPE.replace("[3, 1]", text), "mine"))
        with pytest.raises(UserError, match="a weight for each of keep_epochs"):
            system.fit(clips, MemoryRun(0))


def test_epochs_that_are_not_reached_are_refused(clips):
    system = EmbeddingSystem(parse_recipe(RECIPE.replace("[3, 1]", "[2, 4]"), "mine"))
    with pytest.raises(UserError, match="epoch 4 is not reached in 3 epochs"):
        system.fit(clips, MemoryRun(0))
    frozen = """\
frontend: {class: PooledSpectrogram}
training: {keep_epochs: [2]}
backends: {KNN: {class: knn}}
"""
    with pytest.raises(UserError, match=r"training.keep_epochs: there is no training"):
        parse_recipe(frozen, "mine")
