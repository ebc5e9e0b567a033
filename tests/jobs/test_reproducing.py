"""Published scores beside ours: the rows, what is missing, and a run."""

import re
from dataclasses import replace

import pytest

from asd.challenge.catalog import load_challenge
from asd.challenge.true_attributes import true_attributes_folder
from asd.jobs import reproducing
from asd.jobs.reproducing import compared, published_scores
from asd.synthetic.dataset import SyntheticCounts, synthesize
from asd.systems.embedding.kept_epochs import KeptEpochs

pytestmark = pytest.mark.usefixtures("without_pictures")

RECIPE = """\
input_s: 0.4
frontend: {class: PooledSpectrogram, mels: 16}
backends: {KNN: {class: knn}, BEAM: {class: beam, bands: 4}}
"""


@pytest.mark.parametrize("name", published_scores())
def test_every_row_names_a_run_and_a_score_of_it(name):
    row = published_scores()[name]
    config = row.config({"threads": "1"})
    assert (config.export_dir, config.score_name, config.threads) == (name, row.score, 1)
    assert row.score in _scores(config.system)
    assert row.published is None or 50 < row.published < 90
    assert row.source
    assert row.name.endswith(f"{config.challenge.year}_{row.split}") or "2026" in row.name


def _scores(system):
    if not hasattr(system, "backends"):
        return ("MSE", "MAHALA")
    kept = system.training.kept_epochs() if system.learns else KeptEpochs()
    return kept.score_names(list(system.backends.by_name))


def test_the_table_is_listed_with_commands(asd):
    shown = asd("reproduce", "list").out
    assert len(shown.splitlines()) == 1 + len(published_scores())
    (line,) = (line for line in shown.splitlines() if line.startswith("free_beats_2026_near_eval"))
    assert line.endswith(
        "asd run -e --dataset DCASE2026T2 --model free_beats_2026 --channel left "
        "--score BEAM-VARMIN"
    )


def test_settings_are_part_of_the_command_and_of_the_run():
    row = published_scores()["dis_beats_2026_near_dev"]
    assert " --channel left --set labels.channel=cancellation --score " in row.command
    system = row.config({}).system
    assert (system.channel, system.labels.parameters["channel"]) == ("left", "cancellation")


def test_what_is_missing_is_told_with_the_commands_that_get_it(asd, tmp_path, monkeypatch):
    monkeypatch.setenv("ASD_WEIGHTS", str(tmp_path))
    outcome = asd("reproduce", "free_beats_2025_dev", "--dataset_directory", tmp_path)
    assert outcome.status == 2
    assert "asd weights get beats_iter3" in outcome.complaint
    assert "asd download -d --dataset DCASE2025T2 " in outcome.complaint
    assert list(tmp_path.iterdir()) == []
    complaint = asd("reproduce", "free_beats_2025").complaint
    assert "did you mean free_beats_2025_dev?" in complaint


def test_missing_true_attributes_are_told_with_the_command_that_gets_them(asd, tmp_path):
    command = "reproduce", "unlabelled_pattr_gt_2024_dev", "--dataset_directory", tmp_path
    complaint = asd(*command).complaint
    told = "true attributes are not in .*; get them: asd attributes -d --dataset DCASE2024T2 "
    assert re.search(f"{told}--dataset_directory {tmp_path}$", complaint)
    assert "no such file" not in complaint
    config = published_scores()["unlabelled_pattr_gt_2024_dev"].config(
        {"dataset_directory": str(tmp_path)}
    )
    assert config.system.labels.parameters["file"] == str(tmp_path / "dcase2024t2")
    for machine in config.challenge.split("dev").attributes:
        folder = true_attributes_folder(tmp_path, config.challenge, "dev", machine)
        folder.mkdir(parents=True)
        (folder / "attributes_00_train_correspondence.csv").touch()
    complaint = asd(*command).complaint
    assert "true attributes" not in complaint
    assert "asd download" in complaint


@pytest.mark.parametrize("name", ["x #1", "a b: c", "[é]", "1"])
def test_a_data_folder_may_have_any_name(tmp_path, name):
    row = published_scores()["unlabelled_pattr_gt_2024_dev"]
    config = row.config({"dataset_directory": str(tmp_path / name)})
    assert config.system.labels.parameters["file"] == str(tmp_path / name / "dcase2024t2")


def test_a_row_whose_number_is_not_known_shows_ours_alone():
    shown = compared(published_scores()["unlabelled_na_1024_2023_dev"], 61.25)
    assert "61.25" in shown
    assert "not known here: arXiv 2409.09332, table 1" in shown
    assert "difference" not in shown


@pytest.fixture
def run(asd, tmp_path, monkeypatch):
    """Reproduce a row of synthetic data."""
    (tmp_path / "mine.yaml").write_text(RECIPE)
    counts = SyntheticCounts(train_source=6, train_target=2, test_per_group=2)

    def reproduce(split, score):
        row = published_scores()["free_beats_2026_dev"]
        row = replace(
            row, name="mine", split=split, score=score, flags={"model": str(tmp_path / "mine.yaml")}
        )
        monkeypatch.setattr(reproducing, "published_scores", lambda: {"mine": row})
        data = tmp_path / "data"
        year = load_challenge("DCASE2026T2")
        synthesize(data, year, split, clips=counts, seconds=(0.5, 0.5))
        folders = "--dataset_directory", data, "--result_directory", tmp_path / "results"
        return asd("reproduce", "mine", *folders)

    return reproduce


def test_our_score_stands_beside_the_published_one(run, tmp_path):
    outcome = run("dev", "BEAM")
    assert outcome.status == 0, outcome.err
    lines = [line.split() for line in outcome.out.splitlines()]
    found = {words[0]: float(words[1]) for words in lines if words[0] in ("ours", "published")}
    assert found["published"] == 67.5
    assert 0 < found["ours"] <= 100
    assert (tmp_path / "results" / "dev_data" / "mine_BEAM").is_dir()


def test_clips_without_labels_are_told_with_the_way_to_them(run):
    complaint = run("eval", "KNN").complaint
    assert "asd rename --dataset DCASE2026T2" in complaint


def test_the_difference_has_a_sign():
    text = compared(published_scores()["free_beats_2026_dev"], 66.0)
    assert "  ours        66.00\n" in text
    assert "  difference  -1.50\n" in text
