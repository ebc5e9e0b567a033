"""Recipes and the autoencoder on clips of a near and a far channel, through the commands."""

from pathlib import Path

import numpy as np
import pytest

import asd.systems.embedding.recipe as recipes
from asd import load as load_detector
from asd.challenge.catalog import load_challenge
from asd.synthetic.dataset import SyntheticCounts, synthesize

FOLDER = Path(recipes.__file__).with_name("recipes")
DECIDE = ("--decision_threshold", "none")
CLIPS = 8


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two machine types of 2026, with noise that both channels hear."""
    folder = tmp_path_factory.mktemp("two_channels")
    synthesize(
        folder,
        load_challenge("DCASE2026T2"),
        "dev",
        ["fan", "ToyCar"],
        clips=SyntheticCounts(train_source=18, train_target=4, test_per_group=2),
        seconds=(1.0, 1.2),
        clutter_db=0.0,
    )
    return folder


@pytest.fixture
def flags(data, tmp_path):
    return (
        "-d", "--dataset", "DCASE2026T2", "--machine_types", "fan", "ToyCar",
        "--dataset_directory", data, "--feature_directory", tmp_path / "features",
        "--result_directory", tmp_path / "results",
    )  # fmt: skip


def small(name, weights):
    text = (FOLDER / f"{name}.yaml").read_text()
    for old, new in {
        "beats_iter3 ": f"{weights['beats']} ",
        "mn04_as ": f"{weights['mn']} ",
        "input_s: 10\n": "input_s: 1\n",
        "epochs: 25": "epochs: 1",
        "batch_size: 8": "batch_size: 12",
        "rank: 64": "rank: 4",
        "width: 256": "width: 8",
    }.items():
        text = text.replace(old, new)
    return text


def scores(results, name):
    path = (
        results / "dev_data" / name / "anomaly_score_DCASE2026T2fan_section_00_test_seed13711.csv"
    )
    return np.array([float(line.rpartition(",")[2]) for line in path.read_text().splitlines()])


@pytest.mark.parametrize(
    "name",
    ["raw_beats", "free_beats_2026", "free_mn", "dis_beats_2026"],
)
def test_recipes_work_for_2026_with_the_far_channels_noise_cancelled(
    name, flags, tmp_path, tiny_encoders, asd
):
    path = tmp_path / f"{name}.yaml"
    path.write_text(small(name, tiny_encoders))
    outcome = asd("run", *flags, *DECIDE, "--model", path, "--channel", "cancellation")
    assert outcome.status == 0, outcome.err
    folders = [path.name for path in (tmp_path / "results" / "dev_data").glob(f"{name}_*")]
    assert folders
    for folder in folders:
        found = scores(tmp_path / "results", folder)
        assert len(found) == CLIPS
        assert np.isfinite(found).all()


def test_the_channel_of_a_recipe_is_that_of_its_model(flags, tmp_path, tiny_encoders, asd):
    """Training and test hear the same; another choice contradicts the model."""
    path = tmp_path / "free_beats_2026.yaml"
    path.write_text(small("free_beats_2026", tiny_encoders))
    assert asd("train", *flags, "--model", path).status == 0
    model = next((tmp_path / "results" / "models").rglob("model.pt"))
    assert load_detector(model).parameters.channel == "cancellation"
    outcome = asd("test", *flags, *DECIDE, "--model", path, "--channel", "left")
    assert "--channel" in outcome.complaint


def test_the_autoencoder_hears_what_is_left_of_the_near_channel(flags, tmp_path, asd):
    losses = {}
    for channel in ("left", "cancellation"):
        words = ("--channel", channel, "--epochs", 1, "--n_mels", 16, "--export_dir", channel)
        outcome = asd("train", *flags, *words, "--machine_types", "fan")
        assert outcome.status == 0, outcome.err
        log = next((tmp_path / "results" / "models" / channel).rglob("log.csv"))
        losses[channel] = log.read_text()
    assert losses["left"] != losses["cancellation"]
    assert len(list((tmp_path / "features").rglob("*.logmel"))) == 2  # a store for each


def test_clips_of_one_channel_are_refused_by_name(shared_tiny, tmp_path, asd):
    outcome = asd(
        "train", "-d", "--machine_types", "fan", "--dataset_directory", shared_tiny.folder,
        "--feature_directory", tmp_path / "features", "--result_directory", tmp_path / "results",
        "--channel", "cancellation",
    )  # fmt: skip
    assert ".wav: has 1 channel, but --channel cancellation needs a near" in outcome.complaint


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "bands: 8",
            "bands: 4",
            "bands is 4, but the frontend's embeddings are of 8; set bands: 8",
        ),
        ("over: band", "over: tokens", "embeddings are of 1; pool them with over: band"),
        (
            "{class: beam, bands: 8, metric: cosine, form: varmin, k: 1, k_density: 4}",
            "{class: z_min, of: [knn, {class: beam, bands: 4}]}",
            "bands is 4, but the frontend's embeddings are of 8; set bands: 8",
        ),
    ],
)
def test_bands_that_are_not_the_encoders_are_refused(
    old, new, complaint, flags, tmp_path, tiny_encoders, asd
):
    path = tmp_path / "mine.yaml"
    path.write_text(small("free_beats_2026", tiny_encoders).replace(old, new))
    outcome = asd("train", *flags, "--model", path)
    assert "backends.BEAM-VARMIN: bands is" in outcome.complaint
    assert complaint in outcome.complaint
