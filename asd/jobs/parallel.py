"""Run jobs, several at a time where that pays; one that fails does not stop the others."""

import asyncio
import concurrent.futures
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asd.errors import UserError
from asd.jobs.jobs import Job, failure_reason
from asd.memory import keep_freed_memory
from asd.output import steady_output
from asd.processes import end_with_parent
from asd.threads import thread_count

log = logging.getLogger(__name__)

_POLL_S = 0.25
_CONNECT_S = 10
_CLOSE_S = 5
_ATTEMPTS = 3
# How a call shows that the scheduler is lost: Dask cancels what was asked for when the connection
# breaks, a closed connection is an OSError, and before Python 3.11 asyncio's timeout is no other's.
_LOST_SCHEDULER = (
    asyncio.CancelledError, concurrent.futures.CancelledError, asyncio.TimeoutError, TimeoutError,
    OSError,
)  # fmt: skip
_LOST = "its process was killed, more than once; set fewer --jobs if memory is short"


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
    cluster_timeout_s: float = 60.0,
) -> list[Failure]:
    """Do `work(job, threads)` for every job.

    Parameters
    ----------
    at_once
        Number of jobs at the same time, each in a process of its own with its share of the cores;
        1 does them one after the other in this process. These processes end within a second when
        this one does, also when it is killed.
    cluster
        Address of a Dask scheduler, whose workers do the jobs instead, each on one core. Jobs of
        a worker that is lost go to another.
    cluster_timeout_s
        Give up when the scheduler has not answered, or has had no worker, for so many seconds.

    Returns
    -------
    list
        The jobs that failed.

    Raises
    ------
    UserError
        The cluster can't be reached or was lost, or the extra `asd[cluster]` is not installed.
    """
    if cluster:
        everywhere = [_with_absolute_paths(job) for job in jobs]
        return _run_on_cluster(work, everywhere, cluster, cluster_timeout_s)
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

    level, parent = log.getEffectiveLevel(), os.getpid()
    outcomes: dict[int, Failure | None] = {}
    for _ in range(_ATTEMPTS):
        waiting = [i for i in range(len(jobs)) if i not in outcomes]
        parallel = Parallel(n_jobs=at_once, batch_size=1, return_as="generator_unordered")
        attempt = delayed(_attempt_in_worker)
        try:
            outcomes.update(
                parallel(attempt(parent, i, work, jobs[i], threads, level) for i in waiting)
            )
            break
        except TerminatedWorkerError:
            log.warning("a process was killed, for want of memory perhaps; doing its jobs again")
    found = [outcomes.get(i, Failure(job, _LOST)) for i, job in enumerate(jobs)]
    return [failure for failure in found if failure is not None]


def _run_on_cluster(
    work: Callable[[Job, int], None], jobs: Sequence[Job], address: str, timeout_s: float
) -> list[Failure]:
    """Do jobs on the workers of a Dask scheduler."""
    client = _connect(address)
    try:
        log.info("jobs go to %d worker(s) at %s", len(client.scheduler_info()["workers"]), address)
        level = log.getEffectiveLevel()
        waiting = {
            client.submit(_attempt_on_cluster, work, job, level, pure=False): job for job in jobs
        }
        watch = _ClusterWatch(client, address, timeout_s)
        failures = []
        while waiting:
            for future in [future for future in waiting if future.done()]:
                failures.append(_outcome(future, waiting[future], watch))
                del waiting[future]
            watch.look(len(waiting))
            time.sleep(_POLL_S)
        return [failure for failure in failures if failure is not None]
    finally:
        with suppress(*_LOST_SCHEDULER):
            client.close(timeout=_CLOSE_S)


def _connect(address: str) -> Any:
    """A client of the Dask scheduler at an address."""
    try:
        from dask.distributed import Client
    except ImportError:
        raise UserError("--cluster: needs Dask; pip install 'asd[cluster]'") from None
    try:
        return Client(address, timeout=_CONNECT_S)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as error:
        raise UserError(
            f"--cluster: no Dask scheduler answers at {address} ({error}); check the address, "
            "or start one with 'dask scheduler'"
        ) from None


class _ClusterWatch:
    """Tells a cluster that takes its time from one that is lost."""

    def __init__(self, client: Any, address: str, timeout_s: float) -> None:
        self._client = client
        self._address = address
        self.timeout_s = timeout_s
        self._looked = self._had_workers = time.monotonic()

    def look(self, waiting: int) -> None:
        """Ask the scheduler for its workers, now and then.

        Raises
        ------
        UserError
            It does not answer, or has had no worker for too long.
        """
        now = time.monotonic()
        if not waiting or now - self._looked < self.timeout_s / 10:
            return
        try:
            cores = self._client.sync(
                self._client.scheduler.ncores, callback_timeout=self.timeout_s
            )
        except _LOST_SCHEDULER:
            raise self.lost() from None
        self._looked = time.monotonic()
        if cores:
            self._had_workers = self._looked
        elif self._looked - self._had_workers > self.timeout_s:
            raise UserError(
                f"--cluster: the Dask scheduler at {self._address} has had no worker for "
                f"{self.timeout_s:g} s; start some with 'dask worker {self._address}', then the "
                "same command again (a training: with --restart)"
            )

    def lost(self) -> UserError:
        """What to raise when the scheduler is lost: what its workers still do, nobody knows."""
        return UserError(
            f"--cluster: lost the Dask scheduler at {self._address} before all jobs were done; "
            "see that it runs, then start the same command again (a training: with --restart)"
        )


def _outcome(future: Any, job: Job, watch: _ClusterWatch) -> Failure | None:
    """What a cluster's worker told of a job that is done, or what befell it."""
    try:
        outcome: Failure | None = future.result(timeout=watch.timeout_s)
        return outcome
    except _LOST_SCHEDULER:
        raise watch.lost() from None
    except Exception as error:  # a worker without this package, or killed again and again
        is_killed = type(error).__name__ == "KilledWorker"
        return Failure(job, _LOST if is_killed else failure_reason(job, error))


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


def _attempt(work: Callable[[Job, int], None], job: Job, threads: int) -> Failure | None:
    try:
        work(job, threads)
    except Exception as error:  # one job's trouble, foreseen or not, must not stop the others
        return Failure(job, failure_reason(job, error))
    return None


def _attempt_in_worker(
    parent: int, number: int, work: Callable[[Job, int], None], job: Job, threads: int, level: int
) -> tuple[int, Failure | None]:
    """Do a job in a process that `parent` has started."""
    from asd.logs import set_up_logging

    end_with_parent(parent)
    keep_freed_memory()
    with steady_output():
        set_up_logging(level)
        return number, _attempt(work, job, threads)


def _attempt_on_cluster(work: Callable[[Job, int], None], job: Job, level: int) -> Failure | None:
    from asd.logs import set_up_logging

    keep_freed_memory()
    set_up_logging(level)
    return _attempt(work, job, threads=1)
