"""The organisers' evaluation of challenge submissions.

Does what dcase2023_task2_evaluator and dcase2024_task2_evaluator do, for every year with the same
official score. Ground truth is read as their repositories hold it:

    ground_truth_data/ground_truth_<machine>_section_NN_test.csv         file name,1 for an anomaly
    ground_truth_domain/ground_truth_<machine>_section_NN_test.csv       file name,1 for target
    ground_truth_attributes/ground_truth_<machine>_section_NN_test.csv   file name,labelled name
                                                                        (2023 on)

A system is a folder with anomaly_score_<machine>_section_NN_test.csv and decision_result_... for
all machine types, or the same files under the baseline's names. Clips are joined by file name,
labelled or not.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from asd.challenge.catalog import Challenge
from asd.challenge.names import parse_clip_name
from asd.csvfiles import read_rows, refuse_lines
from asd.errors import UserError
from asd.evaluation.metrics import BoolArray, FloatArray, domain_metrics, precision_recall_f1
from asd.evaluation.results import parse_result_name, read_scores
from asd.submission.check import submission_names
from asd.submission.f1ev import bounded_f1_ev, f1_ev
from asd.submission.jackknife import ci95

_log = logging.getLogger(__name__)

_Value = TypeVar("_Value", np.float64, np.bool_)

_RULE = ("smix_auc", "tmix_auc", "mix_pauc")
_TRUTH_FILE = re.compile(r"ground_truth_(?P<machine>.+)_section_(?P<section>[0-9]{2})_test\.csv")


@dataclass(frozen=True)
class GroundTruth:
    """Truth of a section: file names, and arrays of shape (clips,) in their order.

    `aliases` maps further names of clips to these.
    """

    machine: str
    section: str
    names: tuple[str, ...]
    is_anomaly: BoolArray
    is_target: BoolArray
    aliases: Mapping[str, str]


@dataclass(frozen=True)
class SectionEvaluation:
    """Metrics of a section by the evaluators' column names, and more of ours.

    `normal_score` is the mean score of normal clips by domain; `f1ev` holds F1-EV and bounded
    F1-EV over all clips.
    """

    machine: str
    section: str
    metrics: Mapping[str, float]
    normal_score: Mapping[str, float]
    f1ev: Mapping[str, float]


@dataclass(frozen=True)
class SystemEvaluation:
    """Results of one submission, sections in the order of machine type and section.

    `ci95` is the evaluators' number, over all `clips` together.
    """

    name: str
    sections: tuple[SectionEvaluation, ...]
    ci95: float
    clips: int

    @property
    def jackknife95(self) -> float:
        """Half-width of the 95 % interval that the jackknife gives for AUC and pAUC (mean of both).

        The evaluators divide the spread of leave-one-out values by the square root of the number
        of clips, as if those were independent samples; the jackknife's standard error (Efron and
        Stein, 1981) is larger by the factor clips - 1.
        """
        return (self.clips - 1) * self.ci95


def evaluate_submissions(
    submissions: Path, ground_truth: Path, challenge: Challenge
) -> list[SystemEvaluation]:
    """Evaluate every system below a folder; one that lacks files is passed over with a warning.

    Parameters
    ----------
    submissions
        Folder with <team>/<system>/, at any depth.
    ground_truth
        Folder with ground_truth_data/, ground_truth_domain/ and ground_truth_attributes/.
    challenge

    Raises
    ------
    UserError
        The year's evaluation is another; no ground truth; no complete system; a damaged file, or
        one that does not hold every clip once.
    """
    if challenge.official_score.metrics != _RULE:
        raise UserError(
            f"{challenge.name}: no evaluator for this year's official score; there is one for the "
            "years from 2022 on"
        )
    if not submissions.is_dir():
        raise UserError(f"{submissions}: no such folder; name the one that holds <team>/<system>/")
    truths = read_ground_truth(ground_truth, challenge)
    found = []
    for name, folder in _system_folders(submissions).items():
        files = [_system_files(folder, truth, challenge) for truth in truths]
        if lost := [t.machine for t, pair in zip(truths, files, strict=True) if pair is None]:
            _log.warning("%s: passed over, no score or decision file of %s", folder, lost[0])
            continue
        pairs = [pair for pair in files if pair is not None]
        found.append(_evaluate_system(name, truths, pairs))
    if not found:
        raise UserError(
            f"{submissions}: no system with score and decision files of all machine types of "
            f"{challenge.name}; expected <team>/<system>/{submission_names('<machine>', '00')[0]}"
        )
    return found


def read_ground_truth(folder: Path, challenge: Challenge) -> list[GroundTruth]:
    """The ground truth of every section, by machine type and section.

    Raises
    ------
    UserError
        A file is missing or damaged, or a machine type is not of the year.
    """
    paths = sorted((folder / "ground_truth_data").glob("ground_truth_*.csv"))
    matches = [match for path in paths if (match := _TRUTH_FILE.fullmatch(path.name))]
    if not matches:
        raise UserError(
            f"{folder / 'ground_truth_data'}: no ground_truth_<machine>_section_00_test.csv in it; "
            "name the folder of the organisers' evaluator repository"
        )
    machines = {match["machine"] for match in matches}
    if machines != set(challenge.eval.sections):
        odd = sorted(machines ^ set(challenge.eval.sections))
        raise UserError(
            f"{folder / 'ground_truth_data'}: ground truth is not that of {challenge.name} "
            f"(differs in {', '.join(odd)}); take the organisers' evaluator repository of that year"
        )
    sections = [_read_section_truth(folder, m.string, m["machine"], m["section"]) for m in matches]
    return sorted(sections, key=lambda truth: (truth.machine, truth.section))


def _read_section_truth(folder: Path, file: str, machine: str, section: str) -> GroundTruth:
    names, labels = _read_flags(folder / "ground_truth_data" / file)
    order = np.argsort(names)
    names = [names[i] for i in order]
    aliases = {name: name for name in names}
    labelled = folder / "ground_truth_attributes" / file
    aliases |= _labelled_names(labelled) if labelled.is_file() else {}
    domain_file = folder / "ground_truth_domain" / file
    is_target = _by_name(domain_file, *_read_flags(domain_file), names, aliases)
    return GroundTruth(machine, section, tuple(names), labels[order], is_target, aliases)


def _labelled_names(path: Path) -> dict[str, str]:
    """From labelled to unlabelled names.

    A third field holds the name with attributes where the second hides them. Some names of 2024
    lack the word "test"; they are known with it too.
    """
    found: dict[str, str] = {}
    faults = []
    for line, (name, *labelled) in read_rows(path, open_end=True):
        for other in labelled:
            try:
                known = parse_clip_name(f"{other.removesuffix('.wav')}.wav")
            except UserError as error:
                faults.append((line, str(error)))
                continue
            aliases = (str(known), str(replace(known, split="test")))
            taken = [alias for alias in aliases if found.setdefault(alias, name) != name]
            faults += [(line, f"{alias} is a name of {found[alias]} already") for alias in taken]
    refuse_lines(path, faults)
    return found


def _read_flags(path: Path) -> tuple[list[str], BoolArray]:
    """File names, and whether a 1 stands beside them rather than a 0, (clips,)."""
    names, values = read_scores(path, open_end=True)
    if odd := [name for name, value in zip(names, values, strict=True) if value not in (0, 1)]:
        more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
        raise UserError(f"{path}: the value of {odd[0]}{more} is neither 0 nor 1; mend the file")
    return names, values == 1


def _by_name(
    path: Path,
    found: Sequence[str],
    values: NDArray[_Value],
    names: Sequence[str],
    aliases: Mapping[str, str],
) -> NDArray[_Value]:
    """What a file says of its clips `found`, in the order of `names`, each of them once."""
    places: dict[str, int] = {}
    odd, twice = [], []
    for place, name in enumerate(found):
        clip = aliases.get(name)
        if clip is None:
            odd.append(name)
        elif places.setdefault(clip, place) != place:
            twice.append(name)
    missing = [name for name in names if name not in places]
    for wrong, what in (
        (odd, "{} of its clips are not test clips, the first is {}; remove their lines"),
        (twice, "{} clips occur twice, the first is {}; keep one line per clip"),
        (missing, "{} clips are missing, the first is {}; add a line for each"),
    ):
        if wrong:
            raise UserError(f"{path}: {what.format(len(wrong), wrong[0])}")
    return values[[places[name] for name in names]]


def _system_folders(submissions: Path) -> dict[str, Path]:
    """Folders with score files by system name; by team and system where a name occurs twice."""
    folders = sorted({path.parent for path in submissions.rglob("anomaly_score_*.csv")}, key=str)
    names = [folder.name for folder in folders]
    return {
        (f"{f.parent.name}_{f.name}" if names.count(f.name) > 1 else f.name): f for f in folders
    }


def _system_files(
    folder: Path, truth: GroundTruth, challenge: Challenge
) -> tuple[Path, Path] | None:
    """Score file and decision file of a section, under challenge or baseline names."""
    scores, decisions = (folder / n for n in submission_names(truth.machine, truth.section))
    if scores.exists() and decisions.exists():
        return scores, decisions
    pattern = f"anomaly_score_{challenge.name}{truth.machine}_section_{truth.section}_*.csv"
    pairs = []
    for path in sorted(folder.glob(pattern)):
        file = parse_result_name(path.name)
        if file and file.name.split == "eval":
            pairs.append((path, folder / file.name.decisions(truth.section)))
    if len(pairs) > 1:
        raise UserError(f"{folder}: several models' files of {truth.machine}; keep one of them")
    return pairs[0] if pairs and pairs[0][1].exists() else None


def _evaluate_system(
    name: str, truths: list[GroundTruth], files: list[tuple[Path, Path]]
) -> SystemEvaluation:
    sections, pooled = [], []
    for truth, (score_path, decision_path) in zip(truths, files, strict=True):
        score_file = read_scores(score_path, open_end=True)
        scores = _by_name(score_path, *score_file, truth.names, truth.aliases)
        decision_file = _read_flags(decision_path)
        decisions = _by_name(decision_path, *decision_file, truth.names, truth.aliases)
        sections.append(evaluate_section(truth, scores, decisions))
        pooled.append(scores)
    is_anomaly = np.concatenate([truth.is_anomaly for truth in truths])
    interval = ci95(is_anomaly, np.concatenate(pooled))
    return SystemEvaluation(name, tuple(sections), interval, is_anomaly.size)


def evaluate_section(
    truth: GroundTruth, scores: FloatArray, decisions: BoolArray
) -> SectionEvaluation:
    """Metrics of a section's scores and decisions, both (clips,) in the order of `truth`."""
    found = domain_metrics(scores, truth.is_anomaly, truth.is_target)
    metrics = {
        "AUC (all)": found["mix_auc"],
        "AUC (source)": found["smix_auc"],
        "AUC (target)": found["tmix_auc"],
        "pAUC": found["mix_pauc"],
    }
    normal_score = {}
    for domain, chosen in (("source", ~truth.is_target), ("target", truth.is_target)):
        ratios = precision_recall_f1(truth.is_anomaly[chosen], decisions[chosen])
        for ratio, value in zip(("precision", "recall", "F1 score"), ratios, strict=True):
            metrics[f"{ratio} ({domain})"] = value
        normal = scores[chosen & ~truth.is_anomaly]
        normal_score[domain] = float(normal.mean()) if normal.size else float("nan")
    f1ev = {
        "F1-EV": f1_ev(truth.is_anomaly, scores).value,
        "bounded F1-EV": bounded_f1_ev(truth.is_anomaly, scores).value,
    }
    return SectionEvaluation(truth.machine, truth.section, metrics, normal_score, f1ev)
