"""Test the model of a job: scores, decisions, metrics, and the files that remain."""

import json
import logging
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from asd.audio.clip_set import ClipSet
from asd.clips import LABELS
from asd.config import Config
from asd.detector import Detector
from asd.evaluation import results
from asd.evaluation.records import SectionFiles, TestRecord, write_record
from asd.jobs.data import machine_clips
from asd.jobs.jobs import Job
from asd.jobs.training import device
from asd.run_parameters import RunParameters
from asd.schema.parameters import flat, parameters_of, plain, value_of
from asd.scores.table import ScoreTable
from asd.scores.threshold import flagged_share_note
from asd.submission.check import submission_names

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MachineTest:
    """One machine type's test clips scored by one score, with the decisions made.

    Parameters
    ----------
    machine, score
        What was scored.
    table
        Scores as the result files hold them, rounded to float32.
    threshold
        Clips above it are decided anomalous; None where no decisions are made.
    """

    machine: str
    score: str
    table: ScoreTable
    threshold: float | None

    @property
    def is_labelled(self) -> bool:
        """Whether all clips are known to be normal or anomalous."""
        return all(clip.label in LABELS for clip in self.table.clips)

    def sections(self) -> list[results.SectionScores]:
        """The clips of each section."""
        return results.section_scores(self.table, self.score, self.threshold)

    def file_names(self, section: str) -> list[str]:
        """Names of a section's clips, in the order of its scores."""
        return [clip.file_name for clip in self.table.clips if clip.section == section]


@dataclass(frozen=True)
class DoneTest:
    """A test that was made, with the clips as they were scored."""

    job: Job
    test: MachineTest
    clips: ClipSet


def evaluate_job(
    job: Job,
    threads: int,
    on_test: Callable[[Job, MachineTest, ClipSet], None] = lambda _job, _test, _clips: None,
) -> None:
    """Score the test clips of a job's machine types, and write the result files.

    All sections of a machine type are scored, also those that the model did not learn from, as
    the public baseline does. Metrics and figures need labels: the development data set, or the
    evaluation data set once its clips lie renamed in test_rename/. `on_test` is called with every
    test whose files are written.

    Raises
    ------
    UserError
        The model is missing, damaged, or contradicts a flag; clips can't be used; the result
        folder can't be written to.
    """
    torch.set_num_threads(threads if job.covers_challenge else 1)  # as in training
    detector = load_detector(job)
    wanted = detector.wanted_scores(_wanted(job.config))
    quantile = job.config.decision_threshold
    for machine in job.machines:
        thresholds = {
            name: None if quantile is None else detector.threshold(machine, name, quantile)
            for name in wanted
        }
        clips = machine_clips(job.config, machine, "test", threads)
        table = detector.score(clips, wanted).rounded()
        for name in wanted:
            test = MachineTest(machine, name, table, thresholds[name])
            write_test(job, test)
            on_test(job, test, clips)


def load_detector(job: Job) -> Detector:
    """The trained model of a job; flags that contradict it are refused.

    Raises
    ------
    UserError
        It is missing or damaged, or a flag contradicts it.
    """
    path = job.folder.model
    detector = Detector.load(path, _train_hint(job), device(job.config))
    detector.set_scoring(job.config.system, job.config.given, path)
    return detector


def check_system(config: Config) -> None:
    """Refuse a score that the system does not give, or weights that are missing, before any work.

    Raises
    ------
    UserError
        Names the scores that there are, or the command that gets the weights.
    """
    detector = Detector.create(config.entry, config.system)
    detector.wanted_scores(_wanted(config))
    detector.system.check()


def write_test(job: Job, test: MachineTest) -> None:
    """Write the result files of a test, its record and its pictures."""
    config = job.config
    stem = picture_stem(job, test)
    folder = stem.parent
    name = results.ResultName(config.dataset, test.machine, config.split, config.seed, job.tag)
    sections = test.sections()
    files = {found.section: _write_section(job, test, found, folder, name) for found in sections}
    table, official = None, dict[str, dict[str, float]]()
    if test.is_labelled:
        label = f"{test.machine} {test.score}"
        table, official = results.result_table(sections, config.max_fpr, label)
        results.write_result(folder / name.table(), table)
    _tell_flagged(test, sections, getattr(config.system, "threshold_fit", "clip"))
    write_record(
        folder,
        TestRecord(
            dataset=config.dataset,
            machine=test.machine,
            split=config.split,
            seed=config.seed,
            tag=job.tag,
            system=config.entry.label,
            export_dir=config.export_dir,
            score=test.score,
            variant=job.variant,
            sections=job.sections,
            max_fpr=config.max_fpr,
            quantile=config.decision_threshold,
            threshold=test.threshold,
            files=files,
            table=table,
            official=official,
        ),
    )
    _draw(stem, f"{stem.name}, {test.score}", sections, test, config.max_fpr)
    log.info("%s, %s: scores and decisions in %s", _job_label(job, test), test.score, folder)


def picture_stem(job: Job, test: MachineTest) -> Path:
    """Path of a test's pictures, without their endings."""
    config = job.config
    folder = results.score_folder(
        config.result_directory, config.split, config.export_dir, test.score
    )
    picture = f"{job.model_name}_{test.machine}" if job.covers_challenge else job.model_name
    return folder / picture


def _write_section(
    job: Job,
    test: MachineTest,
    found: results.SectionScores,
    folder: Path,
    name: results.ResultName,
) -> SectionFiles:
    names = test.file_names(found.section)
    pairs = [(name.scores(found.section), name.decisions(found.section))]
    # A challenge wants one score per clip: that of the model which knows the clip's section.
    is_own = not job.sections or found.section in job.sections
    if job.config.split == "eval" and not test.is_labelled and is_own:
        pairs.append(submission_names(test.machine, found.section))
    for score_file, decision_file in pairs:
        results.write_scores(folder / score_file, names, found.scores)
        if found.decisions is None:  # those of an earlier test would not be of these scores
            (folder / decision_file).unlink(missing_ok=True)
        else:
            results.write_decisions(folder / decision_file, names, found.decisions)
    return SectionFiles(pairs[0][0], pairs[0][1] if found.decisions is not None else "")


def _tell_flagged(
    test: MachineTest, sections: Sequence[results.SectionScores], threshold_fit: str
) -> None:
    decisions = [found.decisions for found in sections if found.decisions is not None]
    what = f"{test.machine} {test.score}"
    if decisions and (note := flagged_share_note(np.concatenate(decisions), what, threshold_fit)):
        log.warning("%s", note)


def _wanted(config: Config) -> list[str] | None:
    """The scores that a run asks for; None for all."""
    return None if config.score.lower() == "all" else [config.score_name]


def _train_hint(job: Job) -> str:
    """The command that trains the model that is missing, and not another."""
    c = job.config
    machines = job.machines if job.sections else c.machine_types
    words = ["asd", "train", f"-{c.split[0]}", "--dataset", c.dataset]
    if machines:
        words += ["--machine_types", *machines]
    usual = {each.name: each.default for each in fields(RunParameters)}
    usual |= {"export_dir": c.entry.export_dir, "score": c.entry.score}
    for each in parameters_of(RunParameters):
        is_told = each.name in ("dataset", "machine_types")
        if each.role in ("data", "training") and not is_told:
            words += _words(each.flag, getattr(c, each.name), usual[each.name])
    defaults = c.entry.defaults()
    for each in parameters_of(c.entry.parameters_class()):
        if each.is_fixed:
            own, default = value_of(c.system, each.path), value_of(defaults, each.path)
            words += _words(each.flag, own, default)
    words += _set_words(c, defaults)
    if job.folder.checkpoint.is_file():
        words.append("--restart")
    return f"train it first: {shlex.join(words)}"


def _set_words(config: Config, defaults: object) -> list[str]:
    """What `--set` has changed in a recipe beside the values of flags."""
    if config.entry.recipe is None:
        return []
    of_flags = {each.key for each in parameters_of(type(config.system))}
    usual = flat(plain(defaults))
    changed = [
        f"{key}={json.dumps(value)}"
        for key, value in flat(plain(config.system)).items()
        if key not in of_flags and value != usual.get(key)
    ]
    return [word for text in changed for word in ("--set", text)]


def _words(flag: str, value: object, usual: object) -> list[str]:
    if value == usual:
        return []
    values = value if isinstance(value, tuple) else (value,)
    return [flag, *map(str, values)]


def _job_label(job: Job, test: MachineTest) -> str:
    """The machine type, with the sections of the model where it has several models."""
    if not job.sections:
        return test.machine
    return f"{test.machine}, model of section {', '.join(job.sections)}"


def _draw(
    stem: Path,
    title: str,
    sections: Sequence[results.SectionScores],
    test: MachineTest,
    max_fpr: float,
) -> None:
    """Draw the scores, and the ROC curves where labels are known."""
    from asd.report.figures import ScoreGroup, roc_plot, score_plot  # slow to import
    from asd.report.page import save_figure

    labelled = test.is_labelled
    groups = [
        ScoreGroup(found.section, domain, found.is_anomaly[chosen] if labelled else None,
                   found.scores[chosen])
        for found in sections
        for domain, chosen in (("source", ~found.is_target), ("target", found.is_target))
        if chosen.any()
    ]  # fmt: skip
    scores = score_plot(groups, title, test.threshold)
    save_figure(scores, stem.with_name(f"{stem.name}_anm_score.png"))
    if labelled:
        curves = roc_plot(groups, title, max_fpr=max_fpr)
        save_figure(curves, stem.with_name(f"{stem.name}_roc.png"))
