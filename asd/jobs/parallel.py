"""Run jobs, several at a time where that pays; one that fails does not stop the others."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from asd.errors import UserError
from asd.jobs.folder_run import epochs_done
from asd.jobs.jobs import Job, failure_reason
from asd.jobs.training import epochs_of
from asd.threads import thread_count

log = logging.getLogger(__name__)

_POLL_S = 0.25
_CONNECT_S = 10
_ATTEMPTS = 3


@dataclass(frozen=True)
class Failure:
    """A job that could not be done, and why."""

    job: Job
    reason: str


def run_jobs(
    work: Callable[[Job, int], None],
    jobs: Sequence[Job],
    at_once: int,
    cluster: str | None = None,
    cluster_timeout_s: float = 60.0,  # noqa: ARG001
) -> list[Failure]:
    """Do `work(job, threads)` for every job.

    Parameters
    ----------
    at_once
        Number of jobs at the same time, each in a process of its own with its share of the cores;
        1 does them one after the other in this process.
    cluster
        Address of a Dask scheduler, whose workers do the jobs instead, each on one core. Jobs of
        a worker that is lost go to another.

    Returns
    -------
    list
        The jobs that failed.

    Raises
    ------
    UserError
        The cluster can't be reached, or the extra `asd[cluster]` is not installed.
    """
    if cluster:
        with _dask_backend(cluster):
            return _run_elsewhere(work, [_with_absolute_paths(job) for job in jobs], -1, 1)
    threads = max(thread_count(jobs[0].config.threads) // at_once, 1)
    if at_once > 1:
        return _run_elsewhere(work, jobs, at_once, threads)
    done = [_attempt(work, job, threads) for job in jobs]
    return [failure for failure in done if failure is not None]


def _run_elsewhere(
    work: Callable[[Job, int], None], jobs: Sequence[Job], at_once: int, threads: int
) -> list[Failure]:
    """Do jobs in other processes; those whose process was lost are done once more."""
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    level = log.getEffectiveLevel()
    outcomes: dict[int, Failure | None] = {}
    for _ in range(_ATTEMPTS):
        waiting = [i for i in range(len(jobs)) if i not in outcomes]
        parallel = Parallel(n_jobs=at_once, batch_size=1, return_as="generator_unordered")
        tasks = (delayed(_attempt_elsewhere)(i, work, jobs[i], threads, level) for i in waiting)
        try:
            outcomes.update(parallel(tasks))
            break
        except TerminatedWorkerError:
            log.warning("a process was killed, for want of memory perhaps; doing its jobs again")
    lost = "its process was killed, more than once; set fewer --jobs if memory is short"
    found = [outcomes.get(i, Failure(job, lost)) for i, job in enumerate(jobs)]
    return [failure for failure in found if failure is not None]


@contextmanager
def _dask_backend(address: str) -> Iterator[None]:
    """Let joblib hand jobs to the workers of a Dask scheduler."""
    from joblib import parallel_config

    try:
        from dask.distributed import Client
    except ImportError:
        raise UserError("--cluster: needs Dask; pip install 'asd[cluster]'") from None
    try:
        client = Client(address, timeout=_CONNECT_S)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as error:
        raise UserError(
            f"--cluster: no Dask scheduler answers at {address} ({error}); check the address, "
            "or start one with 'dask scheduler'"
        ) from None
    with client, parallel_config(backend="dask", wait_for_workers_timeout=_CONNECT_S):
        log.info("jobs go to %d worker(s) at %s", len(client.scheduler_info()["workers"]), address)
        yield


def _with_absolute_paths(job: Job) -> Job:
    """The job as a worker in another folder understands it."""
    config = job.config
    places: dict[str, Any] = {
        name: value.absolute() for name, value in vars(config).items() if isinstance(value, Path)
    }
    return replace(job, config=replace(config, **places))


def default_at_once(jobs: Sequence[Job]) -> int:
    """Number of trainings at the same time that uses this machine's cores best.

    One single-threaded training per core: the network's matrices are too small for
    more than one core to pay.
    """
    return min(len(jobs), jobs[0].config.jobs or thread_count(jobs[0].config.threads))


@contextmanager
def training_progress(jobs: Sequence[Job]) -> Iterator[None]:
    """Show the epochs done by all jobs together, read from their logs."""
    total = sum(epochs_of(job.config) for job in jobs)
    # Logs of earlier trainings lie there until their job's turn comes.
    stale = {_written(job.folder.log) for job in jobs if not job.config.restart}
    finished = threading.Event()
    with tqdm(total=total, desc=f"training {len(jobs)} model(s)", unit="epoch") as bar:

        def follow() -> None:
            while not finished.wait(_POLL_S):
                show()

        def show() -> None:
            logs = [job.folder.log for job in jobs if _written(job.folder.log) not in stale]
            if news := sum(map(epochs_done, logs)) - bar.n:
                bar.update(news)

        watcher = threading.Thread(target=follow, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            finished.set()
            watcher.join()
            show()


def _written(file: Path) -> tuple[Path, int | None]:
    """The file and when it was written; None where it is not there."""
    try:
        return file, file.stat().st_mtime_ns
    except OSError:
        return file, None


def _attempt(work: Callable[[Job, int], None], job: Job, threads: int) -> Failure | None:
    try:
        work(job, threads)
    except Exception as error:  # one job's trouble, foreseen or not, must not stop the others
        return Failure(job, failure_reason(job, error))
    return None


def _attempt_elsewhere(
    number: int, work: Callable[[Job, int], None], job: Job, threads: int, log_level: int
) -> tuple[int, Failure | None]:
    from asd.logs import set_up_logging

    set_up_logging(log_level)
    return number, _attempt(work, job, threads)
