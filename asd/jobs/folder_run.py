"""A training whose logs and checkpoints lie in a model's folder."""

import csv
import io
import logging
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from asd.archives import load_archive, save_archive
from asd.differences import differences
from asd.errors import UserError
from asd.files import remove_leftovers, write_json, write_text
from asd.jobs.jobs import ModelFolder
from asd.systems.base import Epoch, Stage, State

log = logging.getLogger(__name__)

_CHECKPOINT_FORMAT = 3

OnEpoch = Callable[[Epoch], None]


@dataclass
class FolderRun:
    """Lends a system a seed, and stages that write a log and a checkpoint after each epoch.

    An older model in the folder stays until the first epoch of the first stage is stored: a
    training that fails before that has cost nothing, and one that is interrupted later leaves a
    checkpoint, not a stale model.

    Parameters
    ----------
    folder
        The model's folder.
    seed
        What all random numbers come from.
    identity
        What a checkpoint must share with the training that goes on from it, as plain values.
    described
        All parameters, to read: the content of parameters.json.
    restart
        Whether to go on from the checkpoints that are there.
    checkpoint
        The checkpoint to go on from, in place of those in the folder.
    on_epoch
        Called after each epoch is stored.
    """

    folder: ModelFolder
    seed: int
    identity: Mapping[str, Any]
    described: Mapping[str, Any]
    restart: bool = False
    checkpoint: Path | None = None
    on_epoch: OnEpoch | None = None
    stages: dict[str, "FolderStage"] = field(default_factory=dict)
    _has_begun: bool = False

    def prepare_folder(self) -> None:
        """Find out, before hours of training, whether the folder can be written to.

        What an earlier training left stays, but for what killed runs left half written.

        Raises
        ------
        UserError
            It cannot.
        """
        path = self.folder.path
        try:
            path.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=path).close()
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written ({error.strerror}); check the folder's permissions, "
                "or choose another --result_directory"
            ) from None
        remove_leftovers(path)

    def stage(self, name: str, epochs: int, keep: Collection[int] = ()) -> Stage:
        """Begin or resume a stage; see `asd.systems.base.Run`.

        Raises
        ------
        UserError
            Its checkpoint is damaged, of another training, or has more epochs done.
        """
        stage = FolderStage(self, name, frozenset(keep))
        if self.restart and not self._has_begun:  # else it would build on what is no more
            stage.load(self.checkpoint, epochs)
        elif not self.stages:
            self._tell_interrupted(name)
        self.stages[name] = stage
        return stage

    def _tell_interrupted(self, stage: str) -> None:
        """Say what becomes of a training that could be resumed."""
        path = self.folder.checkpoint_of(stage)
        if path.is_file() and not self.folder.model.is_file():
            log.warning(
                "%s: is of an interrupted training, which is begun afresh; it is overwritten after "
                "the first epoch (to go on with it, stop now and add --restart)", path,
            )  # fmt: skip

    def begin(self) -> None:
        """Let the first checkpoint take the place of an older training's model and later stages."""
        if self._has_begun:
            return
        self._has_begun = True
        for stale in (self.folder.model, self.folder.figure, *self._stale_stage_files()):
            stale.unlink(missing_ok=True)
        write_json(self.folder.parameters, dict(self.described))

    def finish(self) -> None:
        """Complete the logs; remove what an older training left and this one has not."""
        if not self._has_begun:  # no epoch was left, or the system has none
            write_json(self.folder.parameters, dict(self.described))
        for stage in self.stages.values():
            stage.write_log()  # a kill between checkpoint and log left it an epoch short
        for stale in self._stale_stage_files():
            stale.unlink(missing_ok=True)

    def _stale_stage_files(self) -> set[Path]:
        """Files of stages that this training does not have, or not yet."""
        own = {path for stage in self.stages.values() for path in stage.files()}
        return self.folder.stage_files() - own


@dataclass
class FolderStage:
    """A stage of a `FolderRun`."""

    run: FolderRun
    name: str
    keep: frozenset[int]
    resume: State | None = None
    _rows: list[dict[str, float]] = field(default_factory=list)

    def load(self, checkpoint: Path | None, epochs: int) -> None:
        """Go on from a checkpoint, or from the start where there is none."""
        path = self.run.folder.checkpoint_of(self.name)
        if checkpoint is not None:
            path = checkpoint.with_name(path.name) if self.run.stages else checkpoint
        if not path.is_file():
            if checkpoint is not None and not self.run.stages:
                raise UserError(f"{path}: no checkpoint to go on from; train without --restart")
            log.warning("%s: no checkpoint to go on from; training starts afresh", path)
            return
        content = load_checkpoint(path, self.name, self.run.identity)
        self._rows = list(content["rows"])
        if len(self._rows) > epochs:
            raise UserError(
                f"{path}: has {len(self._rows)} epochs done, --epochs asks for {epochs}; "
                "set more --epochs or train without --restart"
            )
        if len(self._rows) == epochs and self.run.folder.model.is_file():
            log.info("%s: all %d epochs are done, the model is finished", path.parent, epochs)
        for number in self._kept_so_far():
            source = _kept_path(path, number)
            kept = load_checkpoint(source, self.name, self.run.identity)
            if source != self._kept_path(number):
                save_archive(self._kept_path(number), kept)
        self.resume = content["snapshot"]

    def report(self, epoch: Epoch) -> None:
        """Store an epoch; see `asd.systems.base.Stage`.

        Raises
        ------
        UserError
            A loss is not finite: the checkpoint of the epoch before stays.
        """
        self._check_finite(epoch)
        self._rows.append(dict(epoch.losses))
        content = {
            "format": _CHECKPOINT_FORMAT,
            "stage": self.name,
            "identity": dict(self.run.identity),
            "rows": self._rows,
            "snapshot": epoch.snapshot(),
        }
        if epoch.number in self.keep:
            save_archive(self._kept_path(epoch.number), content)
        save_archive(self.run.folder.checkpoint_of(self.name), content)
        self.run.begin()
        self.write_log()
        if self.run.on_epoch is not None:
            self.run.on_epoch(epoch)

    def kept(self) -> Mapping[int, State]:
        """Epoch number -> snapshot; see `asd.systems.base.Stage`."""
        found = {}
        for number in self._kept_so_far():
            kept = load_checkpoint(self._kept_path(number), self.name, self.run.identity)
            found[number] = kept["snapshot"]
        return found

    def write_log(self) -> None:
        """Write the rows so far, if the stage has any columns."""
        if self._rows and self._rows[0]:
            log_file = self.run.folder.log_of(self.name)
            write_text(log_file, format_log(self._rows), durable=False)  # the checkpoint has it too

    def columns(self) -> dict[str, list[float]]:
        """The log's columns; none where the stage has no losses."""
        names = self._rows[0] if self._rows else {}
        return {name: [row[name] for row in self._rows] for name in names}

    def files(self) -> set[Path]:
        """The files of the stage."""
        folder = self.run.folder
        kept = {self._kept_path(number) for number in self.keep}
        return {folder.checkpoint_of(self.name), folder.log_of(self.name)} | kept

    def _kept_so_far(self) -> list[int]:
        return [number for number in sorted(self.keep) if number <= len(self._rows)]

    def _kept_path(self, number: int) -> Path:
        return _kept_path(self.run.folder.checkpoint_of(self.name), number)

    def _check_finite(self, epoch: Epoch) -> None:
        kept = " (the checkpoint of the epoch before is kept)" if self._rows else ""
        for name in ("loss", "val_loss"):
            if not math.isfinite(epoch.losses.get(name, 0.0)):
                raise UserError(
                    f"{self.run.folder.path.name}: training diverged, the {name} of epoch "
                    f"{epoch.number} is {epoch.losses[name]}; set a smaller --learning_rate{kept}"
                )


def _kept_path(checkpoint: Path, number: int) -> Path:
    """Where the snapshot of an epoch that is kept lies, beside the stage's checkpoint."""
    return checkpoint.with_name(f"{checkpoint.stem}_epoch{number}{checkpoint.suffix}")


def load_checkpoint(path: Path, stage: str, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Read a checkpoint of a training with the same identity.

    Raises
    ------
    UserError
        It is missing, damaged or of another version, or the training was another; tells in what.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; train without --restart")
    content = load_archive(path, "train without --restart")
    try:
        _check_checkpoint(path, content, stage, identity)
    except UserError:
        raise
    except Exception as error:  # well-formed, but not what this program writes
        raise UserError(
            f"{path}: holds something else than a checkpoint of this program "
            f"({type(error).__name__}: {error}); train without --restart"
        ) from None
    return content


def _check_checkpoint(
    path: Path, content: Mapping[str, Any], stage: str, identity: Mapping[str, Any]
) -> None:
    version = content.get("format")
    if "identity" not in content or not isinstance(content["identity"], dict):
        is_older = "snapshot" in content
        reason = "of another version of this program" if is_older else "no checkpoint"
        what = "train without --restart" if is_older else "give a checkpoint.pt"
        raise UserError(f"{path}: is {reason}; {what}")
    if version != _CHECKPOINT_FORMAT or not {"rows", "snapshot", "stage"} <= content.keys():
        raise UserError(f"{path}: is of another version of this program; train without --restart")
    if content["stage"] != stage:
        raise UserError(
            f"{path}: is a checkpoint of the stage {content['stage']}, not of {stage}; "
            "train without --restart"
        )
    if differ := differences(content["identity"], identity):
        raise UserError(f"{path}: was trained with {', '.join(differ)}; train without --restart")
    for row in content["rows"]:
        if not all(type(value) in (int, float) for value in row.values()):
            raise TypeError("an epoch's losses are no numbers")
    if not isinstance(content["rows"], list) or not isinstance(content["snapshot"], dict):
        raise TypeError("no list of epochs, or no snapshot")


def format_log(rows: list[dict[str, float]]) -> str:
    """The text of a log: a header, then a row per epoch, shortest digits that say it all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def epochs_done(log_file: Path) -> int:
    """Number of epochs in a log; 0 if there is none."""
    try:
        return max(log_file.read_text(encoding="utf-8").count("\n") - 1, 0)
    except OSError:
        return 0
