"""What there is to do: one job per model."""

import logging
from dataclasses import dataclass
from pathlib import Path

from asd.config import Config
from asd.errors import UserError
from asd.systems.base import MAIN_STAGE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One model: what it covers and what it is called.

    Parameters
    ----------
    config
        Parameters of the run.
    machines
        Machine types that the model learns from and scores.
    sections
        Sections that it learns from, none for all; it scores all sections.
    tag
        What tells models of one machine type apart in file names, "id(0_)".
    """

    config: Config
    machines: tuple[str, ...]
    sections: tuple[str, ...]
    tag: str

    @property
    def label(self) -> str:
        """A name for messages."""
        return f"{self.machines[0]} {self.tag}" if self.sections else self.model_name

    @property
    def variant(self) -> str:
        """What the tag says besides the sections: "v2" of "id(0_)_v2"; "" for most."""
        ids = f"id({''.join(f'{int(section)}_' for section in self.sections)})"
        return self.tag.replace(ids, "").strip("_")

    @property
    def covers_challenge(self) -> bool:
        """Whether the model learns from all machine types together."""
        return not self.sections

    @property
    def model_name(self) -> str:
        """Name of the model as the official baseline writes it."""
        c = self.config
        model = c.entry.label
        if self.covers_challenge:  # development and evaluation machines share the model
            words = [model, c.dataset, self.tag]
        else:
            split = "Eval" if c.split == "eval" else ""
            words = [model, f"{c.dataset}{self.machines[0]}", self.tag, split]
        return "_".join([*filter(None, words), f"seed{c.seed}"])

    @property
    def folder(self) -> "ModelFolder":
        """Where the model and its training log lie."""
        c = self.config
        return ModelFolder(c.result_directory / "models" / c.export_dir / self.model_name)


@dataclass(frozen=True)
class ModelFolder:
    """A model's folder."""

    path: Path

    @property
    def model(self) -> Path:
        """The finished model."""
        return self.path / "model.pt"

    @property
    def checkpoint(self) -> Path:
        """The state of the main stage after its last whole epoch."""
        return self.checkpoint_of(MAIN_STAGE)

    @property
    def log(self) -> Path:
        """Losses of the main stage per epoch."""
        return self.log_of(MAIN_STAGE)

    @property
    def lock(self) -> Path:
        """Held by the process that trains the model."""
        return self.path / ".training.lock"

    def checkpoint_of(self, stage: str) -> Path:
        """The state of a stage after its last whole epoch."""
        return self.path / f"checkpoint{_suffix(stage)}.pt"

    def log_of(self, stage: str) -> Path:
        """Losses of a stage per epoch."""
        return self.path / f"log{_suffix(stage)}.csv"

    def stage_files(self) -> set[Path]:
        """Logs and checkpoints of all stages, of this training or of an older one."""
        return {*self.path.glob("checkpoint*.pt"), *self.logs()}

    def logs(self) -> set[Path]:
        """Logs of all stages."""
        return set(self.path.glob("log*.csv"))

    @property
    def tables(self) -> Path:
        """Tables that the training leaves, and pictures of them."""
        return self.path / "tables"

    def table_files(self) -> set[Path]:
        """Files in `tables`, of this training or of an older one."""
        return {*self.tables.glob("*.csv"), *self.tables.glob("*.png")}

    @property
    def figure(self) -> Path:
        """Loss curves."""
        return self.path / "loss.png"

    @property
    def parameters(self) -> Path:
        """All parameters of the training, to read."""
        return self.path / "parameters.json"


def _suffix(stage: str) -> str:
    return "" if stage == MAIN_STAGE else f"_{stage}"


def plan_jobs(config: Config) -> list[Job]:
    """The models of a run.

    As the system's scope says: one model per machine type and section, as the public scripts train
    them, one per machine type, or one for all; with `--use_ids` one per machine type over those
    sections.

    Raises
    ------
    UserError
        A machine type, a section or the system is unknown, a tag would name several models, or
        sections are chosen for a model of all.
    """
    machines = config.machines
    scope = config.entry.system_class().scope
    if scope == "challenge":
        if config.use_ids:
            raise UserError(
                f"--use_ids: {config.entry.label} learns from all sections of all machine "
                "types together; leave it out"
            )
        return [Job(config, machines, (), config.model_name_suffix)]
    jobs = [job for machine in machines for job in _machine_jobs(config, machine, scope)]
    if config.model_name_suffix and len(jobs) > len(machines):
        raise UserError(
            f"--model_name_suffix: {config.model_name_suffix!r} would name the models of several "
            "sections; give --use_ids too"
        )
    return jobs


def _machine_jobs(config: Config, machine: str, scope: str) -> list[Job]:
    known = config.challenge.split(config.split).sections[machine]
    if config.use_ids:
        groups = [tuple(f"{number:02}" for number in config.use_ids)]
    elif scope == "machine":
        groups = [known]
    else:
        groups = [(section,) for section in known]
    for section in (section for group in groups for section in group):
        if section not in known:
            raise UserError(
                f"--use_ids: {machine} has no section {section} in the {config.split} data of "
                f"{config.dataset}; it has {', '.join(known)}"
            )
    return [Job(config, (machine,), group, _tag(config, group)) for group in groups]


def _tag(config: Config, sections: tuple[str, ...]) -> str:
    """The public scripts' tag: id(0_), or id(0_1_2_)."""
    return config.model_name_suffix or f"id({''.join(f'{int(s)}_' for s in sections)})"


def failure_reason(job: Job, error: Exception) -> str:
    """Message for a failed job."""
    log.debug("%s failed", job.label, exc_info=error)
    if isinstance(error, UserError):
        return str(error)
    return f"{job.label}: failed with {type(error).__name__}: {error}"
