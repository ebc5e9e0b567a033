"""A study kept by Optuna: asks for trials, also for those that a killed search left behind.

A trial's random numbers come from the seed, its number and the key, and trials begin in groups of
one size, so an interrupted search goes on as if nothing had happened. Several searches may share a
study: each holds a lock for as long as it lives, by which the others know whose trials are still
being done.
"""

import json
import logging
import math
import re
import secrets
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asd.errors import UserError
from asd.files import write_text
from asd.locks import exclusive_lock
from asd.search.space import Space, Values
from asd.words import one_line

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

_FACTS, _WORKER, _FOLDER = "facts", "worker", "folder"

REASON = "reason"
"""Attribute of a trial that failed: why."""

RANDOM_TRIALS = 10
"""Trials whose values are drawn at random, before TPE learns from them (Optuna's default)."""

LEAST_JUDGED = 5
"""Trials that must have a value before another one is given up (Optuna's default)."""

_SQLITE_WAIT_S = 60
"""How long a write waits for those of other searches."""


def import_optuna() -> Any:
    """Optuna, quiet.

    Raises
    ------
    UserError
        The extra `asd[search]` is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UserError("asd search: needs Optuna; pip install 'asd[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


@contextmanager
def living_worker(folder: Path) -> Iterator[str]:
    """A name for this search, whose lock is held until it ends, or is killed."""
    name = secrets.token_hex(4)
    path = _lock(folder, name)
    try:
        with exclusive_lock(path, "search", wait=False):
            yield name
    finally:
        with suppress(OSError):
            path.unlink()


class Study:
    """Trials of a space, and their values, which are to be large.

    Parameters
    ----------
    url
        Of the storage, such as "sqlite:///study.db".
    name
        Of the study in it.
    facts
        What the trials of the study have in common: a study of other facts is refused.
    folder
        Where the locks of the searches that share it lie.
    worker
        This search, see `living_worker`.

    Raises
    ------
    UserError
        The storage cannot be used, or holds a study of other facts.
    """

    def __init__(
        self,
        url: str,
        name: str,
        space: Space,
        seed: int,
        facts: Mapping[str, Any],
        folder: Path,
        worker: str,
    ) -> None:
        self.space, self.seed, self.folder, self.worker = space, seed, folder, worker
        self._optuna = import_optuna()
        self._told: dict[int, set[int]] = {}  # steps of trials that another search had begun
        with exclusive_lock(folder / "open.lock", "opening"):  # tables are made once
            self.optuna: optuna.Study = self._open(url, name, facts)

    @property
    def trials(self) -> "list[optuna.trial.FrozenTrial]":
        """All trials so far, in the order of their numbers."""
        return self.optuna.get_trials(deepcopy=False)

    @property
    def complete(self) -> "list[optuna.trial.FrozenTrial]":
        """The trials that have a value."""
        return [trial for trial in self.trials if trial.state.name == "COMPLETE"]

    def values_of(self, trial: "optuna.trial.FrozenTrial") -> Values:
        """What a trial sets."""
        return self.space.suggest(self._optuna.trial.FixedTrial(trial.params))

    def best(self) -> "optuna.trial.FrozenTrial | None":
        """The trial of the largest value, the first of equal ones."""
        return max(self.complete, key=value_of, default=None)

    def next_trials(self, most: int, total: int) -> "list[optuna.Trial]":
        """Up to `most` trials to do: those left behind, then new ones up to `total`.

        With those left behind only so many new ones begin as would have begun beside them.
        """
        with exclusive_lock(self.folder / "ask.lock", "asking"):
            found = self._left_behind()[:most]
            begun = len(self.trials)
            room = min(most - len(found), -begun % most) if found else most
            for _ in range(min(room, total - begun)):
                found.append(self.optuna.ask())
                found[-1].set_user_attr(_WORKER, self.worker)
                self._suggest(found[-1])
        return found

    @property
    def others_run(self) -> bool:
        """Whether other searches have trials that they have not told the end of."""
        running = (t for t in self.trials if t.state.name == "RUNNING")
        return any(trial.user_attrs.get(_WORKER) != self.worker for trial in running)

    def report(self, trial: "optuna.Trial", step: int, value: float) -> bool:
        """Tell a trial's value so far; whether it is to be given up.

        It is where the value is below the median of those that the trials which have a value had
        at the same step. Optuna's `MedianPruner` takes a trial's best value of all steps instead,
        which is right for a course of training, but not for means over ever more machine types:
        an easy first one would keep any trial.
        """
        told = self._told.get(trial.number, set())
        if step not in told:
            trial.report(value, step)
        elif step < max(told):  # it was not given up here
            return False
        others = [t.intermediate_values.get(step, math.nan) for t in self.complete]
        others = [other for other in others if not math.isnan(other)]
        return len(others) >= LEAST_JUDGED and not value >= float(np.median(others))

    def tell(self, trial: "optuna.Trial", value: float) -> None:
        """Tell a trial's value; nan is a failure."""
        state = self._optuna.trial.TrialState
        if np.isnan(value):
            self.tell_failed(trial, "its value is undefined")
        else:
            self.optuna.tell(trial.number, value, state.COMPLETE)

    def tell_pruned(self, trial: "optuna.Trial") -> None:
        """Give a trial up that does worse than the median of the others."""
        self.optuna.tell(trial.number, state=self._optuna.trial.TrialState.PRUNED)

    def tell_failed(self, trial: "optuna.Trial", reason: str) -> None:
        """Give a trial up that cannot be done."""
        trial.set_user_attr(REASON, reason)
        self.optuna.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)

    def _open(self, url: str, name: str, facts: Mapping[str, Any]) -> "optuna.Study":
        own = self._folder_name()
        shown = _without_password(url)
        try:
            waiting = {"timeout": _SQLITE_WAIT_S} if url.startswith("sqlite") else {}
            self._storage = self._optuna.storages.RDBStorage(url, {"connect_args": waiting})
            study: optuna.Study = self._optuna.create_study(
                storage=self._storage,
                study_name=name,
                direction="maximize",
                pruner=self._optuna.pruners.NopPruner(),  # see `report`
                load_if_exists=True,
            )
            known, place = study.user_attrs.get(_FACTS), study.user_attrs.get(_FOLDER)
            if known is None:
                study.set_user_attr(_FACTS, dict(facts))
            if place is None:
                study.set_user_attr(_FOLDER, own)
        except UserError:
            raise
        except Exception as error:  # SQLAlchemy's, alembic's, the driver's
            reason = one_line(str(error).splitlines()[0] if str(error) else type(error).__name__)
            reason = reason.replace(url, shown)
            raise UserError(
                f"--study {shown}: cannot be used ({reason}); expected an address such as "
                "sqlite:///folder/study.db"
            ) from None
        facts = json.loads(json.dumps(facts))  # as they were stored: tuples are lists
        if known is not None and known != facts:
            differing = ", ".join(sorted(k for k in facts if known.get(k) != facts[k]) or known)
            raise UserError(
                f"--study {shown}: holds a search of another kind ({differing} differ); go on with "
                "the same flags, or name another --study or --export_dir"
            )
        if place not in (None, own):  # its locks are not here, by which trials are kept apart
            raise UserError(
                f"--study {shown}: belongs to a search in another folder than "
                f"{self.folder.parent}; go on with its --result_directory, or name another "
                "--export_dir"
            )
        return study

    def _folder_name(self) -> str:
        """What tells the folder of the locks from others, wherever it is moved."""
        path = self.folder / "name"
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            name = secrets.token_hex(8)
            write_text(path, name)
            return name

    def _suggest(self, trial: "optuna.Trial") -> Values:
        def begin(key: str) -> None:
            words = [self.seed, trial.number, zlib.crc32(key.encode())]
            self.optuna.sampler = self._optuna.samplers.TPESampler(
                seed=int(np.random.SeedSequence(words).generate_state(1)[0]),
                n_startup_trials=RANDOM_TRIALS,
                constant_liar=True,
            )

        return self.space.suggest(trial, begin)

    def _left_behind(self) -> "list[optuna.Trial]":
        """Trials of searches that no longer live."""
        found = []
        study = self._storage.get_study_id_from_name(self.optuna.study_name)
        for frozen in self.trials:
            worker = frozen.user_attrs.get(_WORKER, "")
            if frozen.state.name == "RUNNING" and worker != self.worker:
                if self._lives(worker):
                    continue
                log.info("going on with trial %d, which was interrupted", frozen.number)
                number = self._storage.get_trial_id_from_study_id_trial_number(study, frozen.number)
                trial = self._optuna.Trial(self.optuna, number)
                trial.set_user_attr(_WORKER, self.worker)
                self._told[trial.number] = set(frozen.intermediate_values)
                self._suggest(trial)
                found.append(trial)
        return found

    def _lives(self, worker: str) -> bool:
        path = _lock(self.folder, worker)
        if not worker or not path.is_file():
            return False
        try:
            with exclusive_lock(path, "search", wait=False):
                pass
        except UserError:
            return True
        path.unlink(missing_ok=True)
        return False


def value_of(trial: "optuna.trial.FrozenTrial") -> float:
    """The value of a trial; less than any where it has none."""
    is_complete = trial.state.name == "COMPLETE" and trial.value is not None
    return float(trial.value) if is_complete else -math.inf  # type: ignore[arg-type]


def _without_password(url: str) -> str:
    """An address as it may be printed."""
    return re.sub(r"(//[^:/@]*):[^@/]*@", r"\1:***@", url)


def _lock(folder: Path, worker: str) -> Path:
    return folder / f"worker_{worker}.lock"
