"""Many trainings at once: which ones go into one stack, and what each gets out of it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from asd.audio.clip_set import ClipSet
from asd.systems.autoencoder.parameters import AutoencoderParameters
from asd.systems.autoencoder.stacked_batches import share_rows
from asd.systems.autoencoder.stacked_training import StackedTraining
from asd.systems.autoencoder.training import TrainingRun, TrainingSet
from asd.systems.base import MAIN_STAGE, Epoch, Fit, Stage

log = logging.getLogger(__name__)

MEMORY_SHARE = 0.8
"""Part of the GPU's free memory that a stack may take by `bytes_needed`; the rest is for what is
not counted there: the libraries' workspaces, gaps between allocations, scoring at the end."""

_BYTES_PER_WINDOW = 48
"""Per window of an epoch: first frame (8, and 16 more while an epoch's order is put in place),
in `TrainingSet` (8), share and error (4 each), masks and products for the losses (8)."""

_COPIES_OF_PARAMETERS = 8
"""Parameters, gradients, two moments; and the same in each run's own network and optimiser."""

_VALUES_PER_HIDDEN = 4
"""Arrays of every hidden layer's size that a step holds: linear output, ReLU's, two gradients."""


@runtime_checkable
class Stackable(Protocol):
    """What a system needs for its training to be part of a stack."""

    parameters: AutoencoderParameters
    torch_device: torch.device

    def prepare(
        self, train: ClipSet, seed: int, stage: Stage
    ) -> tuple[TrainingRun, TrainingSet]: ...

    def finish(self, run: TrainingRun, data: TrainingSet, train: ClipSet) -> None: ...


@dataclass
class Member:
    """A training that is to be part of a stack; `data` has its rows where features are."""

    fit: Fit
    stage: Stage
    system: Stackable
    run: TrainingRun
    data: TrainingSet
    error: Exception | None = None

    def stack_key(self) -> tuple[object, ...]:
        """Members with equal keys can be trained together."""
        p = self.system.parameters
        parameters = (p.batch_size, p.epochs, p.validation_split, self.system.torch_device)
        rate = self.run.optimiser.learning_rate
        return *parameters, rate, self.data.width, self.data.rows.shape[1], self.run.epoch


def fit_stacked(fits: Sequence[Fit]) -> list[Exception | None]:
    """Fit autoencoders together; see `System.fit_many`.

    Those with other parameters, or resumed at another epoch, are trained in stacks of their own,
    one stack after the other; so are those that would not fit into the GPU's memory together.
    """
    errors: list[Exception | None] = [None] * len(fits)
    members: dict[int, Member] = {}
    for i, fit in enumerate(fits):
        try:
            members[i] = _member(fit)
        except Exception as error:  # foreseen or not, the others can go on
            errors[i] = error
    for stack in _stacks(list(members.values())):
        _train_or_split(stack)
    for i, member in members.items():
        errors[i] = member.error
    return errors


def _member(fit: Fit) -> Member:
    if not isinstance(fit.system, Stackable):
        raise TypeError(f"{type(fit.system).__name__} cannot be stacked with autoencoders")
    stage = fit.run.stage(MAIN_STAGE, fit.system.parameters.epochs)
    prepared = fit.system.prepare(fit.train, fit.run.seed, stage)
    return Member(fit, stage, fit.system, *prepared)


def bytes_needed(members: Sequence[Member]) -> int:
    """Estimate of the device memory that a stack takes, in bytes.

    Frames of float32, each array once; 48 bytes for each window of an epoch, every model counted
    as the largest; 8 copies of the parameters; the arrays of one step.
    """
    rows = {m.data.rows.data_ptr(): m.data.rows.numel() for m in members}
    windows = max(len(m.data.train) + len(m.data.valid) for m in members)
    parameters = sum(p.numel() for p in members[0].run.network.parameters())
    hidden = sum(b.numel() for n, b in members[0].run.network.named_buffers() if "mean" in n)
    values = members[0].data.width * members[0].data.rows.shape[1]
    step = members[0].system.parameters.batch_size * (3 * values + _VALUES_PER_HIDDEN * hidden)
    per_model = windows * _BYTES_PER_WINDOW + 4 * (_COPIES_OF_PARAMETERS * parameters + step)
    return 4 * sum(rows.values()) + len(members) * per_model


def _stacks(members: Sequence[Member]) -> list[list[Member]]:
    """Members that are trained together, in as few stacks as memory allows."""
    stacks: dict[tuple[object, ...], list[list[Member]]] = {}
    for member in members:
        budget = _budget(member.system.torch_device)
        found = stacks.setdefault(member.stack_key(), [[]])
        if found[-1] and budget is not None and bytes_needed([*found[-1], member]) > budget:
            found.append([])
        found[-1].append(member)
    return [stack for found in stacks.values() for stack in found]


def _budget(device: torch.device) -> float | None:
    """Bytes that a stack may take on a device; None where nothing is known."""
    if device.type != "cuda":
        return None
    return MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]


def _train_or_split(stack: Sequence[Member]) -> None:
    """Train a stack to the end, in halves if memory turns out too small in the first epoch.

    An error that is no member's own becomes the error of all.
    """
    begun = stack[0].run.epoch
    try:
        _train(stack)
        return
    except Exception as error:  # foreseen or not, other stacks can go on
        too_large = isinstance(error, torch.cuda.OutOfMemoryError) and len(stack) > 1
        if not too_large or stack[0].run.epoch != begun:
            for member in stack:
                member.error = member.error or error
            return
    # Out here, because an error that is being handled holds on to all that its frames hold.
    log.warning("%d models do not fit into memory together; training them by halves", len(stack))
    for part in (stack[: len(stack) // 2], stack[len(stack) // 2 :]):
        for member in part:
            _begin_again(member)
        if good := [member for member in part if member.error is None]:
            _train_or_split(good)


def _begin_again(member: Member) -> None:
    try:
        seed = member.fit.run.seed
        member.run, member.data = member.system.prepare(member.fit.train, seed, member.stage)
    except Exception as error:  # foreseen or not, the others can go on
        member.error = error


def _train(stack: Sequence[Member]) -> None:
    """Train a stack to the end.

    A member whose `report` fails is trained on with the others, but hears no more; when all
    have failed, training stops.
    """
    system = stack[0].system
    total, device = system.parameters.epochs, system.torch_device
    data = share_rows([member.data for member in stack], device)
    if stack[0].run.epoch < total:
        training = StackedTraining([member.run for member in stack], data)
        for _ in range(stack[0].run.epoch, total):
            for i, losses in enumerate(training.run_epoch()):
                _report(stack[i], training, i, losses)
            if all(member.error for member in stack):
                return
        for i in range(len(stack)):
            training.write_back(i)
        del training  # its memory is needed for what follows
    for member, own in zip(stack, data, strict=True):
        if member.error is None:
            _finish(member, own)


def _finish(member: Member, data: TrainingSet) -> None:
    try:
        member.system.finish(member.run, data, member.fit.train)
        member.fit.on_fitted()
    except Exception as error:  # foreseen or not, the others can go on
        member.error = error


def _report(
    member: Member, training: StackedTraining, index: int, losses: dict[str, float]
) -> None:
    def snapshot() -> dict[str, object]:
        training.write_back(index)
        return member.run.snapshot()

    if member.error is None:
        try:
            total = member.system.parameters.epochs
            member.stage.report(Epoch(member.run.epoch, total, losses, snapshot))
        except Exception as error:  # foreseen or not, the others can go on
            member.error = error
