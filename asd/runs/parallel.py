"""Run jobs, several at a time where that pays; one that fails does not stop the others."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tqdm import tqdm

from asd.audio.store import available_cores
from asd.errors import UserError
from asd.runs.jobs import Job
from asd.runs.training import epochs_done

log = logging.getLogger(__name__)

_POLL_S = 0.25


@dataclass(frozen=True)
class Failure:
    """A job that could not be done, and why."""

    job: Job
    reason: str


def run_jobs(work: Callable[[Job, int], None], jobs: Sequence[Job], at_once: int) -> list[Failure]:
    """Do `work(job, threads)` for every job.

    Parameters
    ----------
    at_once
        Number of jobs at the same time, each in a process of its own with its share of the cores;
        1 does them one after the other in this process.

    Returns
    -------
    list
        The jobs that failed with a UserError.
    """
    threads = max(available_cores() // at_once, 1)
    if at_once == 1:
        done = [_attempt(work, job, threads) for job in jobs]
    else:
        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=at_once, batch_size=1)
        done = parallel(delayed(_attempt_elsewhere)(work, job, threads) for job in jobs)
    return [failure for failure in done if failure is not None]


def default_at_once(jobs: Sequence[Job], device: str) -> int:
    """Number of trainings at the same time that uses this machine best.

    On the CPU one single-threaded training per core: the network's matrices are too small for
    more than one core to pay.
    """
    asked = jobs[0].config.jobs
    if asked:
        return min(asked, len(jobs))
    return 1 if device.startswith("cuda") else min(len(jobs), available_cores())


@contextmanager
def training_progress(jobs: Sequence[Job]) -> Iterator[None]:
    """Show the epochs done by all jobs together, read from their logs."""
    total = sum(job.config.epochs for job in jobs)
    finished = threading.Event()
    with tqdm(total=total, desc=f"training {len(jobs)} model(s)", unit="epoch") as bar:

        def follow() -> None:
            while not finished.wait(_POLL_S):
                show()

        def show() -> None:
            if news := sum(epochs_done(job.folder.log) for job in jobs) - bar.n:
                bar.update(news)

        watcher = threading.Thread(target=follow, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            finished.set()
            watcher.join()
            show()


def _attempt(work: Callable[[Job, int], None], job: Job, threads: int) -> Failure | None:
    try:
        work(job, threads)
    except UserError as error:
        return Failure(job, str(error))
    return None


def _attempt_elsewhere(work: Callable[[Job, int], None], job: Job, threads: int) -> Failure | None:
    from asd.logs import set_up_logging

    set_up_logging()
    return _attempt(work, job, threads)
