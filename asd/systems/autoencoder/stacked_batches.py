"""The windows that stacked training takes, step by step, and their order in every epoch."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from asd.systems.autoencoder.training import Draws, TrainingRun, TrainingSet


def share_rows(sets: Sequence[TrainingSet], device: torch.device) -> list[TrainingSet]:
    """The same training sets, with all their frames in one array on a device.

    Frames that are the same array in several sets are there once.
    """
    distinct = {data.rows.data_ptr(): data.rows for data in sets}
    parts = list(distinct.values())
    joined = parts[0] if len(parts) == 1 else _concatenate(parts, device)
    lengths = torch.tensor([len(part) for part in parts])
    offsets = dict(zip(distinct, (lengths.cumsum(0) - lengths).tolist(), strict=True))
    joined = joined.to(device)
    return [
        replace(
            data,
            rows=joined,
            train=(data.train + offsets[data.rows.data_ptr()]).to(device),
            valid=(data.valid + offsets[data.rows.data_ptr()]).to(device),
            train_is_target=data.train_is_target.to(device),
        )
        for data in sets
    ]


def _concatenate(parts: Sequence[Tensor], device: torch.device) -> Tensor:
    """One after the other, on the device, which never holds more than the result."""
    first = parts[0]
    joined = torch.empty(sum(map(len, parts)), first.shape[1], dtype=first.dtype, device=device)
    for part, place in zip(parts, torch.split(joined, [len(part) for part in parts]), strict=True):
        place.copy_(part)
    return joined


class Steps:
    """One pass over the batches of all models: step s takes batch s of every model that has it.

    All arrays have shape (steps, models, batch) and live on the device; `counter`, the step that
    is next, too.

    Parameters
    ----------
    windows
        Windows of each model that the pass takes, in descending order.
    batch_size
        Windows in a batch; a model's last one may have fewer.
    rows
        The frames, for their type and device.
    """

    def __init__(self, windows: Sequence[int], batch_size: int, rows: Tensor) -> None:
        self.counts = [math.ceil(count / batch_size) for count in windows]
        steps, models = self.counts[0], len(windows)
        self.active = [sum(count > step for count in self.counts) for step in range(steps)]
        shape = steps, models, batch_size
        self.counter = torch.zeros(1, dtype=torch.int64, device=rows.device)
        self.starts = torch.zeros(shape, dtype=torch.int64, device=rows.device)
        self.errors = rows.new_zeros(shape)
        first = torch.arange(steps)[:, None] * batch_size
        sizes = (torch.tensor(windows) - first).clamp(0, batch_size)  # (steps, models)
        real = torch.arange(batch_size) < sizes[:, :, None]
        self.share = real.to(rows) / sizes.clamp(min=1)[:, :, None].to(rows)
        self.correction = (sizes / (sizes - 1).clamp(min=1)).to(rows)

    def now(self, values: Tensor, k: int) -> Tensor:
        """The first k models' part of this step."""
        return values[:, :k].index_select(0, self.counter)[0]

    def finish(self, errors: Tensor, k: int) -> None:
        """Store the windows' errors, shape (k, batch), and go on to the next step."""
        self.errors[:, :k].index_copy_(0, self.counter, errors[None])
        self.counter += 1


class EpochOrder:
    """The windows of each epoch's training batches, in every model's own random order.

    Drawing takes longer than anything else the host does (70 ns for each window), so an epoch's
    order is drawn ahead, from copies of the generators: a snapshot has the states before.
    """

    def __init__(
        self, runs: Sequence[TrainingRun], data: Sequence[TrainingSet], steps: Steps
    ) -> None:
        self._runs, self._steps = runs, steps
        self._sizes = [len(one.train) for one in data]
        self._starts = torch.cat([one.train for one in data])
        self._is_target = torch.cat([one.train_is_target for one in data])
        on_gpu = self._starts.is_cuda
        self._positions = torch.zeros(steps.starts.shape, dtype=torch.int64, pin_memory=on_gpu)
        self.draw_next()

    def draw_next(self) -> None:
        """Draw the next epoch's order."""
        self._ahead = [_copy(run.draws) for run in self._runs]
        orders, offset = [], 0
        for draws, size in zip(self._ahead, self._sizes, strict=True):
            orders.append(draws.training_order(size) + offset)
            offset += size
        self._positions.copy_(in_steps(orders, self._steps))

    def begin(self) -> Tensor:
        """Put the order that was drawn in place; whether each window is a target's."""
        for run, draws in zip(self._runs, self._ahead, strict=True):
            run.draws = draws
        positions = self._positions.to(self._starts.device)
        self._steps.starts.copy_(self._starts[positions])
        return self._is_target[positions]


def in_steps(values: Sequence[Tensor], steps: Steps) -> Tensor:
    """Each model's values in batches, shape of `steps.starts`; padded with its first value."""
    laid_out = values[0].new_zeros(steps.starts.shape)
    count, models, batch_size = laid_out.shape
    for i in range(models):
        padded = values[i][:1].repeat(count * batch_size)
        used = values[i][: padded.numel()]
        padded[: len(used)] = used
        laid_out[:, i] = padded.view(count, batch_size)
    return laid_out


def _copy(draws: Draws) -> Draws:
    generator = Generator()
    generator.set_state(draws.generator.get_state())
    return replace(draws, generator=generator)
