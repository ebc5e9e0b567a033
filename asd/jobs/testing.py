"""Test the model of a job: scores, decisions, metrics, pictures."""

import logging
import math
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asd.clips import LABELS, Clip
from asd.config import Config
from asd.errors import UserError
from asd.evaluation import results
from asd.jobs.data import find_clips, find_features
from asd.jobs.jobs import Job
from asd.jobs.models import StoredModel, check_parameters, load_model
from asd.jobs.training import system_parameters
from asd.parameters import flags_of, parameter_fields
from asd.scores.threshold import GammaFit
from asd.submission.check import submission_names
from asd.systems import create_system, own_parameters
from asd.systems.base import System

log = logging.getLogger(__name__)

# Which model is trained does not depend on these; the first two are told in any case.
_NOT_IN_HINT = (
    "dataset", "machine_types", "score", "decision_threshold", "threshold_fit", "mahalanobis",
    "max_fpr", "is_auto_download", "jobs", "cluster", "use_cuda", "gpu_id", "log_interval",
    "restart", "checkpoint_path", "tensorboard", "train_only", "test_only",
)  # fmt: skip


def evaluate_job(job: Job, threads: int) -> None:
    """Score the test clips of a job's machine types, and write the result files.

    All sections of a machine type are scored, also those that the model did not learn from, as
    the public baseline does. Metrics and figures need labels: the development data set, or the
    evaluation data set once its clips lie renamed in test_rename/.

    Raises
    ------
    UserError
        The model is missing, damaged, or was trained with other feature parameters; clips can't
        be used; the result folder can't be written to.
    """
    torch.set_num_threads(threads if job.covers_challenge else 1)  # as in training
    config, path = job.config, job.folder.model
    model, system = load_system(job)
    wanted = _wanted_scores(config.score_name, system.score_names)
    for machine in job.machines:
        clips = find_clips(config, machine, "test")
        features = find_features(config, clips, threads)
        check_parameters(path, model, config, features.sample_rate_hz)
        scores = system.score(clips, features, wanted)
        for name in wanted:
            kind = _threshold_kind(config.threshold_fit, system.threshold_kinds)
            threshold = _threshold(path, model, machine, name, kind, config.decision_threshold)
            values = scores[name].astype(np.float32).astype(np.float64)
            _write_results(job, machine, name, clips, values, threshold)


def load_system(job: Job) -> tuple[StoredModel, System]:
    """The trained model of a job, as it is stored and ready to use.

    Raises
    ------
    UserError
        It is missing or damaged.
    """
    model = load_model(job.folder.model, _train_hint(job))
    # By today's name, as a recipe may have moved; that it is the same recipe, load_state checks.
    parameters = {**system_parameters(job.config), **model.parameters}
    system = create_system(job.config.model, parameters)
    system.load_state(model.state)
    return model, system


def _train_hint(job: Job) -> str:
    """The command that trains the model that is missing, and not another."""
    c = job.config
    machines = job.machines if job.sections else c.machine_types
    words = ["asd", "train", f"-{c.split[0]}", "--dataset", c.dataset]
    if machines:
        words += ["--machine_types", *machines]
    usual = {p.name: p.default for p in parameter_fields()} | own_parameters(c.model)
    for parameter in parameter_fields():
        value = getattr(c, parameter.name)
        if parameter.name not in _NOT_IN_HINT and value != usual[parameter.name]:
            values = value if isinstance(value, tuple) else (value,)
            words += [flags_of(parameter)[-1], *map(str, values)]
    if job.folder.checkpoint.is_file():
        words.append("--restart")
    return f"train it first: {shlex.join(words)}"


def check_score(config: Config) -> None:
    """Refuse a score that the system does not give, before it is trained for hours.

    Raises
    ------
    UserError
        Names the scores that there are.
    """
    system = create_system(config.model, {**system_parameters(config), **vars(config)})
    _wanted_scores(config.score_name, system.score_names)


def _wanted_scores(score: str, known: Sequence[str]) -> list[str]:
    if score.lower() == "all":
        return list(known)
    if score not in known:
        raise UserError(f"--score: {score!r} is unknown; choose from {', '.join(known)}, all")
    return [score]


def _threshold_kind(asked: str, known: Sequence[str]) -> str:
    """The kind of threshold samples to use; a system with a single kind leaves no choice."""
    return asked if asked in known else known[0]


def _threshold(
    path: Path, model: StoredModel, machine: str, score: str, kind: str, quantile: float
) -> float:
    fits = model.thresholds.get(machine, {}).get(kind, {})
    if score not in fits:
        raise UserError(
            f"{path}: has no {kind} distribution of {score} scores to decide by (it was imported); "
            "train the model here, or set --threshold_fit batch and --score MSE or MAHALA"
        )
    threshold = GammaFit(*fits[score]).quantile(quantile)
    if threshold == math.inf:
        log.warning(
            "%s %s: training had too few clips for a decision threshold; every clip is decided "
            "normal", machine, score,
        )  # fmt: skip
    return threshold


def _write_results(
    job: Job,
    machine: str,
    score: str,
    clips: Sequence[Clip],
    scores: NDArray[np.float64],
    threshold: float,
) -> None:
    config = job.config
    folder = results.score_folder(config.result_directory, config.split, config.export_dir, score)
    name = results.ResultName(config.dataset, machine, config.split, config.seed, job.tag)
    labelled = all(clip.label in LABELS for clip in clips)
    sections = []
    for section in sorted({clip.section for clip in clips}):
        chosen = [i for i, clip in enumerate(clips) if clip.section == section]
        names = [clips[i].file_name for i in chosen]
        found = _section_scores(section, [clips[i] for i in chosen], scores[chosen], threshold)
        files = [(name.scores(section), name.decisions(section))]
        # A challenge wants one score per clip: that of the model which knows the clip's section.
        is_own = not job.sections or section in job.sections
        if config.split == "eval" and not labelled and is_own:
            files.append(submission_names(machine, section))
        for score_file, decision_file in files:
            results.write_scores(folder / score_file, names, found.scores)
            results.write_decisions(folder / decision_file, names, found.decisions)
        sections.append(found)
    if labelled:
        table = results.result_table(sections, config.max_fpr, f"{machine} {score}")
        results.write_result(folder / name.table(), table)
    picture = f"{job.model_name}_{machine}" if job.covers_challenge else job.model_name
    title = f"{picture}, {score}"
    _draw(folder / picture, title, sections, labelled, threshold, config.max_fpr)
    log.info("%s, %s: scores and decisions in %s", _what(job, machine), score, folder)


def _what(job: Job, machine: str) -> str:
    """The machine type, with the sections of the model where it has several models."""
    if not job.sections:
        return machine
    return f"{machine}, model of section {', '.join(job.sections)}"


def _section_scores(
    section: str, clips: Sequence[Clip], scores: NDArray[np.float64], threshold: float
) -> results.SectionScores:
    return results.SectionScores(
        section,
        scores,
        np.array([clip.is_anomaly for clip in clips]),
        np.array([clip.is_target for clip in clips]),
        (scores > threshold).astype(int),
    )


def _draw(
    stem: Path,
    title: str,
    sections: Sequence[results.SectionScores],
    labelled: bool,
    threshold: float,
    max_fpr: float,
) -> None:
    """Draw the scores, and the ROC curves where labels are known."""
    from asd.report.figures import ScoreGroup, roc_plot, score_plot  # slow to import

    groups = [
        ScoreGroup(found.section, domain, found.is_anomaly[chosen] if labelled else None,
                   found.scores[chosen])
        for found in sections
        for domain, chosen in (("source", ~found.is_target), ("target", found.is_target))
        if chosen.any()
    ]  # fmt: skip
    score_plot(groups, stem.with_name(f"{stem.name}_anm_score.png"), title, threshold)
    if labelled:
        roc_plot(groups, stem.with_name(f"{stem.name}_roc.png"), title, max_fpr=max_fpr)
