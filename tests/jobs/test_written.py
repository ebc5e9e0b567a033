"""What a test writes: rounded scores, decisions by them, metrics with the options given."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from asd.report.figures import roc_plot
from asd.scores.table import ScoreTable

NAME = "DCASE2023T2fan"
ENDING = "test_seed13711_id(0_)"


class Scorer:
    """Stands in for a trained detector: gives the test clips the scores it was made with."""

    def __init__(self, scores, threshold=1.0):
        self.scores, self.limit = scores, threshold

    def wanted_scores(self, names):
        assert names == ["MSE"]
        return ("MSE",)

    def threshold(self, machine, score, quantile):
        assert (machine, score, quantile) == ("fan", "MSE", 0.9)
        return self.limit

    def score(self, clips, names):
        assert names == ("MSE",)
        return ScoreTable(clips.clips, {"MSE": np.array(self.scores, dtype=np.float64)})


@pytest.fixture
def tested(tiny, asd, tmp_path, monkeypatch):
    """Test clips that get the given scores; gives the command's outcome and the result folder."""

    def run(scores, *words, per_group=3):
        tiny.test("fan", per_group=per_group)
        monkeypatch.setattr("asd.jobs.testing.load_detector", lambda _: Scorer(scores))
        where = ("--dataset_directory", tiny.folder, "--result_directory", tmp_path)
        done = asd("test", "-d", "--machine_types", "fan", *where, *words)
        assert done.status == 0, done.err
        return done, tmp_path / "dev_data" / "baseline_MSE"

    return run


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def column(folder, kind):
    return [text for _, text in read(folder / f"{kind}_{NAME}_section_00_{ENDING}.csv")]


def record(folder):
    return json.loads((folder / f"job_{NAME}_{ENDING}.json").read_text())


def test_scores_are_rounded_to_float32_as_the_official_ones_are(tested):
    scores = np.linspace(0.1, 1.3, 12) ** 3
    _, folder = tested(scores)
    assert column(folder, "anomaly_score") == [str(float(np.float32(score))) for score in scores]


def test_a_clip_is_decided_by_the_score_that_is_written_if_it_is_above_the_threshold(tested):
    """At the threshold it is normal; so is one that is above it only until it is rounded."""
    above = float(np.nextafter(np.float32(1), np.float32(2)))
    scores = [1.0, 1.0 + 1e-9, above, 0.5, 2.0, 1.0 - 1e-9, *[0.0] * 6]
    _, folder = tested(scores)
    assert column(folder, "anomaly_score")[:2] == ["1.0", "1.0"]
    assert column(folder, "decision_result") == list("001010000000")
    assert record(folder)["threshold"] == 1.0


def test_without_decisions_there_are_scores_alone(tested):
    _, folder = tested(np.arange(12.0))
    assert list(folder.glob("decision_result_*"))
    _, folder = tested(np.arange(12.0), "--decision_threshold", "none")
    assert column(folder, "anomaly_score") == [str(float(i)) for i in range(12)]
    assert not list(folder.glob("decision_result_*"))  # those of the test before are no more
    found = record(folder)
    assert (found["threshold"], found["quantile"]) == (None, None)
    assert found["files"]["00"]["decisions"] == ""
    header, row, *_ = read(folder / f"result_{NAME}_{ENDING}_roc.csv")
    cells = dict(zip(header, row, strict=True))
    assert cells["precision (source)"] == cells["F1 score (target)"] == ""
    assert float(cells["AUC (source)"]) > 0


def overlapping(clips):
    """Scores of which normal and anomalous ones mix: pAUC depends on how far it is taken."""
    return np.random.default_rng(7).uniform(0, 1, clips) + np.repeat([0, 0, 0.2, 0.3], clips // 4)


@pytest.fixture
def expected():
    """The metrics by scikit-learn, from the files that were written."""

    def measure(folder, max_fpr):
        rows = read(folder / f"anomaly_score_{NAME}_section_00_{ENDING}.csv")
        scores = np.array([float(score) for _, score in rows])
        is_anomaly = np.array(["anomaly" in name for name, _ in rows])
        is_target = np.array(["_target_" in name for name, _ in rows])
        found = {"pAUC": roc_auc_score(is_anomaly, scores, max_fpr=max_fpr)}
        for domain, own in (("source", ~is_target), ("target", is_target)):
            mixed = own | is_anomaly
            found[f"AUC ({domain})"] = roc_auc_score(is_anomaly[mixed], scores[mixed])
            found[f"pAUC ({domain})"] = roc_auc_score(is_anomaly[own], scores[own], max_fpr=max_fpr)
        parts = [found["AUC (source)"], found["AUC (target)"], found["pAUC"]]
        return found, 3 / sum(1 / part for part in parts)

    return measure


@pytest.mark.parametrize("max_fpr", [0.1, 0.3])
def test_the_limit_of_pauc_holds_in_every_table_and_picture(
    tested, expected, asd, tmp_path, monkeypatch, max_fpr
):
    drawn = []

    def spy(*groups, max_fpr):
        drawn.append(max_fpr)
        return roc_plot(*groups, max_fpr=max_fpr)

    monkeypatch.setattr("asd.report.figures.roc_plot", spy)
    words = () if max_fpr == 0.1 else ("--max_fpr", max_fpr)
    _, folder = tested(overlapping(40), *words, per_group=10)
    metrics, official = expected(folder, max_fpr)
    assert metrics["pAUC"] != pytest.approx(expected(folder, 0.4 - max_fpr)[0]["pAUC"], abs=0.01)
    header, row, *_ = read(folder / f"result_{NAME}_{ENDING}_roc.csv")
    cells = dict(zip(header, row, strict=True))
    for name, value in metrics.items():
        assert float(cells[name]) == pytest.approx(value), name
    assert drawn == [max_fpr]
    assert record(folder)["max_fpr"] == max_fpr

    done = asd("summarize", "DCASE2023T2", "-d", "--result_directory", tmp_path)
    assert done.status == 0, done.err
    stem = tmp_path / "dev_data" / "baseline" / "summarize" / "DCASE2023T2"
    with open(stem / "DCASE2023T2_official_score.csv", newline="") as file:
        (scores,) = csv.DictReader(file)
    assert float(scores["fan"]) == pytest.approx(official)
    assert float(scores["total"]) == pytest.approx(official)
    (table,) = stem.glob("*_auc_pauc.csv")
    with table.open(newline="") as file:
        (summary,) = csv.DictReader(file)
    for name, value in metrics.items():
        assert float(summary[f"fan_dev_00_{name}_ave"]) == pytest.approx(value), name
    assert f"{official:.4f}" in done.out


def test_the_record_says_what_the_test_was(tested):
    _, folder = tested(overlapping(12), "--max_fpr", 0.2)
    found = record(folder)
    assert {key: found[key] for key in ("dataset", "machine", "split", "seed", "tag")} == {
        "dataset": "DCASE2023T2", "machine": "fan", "split": "dev", "seed": 13711, "tag": "id(0_)",
    }  # fmt: skip
    assert (found["system"], found["export_dir"], found["score"]) == (
        "DCASE2023T2-AE", "baseline", "MSE",
    )  # fmt: skip
    assert (found["sections"], found["variant"]) == (["00"], "")
    assert (found["max_fpr"], found["quantile"], found["threshold"]) == (0.2, 0.9, 1.0)
    for name in found["files"]["00"].values():
        assert (folder / name).is_file()
    assert found["table"]["sections"] == ["00"]
