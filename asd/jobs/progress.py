"""How far trainings are, read from the files that they write, wherever they run."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from asd.jobs.folder_run import epochs_done
from asd.jobs.jobs import Job
from asd.jobs.training import epochs_of

_POLL_S = 0.25


class _Files:
    """The files of some jobs, as far as they are of this training and not of an older one."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        # Files of earlier trainings lie there until their job's turn comes.
        self.stale = {
            _written(file)
            for job in jobs
            if not job.config.restart
            for file in (job.folder.model, *_logs(job))
        }

    def models(self) -> int:
        """Number of finished models."""
        return sum(self._is_new(job.folder.model) for job in self.jobs)

    def epochs(self) -> int:
        """Epochs of the main stage that were done, of all jobs together."""
        return sum(epochs_done(job.folder.log) for job in self.jobs if self._is_new(job.folder.log))

    def earlier_epochs(self) -> int:
        """Epochs that were done of stages before the main one."""
        logs = [log for job in self.jobs for log in _logs(job) if log != job.folder.log]
        return sum(epochs_done(log) for log in logs if self._is_new(log))

    def _is_new(self, file: Path) -> bool:
        written = _written(file)
        return written[1] is not None and written not in self.stale


@contextmanager
def training_progress(jobs: Sequence[Job]) -> Iterator[None]:
    """Show the epochs that all jobs together have done; models, where they learn in no epochs.

    Epochs of stages before the main one, whose number is not known beforehand, are told beside.
    """
    files = _Files(jobs)
    epochs = sum(epochs_of(job.config) for job in jobs)
    total, unit, done = (
        (epochs, "epoch", files.epochs) if epochs else (len(jobs), "model", files.models)
    )
    finished = threading.Event()
    with tqdm(total=total, desc=f"training {len(jobs)} model(s)", unit=unit) as bar:

        def follow() -> None:
            while not finished.wait(_POLL_S):
                show()

        def show() -> None:
            earlier = files.earlier_epochs()
            if earlier and (text := f"{earlier} epochs of earlier stages") != bar.postfix:
                bar.set_postfix_str(text)
            if news := done() - bar.n:
                bar.update(news)

        watcher = threading.Thread(target=follow, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            finished.set()
            watcher.join()
            show()


def _logs(job: Job) -> set[Path]:
    try:
        return job.folder.logs()
    except OSError:  # a folder on a network that is away: the next look may find it
        return set()


def _written(file: Path) -> tuple[Path, int | None]:
    """The file and when it was written; None where it is not there."""
    try:
        return file, file.stat().st_mtime_ns
    except OSError:
        return file, None
