"""`asd evaluate` on two made-up systems, one of which is better on every machine type."""

import csv
import shutil

import numpy as np
import pytest
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from asd.challenge.catalog import load_challenge
from asd.cli import main
from asd.submission.evaluator import evaluate_submissions

YEAR = load_challenge("DCASE2024T2")
CLIPS = 12


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"section_00_{i:04d}.wav,{value}\n" for i, value in enumerate(values)]
    path.write_text("".join(rows))


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The folders teams/ and truth/ in the current folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    for machine in YEAR.eval.sections:
        ending = f"{machine}_section_00_test.csv"
        anomaly, target = np.tile([0, 1], CLIPS // 2), np.repeat([0, 1], CLIPS // 2)
        write(tmp_path / "truth/ground_truth_data" / f"ground_truth_{ending}", anomaly)
        write(tmp_path / "truth/ground_truth_domain" / f"ground_truth_{ending}", target)
        names = [f"section_00_{('source', 'target')[t]}_test_{('normal', 'anomaly')[a]}_{i:04d}"
                 for i, (a, t) in enumerate(zip(anomaly, target, strict=True))]  # fmt: skip
        write(tmp_path / "truth/ground_truth_attributes" / f"ground_truth_{ending}", names)
        for system, distance in (("weak", 0.3), ("good", 3.0)):
            scores = rng.normal(distance * anomaly)
            folder = tmp_path / "teams" / "team" / system
            write(folder / f"anomaly_score_{ending}", scores)
            write(folder / f"decision_result_{ending}", (scores > 1).astype(int))
    return tmp_path


def evaluate(*words):
    return main(["evaluate", "teams", "--ground-truth", "truth", "--dataset", YEAR.name, *words])


def test_tables_pictures_and_ranking(folders, capsys):
    assert evaluate("--out", "out") == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.split()[:2] == ["1", "good"]
    assert second.split()[:2] == ["2", "weak"]
    with (folders / "out/teams_additional_result/teams_official_score.csv").open() as file:
        table = {row[0]: row[1] for row in csv.reader(file)}
    assert f"{100 * float(table['good']):.2f}" == first.split()[2]
    assert {path.name for path in (folders / "out").iterdir()} == {
        "teams_result", "teams_additional_result", "teams_ranking.png", "teams_metrics.png",
    }  # fmt: skip
    assert {p.name for p in (folders / "out/teams_result").iterdir()} == {
        "good_result.csv",
        "weak_result.csv",
    }


def test_results_go_to_the_result_folder(folders):
    assert evaluate() == 0
    assert (folders / "results/evaluation" / YEAR.name / "teams_ranking.png").is_file()


def test_a_system_that_lacks_files_is_passed_over(folders, capsys):
    (folders / "teams/team/weak/anomaly_score_Scanner_section_00_test.csv").unlink()
    assert evaluate() == 0
    printed = capsys.readouterr()
    assert "weak" not in printed.out
    assert "passed over, no score or decision file of Scanner" in printed.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: shutil.rmtree(f / "teams"), "teams: no such folder"),
        (lambda f: shutil.rmtree(f / "teams/team"), "teams: no system with score and decision"),
        (lambda f: shutil.rmtree(f / "truth"), "truth/ground_truth_data: no ground_truth_"),
        (
            lambda f: (f / "truth/ground_truth_data/ground_truth_Scanner_section_00_test.csv")
            .unlink(),
            "is not that of DCASE2024T2 (differs in Scanner)",
        ),
        (
            lambda f: write(
                f / "teams/team/weak/anomaly_score_Scanner_section_00_test.csv",
                [1.0] * (CLIPS - 1),
            ),
            "1 clips are missing, the first is section_00_0011.wav",
        ),
        (
            lambda f: write(
                f / "teams/team/weak/decision_result_Scanner_section_00_test.csv", [2] * CLIPS
            ),
            "is neither 0 nor 1",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(folders, capsys, change, said):
    change(folders)
    assert evaluate() == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("asd: error: ")
    assert said in last
    assert not (folders / "results").exists()


def test_jackknife_interval(folders):
    """Against the textbook form, with every clip left out in turn."""
    (system, _) = evaluate_submissions(folders / "teams", folders / "truth", YEAR)
    anomaly = np.tile([0, 1], CLIPS // 2 * len(YEAR.eval.sections))
    paths = sorted((folders / "teams/team" / system.name).glob("anomaly_score_*"))
    scores = np.concatenate([
        [float(line.partition(",")[2]) for line in path.read_text().splitlines()] for path in paths
    ])  # fmt: skip
    n, widths = anomaly.size, []
    for options in ({}, {"max_fpr": 0.1}):
        left_out = np.array([
            roc_auc_score(np.delete(anomaly, i), np.delete(scores, i), **options) for i in range(n)
        ])  # fmt: skip
        error = np.sqrt((n - 1) / n * np.sum((left_out - left_out.mean()) ** 2))
        widths.append(t.ppf(0.975, n - 1) * error)
    assert system.jackknife95 == pytest.approx(np.mean(widths), rel=1e-9)
    assert n == system.clips == 108


def test_without_the_names_of_labelled_clips(folders, capsys):
    """The evaluator of 2022 keeps attributes elsewhere; submissions name unlabelled clips."""
    assert evaluate() == 0
    ranking = capsys.readouterr().out
    shutil.rmtree(folders / "truth/ground_truth_attributes")
    assert evaluate() == 0
    assert capsys.readouterr().out == ranking
