"""On clips that differ by more than their machine, learning what tells machines apart pays."""

import csv
from pathlib import Path

import asd.systems.embedding.recipe as recipes
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
    names = []
    for name in ("raw_spec", "dis_spec_scac_trainable"):
        text = (FOLDER / f"{name}.yaml").read_text()
        for old, new in SMALLER.items():
            text = text.replace(old, new)
        names.append(tmp_path / f"{name}.yaml")
        names[-1].write_text(text)
    for model in (*names, "ae"):
        epochs = ("--epochs", 2) if model == "ae" else ()
        outcome = asd("run", *flags, "--model", model, *epochs)
        assert outcome.status == 0, outcome.err
    asd("summarize", "DCASE2023T2", *flags[:1], *flags[3:5])
    (table,) = (tmp_path / "results").rglob("*_official_score.csv")
    with table.open(newline="") as file:
        total = {row["System"]: float(row["total"]) for row in csv.DictReader(file)}
    learned = {n: score for n, score in total.items() if n.startswith("dis_")}
    others = {n: score for n, score in total.items() if not n.startswith("dis_")}
    assert max(learned.values()) > max(others.values()) + 0.03, total
    for name, score in learned.items():
        backend = name.rpartition("_")[2]
        assert score > others[f"raw_spec_{backend}"] + 0.03, total
