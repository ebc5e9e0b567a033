"""Metrics against scikit-learn, stored numbers of other programs, and cases worked out by hand."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from asd.challenge.catalog import load_challenge
from asd.evaluation.metrics import (
    EPSILON,
    OWN_DOMAIN_METRICS,
    arithmetic_mean,
    auc,
    domain_metrics,
    harmonic_mean,
    official_mean,
    official_score,
    own_domain_mean,
    partial_auc,
    precision_recall_f1,
    sample_std,
)

DATA = Path(__file__).parents[1] / "data" / "evaluation" / "metrics"
ASDKIT_YEARS = (2020, 2021, 2022, 2023, 2024)


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@st.composite
def labelled_scores(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Both classes present; few distinct scores, so that ties are common."""
    labels = draw(st.lists(st.booleans(), min_size=2, max_size=60).filter(lambda x: len({*x}) == 2))
    distinct = draw(st.sampled_from([2, 5, 1000]))
    values = st.integers(0, distinct).map(lambda n: n / 7 - 3)
    scores = draw(st.lists(values, min_size=len(labels), max_size=len(labels)))
    return np.array(labels), np.array(scores)


@given(labelled_scores(), st.sampled_from([0.01, 0.1, 0.35, 0.999, 1.0]))
def test_areas_are_scikit_learns_to_the_last_bit(case, max_fpr):
    labels, scores = case
    assert auc(labels, scores) == roc_auc_score(labels, scores)
    assert partial_auc(labels, scores, max_fpr) == roc_auc_score(labels, scores, max_fpr=max_fpr)


@given(labelled_scores())
def test_auc_counts_pairs(case):
    labels, scores = case
    pairs = [
        1.0 if anomalous > normal else 0.5 if anomalous == normal else 0.0
        for anomalous in scores[labels]
        for normal in scores[~labels]
    ]
    assert auc(labels, scores) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


def test_infinite_scores_tie_with_each_other():
    assert auc([0, 0, 1, 1], [0.0, math.inf, math.inf, math.inf]) == 0.75


@pytest.mark.parametrize(
    ("labels", "scores"), [([1, 1], [0, 1]), ([0, 0], [0, 1]), ([], []), ([0, 1], [math.nan, 1])]
)
def test_undefined_is_nan(labels, scores):
    assert math.isnan(auc(labels, scores))
    assert math.isnan(partial_auc(labels, scores))


def sections() -> list[tuple[dict[str, str], list[dict[str, str]]]]:
    clips = read(DATA / "clips.csv")
    return [
        (
            row,
            [c for c in clips if (c["machine"], c["section"]) == (row["machine"], row["section"])],
        )
        for row in read(DATA / "sections_expected.csv")
    ]


def arrays(clips: list[dict[str, str]]) -> tuple[np.ndarray, ...]:
    scores = np.array([float(c["score"]) for c in clips])
    truth = np.array([c["label"] == "1" for c in clips])
    target = np.array([c["domain"] == "target" for c in clips])
    decisions = np.array([int(c["decision"]) for c in clips])
    return scores, truth, target, decisions


def test_stored_sections():
    for row, clips in sections():
        scores, truth, target, decisions = arrays(clips)
        found = domain_metrics(scores, truth, target)
        names = {
            "smix_auc": "auc_source", "tmix_auc": "auc_target", "mix_auc": "auc_all",
            "mix_pauc": "pauc", "s_auc": "auc_source_only", "t_auc": "auc_target_only",
            "s_pauc": "pauc_source_only", "t_pauc": "pauc_target_only",
        }  # fmt: skip
        for ours, theirs in names.items():
            assert found[ours] == pytest.approx(float(row[theirs]), abs=1e-12), theirs
        for domain, chosen in (("source", ~target), ("target", target)):
            ratios = precision_recall_f1(truth[chosen], decisions[chosen])
            for name, value in zip(("precision", "recall", "f1"), ratios, strict=True):
                assert value == pytest.approx(float(row[f"{name}_{domain}"]), abs=1e-12)


def test_stored_totals():
    totals = json.loads((DATA / "sections_expected_totals.json").read_text())
    metrics = [domain_metrics(*arrays(clips)[:3]) for _, clips in sections()]
    f1 = []
    for _, clips in sections():
        _, truth, target, decisions = arrays(clips)
        f1.append(precision_recall_f1(truth[~target], decisions[~target])[2])
    style_2023 = load_challenge("DCASE2023T2").official_score
    style_2021 = load_challenge("DCASE2021T2").official_score
    assert official_score(style_2023, metrics) == pytest.approx(totals["official_2023_style_hmean"])
    assert official_score(style_2021, metrics) == pytest.approx(totals["official_2021_style_hmean"])
    assert harmonic_mean(f1) == pytest.approx(totals["hmean_f1_source_floor_eps"])


@pytest.mark.parametrize("year", ASDKIT_YEARS)
def test_asdkit_evaluation_of_every_section(year):
    rule = load_challenge(f"DCASE{year}T2").official_score
    clips = read(DATA / "asdkit" / f"dcase{year}_clips.csv")
    checked = 0
    for row in read(DATA / "asdkit" / f"dcase{year}_evaluate.csv"):
        own = [c for c in clips if c["machine"] == row["machine"]]
        found = {s: asdkit_metrics(own, s, row["backend"]) for s in {c["section"] for c in own}}
        groups = {"0": ["0"]} if year > 2022 else asdkit_groups(year, row["machine"])
        for column, text in row.items():
            head, _, name = column.partition("_")
            if column in ("machine", "backend") or not text:
                continue
            if name.startswith("official"):
                value = official_score(rule, [found[s] for s in groups[head]])
            elif head in ("dev", "eval"):
                value = official_mean(rule, [found[s][name] for s in groups[head]])
            else:
                value = found[head][name]
            assert value == pytest.approx(float(text), abs=1e-12), (row["machine"], column)
            checked += 1
    assert checked > 100


def asdkit_metrics(clips: list[dict[str, str]], section: str, score: str) -> dict[str, float]:
    own = [c for c in clips if c["section"] == section]
    return domain_metrics(
        [float(c[score]) for c in own],
        [c["is_normal"] == "0" for c in own],
        [c["is_target"] == "1" for c in own],
    )


def asdkit_groups(year: int, machine: str) -> dict[str, list[str]]:
    challenge = load_challenge(f"DCASE{year}T2")
    return {
        name: [str(int(s)) for s in challenge.split(name).sections[machine]]
        for name in ("dev", "eval")
    }


@pytest.mark.parametrize("year", ASDKIT_YEARS)
def test_asdkit_totals_over_machine_types(year):
    rule = load_challenge(f"DCASE{year}T2").official_score
    for row in read(DATA / "asdkit" / f"dcase{year}_table.csv"):
        machines = load_challenge(f"DCASE{year}T2").split(row["split"]).sections
        total = official_mean(rule, [float(row[machine]) for machine in machines])
        assert total == pytest.approx(float(row["total"]), abs=1e-12)


def test_a_score_with_an_undefined_metric_is_undefined():
    rule = load_challenge("DCASE2023T2").official_score
    complete = domain_metrics([0, 1, 2, 3], [0, 1, 0, 1], [0, 0, 1, 1])
    no_target = domain_metrics([0, 1], [0, 1], [0, 0])
    assert official_score(rule, [complete]) > 0
    assert math.isnan(official_score(rule, [complete, no_target]))


def test_target_anomalies_alone_make_no_target_auc():
    found = domain_metrics([0, 1, 2], [0, 1, 1], [0, 0, 1])
    assert found["smix_auc"] == 1
    assert math.isnan(found["tmix_auc"])


def test_means():
    assert harmonic_mean([1, 4]) == pytest.approx(1.6)
    assert harmonic_mean([0, 1]) == pytest.approx(2 * EPSILON)
    assert harmonic_mean([0, 1], floor=0) == 0
    assert harmonic_mean([math.nan, 0.5]) == 0.5
    assert arithmetic_mean([math.nan, 0.25, 0.75]) == 0.5
    assert sample_std([1, 3]) == pytest.approx(math.sqrt(2))
    assert all(math.isnan(f([math.nan])) for f in (harmonic_mean, arithmetic_mean, sample_std))


def test_no_decision_and_no_anomaly_give_zero():
    assert precision_recall_f1([0, 1], [0, 0]) == (0, 0, 0)
    assert precision_recall_f1([0, 0], [1, 0]) == (0, 0, 0)


def test_the_mean_of_own_domains_is_the_published_one():
    """21 values: AUC of a domain's own clips, and pAUC of all, of seven machine types."""
    golden = np.load(Path(__file__).parents[1] / "data" / "khoaphamanh" / "hmean21.npz")
    sections = []
    for machine in np.unique(golden["machine"]):
        own = golden["machine"] == machine
        sections.append(
            domain_metrics(*(golden[name][own] for name in ("score", "label", "is_target")))
        )
    for i, name in enumerate(OWN_DOMAIN_METRICS):
        found = [section[name] for section in sections]
        np.testing.assert_allclose(found, golden["values"][7 * i : 7 * i + 7], rtol=1e-12)
    assert own_domain_mean(sections) == pytest.approx(float(golden["hmean_2"]), rel=1e-12)
    first = own_domain_mean(sections[:3])
    assert first == pytest.approx(float(golden["hmean_2_first3"]), rel=1e-12)
    assert np.isnan(own_domain_mean([{**sections[0], "t_auc": np.nan}]))
