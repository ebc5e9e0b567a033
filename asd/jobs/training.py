"""Train the model of a job: clips, features, fit, and the files that remain."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from asd.audio.clip_set import ClipSet
from asd.config import Config
from asd.detector import Detector, TrainingFacts
from asd.errors import UserError
from asd.jobs.data import challenge_clips, machine_clips, of_sections
from asd.jobs.folder_run import FolderRun, FolderStage
from asd.jobs.jobs import Job, failure_reason
from asd.jobs.scalars import scalar_writer
from asd.jobs.training_tables import write_tables
from asd.locks import exclusive_lock
from asd.schema.parameters import parameters_of, plain
from asd.systems.base import MAIN_STAGE, Fit, System

log = logging.getLogger(__name__)


def train_job(job: Job, threads: int, clips: Mapping[str, ClipSet] | None = None) -> None:
    """Train a job's model and store it in the job's folder.

    With `--restart` the training goes on from the last checkpoint, or starts afresh where there is
    none: an interrupted run of many jobs leaves some that had not begun.

    Parameters
    ----------
    threads
        Processor cores to compute features with, and to train a model of all machine types.
        Training one model of many takes one core: bits depend on the number of threads, so a
        model would depend on how many are trained at once; and small networks' matrices are too
        small for more to pay (on a busy machine they cost tenfold).
    clips
        Training clips by machine type, where they are at hand.

    Raises
    ------
    UserError
        Clips, features or the checkpoint can't be used, the folder can't be written to, or another
        process trains this model.
    """
    torch.set_num_threads(threads if job.covers_challenge else 1)
    with exclusive_lock(job.folder.lock, "training", wait=False):
        _prepare(job, threads, clips or {}).run_alone()


def train_together(
    jobs: Sequence[Job], threads: int, clips: Mapping[str, ClipSet] | None = None
) -> list[tuple[Job, str]]:
    """Train the models of several jobs at the same time, as one stack where the system can.

    Each is stored as soon as it is finished. Parameters as in `train_job`.

    Returns
    -------
    list
        The jobs that failed, and why.
    """
    fits: dict[int, Fit] = {}
    errors: dict[int, Exception | None] = {}
    with ExitStack() as locks:
        for i, job in enumerate(jobs):
            try:
                locks.enter_context(exclusive_lock(job.folder.lock, "training", wait=False))
                fits[i] = _prepare(job, threads, clips or {})
            except Exception as error:  # foreseen or not, the others can go on
                errors[i] = error
        fit_many = jobs[0].config.entry.system_class().fit_many
        errors |= dict(zip(fits, fit_many(list(fits.values())), strict=True))
    return [(job, failure_reason(job, e)) for i, job in enumerate(jobs) if (e := errors[i])]


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


def _prepare(job: Job, threads: int, clips: Mapping[str, ClipSet]) -> Fit:
    """A job made ready: a training that only has to be run, and stores what it has learned."""
    config = job.config
    train = training_clips(job, threads, clips)
    detector = Detector.create(config.entry, config.system, device(config))
    run = _folder_run(job, train, detector.system)
    run.prepare_folder()
    facts = TrainingFacts(
        dataset=config.dataset,
        split=config.split,
        year=config.challenge.year,
        sections=job.sections,
        seed=config.seed,
        given=tuple(sorted(config.given)),
    )
    fit = detector.prepare(train, run, facts)

    def store() -> None:
        fit.on_fitted()
        detector.save(job.folder.model)
        run.finish()
        write_tables(job.folder, detector.system, job.model_name)
        _draw(job, run)

    return Fit(fit.system, fit.train, fit.run, store)


def training_clips(job: Job, threads: int, clips: Mapping[str, ClipSet] | None = None) -> ClipSet:
    """The clips that a job learns from, those at hand among them; `clips` by machine type."""
    if job.covers_challenge:
        return challenge_clips(job.config, threads)
    machine = job.machines[0]
    found = (clips or {}).get(machine) or machine_clips(job.config, machine, "train", threads)
    return of_sections(job.config, found, job.sections)


def _folder_run(job: Job, train: ClipSet, system: System) -> FolderRun:
    config = job.config
    return FolderRun(
        job.folder,
        config.seed,
        identity=_identity(job, train, system),
        described={**config.plain_run(), "split": config.split, **plain(config.system)},
        restart=config.restart,
        checkpoint=config.checkpoint_path,
        on_epoch=scalar_writer(config.tensorboard, job.model_name),
    )


def _identity(job: Job, train: ClipSet, system: System) -> dict[str, Any]:
    """What a checkpoint must share with the training that goes on from it."""
    config = job.config
    rates = {train.features(feature).sample_rate_hz for feature in system.inputs().values()}
    return {
        # The class alone: the file of a user's own may have been moved.
        "system": config.entry.system.rpartition(":")[2],
        "dataset": config.dataset,
        # Development and evaluation data share a model of all machine types.
        "split": "" if job.covers_challenge else config.split,
        "seed": config.seed,
        "machines": list(train.machines),
        "sections": list(job.sections),
        "clips": len(train),
        "clip_names": _digest(train),
        "sample_rate_hz": sorted(rates),
        **fixed_parameters(config.system),
    }


def _digest(train: ClipSet) -> str:
    """A digest of what the clips are called, in their order."""
    clips = [*train.clips, *train.label_only_clips, *train.supplemental]
    names = "\n".join(f"{clip.machine}/{clip.file_name} {clip.attributes}" for clip in clips)
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def fixed_parameters(parameters: Any) -> dict[str, Any]:
    """The plain parameters without those that may differ when a training is resumed."""
    found: dict[str, Any] = plain(parameters)
    for each in parameters_of(type(parameters)):
        if not each.is_fixed or each.is_resumable:
            *above, name = each.path
            inner = found
            for step in above:
                inner = inner[step]
            del inner[name]
    return found


def epochs_of(config: Config) -> int:
    """Epochs that a training has; 0 where the system learns in none."""
    epochs = getattr(config.system, "epochs", 0)
    return int(epochs) if isinstance(epochs, int) else 0


def _draw(job: Job, run: FolderRun) -> None:
    """Draw the loss curves, where the system learns in epochs."""
    stage = run.stages.get(MAIN_STAGE)
    columns = stage.columns() if isinstance(stage, FolderStage) else {}
    if columns:
        from asd.report.losses import loss_curve  # slow to import, and only needed at the end
        from asd.report.page import save_figure

        save_figure(loss_curve(columns, job.model_name), job.folder.figure)
