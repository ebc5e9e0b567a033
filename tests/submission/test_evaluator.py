"""The organisers' evaluation, on a small made-up ground truth, against a slow plain version.

On the real ground truth, which is the organisers' and not kept here, the result files equalled
those of their 2023 and 2024 evaluators.
"""

import csv
import statistics
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import hmean
from sklearn.metrics import confusion_matrix, roc_auc_score

from asd.challenge.catalog import load_challenge
from asd.errors import UserError
from asd.evaluation.metrics import EPSILON
from asd.evaluation.results import ResultName
from asd.submission.check import submission_names
from asd.submission.evaluator import evaluate_submissions
from asd.submission.evaluator_files import write_evaluation

YEAR = load_challenge("DCASE2023T2")
MACHINES = tuple(YEAR.eval.sections)
CLIPS = 16


class Submission:
    """Made-up truth and one system's answers for a machine type, by clip number."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.anomaly = np.tile([0, 1], CLIPS // 2)
        self.target = np.repeat([0, 1], CLIPS // 2)
        self.scores = np.round(rng.normal(self.anomaly), 1)
        self.decisions = (self.scores > rng.normal()).astype(int)
        self.order = rng.permutation(CLIPS)


def clip(i: int) -> str:
    return f"section_00_{i:04d}.wav"


def labelled(one: Submission, i: int) -> str:
    domain, label = ("source", "target")[one.target[i]], ("normal", "anomaly")[one.anomaly[i]]
    return f"section_00_{domain}_test_{label}_{i:04d}_spd_{i % 3}"


def write(path: Path, rows: list[tuple[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name},{value}\n" for name, value in rows))


@pytest.fixture
def made_up(tmp_path: Path) -> tuple[Path, dict[str, Submission]]:
    """Ground truth and one system, one file per machine type; half use labelled names."""
    rng = np.random.default_rng(7)
    answers = {machine: Submission(rng) for machine in MACHINES}
    for k, (machine, one) in enumerate(answers.items()):
        file = f"ground_truth_{machine}_section_00_test.csv"
        every = range(CLIPS)
        truth = tmp_path / "truth"
        write(truth / "ground_truth_data" / file, [(clip(i), one.anomaly[i]) for i in every])
        write(truth / "ground_truth_domain" / file, [(clip(i), one.target[i]) for i in every])
        names: list[tuple[str, object]] = [(clip(i), labelled(one, i)) for i in every]
        if k == 1:  # attributes hidden in the second field, told in a third
            hidden = [f"{labelled(one, i).partition('_spd')[0]}_noAttribute" for i in every]
            names = [(clip(i), f"{hidden[i]},{labelled(one, i)}.wav") for i in every]
        write(truth / "ground_truth_attributes" / file, names)
        called = [f"{labelled(one, i)}.wav" if k % 2 else clip(i) for i in every]
        scores, decisions = submission_names(machine, "00")
        folder = tmp_path / "teams" / "team" / "system"
        write(folder / scores, [(called[i], one.scores[i]) for i in one.order])
        write(folder / decisions, [(called[i], one.decisions[i]) for i in every])
    return tmp_path, answers


def slow_metrics(one: Submission) -> dict[str, float]:
    found = {
        "AUC (all)": roc_auc_score(one.anomaly, one.scores),
        "pAUC": roc_auc_score(one.anomaly, one.scores, max_fpr=0.1),
    }
    for number, domain in enumerate(("source", "target")):
        own = one.target == number
        mixed = own | (one.anomaly == 1)
        found[f"AUC ({domain})"] = roc_auc_score(one.anomaly[mixed], one.scores[mixed])
        _, fp, fn, tp = confusion_matrix(one.anomaly[own], one.decisions[own]).ravel()
        p, r = tp / max(tp + fp, EPSILON), tp / max(tp + fn, EPSILON)
        found |= {f"precision ({domain})": p, f"recall ({domain})": r}
        found[f"F1 score ({domain})"] = 2 * p * r / max(p + r, EPSILON)
    return found


def read(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_result_file(made_up):
    folder, answers = made_up
    systems = evaluate_submissions(folder / "teams", folder / "truth", YEAR)
    path, *_ = write_evaluation(systems, YEAR, folder / "out", folder / "more")
    assert path.name == "system_result.csv"
    rows = read(path)
    expected = {machine: slow_metrics(one) for machine, one in answers.items()}
    for k, machine in enumerate(sorted(MACHINES)):
        block = rows[9 * k : 9 * k + 9]
        assert block[0] == [machine]
        found = dict(zip(block[1][1:], map(float, block[2][1:]), strict=True))
        assert found == pytest.approx(expected[machine], abs=1e-12)
        f1 = [found["F1 score (source)"], found["F1 score (target)"]]
        assert float(block[4][6]) == pytest.approx(statistics.mean(f1))
        assert float(block[5][6]) == pytest.approx(hmean(np.maximum(f1, EPSILON)))
        assert block[8] == []
    overall = rows[9 * len(MACHINES) :]
    aucs = [m[f"AUC ({d})"] for d in ("source", "target") for m in expected.values()]
    assert overall[1][0] == "arithmetic mean over all machine types, sections, and domains"
    assert float(overall[1][2]) == pytest.approx(statistics.mean(aucs))
    assert float(overall[4][2]) == pytest.approx(hmean(aucs[len(MACHINES) :]))
    official = hmean([*aucs, *(m["pAUC"] for m in expected.values())])
    assert overall[6][:2] == ["official score", ""]
    assert float(overall[6][2]) == pytest.approx(official)
    assert overall[7][0] == "official score ci95"


def test_additional_tables(made_up):
    folder, answers = made_up
    systems = evaluate_submissions(folder / "teams", folder / "truth", YEAR)
    paths = write_evaluation(systems, YEAR, folder / "out", folder / "more")
    assert sorted(str(p.relative_to(folder / "more")) for p in paths[1:]) == [
        "system/official_score.csv",
        "teams_f1ev.csv",
        "teams_official_score.csv",
        "teams_official_score_paper.csv",
        "teams_section_00_auc.csv",
        "teams_section_00_score.csv",
    ]
    header, row = read(folder / "more" / "teams_section_00_score.csv")
    found = dict(zip(header, row, strict=True))
    for machine, one in answers.items():
        normal = one.scores[(one.target == 1) & (one.anomaly == 0)]
        assert float(found[f"{machine} Score (target)"]) == pytest.approx(normal.mean())
    paper = read(folder / "more" / "teams_official_score_paper.csv")
    assert paper[0] == ["System", "metric", "h-mean", "a-mean", *MACHINES]
    values = [slow_metrics(one)["pAUC"] for one in answers.values()]
    assert [float(text) for text in paper[3][4:]] == pytest.approx(values)
    assert paper[4][:2] == ["system", "TOTAL score"]


def test_a_name_that_lacks_the_word_test_is_known_with_it(made_up):
    folder, _ = made_up
    before = evaluate_submissions(folder / "teams", folder / "truth", YEAR)
    for path in (folder / "truth" / "ground_truth_attributes").iterdir():
        path.write_text(path.read_text().replace("_test_", "_"))
    assert evaluate_submissions(folder / "teams", folder / "truth", YEAR) == before


def test_baseline_names(made_up):
    folder, _ = made_up
    before = evaluate_submissions(folder / "teams", folder / "truth", YEAR)
    for machine in MACHINES:
        name = ResultName(YEAR.name, machine, "eval", 13711, "id(0_)")
        scores, decisions = submission_names(machine, "00")
        system = folder / "teams" / "team" / "system"
        (system / scores).rename(system / name.scores("00"))
        (system / decisions).rename(system / name.decisions("00"))
    assert evaluate_submissions(folder / "teams", folder / "truth", YEAR) == before


def test_incomplete_systems_are_passed_over(made_up, caplog):
    folder, _ = made_up
    other = folder / "teams" / "other" / "system"
    write(other / submission_names("bandsaw", "00")[0], [(clip(0), 1)])
    systems = evaluate_submissions(folder / "teams", folder / "truth", YEAR)
    assert [system.name for system in systems] == ["team_system"]
    assert "passed over" in caplog.text
    with pytest.raises(UserError, match="no system with score and decision files"):
        evaluate_submissions(other, folder / "truth", YEAR)


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        (0, lambda lines: lines[1:], "1 clips are missing, the first is section_00_"),
        (
            0,
            lambda lines: [*lines, lines[0]],
            "line 17: section_00_.* stands in line 1 already; keep one",
        ),
        (
            1,
            lambda lines: ["section_00_9999.wav,1", *lines[1:]],
            "1 of its clips are not test clips, the first is section_00_9999.wav",
        ),
        (1, lambda lines: [f"{clip(0)},2", *lines[1:]], "is neither 0 nor 1"),
        (0, lambda lines: [lines[0].split(",")[0] + ",inf", *lines[1:]], "not a finite number"),
        (0, lambda lines: ["name,score", *lines[1:]], "line 1: 'score' is not a finite number"),
    ],
)
def test_damaged_submissions_are_refused(made_up, kind, change, problem):
    folder, _ = made_up
    path = folder / "teams" / "team" / "system" / submission_names(MACHINES[0], "00")[kind]
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(UserError, match=problem) as caught:
        evaluate_submissions(folder / "teams", folder / "truth", YEAR)
    assert str(path) in str(caught.value)


def test_ground_truth_of_another_year_is_refused(made_up):
    folder, _ = made_up
    with pytest.raises(UserError, match="ground truth is not that of DCASE2024T2"):
        evaluate_submissions(folder / "teams", folder / "truth", load_challenge("DCASE2024T2"))
    with pytest.raises(UserError, match="no evaluator for this year"):
        evaluate_submissions(folder / "teams", folder / "truth", load_challenge("DCASE2020T2"))


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        ("data", lambda t: t.replace(",1\n", ",nan\n", 1), "'nan' is not a finite number"),
        (
            "data",
            lambda t: t.replace(",1\n", ",2\n"),
            r"the value of section_00_\d+.wav \(and 7 more",
        ),
        ("domain", lambda t: t.replace(",1\n", ",-1\n"), "is neither 0 nor 1"),
        ("domain", lambda t: t.replace("0003.wav,", "0999.wav,"), "1 of its clips are not test"),
        (
            "domain",
            lambda t: t.split("\n", 3)[3],
            "3 clips are missing, the first is section_00_0000",
        ),
        (
            "attributes",
            lambda t: t.replace("section_00_s", "x_s"),
            r"line 1: .*not a clip name.*more",
        ),
        (
            "attributes",
            lambda t: t.replace(t.split()[1], f"{clip(1)},{t.split()[0].split(',')[1]}"),
            "line 2: .* is a name of section_00_0000.wav already",
        ),
    ],
)
def test_damaged_ground_truth_is_refused(made_up, kind, change, problem):
    folder, _ = made_up
    path = (
        folder
        / "truth"
        / f"ground_truth_{kind}"
        / f"ground_truth_{MACHINES[0]}_section_00_test.csv"
    )
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=problem) as caught:
        evaluate_submissions(folder / "teams", folder / "truth", YEAR)
    assert str(caught.value).startswith(str(path))


def test_formulas_in_names_of_systems_are_text(made_up):
    folder, _ = made_up
    (folder / "teams/team/system").rename(folder / "teams/team/=1+2")
    systems = evaluate_submissions(folder / "teams", folder / "truth", YEAR)
    write_evaluation(systems, YEAR, folder / "out", folder / "more")
    assert read(folder / "more/teams_official_score.csv")[1][0] == "'=1+2"
