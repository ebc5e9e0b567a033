"""Learned embeddings detect faults, and pay where clips differ by more than their machine."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

import asd
import asd.systems.embedding.recipe as recipes
from asd.audio.clip_set import ClipSet
from asd.audio.recordings import computed_features
from asd.challenge.catalog import load_challenge
from asd.synthetic.dataset import SyntheticCounts, synthesize

FOLDER = Path(recipes.__file__).with_name("recipes")
MACHINES = ("ToyCar", "gearbox", "fan", "bearing", "valve")
SMALLER = {
    "input_s: by_year": "input_s: 2.0",
    "whole_clip: true": "whole_clip: false",  # takes 4.4 s
    "width: 128": "width: 32",
    "batch_size: 64": "batch_size: 32",
    "epochs: 16": "epochs: 12",
}


def recipe(folder, name, changes):
    """A recipe of the package with some lines changed."""
    text = (FOLDER / f"{name}.yaml").read_text()
    for old, new in changes.items():
        text = text.replace(old, new)
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def official_scores(asd, flags, results):
    """System and backend -> official score over all machine types."""
    asd("summarize", "DCASE2023T2", *flags)
    (table,) = results.rglob("*_official_score.csv")
    with table.open(newline="") as file:
        return {row["System"]: float(row["total"]) for row in csv.DictReader(file)}


def test_a_learned_embedding_detects_faults(tmp_path):
    """AUC (source) of KNN was 0.76 to 0.81 over three seeds."""
    machines = ("fan", "ToyCar", "gearbox")
    counts = SyntheticCounts(train_source=60, train_target=10, test_per_group=25)
    synthesize(tmp_path, load_challenge("DCASE2023T2"), "dev", machines, clips=counts)
    data = asd.load_challenge("DCASE2023T2", tmp_path).dev

    def together(sets):
        return ClipSet([clip for each in sets for clip in each], computed_features(), year=2023)

    changes = {"frontend.whole_clip": False, "frontend.width": 32, "training.epochs": 8,
               "training.batch_size": 16}  # fmt: skip
    model = asd.create("dis_spec_scac_trainable", input_s=1, **changes)
    model.fit(together(data[name].train for name in machines), seed=0, progress=False)
    scores = model.score(together(data[name].test for name in machines), ["KNN"])
    found = asd.evaluate(scores, challenge="DCASE2023T2")
    means = [found.metric("AUC (source)", name, "KNN") for name in machines]
    assert np.mean(means) > 0.65, found


@pytest.mark.skipif("ASD_SLOW_TESTS" not in os.environ, reason="takes minutes: ASD_SLOW_TESTS=1")
def test_a_learned_embedding_beats_the_autoencoder_and_the_raw_spectrum(tmp_path, asd):
    """Noise of its own colour in every clip, as loud as the rest, hides what spectra tell.

    Official scores were 0.60 to 0.64 for the learned embedding by backend (another seed: KNN 0.59,
    KMEANS 0.61), 0.51 to 0.58 for the raw spectrum, and 0.51 for the autoencoder (on a smaller set
    more epochs did not help it). Without that noise the raw spectrum of these invented machines
    tells nearly all: 0.94, against 0.77 for an embedding learned from a smaller set.
    """
    counts = SyntheticCounts(train_source=300, train_target=30, test_per_group=20)
    synthesize(
        tmp_path, load_challenge("DCASE2023T2"), "dev", MACHINES, clips=counts, clutter_db=0.0
    )
    flags = ("-d", "--dataset_directory", tmp_path, "--result_directory", tmp_path / "results")
    flags += ("--machine_types", *MACHINES, "--seed", 0)
    names = [recipe(tmp_path, n, SMALLER) for n in ("raw_spec", "dis_spec_scac_trainable")]
    for model in (*names, "ae"):
        epochs = ("--epochs", 2) if model == "ae" else ()
        outcome = asd("run", *flags, "--model", model, *epochs)
        assert outcome.status == 0, outcome.err
    total = official_scores(asd, (*flags[:1], *flags[3:5]), tmp_path / "results")
    learned = {n: score for n, score in total.items() if n.startswith("dis_")}
    others = {n: score for n, score in total.items() if not n.startswith("dis_")}
    assert max(learned.values()) > max(others.values()) + 0.03, total
    for name, score in learned.items():
        backend = name.rpartition("_")[2]
        assert score > others[f"raw_spec_{backend}"] + 0.03, total
