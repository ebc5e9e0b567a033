"""The examples: systems and parts of recipes from files outside the package."""

import csv
import re

import numpy as np
import pytest

from asd.extensions import load_object
from asd.systems.registry import find_system

RECIPE = """\
input_s: 0.4
frontend: {{class: SpectralNetwork, windows: [512], whole_clip: false, width: 16}}
losses:
  - {{class: SubclusterAdaCos, subclusters: 2}}
training: {{epochs: 1, batch_size: 8}}
labels: {{class: "{examples}/own_labeller.py:LoudnessLabeller", levels: 3}}
backends:
  MEAN: {{class: "{examples}/own_backend.py:MeanDistance", power: 2}}
"""


@pytest.fixture
def examples(request):
    return request.config.rootpath / "examples"


@pytest.fixture
def flags(shared_tiny, tmp_path):
    return (
        "-d", "--machine_types", "fan", "valve", "--dataset_directory", shared_tiny.folder,
        "--feature_directory", tmp_path / "features", "--result_directory", tmp_path / "results",
    )  # fmt: skip


def scores(tmp_path, system):
    """Label -> scores of the test clips of both machine types."""
    found = {"normal": [], "anomaly": []}
    for path in (tmp_path / "results" / "dev_data" / system).glob("anomaly_score_*.csv"):
        for name, score in csv.reader(path.open(newline="")):
            found["anomaly" if "anomaly" in name else "normal"].append(float(score))
    return found


def test_a_system_of_a_file_runs_in_processes_of_its_own(asd, flags, examples, tmp_path):
    """Its feature is stored, its parameter is a flag, and its models know their parameters."""
    model = ("--model", f"{examples / 'own_system.py'}:LevelDetector")
    done = asd("run", *flags, *model, "--jobs", 2, "--percentile", 90)
    assert done.status == 0, done.err
    found = scores(tmp_path, "LevelDetector_LEVEL")
    assert np.median(found["anomaly"]) > max(found["normal"])
    assert list((tmp_path / "features").rglob("*.level"))
    refused = asd("test", *flags, *model, "--percentile", 80)
    assert "percentile 90 (now 80)" in refused.err
    assert asd("test", *flags, *model).status == 0


def test_a_system_of_a_file_is_trained_on_a_cluster(
    asd, flags, tiny_flags, cluster, examples, tmp_path
):
    """Workers load the file themselves; the feature of one's own is that of an autoencoder."""
    model = (
        *tiny_flags,
        "--epochs",
        2,
        "--model",
        f"{examples / 'own_feature.py'}:PcenAutoencoder",
    )
    done = asd("train", *flags, *model, "--cluster", cluster.scheduler_address)
    assert done.status == 0, done.err
    assert list((tmp_path / "features").rglob("*.pcen"))
    assert asd("test", *flags, *model[-2:]).status == 0
    there = scores(tmp_path, "PcenAutoencoder_MSE")
    assert np.isfinite([*there["normal"], *there["anomaly"]]).all()
    assert asd("run", *flags, *model, "--jobs", 1).status == 0
    assert scores(tmp_path, "PcenAutoencoder_MSE") == there
    plain = asd("run", *flags, *model[:-1], "ae")
    assert plain.status == 0, plain.err
    assert scores(tmp_path, "ae_MSE")["normal"] != there["normal"]


def test_the_feature_of_the_example_is_the_published_formula(examples, rng):
    """Frame by frame, in plain Python."""
    module = load_object(f"{examples / 'own_feature.py'}:Pcen", "feature")
    logmel = find_system("ae").parameters_class()(n_mels=4, n_fft=256, hop_length=128).feature()
    wave = rng.uniform(-0.5, 0.5, (1, 4000)).astype(np.float32)
    energy = 10 ** (logmel.compute(wave, 16000).astype(float) / 10)
    level, expected = energy[0], []
    for frame in energy:
        level = 0.9 * level + 0.1 * frame
        expected.append((frame / (1e-6 + level) ** 0.98 + 2) ** 0.5 - 2**0.5)
    found = module(logmel, 0.1).compute(wave, 16000)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_backend_and_a_labeller_of_files_are_parts_of_a_recipe(asd, flags, examples, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPE.format(examples=examples))
    done = asd("run", *flags, "--model", recipe, "--decision_threshold", 0.8)
    assert done.status == 0, done.err
    assert len(scores(tmp_path, "mine_MEAN")["normal"]) == 12
    recipe.write_text(RECIPE.format(examples=examples).replace("power: 2", "power: 0"))
    assert "power" in asd("train", *flags, "--model", recipe).complaint
    recipe.write_text(RECIPE.format(examples=examples).replace("levels: 3", "level: 3"))
    assert "did you mean levels?" in asd("train", *flags, "--model", recipe).complaint


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("class Other: pass", "has no Mine"),
        ("class Mine: pass", "is no subclass of asd.systems.base.System"),
        ("import nothing_of_this_name", "cannot be imported"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_file_that_holds_no_system(asd, flags, tmp_path, text, complaint):
    (tmp_path / "mine.py").write_text(text)
    outcome = asd("train", *flags, "--model", f"{tmp_path / 'mine.py'}:Mine")
    assert complaint in outcome.complaint


def test_examples_are_short_and_no_file_of_the_package_knows_of_them(examples, request):
    """Systems, backends, features and labellers are added without a change to the package."""
    files = sorted(examples.glob("own_*.py"))
    assert [path.stem for path in files] == [
        "own_backend", "own_feature", "own_labeller", "own_system",
    ]  # fmt: skip
    package = [path.read_text() for path in (request.config.rootpath / "asd").rglob("*.py")]
    for path in files:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        assert len(lines) <= 60, path
        names = re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE)
        assert names
        for name in names:
            assert not any(re.search(rf"\b{name}\b", text) for text in package), name
