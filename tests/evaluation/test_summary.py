"""Summary tables: the public baseline's by column name, and what it gets wrong or can't do."""

import csv
import math
import re
import shutil
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asd.challenge.catalog import load_challenge
from asd.challenge.names import parse_clip_name
from asd.errors import UserError
from asd.evaluation.metrics import DOMAIN_METRICS, EPSILON, domain_metrics
from asd.evaluation.records import SectionFiles, TestRecord, read_records, write_record
from asd.evaluation.results import (
    ResultName,
    ResultTable,
    parse_result_name,
    read_result,
    read_scores,
    score_folder,
)
from asd.evaluation.summary import (
    format_summary,
    official_markdown,
    summarize,
    write_summary,
)

OFFICIAL = Path(__file__).parents[1] / "data" / "evaluation" / "official"
CASES = {
    "case1_dcase2023_dev/expected": ("DCASE2023T2", "dev"),
    "case2_dcase2023_eval/expected": ("DCASE2023T2", "eval"),
    "case2_dcase2023_eval/expected_test_only": ("DCASE2023T2", "eval"),
    "case3_dcase2022_dev/expected": ("DCASE2022T2", "dev"),
    "case4_dcase2020_dev/expected": ("DCASE2020T2", "dev"),
    "case5_dcase2026_dev/expected": ("DCASE2026T2", "dev"),
}
COLUMNS = ("AUC (source)", "AUC (target)", "pAUC", "pAUC (source)", "pAUC (target)")


def official_copy(case: str, tmp_path: Path) -> Path:
    """Result files of a case without its summary, and a record of each of its tests."""
    results = tmp_path / "results"
    ignore = shutil.ignore_patterns("summarize")
    shutil.copytree(OFFICIAL / case / "results", results, ignore=ignore)
    names = {path: parse_result_name(path.name) for path in results.glob("*_data/*/*.csv")}
    tests = {(path.parent, file.name) for path, file in names.items() if file}
    for folder, name in sorted(tests, key=str):
        table_file = folder / name.table()
        official = {
            file.section: labelled_metrics(path)
            for path, file in names.items()
            if file and path.parent == folder and file.kind == "anomaly_score" and file.name == name
        }
        record = make_record(folder.name.rpartition("_")[2], name)
        if table_file.is_file():
            record = replace(record, table=read_result(table_file), official=official)
        write_record(folder, record)
    return results


def labelled_metrics(path: Path) -> dict[str, float]:
    names, scores = read_scores(path)
    clips = [parse_clip_name(name) for name in names]
    is_anomaly = [clip.label == "anomaly" for clip in clips]
    return domain_metrics(scores, is_anomaly, [clip.domain == "target" for clip in clips])


def make_record(score: str, name: ResultName, **changes: object) -> TestRecord:
    """A record of a test; a tag such as "id(0_)_wide" tells sections and a variant."""
    match = re.fullmatch(r"(?:id\(((?:\d+_)*)\))?_?(.*)", name.tag)
    sections = tuple(f"{int(i):02d}" for i in (match[1] or "").split("_") if i)
    return TestRecord(
        dataset=name.dataset, machine=name.machine, split=name.split, seed=name.seed, tag=name.tag,
        system="ae", export_dir="baseline", score=score, variant=match[2], sections=sections,
        max_fpr=0.1, quantile=0.9, threshold=1.0, files={}, **changes,
    )  # fmt: skip


def table(path: Path) -> dict[tuple[str, ...], dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {tuple(row[k] for k in ("System", "metric", "id", "") if k in row): row for row in rows}


def official_csv(written: list[Path]) -> Path:
    (path,) = (path for path in written if path.name.endswith("_official_score.csv"))
    return path


def is_slip(column: str) -> bool:
    """Columns where the public table holds the means of plain pAUC."""
    is_mean = "_arithmetic mean_" in column or "_harmonic mean_" in column
    is_overall = column.startswith("ALL_") and column.endswith(("_ave", "_std"))
    return "pAUC (" in column and (is_mean or is_overall)


@pytest.mark.parametrize("case", CASES)
def test_official_tables(case, tmp_path):
    dataset, split = CASES[case]
    results = official_copy(case, tmp_path)
    paths = write_summary(summarize(results, load_challenge(dataset), split))
    written = {path.relative_to(results) for path in paths}
    golden = OFFICIAL / case / "results"
    expected = {p.relative_to(golden) for p in golden.rglob("summarize/**/*.csv")}
    assert {path.name for path in written - expected} == {
        f"{dataset}_official_score.{ending}" for ending in ("csv", "md")
    }
    assert expected <= written
    for path in expected:
        ours, theirs = table(results / path), table(golden / path)
        assert list(ours) == list(theirs)
        for key, row in theirs.items():
            assert ours[key].keys() == row.keys()
            for column, text in row.items():
                if not is_slip(column):
                    assert same(ours[key][column], text), (path.name, key, column)


def same(ours: str, theirs: str) -> bool:
    try:
        return math.isclose(float(ours), float(theirs), rel_tol=0, abs_tol=1e-9)
    except ValueError:
        return ours == theirs


@pytest.mark.parametrize("case", [c for c in CASES if "case4" not in c and "only" not in c])
def test_means_of_pauc_per_domain_are_true(case, tmp_path):
    dataset, split = CASES[case]
    results = official_copy(case, tmp_path)
    summary = summarize(results, load_challenge(dataset), split)
    path = next(p for p in write_summary(summary) if p.name.endswith("_auc_pauc.csv"))
    for (system,), row in table(path).items():
        for metric in ("pAUC (source)", "pAUC (target)"):
            sections: dict[str, list[float]] = {}
            for column, text in row.items():
                machine, _, rest = column.partition(f"_{split}_")
                if rest in [f"{s}_{metric}_ave" for s in ("00", "01", "02")]:
                    sections.setdefault(machine, []).append(float(text))
            assert sections
            means = [statistics.mean(v) for v in sections.values()]
            for machine, values in sections.items():
                base = f"{machine}_{split}"
                mean, hmean = statistics.mean(values), statistics.harmonic_mean(values)
                assert float(row[f"{base}_arithmetic mean_{metric}"]) == pytest.approx(mean)
                assert float(row[f"{base}_harmonic mean_{metric}"]) == pytest.approx(hmean)
            assert float(row[f"ALL_{metric}_ave"]) == pytest.approx(statistics.mean(means)), system
            if len(means) > 1:
                std = statistics.stdev(means)
                assert float(row[f"ALL_{metric}_std"]) == pytest.approx(std)


def put(
    results: Path, rows: dict[str, float], *, seed: int = 1, tag: str = "", score: str = "MSE",
    machine: str = "valve", dataset: str = "DCASE2022T2",
) -> Path:  # fmt: skip
    """Write a record in which every metric of a section is the same number."""
    values = np.array([[value] * len(COLUMNS) for value in rows.values()])
    record = make_record(
        score,
        ResultName(dataset, machine, "dev", seed, tag),
        table=ResultTable(COLUMNS, tuple(rows), values),
        official={section: dict.fromkeys(DOMAIN_METRICS, v) for section, v in rows.items()},
    )
    return write_record(score_folder(results, "dev", "baseline", score), record)


def auc_pauc(results: Path, dataset: str = "DCASE2022T2") -> dict[tuple[str, ...], dict[str, str]]:
    paths = write_summary(summarize(results, load_challenge(dataset), "dev"))
    return table(next(p for p in paths if p.name.endswith("_auc_pauc.csv")))


def test_a_section_without_its_model_is_missing(tmp_path, caplog):
    every = {"00": 0.1, "01": 0.2, "02": 0.3}
    put(tmp_path, every, tag="id(0_)")
    put(tmp_path, {k: v + 0.5 for k, v in every.items()}, tag="id(2_)")
    row = auc_pauc(tmp_path)["baseline_MSE",]
    assert row["valve_dev_00_pAUC_ave"] == "0.1"
    assert row["valve_dev_01_pAUC_ave"] == ""
    assert row["valve_dev_02_pAUC_ave"] == "0.8"
    assert float(row["valve_dev_arithmetic mean_pAUC"]) == pytest.approx(0.45)
    assert "baseline_MSE, valve, seed 1: no results of section 01" in caplog.text
    joined = tmp_path / "dev_data/baseline/summarize/DCASE2022T2/baseline_MSE"
    joined /= "result_DCASE2022T2valve_test_seed1_roc.csv"
    assert joined.read_text().splitlines()[2] == "01,,,,,"


def test_rows_are_matched_by_label_not_by_position(tmp_path):
    put(tmp_path, {"02": 0.3, "00": 0.1}, tag="id(2_)")
    put(tmp_path, {"02": 0.9, "01": 0.2, "00": 0.8}, tag="id(0_1_)")
    row = auc_pauc(tmp_path)["baseline_MSE",]
    assert [row[f"valve_dev_0{i}_pAUC_ave"] for i in range(3)] == ["0.8", "0.2", "0.3"]


def test_the_most_special_model_of_a_section_counts(tmp_path):
    put(tmp_path, {"00": 0.1, "01": 0.1, "02": 0.1})
    put(tmp_path, {"00": 0.2, "01": 0.2, "02": 0.2}, tag="id(0_1_)")
    put(tmp_path, {"00": 0.3, "01": 0.3, "02": 0.3}, tag="id(1_)")
    row = auc_pauc(tmp_path)["baseline_MSE",]
    assert [row[f"valve_dev_0{i}_pAUC_ave"] for i in range(3)] == ["0.2", "0.3", "0.1"]


def test_several_seeds(tmp_path):
    for seed, value in ((1, 0.2), (2, 0.4), (5, 0.0)):
        put(tmp_path, {"00": value}, seed=seed, machine="fan", dataset="DCASE2023T2")
    put(tmp_path, {"00": 0.6}, machine="ToyCar", dataset="DCASE2023T2")
    row = auc_pauc(tmp_path, "DCASE2023T2")["baseline_MSE",]
    value = {k: float(v) for k, v in row.items() if v and k}
    assert value["fan_dev_00_pAUC_ave"] == pytest.approx(0.2)
    assert value["fan_dev_00_pAUC_std"] == pytest.approx(0.2)
    assert value["fan_dev_00_pAUC_hmean"] == pytest.approx(3 * EPSILON)
    assert row["ToyCar_dev_00_pAUC_std"] == ""
    assert value["ALL_pAUC_ave"] == pytest.approx(0.4)
    assert value["ALL_pAUC_std"] == pytest.approx(math.sqrt(0.08))
    assert value["TOTAL_score_ave"] == pytest.approx(0.3)
    assert value["TOTAL_score_std"] == pytest.approx(math.sqrt(0.05))
    folder = tmp_path / "dev_data/baseline/summarize/DCASE2023T2/baseline_MSE"
    assert len(list(folder.glob("result_DCASE2023T2fan_test_seed*_roc.csv"))) == 3


def test_systems_are_in_order_of_their_names(tmp_path):
    for score in ("knn", "MSE", "GMM"):
        put(tmp_path, {"00": 0.5}, score=score)
    put(tmp_path, {"00": 0.25}, score="MSE", tag="id(0_)_wide")
    put(tmp_path, {"00": 0.5}, score="other_year", dataset="DCASE2023T2", machine="fan")
    found = auc_pauc(tmp_path)
    assert [system for (system,) in found] == [
        "baseline_GMM", "baseline_MSE", "baseline_MSE_wide", "baseline_knn",
    ]  # fmt: skip
    assert found["baseline_MSE_wide",]["valve_dev_00_pAUC_ave"] == "0.25"


def put_scores(
    results: Path, seed: int, machine: str, scores: list[float], score: str = "MSE"
) -> None:
    """Write the record of a test whose clips have these scores, a third of each kind."""
    kinds = np.repeat(["source normal", "target normal", "source anomaly"], len(scores) // 3)
    is_anomaly = np.char.endswith(kinds, "anomaly")
    official = domain_metrics(scores, is_anomaly, np.char.startswith(kinds, "target"))
    record = make_record(
        score,
        ResultName("DCASE2023T2", machine, "dev", seed, "id(0_)"),
        table=ResultTable(("pAUC",), ("00",), np.array([[official["mix_pauc"]]])),
        official={"00": official},
    )
    write_record(score_folder(results, "dev", "baseline", score), record)


def test_official_score_over_seeds(tmp_path):
    perfect, even = [0, 1, 0, 1, 2, 3], [0, 1, 0, 1, 0, 1]
    put_scores(tmp_path, 1, "fan", perfect)
    put_scores(tmp_path, 2, "fan", even)
    put_scores(tmp_path, 1, "ToyCar", even)
    put_scores(tmp_path, 2, "ToyCar", even)
    put_scores(tmp_path, 3, "ToyCar", perfect)
    summary = summarize(tmp_path, load_challenge("DCASE2023T2"), "dev")
    row = table(official_csv(write_summary(summary)))["baseline_MSE",]
    pauc = 0.5 * (1 + (0.1 * 0.05 - 0.005) / 0.095)  # rises straight: chance
    half = statistics.harmonic_mean([0.5, 0.5, pauc])
    totals = [statistics.harmonic_mean([1, half]), half]
    assert float(row["fan"]) == pytest.approx((1 + half) / 2)
    assert float(row["fan std"]) == pytest.approx(statistics.stdev([1, half]))
    assert float(row["total"]) == pytest.approx(statistics.mean(totals))
    assert float(row["total std"]) == pytest.approx(statistics.stdev(totals))
    assert row["valve"] == row["valve std"] == ""
    assert "baseline_MSE  official score" in format_summary(summary)
    assert "own domain" not in format_summary(summary)  # no anomalous clip of the target domain


def test_the_mean_of_own_domains_is_shown_beside_the_official_score(tmp_path):
    """Over machine types first, then over the seeds that have all of them."""
    found = []
    for seed, machine, values in (
        (1, "fan", (0.5, 0.8, 0.6)),
        (1, "ToyCar", (0.9, 0.4, 0.7)),
        (2, "fan", (0.7, 0.7, 0.7)),
        (2, "ToyCar", (0.7, 0.7, 0.7)),
        (3, "ToyCar", (0.1, 0.1, 0.1)),
    ):
        official = dict.fromkeys(DOMAIN_METRICS, 0.5)
        official |= dict(zip(("s_auc", "t_auc", "mix_pauc"), values, strict=True))
        record = make_record(
            "MSE",
            ResultName("DCASE2024T2", machine, "dev", seed, "id(0_)"),
            table=ResultTable(("AUC (source)", "pAUC"), ("00",), np.array([[0.5, values[2]]])),
            official={"00": official},
        )
        write_record(score_folder(tmp_path, "dev", "baseline", "MSE"), record)
        found += [value for value in values if seed == 1]
    summary = summarize(tmp_path, load_challenge("DCASE2024T2"), "dev")
    row = table(official_csv(write_summary(summary)))["baseline_MSE",]
    expected = (statistics.harmonic_mean(found) + 0.7) / 2
    assert float(row["own domain"]) == pytest.approx(expected)
    assert re.search(rf"baseline_MSE +own domain +{expected:.4f} ", format_summary(summary))


def test_official_scores_as_markdown(tmp_path):
    perfect, even = [0, 1, 0, 1, 2, 3], [0, 1, 0, 1, 0, 1]
    put_scores(tmp_path, 1, "fan", perfect)
    put_scores(tmp_path, 1, "ToyCar", perfect)
    put_scores(tmp_path, 2, "ToyCar", perfect)
    put_scores(tmp_path, 1, "fan", even, "GMM")
    summary = summarize(tmp_path, load_challenge("DCASE2023T2"), "dev")
    assert official_markdown(summary) == (
        "| System | total | ToyCar | fan |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| baseline_GMM | 50.00 | - | 50.00 |\n"
        "| baseline_MSE | **100.00** | **100.00 ± 0.00** | **100.00** |\n"
    )
    (one,) = summary.systems[1].of_seeds({2}).machines
    assert one == "ToyCar"


def test_official_score_of_2020_is_the_mean_of_auc_and_pauc(tmp_path):
    case = "case4_dcase2020_dev/expected"
    results = official_copy(case, tmp_path)
    written = write_summary(summarize(results, load_challenge("DCASE2020T2"), "dev"))
    row = table(official_csv(written))
    values = []
    for section in ("00", "02", "04", "06"):
        name = ResultName("DCASE2020T2", "pump", "dev", 13711, f"id({int(section)}_)").table()
        found = read_result(results / "dev_data" / "baseline_MSE" / name)
        index = found.sections.index(section)
        values += [found.column("AUC")[index], found.column("pAUC")[index]]
    assert float(row["baseline_MSE",]["pump"]) == pytest.approx(statistics.mean(values))
    assert float(row["baseline_MSE",]["total"]) == pytest.approx(statistics.mean(values))


def test_text_table_is_aligned(tmp_path):
    results = official_copy("case1_dcase2023_dev/expected", tmp_path)
    text = format_summary(summarize(results, load_challenge("DCASE2023T2"), "dev"))
    lines = text.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == [
        "baseline_MAHALA", "AUC", "(source)", "0.7518", "0.7569", "0.6944", "-", "0.8194",
        "-", "-", "-", "-",
    ]  # fmt: skip


def test_no_results_at_all(tmp_path):
    complaint = "no results of DCASE2023T2 in a folder such as baseline_MSE; run the test step"
    with pytest.raises(UserError, match=complaint):
        summarize(tmp_path, load_challenge("DCASE2023T2"), "dev")
    put(tmp_path, {"00": 0.5}, dataset="DCASE2022T2")
    with pytest.raises(UserError, match=complaint):
        summarize(tmp_path, load_challenge("DCASE2023T2"), "dev")


def test_scores_without_results_are_left_out(tmp_path):
    """A folder of another year, one that is empty, and one without a labelled clip."""
    put(tmp_path, {"00": 0.5}, score="MAHALA", dataset="DCASE2022T2")
    score_folder(tmp_path, "dev", "baseline", "GMM").mkdir()
    put_scores(tmp_path, 1, "fan", [0, 1, 0, 1, 2, 3])
    name = ResultName("DCASE2023T2", "fan", "dev", 1, "id(0_)")
    write_record(score_folder(tmp_path, "dev", "baseline", "KNN"), make_record("KNN", name))
    summary = summarize(tmp_path, load_challenge("DCASE2023T2"), "dev")
    assert [system.name for system in summary.systems] == ["baseline_KNN", "baseline_MSE"]
    assert official_markdown(summary).splitlines()[2:] == [
        "| baseline_MSE | **100.00** | **100.00** |"
    ]


def test_where_no_clip_is_labelled_the_systems_stand_without_scores(tmp_path):
    name = ResultName("DCASE2023T2", "fan", "dev", 1, "id(0_)")
    for score in ("MSE", "KNN"):
        folder = score_folder(tmp_path, "dev", "baseline", score)
        write_record(folder, make_record(score, name))
    summary = summarize(tmp_path, load_challenge("DCASE2023T2"), "dev")
    assert official_markdown(summary).splitlines()[2:] == [
        "| baseline_KNN | - |", "| baseline_MSE | - |",
    ]  # fmt: skip


def test_a_machine_type_that_the_data_set_lacks_is_named(tmp_path):
    put(tmp_path, {"00": 0.5}, machine="bandsaw", dataset="DCASE2023T2")
    with pytest.raises(UserError, match="machine type 'bandsaw' is not in the dev data"):
        summarize(tmp_path, load_challenge("DCASE2023T2"), "dev")


def test_results_with_other_limits_of_pauc_are_told(tmp_path, caplog):
    rows = {"00": 0.5, "01": 0.5, "02": 0.5}
    put(tmp_path, rows, seed=1)
    summarize(tmp_path, load_challenge("DCASE2022T2"), "dev")
    assert not caplog.text
    path = put(tmp_path, rows, seed=2)
    path.write_text(path.read_text().replace('"max_fpr": 0.1', '"max_fpr": 0.3'))
    summarize(tmp_path, load_challenge("DCASE2022T2"), "dev")
    assert "pAUC of these results was taken up to different --max_fpr: 0.1, 0.3" in caplog.text


def test_a_record_comes_back_as_it_was_written(tmp_path):
    values = np.array([[0.25, np.nan], [1.0, 0.5]])
    record = make_record(
        "MSE",
        ResultName("DCASE2022T2", "valve", "dev", 3, "id(0_1_)_wide"),
        table=ResultTable(("AUC", "pAUC"), ("00", "01"), values),
        official={"00": {"mix_auc": 0.25, "mix_pauc": math.nan}, "01": {"mix_auc": 1.0}},
    )
    record = replace(record, files={"00": SectionFiles("a.csv", "b.csv")}, threshold=None)
    write_record(tmp_path / "dev_data" / "baseline_MSE", record)
    ((path, found),) = read_records(tmp_path, "dev")
    assert path.name == "job_DCASE2022T2valve_test_seed3_id(0_1_)_wide.json"
    assert (found.sections, found.variant) == (("00", "01"), "wide")
    np.testing.assert_array_equal(found.table.values, values)
    assert replace(found, table=None, official={}) == replace(record, table=None, official={})
    np.testing.assert_equal(dict(found.official), dict(record.official))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1}', "[" * 5000])
def test_a_damaged_record_is_named_and_the_others_are_summarised(tmp_path, caplog, text):
    rows = {"00": 0.2, "01": 0.3, "02": 0.4}
    put(tmp_path, rows)
    whole = auc_pauc(tmp_path)
    damaged = put(tmp_path, rows, machine="fan")
    damaged.write_text(text)
    caplog.clear()
    assert auc_pauc(tmp_path) == whole
    (line,) = caplog.messages
    assert line.startswith(f"{damaged}: is no record of a test (")
    assert line.endswith("); delete it and run the test again; its results are left out")
    assert "\n" not in line


def test_a_damaged_record_alone_is_no_result(tmp_path, caplog):
    damaged = put(tmp_path, {"00": 0.2})
    damaged.write_text(damaged.read_text()[:-60])
    with pytest.raises(UserError, match="no results of DCASE2022T2 in a folder such as"):
        summarize(tmp_path, load_challenge("DCASE2022T2"), "dev")
    assert f"{damaged}: is no record of a test" in caplog.text
