"""Columns of unlabeledasd: against scikit-learn and SciPy, and closed forms."""

import csv
import logging

import numpy as np
import pytest
from scipy.stats import hmean
from sklearn.metrics import roc_auc_score

from asd.challenge.catalog import load_challenge
from asd.errors import UserError
from asd.evaluation.metrics import domain_metrics
from asd.evaluation.published import (
    UNLABELEDASD_COLUMNS,
    unlabeledasd_columns,
    unlabeledasd_rows,
    write_unlabeledasd,
)
from asd.evaluation.records import SectionFiles, TestRecord, write_record
from asd.evaluation.results import ResultName, ResultTable, score_folder, write_scores


def drawn(seed, clips=200):
    rng = np.random.default_rng(seed)
    is_anomaly, is_target = rng.random(clips) < 0.5, rng.random(clips) < 0.4
    return np.round(rng.normal(size=clips) + is_anomaly, 2), is_anomaly, is_target  # with ties


@pytest.mark.parametrize("seed", range(3))
def test_columns_equal_those_made_with_scikit_learn(seed):
    scores, is_anomaly, is_target = drawn(seed)
    found = unlabeledasd_columns(scores, is_anomaly, is_target)
    assert tuple(found) == UNLABELEDASD_COLUMNS
    domains = {"source": ~is_target, "target": is_target}
    for domain, own in domains.items():
        for which, chosen in (("only", own), ("all", own | is_anomaly)):
            for metric, limit in (("auc", None), ("pauc", 0.1)):
                expected = roc_auc_score(is_anomaly[chosen], scores[chosen], max_fpr=limit)
                assert found[f"0_{domain}_{metric}_{which}"] == pytest.approx(expected)
    every = roc_auc_score(is_anomaly, scores, max_fpr=0.1)
    assert found["0_all_pauc_all"] == pytest.approx(every)
    official = [found["0_source_auc_all"], found["0_target_auc_all"], every]
    assert found["hmean_official"] == pytest.approx(hmean(official))
    parts = [found[f"0_{d}_{a}_only"] for d in domains for a in ("auc", "pauc")]
    assert found["hmean_0_{d}_{a}_only"] == pytest.approx(hmean(parts))
    assert found["hmean_0_source_{a}_only"] == pytest.approx(hmean(parts[:2]))
    assert found["hmean_0_target_{a}_only"] == pytest.approx(hmean(parts[2:]))


def test_columns_stand_in_the_published_order():
    assert UNLABELEDASD_COLUMNS[:8] == (
        "hmean_official", "hmean_0_{d}_auc_only", "hmean_0_source_{a}_only",
        "hmean_0_target_{a}_only", "hmean_0_{d}_{a}_only", "hmean_0_{d}_auc_all",
        "hmean_0_{d}_{a}_all", "0_source_auc_only",
    )  # fmt: skip
    assert UNLABELEDASD_COLUMNS[8:] == (
        "0_source_pauc_only", "0_target_auc_only", "0_target_pauc_only", "0_source_auc_all",
        "0_source_pauc_all", "0_target_auc_all", "0_target_pauc_all", "0_all_pauc_all",
    )  # fmt: skip


def test_perfect_and_reversed_scores():
    is_anomaly, is_target = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    perfect = unlabeledasd_columns([0.0, 0.1, 0.8, 0.9], is_anomaly, is_target)
    assert set(perfect.values()) == {1.0}
    wrong = unlabeledasd_columns([0.9, 0.8, 0.1, 0.0], is_anomaly, is_target)
    assert wrong["0_source_auc_all"] == 0.0
    assert wrong["hmean_official"] == 0.0
    assert wrong["0_all_pauc_all"] == pytest.approx(0.5 * (1 - 0.005 / 0.095))


def test_a_domain_without_normal_clips_is_undefined():
    found = unlabeledasd_columns([0.1, 0.2, 0.9], [0, 1, 1], [0, 0, 1])
    assert np.isnan(found["0_target_auc_all"])
    assert np.isnan(found["hmean_official"])
    assert found["0_source_auc_only"] == 1.0


NAMES = [
    f"section_00_{domain}_test_{label}_{number:04d}_vel_{number}.wav"
    for domain in ("source", "target")
    for label in ("normal", "anomaly")
    for number in range(5)
]


def write_test(results, machine, score, seed, values, sections=(), export_dir="emb"):
    tag = "id(0_)" if sections else ""
    name = ResultName("DCASE2023T2", machine, "dev", seed, tag)
    folder = score_folder(results, "dev", export_dir, score)
    write_scores(folder / name.scores("00"), NAMES, values)
    table = ResultTable(("AUC (source)",), ("00",), np.ones((1, 1)))
    is_anomaly, is_target = ([word in each for each in NAMES] for word in ("anomaly", "target"))
    official = {"00": domain_metrics(values, is_anomaly, is_target)}
    write_record(
        folder,
        TestRecord(
            "DCASE2023T2", machine, "dev", seed, tag, "emb", export_dir, score, "", sections, 0.1,
            0.9, 1.0, {"00": SectionFiles(name.scores("00"))}, table, official,
        ),
    )  # fmt: skip


def test_tables_per_machine_type_hold_a_row_for_each_score(tmp_path):
    rng = np.random.default_rng(0)
    results = tmp_path / "results"
    kept = {}
    for machine in ("fan", "ToyCar"):
        for score in ("KNN", "GMM"):
            kept[machine, score] = rng.random(len(NAMES))
            write_test(results, machine, score, 3, kept[machine, score])
    write_test(results, "fan", "KNN", 3, kept["fan", "KNN"] * 2, ("00",))  # of its own section
    write_test(results, "fan", "MSE", 3, rng.random(len(NAMES)), export_dir="other")
    year = load_challenge("DCASE2023T2")
    rows = unlabeledasd_rows(results, year, "dev", "emb")
    assert len(rows) == 4
    assert len(unlabeledasd_rows(results, year, "dev", "emb", all_systems=True)) == 5
    paths = write_unlabeledasd(tmp_path / "out", rows)
    assert [str(path.relative_to(tmp_path / "out")) for path in paths] == [
        "results.csv", "emb_3/ToyCar/test_result.csv", "emb_3/fan/test_result.csv",
    ]  # fmt: skip
    table = list(csv.DictReader(paths[2].open(encoding="utf-8")))
    assert [row["post_process"] for row in table] == ["AS-GMM", "AS-KNN"]
    is_anomaly, is_target = ([word in name for name in NAMES] for word in ("anomaly", "target"))
    expected = unlabeledasd_columns(kept["fan", "KNN"], is_anomaly, is_target)
    assert {name: float(table[1][name]) for name in UNLABELEDASD_COLUMNS} == expected


def test_what_has_no_such_columns_is_said(tmp_path):
    with pytest.raises(UserError, match="DCASE2022T2 have several sections"):
        unlabeledasd_rows(tmp_path, load_challenge("DCASE2022T2"), "dev", "emb")
    with pytest.raises(UserError, match="no labelled results of DCASE2023T2; run the test step"):
        unlabeledasd_rows(tmp_path, load_challenge("DCASE2023T2"), "dev", "emb")


def test_summarize_writes_them_when_asked(tmp_path, caplog, capsys):
    from asd.cli import main

    results = tmp_path / "results"
    write_test(results, "fan", "KNN", 3, np.arange(len(NAMES)) / 7)
    command = ["summarize", "DCASE2023T2", "-d", "--result_directory", str(results)]
    command += ["--export_dir", "emb"]
    folder = results / "dev_data" / "emb" / "summarize" / "DCASE2023T2" / "unlabeledasd"
    assert main(command) == 0
    assert not folder.exists()
    with caplog.at_level(logging.INFO):
        assert main([*command, "--columns", "unlabeledasd"]) == 0
    assert (folder / "emb_3" / "fan" / "test_result.csv").is_file()
    assert "System" in capsys.readouterr().out
