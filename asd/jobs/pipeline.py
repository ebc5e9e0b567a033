"""The steps of a run over all its jobs: train, test."""

import logging
from collections.abc import Sequence

from asd.audio.store import available_cores
from asd.config import Config
from asd.errors import UserError
from asd.jobs.data import ClipSet, check_dataset, find_clips, find_features
from asd.jobs.jobs import Job, plan_jobs
from asd.jobs.parallel import Failure, default_at_once, run_jobs, training_progress
from asd.jobs.testing import check_score, evaluate_job
from asd.jobs.training import device, train_job, train_together

log = logging.getLogger(__name__)


def train(config: Config) -> None:
    """Train all models of a run.

    Raises
    ------
    UserError
        Nothing can be done, or, after all other jobs are done, some could not be.
    """
    check_dataset(config)
    planned = plan_jobs(config)
    jobs, failures = _with_features(config, planned, "train")
    if jobs:
        with training_progress(jobs):
            failures += _train_jobs(config, jobs)
    _report(failures, planned)
    log.info("models and logs: %s", jobs[0].folder.path.parent)


def _train_jobs(config: Config, jobs: Sequence[Job]) -> list[Failure]:
    """Train on a cluster, as a stack on a GPU, or several at a time on the processor's cores."""
    where = device(config)
    if where != "cpu" and not config.cluster:
        log.info("training on %s, %d model(s) together", where, len(jobs))
        return [Failure(job, why) for job, why in train_together(jobs, available_cores())]
    at_once = default_at_once(jobs)
    if not config.cluster:
        log.info("training on %s, %d model(s) at a time", where, at_once)
    return run_jobs(train_job, jobs, at_once, config.cluster)


def test(config: Config) -> None:
    """Score the test clips with all models of a run, and write the result files.

    Raises
    ------
    UserError
        Nothing can be done, or, after all other jobs are done, some could not be.
    """
    check_dataset(config)
    planned = plan_jobs(config)
    jobs, failures = _with_features(config, planned, "test")
    failures += run_jobs(evaluate_job, jobs, at_once=1)
    _report(failures, planned)


def train_and_test(config: Config) -> None:
    """What the official train.py does: train, then test, unless told to do one only."""
    if not config.train_only:
        check_score(config)
    if not config.test_only:
        train(config)
    if not config.train_only:
        test(config)


def _with_features(
    config: Config, jobs: Sequence[Job], clip_set: ClipSet
) -> tuple[list[Job], list[Failure]]:
    """Compute all features with all cores first; jobs whose clips can't be used are failures."""
    if clip_set == "train" and any(job.covers_challenge for job in jobs):
        return list(jobs), []  # its features lie in one store of their own
    failures = {}
    for machine in dict.fromkeys(machine for job in jobs for machine in job.machines):
        try:
            find_features(config, find_clips(config, machine, clip_set), available_cores())
        except UserError as error:
            failures[machine] = str(error)
    good, bad = [], []
    for job in jobs:
        why = next((failures[machine] for machine in job.machines if machine in failures), None)
        if why is None:
            good.append(job)
        else:
            bad.append(Failure(job, why))
    return good, bad


def _report(failures: Sequence[Failure], planned: Sequence[Job]) -> None:
    if not failures:
        return
    if len({failure.reason for failure in failures}) == 1:
        raise UserError(failures[0].reason)
    for failure in failures:
        log.error("%s: %s", failure.job.label, failure.reason)
    rest = _rest_hint(failures, planned) if len(failures) < len(planned) else ""
    raise UserError(f"{len(failures)} of {len(planned)} jobs could not be done (see above){rest}")


def _rest_hint(failures: Sequence[Failure], planned: Sequence[Job]) -> str:
    """What else is to say where other jobs are done: which machine types go without a failure."""
    failed = {machine for failure in failures for machine in failure.job.machines}
    machines = dict.fromkeys(machine for job in planned for machine in job.machines)
    good = [machine for machine in machines if machine not in failed]
    leave_out = f"; to leave these out give --machine_types {' '.join(good)}" if good else ""
    return f"; the others are done{leave_out}"
