"""The examples: systems and parts of recipes from files outside the package."""

import csv
import subprocess

import numpy as np
import pytest

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


def test_examples_touch_no_file_of_the_package(examples):
    """They are all outside of it, and git knows of no change that running them made."""
    assert {path.name for path in examples.glob("*.py")} == {
        "own_backend.py", "own_labeller.py", "own_system.py",
    }  # fmt: skip
    for path in examples.glob("*.py"):
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        assert len(lines) <= 60, path
    tracked = subprocess.run(
        ["git", "ls-files", "--", str(examples)], cwd=examples, capture_output=True, check=False
    )
    assert b"asd/" not in tracked.stdout.replace(b"examples/", b"")
