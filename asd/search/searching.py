"""The search: trials asked for, trained, judged and told, a few at a time."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from asd.config import Config
from asd.errors import UserError
from asd.jobs.jobs import Job
from asd.jobs.parallel import run_jobs
from asd.schema.parameters import plain
from asd.search import objective as objectives
from asd.search.objective import MachineMetrics, Machines, Objective
from asd.search.outcome import Outcome
from asd.search.plan import Search, check
from asd.search.study import REASON, Study, living_worker, value_of
from asd.search.trainings import code_of, do_training, read_metrics, training_job
from asd.threads import thread_count

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger(__name__)


@dataclass
class _Running:
    """A trial that is being done."""

    trial: "Trial"
    config: Config
    done: dict[Machines, MachineMetrics] = field(default_factory=dict)


def run_study(search: Search, study: Study, objective: Objective, title: str) -> None:
    """Do the trials of a study that are left.

    Raises
    ------
    UserError
        The first trials fail, all of them.
    """
    at_once = search.at_once or (1 if search.is_joint else thread_count(search.base.threads))
    total = search.trials
    with tqdm(total=total, desc=title, unit="trial") as bar:
        tried = failed = 0
        while True:
            _show(bar, study)
            trials = study.next_trials(at_once, total)
            if not trials:
                if not study.others_run:
                    return
                time.sleep(_LOOK_S)  # another search does the last trials; it may be killed
                continue
            reasons = _do_trials(search, study, objective, trials, at_once)
            tried, failed = tried + len(trials), failed + len(reasons)
            if reasons and failed == tried and (tried >= _HOPELESS or tried == total):
                raise UserError(f"the first {tried} trials failed, the last one: {reasons[-1]}")


_HOPELESS = 3
"""A search whose first so many trials all fail ends."""

_LOOK_S = 1.0


def _show(bar: Any, study: Study) -> None:
    best = study.best()
    bar.set_postfix_str("" if best is None else f"best {best.value:.4f}", refresh=False)
    bar.update(sum(trial.state.is_finished() for trial in study.trials) - bar.n)
    bar.refresh()


def _do_trials(
    search: Search, study: Study, objective: Objective, trials: "list[Trial]", at_once: int
) -> list[str]:
    """Do trials side by side, training by training; returns why some failed."""
    running = {t.number: _Running(t, search.config(search.space.suggest(t))) for t in trials}
    reasons: list[str] = []
    for step, machines in enumerate(objective.trainings):
        jobs = {
            number: training_job(each.config, machines, search.by_stand_ins)
            for number, each in running.items()
        }
        failures = _train(search, list(jobs.values()), at_once)
        is_last = step + 1 == len(objective.trainings)
        for number, job in jobs.items():
            each = running[number]
            try:
                if job.tag in failures:
                    raise UserError(failures[job.tag])
                each.done[machines] = metrics_of(search, each.config, job)
            except UserError as error:
                reasons.append(str(error))
                log.warning("trial %d: %s", number, error)
                study.tell_failed(each.trial, str(error))
                del running[number]
                continue
            if study.report(each.trial, step, objective.value(each.done)) and not is_last:
                study.tell_pruned(each.trial)
                del running[number]
    for each in running.values():
        study.tell(each.trial, objective.value(each.done))
    return reasons


def _train(search: Search, jobs: list[Job], at_once: int) -> dict[str, str]:
    """Do trainings whose metrics are not there; tag -> reason of those that failed."""
    folder = trainings_folder(search)
    waiting = {job.tag: job for job in jobs if read_metrics(folder, job) is None}
    if not waiting:
        return {}
    base = search.base
    work = partial(
        do_training, folder=folder, by_stand_ins=search.by_stand_ins, all_machines=base.machines
    )
    failures = run_jobs(
        work, list(waiting.values()), min(at_once, len(waiting)), base.cluster,
        base.cluster_timeout,
    )  # fmt: skip
    return {failure.job.tag: failure.reason for failure in failures}


def metrics_of(search: Search, config: Config, job: Job) -> MachineMetrics:
    """The metrics of a training that is done, of the score that the config names."""
    found = read_metrics(trainings_folder(search), job)
    if found is None:
        raise UserError(f"{trainings_folder(search) / job.tag}.json: is damaged; remove it")
    return found[search.score_of(config, found)]


def trainings_folder(search: Search) -> Path:
    """Where metrics of trainings lie."""
    return search.folder.absolute() / "trainings"


def metrics_at(
    search: Search, study: Study, trial: "FrozenTrial", machines: Machines
) -> MachineMetrics:
    """The metrics of a trial at machine types that its study may not have looked at.

    Raises
    ------
    UserError
        It cannot be trained with them.
    """
    scored = (objectives.Group(machines, search.base.machines),)
    objective = replace(search.objective(machines), groups=scored)
    config = search.config(study.values_of(trial))
    done: dict[Machines, MachineMetrics] = {}
    for training in objective.trainings:
        job = training_job(config, training, search.by_stand_ins)
        if failures := _train(search, [job], 1):
            raise UserError(failures[job.tag])
        done[training] = metrics_of(search, config, job)
    return objective.metrics(scored[0], done)


def run_search(search: Search) -> Outcome:
    """Search, or go on with a search; then find the nested estimate.

    Raises
    ------
    UserError
        Something cannot be, the first trials all fail, or no trial has a value.
    """
    check(search)
    machines = search.base.machines
    with living_worker(search.folder / "workers") as worker:
        study = _studied(search, machines, "all", worker)
        best = _best(study)
        folds = 0 if search.by_stand_ins else search.folds
        if not folds:
            return Outcome(search, study, best, value_of(best))
        found: dict[str, Mapping[str, float]] = {}
        for number, out in enumerate(objectives.left_out(machines, folds, search.base.seed), 1):
            seen = objectives.without(machines, out)
            inner = _studied(search, seen, f"fold {number} of {folds}", worker)
            found.update(metrics_at(search, inner, _best(inner), out))
    estimated = {machine: found[machine] for machine in machines}
    estimate = search.objective(machines).mean(estimated)
    return Outcome(search, study, best, value_of(best), estimate, estimated)


def _studied(search: Search, scored: Machines, name: str, worker: str) -> Study:
    """A study of its own, with all its trials done."""
    study = Study(
        search.url, f"{search.folder.name} {name}", search.space, search.base.seed,
        _facts(search, scored), search.folder / "workers", worker,
    )  # fmt: skip
    run_study(search, study, search.objective(scored), f"search, {name}")
    return study


def _facts(search: Search, scored: Machines) -> dict[str, Any]:
    """What a study must share with the search that goes on with it."""
    base = search.base
    return {
        "model": base.entry.label,
        "parameters": plain(base.system),
        "space": search.space.to_plain(),
        "code": code_of(base.entry),
        "dataset": base.dataset,
        "split": base.split,
        "dataset_directory": str(base.dataset_directory.absolute()),
        "mono": base.mono,
        "machine types": list(base.machines),
        "scored": list(scored),
        "objective": search.kind,
        "metric": search.metric,
        "score": base.score_name,
        "seed": base.seed,
        "max_fpr": base.max_fpr,
    }


def _best(study: Study) -> "FrozenTrial":
    best = study.best()
    if best is None:
        reasons = [trial.user_attrs.get(REASON, "") for trial in study.trials]
        raise UserError(f"no trial has a value; the last one: {reasons[-1] if reasons else 'none'}")
    return best
