"""Result files: equal to the public baseline's byte for byte, clear about what is missing."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.challenge.names import parse_clip_name
from asd.errors import UserError
from asd.evaluation.results import (
    ONE_DOMAIN_COLUMNS,
    TWO_DOMAIN_COLUMNS,
    ResultName,
    SectionScores,
    parse_result_name,
    read_result,
    read_scores,
    result_table,
    score_folder,
    write_decisions,
    write_result,
    write_scores,
)
from asd.scores.threshold import GammaFit
from asd.submission.check import submission_names

OFFICIAL = Path(__file__).parents[1] / "data" / "evaluation" / "official"
TABLES = sorted(OFFICIAL.glob("*/expected/results/*_data/baseline_M*/result_*.csv"))
SCORES = sorted(OFFICIAL.glob("*/*/results/*_data/baseline_M*/anomaly_score_*.csv"))


def official_threshold(scores: Path, name: ResultName) -> float:
    case = next(p for p in scores.parents if p.parent == OFFICIAL)
    fits = json.loads((case / "expected" / "gamma.json").read_text())
    suffix = "_Eval" if name.split == "eval" else ""
    model = f"DCASE2023T2-AE_{name.dataset}{name.machine}_{name.tag}{suffix}_seed{name.seed}"
    fit = fits[model][scores.parent.name.rpartition("_")[2].lower()]
    return GammaFit(fit["shape"], fit["loc"], fit["scale"]).quantile(0.9)


def section_scores(path: Path, decisions_path: Path) -> SectionScores:
    names, scores = read_scores(path)
    clips = [parse_clip_name(name) for name in names]
    _, decisions = read_scores(decisions_path)
    return SectionScores(
        clips[0].section,
        scores,
        np.array([c.label == "anomaly" for c in clips]),
        np.array([c.domain == "target" for c in clips]),
        decisions.astype(int),
    )


def ids(paths: list[Path]) -> list[str]:
    return [f"{p.relative_to(OFFICIAL).parts[0][:5]}-{p.parent.name}-{p.stem}" for p in paths]


@pytest.mark.parametrize("path", SCORES, ids=ids(SCORES))
def test_official_scores_and_decisions(path, tmp_path):
    file = parse_result_name(path.name)
    assert file is not None
    assert path.name == file.name.scores(file.section)
    names, scores = read_scores(path)
    write_scores(tmp_path / "scores.csv", names, scores.astype(np.float32))
    assert (tmp_path / "scores.csv").read_bytes() == path.read_bytes()

    decisions = path.with_name(file.name.decisions(file.section))
    write_decisions(tmp_path / "d.csv", names, scores > official_threshold(path, file.name))
    assert (tmp_path / "d.csv").read_bytes() == decisions.read_bytes()


@pytest.mark.parametrize("path", TABLES, ids=ids(TABLES))
def test_official_tables(path, tmp_path):
    name = parse_result_name(path.name).name
    assert path.name == name.table()
    files = sorted(
        file
        for file in path.parent.glob("anomaly_score_*.csv")
        if parse_result_name(file.name).name == name
    )
    sections = [
        section_scores(file, path.with_name(name.decisions(parse_result_name(file.name).section)))
        for file in files
    ]
    write_result(tmp_path / "ours.csv", result_table(sections)[0])
    assert (tmp_path / "ours.csv").read_bytes() == path.read_bytes()
    assert read_result(path).sections == tuple(s.section for s in sections)


def test_there_are_official_files_of_every_case():
    assert len(TABLES) == 22
    assert len({p.relative_to(OFFICIAL).parts[0] for p in SCORES}) == 5


@given(
    dataset=st.sampled_from(["DCASE2020T2", "DCASE2024T2"]),
    machine=st.sampled_from(["fan", "3DPrinter", "ToyCar"]),
    split=st.sampled_from(["dev", "eval"]),
    seed=st.integers(0, 2**31),
    tag=st.sampled_from(["", "id(0_)", "id(0_1_2_)", "id(0_)_wide", "a.b-c", "roc", "test_seed5"]),
    section=st.sampled_from(["00", "06"]),
)
def test_names_round_trip(dataset, machine, split, seed, tag, section):
    name = ResultName(dataset, machine, split, seed, tag)
    for kind, file_name, part in (
        ("anomaly_score", name.scores(section), section),
        ("decision_result", name.decisions(section), section),
        ("result", name.table(), None),
    ):
        file = parse_result_name(file_name)
        assert file is not None
        assert (file.kind, file.name, file.section) == (kind, name, part)


def test_names():
    name = ResultName("DCASE2023T2", "fan", "eval", 7)
    assert name.table() == "result_DCASE2023T2fan_test_seed7_Eval_roc.csv"
    assert submission_names("fan", "00") == (
        "anomaly_score_fan_section_00_test.csv",
        "decision_result_fan_section_00_test.csv",
    )
    assert score_folder(Path("r"), "dev", "baseline", "MSE") == Path("r/dev_data/baseline_MSE")


@pytest.mark.parametrize(
    "name",
    [
        "anomaly_score_fan_section_00_test.csv",
        "result_DCASE2023T2fan_test_seed1_id(0_).csv",
        "result_DCASE2023T2fan_section_00_test_seed1_roc.csv",
        "anomaly_score_DCASE2023T2fan_test_seed1.csv",
        "notes.csv",
        ".result_DCASE2023T2fan_test_seed1_roc.csv.12.part",
    ],
)
def test_other_names_are_no_result_files(name):
    assert parse_result_name(name) is None


def test_a_file_name_with_a_comma_is_quoted(tmp_path):
    write_scores(tmp_path / "s.csv", ["a,b.wav"], np.float32([0.1]))
    assert (tmp_path / "s.csv").read_text() == '"a,b.wav",0.10000000149011612\n'
    assert read_scores(tmp_path / "s.csv")[0] == ["a,b.wav"]


def clips(section: str, kinds: str) -> SectionScores:
    """Clips of the kinds given by letters: s, t normal; S, T anomalous. Scores rise."""
    return SectionScores(
        section,
        np.arange(len(kinds), dtype=float),
        np.array([k.isupper() for k in kinds]),
        np.array([k in "tT" for k in kinds]),
        np.arange(len(kinds)) % 2,
    )


@pytest.mark.parametrize("kinds", ["ssSS", "ttTT"])
def test_one_domain_gives_the_single_domain_header(kinds, tmp_path):
    write_result(tmp_path / "r.csv", result_table([clips("00", kinds)])[0])
    lines = (tmp_path / "r.csv").read_text().split("\n")
    assert lines[0] == "section,AUC,pAUC,precision,recall,F1 score"
    assert lines[1] == "00,1.0,1.0,0.5,0.5,0.5"
    assert lines[2].startswith("arithmetic mean,1.0")
    assert lines[4:] == ["", ""]


def test_a_section_without_target_clips_among_others(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        table, _ = result_table([clips("00", "stST"), clips("01", "ssSS")], label="fan")
    assert table.columns == TWO_DOMAIN_COLUMNS
    assert "fan section 01: no normal target clips, no anomalous target clips" in caplog.text
    assert "section 00" not in caplog.text
    write_result(tmp_path / "r.csv", table)
    rows = (tmp_path / "r.csv").read_text().splitlines()
    row = dict(zip(rows[0].split(","), rows[2].split(","), strict=True))
    assert {k for k, v in row.items() if not v} == {k for k in TWO_DOMAIN_COLUMNS if "targ" in k}
    means = dict(zip(rows[0].split(","), rows[3].split(","), strict=True))
    assert means["AUC (target)"] == rows[1].split(",")[2]
    assert np.isnan(read_result(tmp_path / "r.csv").column("AUC (target)")).tolist() == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("kinds", "columns", "reason"),
    [
        ("ssss", ONE_DOMAIN_COLUMNS, "no anomalous clips"),
        ("SSS", ONE_DOMAIN_COLUMNS, "no normal clips"),
        ("stst", TWO_DOMAIN_COLUMNS, "no anomalous source clips, no anomalous target clips"),
        ("stS", TWO_DOMAIN_COLUMNS, "no anomalous target clips"),
    ],
)
def test_one_class_only_leaves_cells_empty(kinds, columns, reason, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        table, _ = result_table([clips("00", kinds)])
    assert table.columns == columns
    assert f"section 00: {reason}; left empty: " in caplog.text
    write_result(tmp_path / "r.csv", table)
    again = read_result(tmp_path / "r.csv")
    np.testing.assert_array_equal(again.values, table.values)


def test_integer_labels_are_refused():
    labels = np.array([0, 1])
    with pytest.raises(TypeError, match="boolean"):
        SectionScores("00", np.zeros(2), labels, labels, labels)


def test_a_nan_score_leaves_cells_empty(caplog):
    section = clips("00", "ssSS")
    section.scores[1] = np.nan
    table, _ = result_table([section])
    assert np.isnan(table.column("AUC")).all()
    assert "1 scores are not a number" in caplog.text


GOOD = "section,AUC,pAUC\n00,0.5,0.25\narithmetic mean,0.5,0.25\nharmonic mean,0.5,0.25\n\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        (GOOD[:30], "line 3: the file is cut off"),
        (GOOD[:29] + "\n", "line 2: the file is cut off"),
        ("section,AUC,pAUC\n", "line 1: the file is cut off"),
        (GOOD.replace("00,0.5", "00,0,5"), "line 2: 4 cells where the header has 3"),
        (GOOD.replace("00,0.5", "00,x"), "line 2: 'x' is not a number"),
        ("a.wav,0.5\n", "line 1: expected 'section,AUC ...'"),
        ('section,"AUC\n', "not a CSV file"),
        ("\0\xff", "line 1: expected"),
    ],
)
def test_broken_tables_name_file_and_line(text, problem, tmp_path):
    path = tmp_path / "result.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError) as caught:
        read_result(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    if text != "\0\xff":
        assert problem in message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a.wav,0.5\nb.wav\n", "line 2: expected 'file name,number'"),
        ("a.wav,0.5\nb.wav,1e", "line 2: the file is cut off"),
        ("a.wav,0.5\n\nb.wav,zero\n", "line 3: 'zero' is not a finite number"),
        ("a.wav,\n", "line 1: expected 'file name,number'"),
        ("a.wav,-inf\n", "line 1: '-inf' is not a finite number"),
        ("a.wav,1_000\nb.wav, 1\nc.wav,٣\n", "line 1: '1_000' .*and 2 more lines are wrong"),
        ("a.wav,1\nb.wav,2\na.wav,1\n", "line 3: a.wav stands in line 1 already; keep one"),
    ],
)
def test_broken_scores_name_file_and_line(text, problem, tmp_path):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(UserError, match=problem):
        read_scores(tmp_path / "s.csv")


def test_missing_files_and_open_ends(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_scores(tmp_path / "none.csv")
    (tmp_path / "s.csv").write_text("a.wav,0.5\nb.wav,1")
    assert read_scores(tmp_path / "s.csv", open_end=True)[1].tolist() == [0.5, 1]
