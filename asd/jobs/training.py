"""Train the model of a job: clips, features, fit, thresholds, and the files that remain."""

import csv
import io
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch

from asd.config import Config
from asd.errors import UserError
from asd.files import remove_leftovers, write_json, write_text
from asd.jobs.data import challenge_data, known_test_clips, training_data
from asd.jobs.jobs import Job, ModelFolder, failure_reason
from asd.jobs.models import (
    StoredModel,
    load_checkpoint,
    plain_parameters,
    save_checkpoint,
    save_model,
)
from asd.jobs.scalars import with_scalars
from asd.scores.threshold import fit_gamma
from asd.systems import create_system, system_class
from asd.systems.base import Epoch, Fit, State, System

log = logging.getLogger(__name__)

# What may change between a checkpoint and the training that goes on from it.
_FREE_TO_CHANGE = (
    "epochs", "restart", "checkpoint_path", "result_directory", "dataset_directory",
    "feature_directory", "export_dir", "model_name_suffix", "machine_types", "use_ids", "jobs",
    "cluster", "use_cuda", "gpu_id", "log_interval", "score", "decision_threshold", "threshold_fit",
    "mahalanobis", "max_fpr", "is_auto_download", "mono", "train_only", "test_only", "tensorboard",
)  # fmt: skip


def train_job(job: Job, threads: int) -> None:
    """Train a job's model and store it in the job's folder.

    With `--restart` the training goes on from the last checkpoint, or starts afresh where there is
    none: an interrupted run of many jobs leaves some that had not begun. An older model in the
    folder stays until the first epoch's checkpoint is written: a training that fails before that
    has cost nothing, and one that is interrupted later leaves a checkpoint, not a stale model.

    Parameters
    ----------
    threads
        Processor cores to compute features with, and to train a model of all machine types.
        Training one model of many takes one core: bits depend on the number of threads, so a
        model would depend on how many are trained at once; and small networks' matrices are too
        small for more to pay (on a busy machine they cost tenfold).

    Raises
    ------
    UserError
        Clips, features or the checkpoint can't be used, or the folder can't be written to.
    """
    torch.set_num_threads(threads if job.covers_challenge else 1)
    _prepare(job, threads).run()


def train_together(jobs: Sequence[Job], threads: int) -> list[tuple[Job, str]]:
    """Train the models of several jobs at the same time, as one stack where the system can.

    Each is stored as soon as it is finished.

    Returns
    -------
    list
        The jobs that failed, and why.
    """
    fits: dict[int, Fit] = {}
    errors: dict[int, Exception | None] = {}
    for i, job in enumerate(jobs):
        try:
            fits[i] = _prepare(job, threads)
        except Exception as error:  # foreseen or not, the others can go on
            errors[i] = error
    fit_many = system_class(jobs[0].config.model).fit_many
    errors |= dict(zip(fits, fit_many(list(fits.values())), strict=True))
    return [(job, failure_reason(job, e)) for i, job in enumerate(jobs) if (e := errors[i])]


def _prepare(job: Job, threads: int) -> Fit:
    """A job made ready: what its system's `fit` is given, and what stores the fitted system."""
    config = job.config
    if job.covers_challenge:
        clips, features = challenge_data(config, threads)
    else:
        clips, features = training_data(config, job.machines[0], job.sections, threads)
    parameters = {**plain_parameters(config), "sample_rate_hz": features.sample_rate_hz}
    machines = sorted({clip.machine for clip in clips})
    identity = {"machines": machines, "sections": job.sections, "clips": len(clips)}
    writer = _EpochWriter(job.folder, parameters, {**_checked(parameters), **identity})
    resume = writer.resume(config) if config.restart else None
    writer.prepare_folder()
    system = create_system(config.model, {**system_parameters(config), **vars(config)})
    on_epoch = with_scalars(writer, config.tensorboard, job.model_name)

    def store() -> None:
        thresholds = {machine: _fit_thresholds(system, machine) for machine in machines}
        model = StoredModel(config.model, parameters, system.state(), thresholds)
        writer.finish(model, job.model_name)

    return Fit(system, clips, features, config.seed, on_epoch, resume, store)


def system_parameters(config: Config) -> dict[str, Any]:
    """What systems are made with, beside the parameters: where to compute, and on what year."""
    return {
        "device": device(config),
        "year": config.challenge.year,
        "named": known_test_clips(config)
        if system_class(config.model).scope == "challenge"
        else (),
    }


def device(config: Config) -> str:
    """The device to compute on: "cpu" where there is no CUDA device or it is not wanted.

    Raises
    ------
    UserError
        There is no CUDA device of the number that is asked for.
    """
    if not (config.use_cuda and torch.cuda.is_available()):
        return "cpu"
    if not config.gpu_id:
        return "cuda"
    number, count = config.gpu_id[0], torch.cuda.device_count()
    if not 0 <= number < count:
        raise UserError(f"--gpu_id: there is no GPU {number}; choose from 0 to {count - 1}")
    return f"cuda:{number}"


def _checked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in parameters.items() if key not in _FREE_TO_CHANGE}


def _fit_thresholds(system: System, machine: str) -> dict[str, dict[str, list[float]]]:
    fits: dict[str, dict[str, list[float]]] = {}
    for kind in system.threshold_kinds:
        samples = system.threshold_samples(kind, machine)
        gammas = {
            score: fit_gamma(values, f"{machine} {score}: decision threshold")
            for score, values in samples.items()
        }
        fits[kind] = {score: [g.shape, g.loc, g.scale] for score, g in gammas.items()}
    return fits


class _EpochWriter:
    """Writes log.csv and the checkpoint after each epoch, and the model at the end.

    `checked` is what a checkpoint must share with the training that goes on from it.
    """

    def __init__(
        self, folder: ModelFolder, parameters: Mapping[str, Any], checked: Mapping[str, Any]
    ) -> None:
        self._folder = folder
        self._parameters = parameters
        self._checked = checked
        self._rows: list[dict[str, float]] = []
        self._has_begun = False

    def prepare_folder(self) -> None:
        """Find out, before hours of training, whether the folder can be written to.

        What an earlier training left stays, but for what killed runs left half written.
        """
        folder = self._folder.path
        try:
            folder.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=folder).close()
        except OSError as error:
            raise UserError(
                f"{folder}: cannot be written ({error.strerror}); check the folder's permissions, "
                "or choose another --result_directory"
            ) from None
        remove_leftovers(folder)

    def resume(self, config: Config) -> State | None:
        """The snapshot to go on from, with the log so far; None where there is no checkpoint."""
        path = config.checkpoint_path or self._folder.checkpoint
        if not path.is_file() and config.checkpoint_path is None:
            log.warning("%s: no checkpoint to go on from; training starts afresh", path)
            return None
        content = load_checkpoint(path, self._checked)
        self._rows = list(content["rows"])
        if len(self._rows) > config.epochs:
            raise UserError(
                f"{path}: has {len(self._rows)} epochs done, --epochs asks for {config.epochs}; "
                "set more --epochs or train without --restart"
            )
        snapshot: State = content["system"]
        return snapshot

    def __call__(self, epoch: Epoch) -> None:
        self._check_finite(epoch)
        self._rows.append(dict(epoch.losses))
        content = {"rows": self._rows, "system": epoch.snapshot()}
        save_checkpoint(self._folder.checkpoint, self._checked, content)
        if not self._has_begun:
            self._begin()
        write_text(self._folder.log, format_log(self._rows), durable=False)

    def _check_finite(self, epoch: Epoch) -> None:
        kept = " (the checkpoint of the epoch before is kept)" if self._rows else ""
        for name in ("loss", "val_loss"):
            if not math.isfinite(epoch.losses.get(name, 0.0)):
                raise UserError(
                    f"{self._folder.path.name}: training diverged, the {name} of epoch "
                    f"{epoch.number} is {epoch.losses[name]}; set a smaller --learning_rate{kept}"
                )

    def _begin(self) -> None:
        """Let the new checkpoint take the place of an older training's model."""
        self._has_begun = True
        for stale in (self._folder.model, self._folder.figure):
            stale.unlink(missing_ok=True)
        write_json(self._folder.parameters, dict(self._parameters))

    def finish(self, model: StoredModel, title: str) -> None:
        """Store the fitted system, and draw the loss curves where it learns in epochs."""
        folder = self._folder
        save_model(folder.model, model)
        if not self._has_begun:  # no epoch was left, or the system has none
            write_json(folder.parameters, dict(self._parameters))
        if self._rows:  # a kill between checkpoint and log left the log an epoch short
            write_text(folder.log, format_log(self._rows))
            self._draw(title)
        else:
            for stale in (folder.checkpoint, folder.log, folder.figure):
                stale.unlink(missing_ok=True)

    def _draw(self, title: str) -> None:
        from asd.report.figures import loss_curve  # slow to import, and only needed at the end

        columns = {name: [row[name] for row in self._rows] for name in self._rows[0]}
        loss_curve(columns, self._folder.figure, title)


def format_log(rows: list[dict[str, float]]) -> str:
    """The text of log.csv: a header, then a row per epoch, shortest digits that say it all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def epochs_done(log_file: Path) -> int:
    """Number of epochs in a log.csv; 0 if there is none."""
    try:
        return max(log_file.read_text(encoding="utf-8").count("\n") - 1, 0)
    except OSError:
        return 0
