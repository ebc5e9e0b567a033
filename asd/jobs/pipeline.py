"""The steps of a run over all its jobs: train, test."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from asd.audio.clip_set import ClipSet
from asd.config import Config
from asd.errors import UserError
from asd.jobs.data import check_dataset, machine_clips
from asd.jobs.jobs import Job, plan_jobs
from asd.jobs.parallel import Failure, default_at_once, run_jobs
from asd.jobs.progress import training_progress
from asd.jobs.testing import DoneTest, MachineTest, check_system, evaluate_job
from asd.jobs.training import device, train_job, train_together
from asd.threads import thread_count

log = logging.getLogger(__name__)


def train(config: Config) -> None:
    """Train all models of a run.

    Raises
    ------
    UserError
        Nothing can be done, or, after all other jobs are done, some could not be.
    """
    check_system(config)
    check_dataset(config)
    planned = plan_jobs(config)
    jobs, failures, clips = _with_features(config, planned)
    if jobs:
        with training_progress(jobs):
            failures += _train_jobs(config, jobs, clips)
    _report(failures, planned)
    log.info("models and logs: %s", jobs[0].folder.path.parent)


def train_on_cluster(configs: Sequence[Config]) -> list[str]:
    """Train the models of several runs on a cluster, all jobs of all runs at the same time.

    Returns
    -------
    list
        For each run why it could not be done, "" where it was.

    Raises
    ------
    UserError
        The cluster can't be reached or was lost.
    """
    plans: list[list[Job]] = []
    failures: list[list[Failure]] = []
    reasons = [""] * len(configs)
    for i, config in enumerate(configs):
        plans.append([])
        failures.append([])
        try:
            check_system(config)
            check_dataset(config)
            plans[i], failures[i], _ = _with_features(config, plan_jobs(config))
        except UserError as error:
            reasons[i] = str(error)
    jobs = [job for own in plans for job in own]
    first = configs[0]
    found = run_jobs(train_job, jobs, 1, first.cluster, first.cluster_timeout) if jobs else []
    for i, own in enumerate(plans):
        names = {_model_of(job) for job in own}
        every = [*failures[i], *(each for each in found if _model_of(each.job) in names)]
        try:
            _report(every, [*own, *(failure.job for failure in failures[i])])
        except UserError as error:
            reasons[i] = str(error)
    return reasons


def _model_of(job: Job) -> tuple[str, str]:
    """What tells a job's model from those of other runs: its folder."""
    return job.config.export_dir, job.model_name


def _train_jobs(config: Config, jobs: Sequence[Job], clips: Mapping[str, ClipSet]) -> list[Failure]:
    """Train on a cluster, as a stack on a GPU, or several at a time on the processor's cores."""
    where, threads = device(config), thread_count(config.threads)
    if where != "cpu" and not config.cluster:
        log.info("training on %s, %d model(s) together", where, len(jobs))
        return [Failure(job, why) for job, why in train_together(jobs, threads, clips)]
    at_once = default_at_once(jobs)
    if not config.cluster:
        log.info("training on %s, %d model(s) at a time", where, at_once)
    in_this_process = at_once == 1 and not config.cluster
    work = partial(train_job, clips=clips) if in_this_process else train_job
    return run_jobs(work, jobs, at_once, config.cluster, config.cluster_timeout)


def test(config: Config, page: Path | None = None) -> None:  # noqa: PT028, not a test of pytest's
    """Score the test clips with all models of a run, and write the result files.

    Parameters
    ----------
    page
        File of a page of the clips, tables and figures; None writes none.

    Raises
    ------
    UserError
        Nothing can be done, or, after all other jobs are done, some could not be.
    """
    _, failures, planned = _test(config, page)
    _report(failures, planned)


def train_and_test(config: Config, page: Path | None = None) -> list[DoneTest]:
    """What the official train.py does: train, then test, unless told to do one only.

    Returns the tests that were made; `page` as for `test`.
    """
    check_system(config)
    if not config.test_only:
        train(config)
    if config.train_only:
        return []
    done, failures, planned = _test(config, page)
    _report(failures, planned)
    return done


def _test(config: Config, page: Path | None) -> tuple[list[DoneTest], list[Failure], Sequence[Job]]:
    """Tests that were made, those that could not be, and all that were planned."""
    check_dataset(config)
    planned = plan_jobs(config)
    done: list[DoneTest] = []

    def keep(job: Job, test: MachineTest, clips: ClipSet) -> None:
        done.append(DoneTest(job, test, clips))

    failures = run_jobs(partial(evaluate_job, on_test=keep), planned, at_once=1)
    if page is not None and done:
        from asd.jobs.run_page import write_run_page  # slow to import

        write_run_page(page, done)
    return done, failures, planned


def _with_features(
    config: Config, jobs: Sequence[Job]
) -> tuple[list[Job], list[Failure], dict[str, ClipSet]]:
    """Compute all features with all cores first; jobs whose clips can't be used are failures.

    Returns
    -------
    tuple
        Jobs that can be done, those that cannot, and the training clips by machine type, with
        their features open.
    """
    if any(job.covers_challenge for job in jobs):
        return list(jobs), [], {}  # its features lie in one store of their own
    threads = thread_count(config.threads)
    inputs = list(config.entry.system_class()(config.system).inputs().values())
    clips: dict[str, ClipSet] = {}
    reasons: dict[str, str] = {}
    for machine in dict.fromkeys(machine for job in jobs for machine in job.machines):
        try:
            clips[machine] = machine_clips(config, machine, "train", threads)
            for feature in inputs:
                clips[machine].features(feature)
        except UserError as error:
            reasons[machine] = str(error)
    good = [job for job in jobs if job.machines[0] not in reasons]
    failures = [Failure(job, reasons[job.machines[0]]) for job in jobs if job not in good]
    return good, failures, clips


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
