"""Training of the official autoencoder, with the public baseline's random draws and losses.

Facts of the public baseline (v5.1.1) that its numbers rest on, and that are kept here:

- the validation set is drawn from windows, not from clips;
- a training batch of one window is skipped, but counts in the divisor of the epoch's losses;
- a row of log.csv is the plain mean over batches of per-batch means; a batch without source
  windows makes `recon_loss_source` NaN, one without target windows counts 0 for the target;
- the pool that the MSE threshold is fitted to is the last epoch's training losses (before each
  step) and validation losses (after it).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from asd.audio.windows import gather_windows
from asd.systems.autoencoder.adam import FlatAdam
from asd.systems.autoencoder.mahalanobis import CovarianceSum
from asd.systems.autoencoder.network import AutoencoderNetwork, initialise

LOSSES = ("loss", "val_loss", "recon_loss", "recon_loss_source", "recon_loss_target")


@dataclass(frozen=True)
class TrainingSet:
    """Windows to learn from: log-mel frames, and per window its first frame and its domain.

    Parameters
    ----------
    rows
        Shape (frames, mels).
    train, valid
        First frame of each training and validation window, shape (n,), int64.
    train_is_target
        Shape (training windows,), bool.
    width
        Frames of a window.
    """

    rows: Tensor
    train: Tensor
    valid: Tensor
    train_is_target: Tensor
    width: int


@dataclass
class Draws:
    """Order of batches, drawn as PyTorch's data loader draws it in the public baseline.

    Each pass over the training batches takes two 64-bit numbers, the second of which seeds the
    permutation; each pass over the validation batches takes one.
    """

    generator: Generator
    shuffle: bool

    def training_order(self, windows: int) -> Tensor:
        """Order of the training windows for the next pass."""
        self._draw()
        if not self.shuffle:
            return torch.arange(windows)
        return torch.randperm(windows, generator=Generator().manual_seed(self._draw()))

    def skip_validation(self) -> None:
        """Take the number that a pass over the validation batches takes."""
        self._draw()

    def _draw(self) -> int:
        number = torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        return int(number.item())


@dataclass
class TrainingRun:
    """All that changes during training, and what it takes to go on from here."""

    network: AutoencoderNetwork
    optimiser: FlatAdam
    draws: Draws
    batch_size: int
    precision: str = "float32"
    epoch: int = 0
    mse_pool: Tensor = field(default_factory=lambda: torch.zeros(0))

    def snapshot(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.draws.generator.get_state(),
            "epoch": self.epoch,
            "mse_pool": self.mse_pool,
        }

    def load_snapshot(self, snapshot: dict[str, Any]) -> None:
        self.network.load_state_dict(snapshot["network"])
        self.optimiser.load_state_dict(snapshot["optimiser"])
        self.draws.generator.set_state(snapshot["generator"].cpu())
        self.epoch = snapshot["epoch"]
        self.mse_pool = snapshot["mse_pool"]


def split_windows(windows: int, validation_split: float, seed: int) -> tuple[Any, Any]:
    """Training and validation windows, as the public baseline draws them.

    Returns
    -------
    tuple of NDArray
        Indices of the training and the validation windows; of n windows ceil(split * n) are for
        validation, the first ones of a permutation by NumPy's legacy generator.
    """
    order = np.random.RandomState(seed).permutation(windows)
    validation = math.ceil(validation_split * windows)
    return order[validation:], order[:validation]


def start_run(
    input_dim: int,
    block_size: int,
    *,
    seed: int,
    learning_rate: float,
    batch_size: int,
    shuffle: bool,
    device: torch.device,
    precision: str = "float32",
    dtype: torch.dtype = torch.float32,
) -> TrainingRun:
    """A network with fresh weights, and its optimiser."""
    generator = Generator().manual_seed(seed)
    network = AutoencoderNetwork(input_dim, block_size)
    initialise(network, generator)
    network.to(device, dtype)
    optimiser = FlatAdam(network, learning_rate)
    return TrainingRun(network, optimiser, Draws(generator, shuffle), batch_size, precision)


def run_epoch(run: TrainingRun, data: TrainingSet) -> dict[str, float]:
    """Train for one epoch, then validate; returns the epoch's row of log.csv.

    Losses stay on the device until the epoch is over.
    """
    order = run.draws.training_order(len(data.train))
    run.network.train()
    losses = [_train_batch(run, data, batch) for batch in _batches(order, run.batch_size, data)]
    trained = torch.stack(losses)  # (batches, 3): all, source, target
    validated = _validate(run, data)
    run.epoch += 1
    run.mse_pool = torch.cat([trained[:, 0], validated]).cpu()
    batches = math.ceil(len(data.train) / run.batch_size)  # a skipped one counts
    loss, source, target = (trained.double().sum(dim=0) / batches).tolist()
    val_loss = validated.double().mean().item()
    return dict(zip(LOSSES, (loss, val_loss, loss, source, target), strict=True))


def _train_batch(run: TrainingRun, data: TrainingSet, batch: Tensor) -> Tensor:
    """One optimiser step; returns the losses over all, source, and target windows, shape (3,)."""
    x = gather_windows(data.rows, data.train[batch], data.width)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=run.precision == "bfloat16"):
        reconstruction = run.network(x)
    per_window = (reconstruction - x).square().mean(dim=1)  # in float32 in either case
    loss = per_window.mean()
    run.optimiser.zero_grad()
    loss.backward()
    run.optimiser.step()
    with torch.no_grad():
        is_target = data.train_is_target[batch]
        targets = is_target.sum()
        target_sum = (per_window * is_target).sum()
        source = (per_window * ~is_target).sum() / (len(batch) - targets)
        return torch.stack([loss, source, target_sum / targets.clamp(min=1)])


@torch.no_grad()
def _validate(run: TrainingRun, data: TrainingSet) -> Tensor:
    """Mean squared error of every validation batch, shape (batches,)."""
    run.draws.skip_validation()
    run.network.eval()
    losses = []
    for starts in torch.split(data.valid, run.batch_size):
        x = gather_windows(data.rows, starts, data.width)
        losses.append((run.network(x) - x).square().mean())
    return torch.stack(losses)


@torch.no_grad()
def collect_covariances(run: TrainingRun, data: TrainingSet) -> None:
    """Set the network's covariances, in one more pass over the training batches.

    Without target windows (or with a single one) the target's is a copy of the source's.
    """
    order = run.draws.training_order(len(data.train))
    run.network.eval()
    mels = data.rows.shape[1]
    source, target = (CovarianceSum(mels, data.rows.device) for _ in range(2))
    for batch in _batches(order, run.batch_size, data):
        x = gather_windows(data.rows, data.train[batch], data.width)
        difference = x - run.network(x)
        is_target = data.train_is_target[batch]
        source.add(difference[~is_target])
        target.add(difference[is_target])
    run.network.cov_source.copy_(source.covariance())
    run.network.cov_target.copy_((target if target.windows > 1 else source).covariance())


def pool_batches(run: TrainingRun, data: TrainingSet) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches that the Mahalanobis thresholds are fitted to: window starts, and the batch's number.

    Every training batch in a new order, then every validation batch.
    """
    order = run.draws.training_order(len(data.train)).to(data.train.device)
    run.draws.skip_validation()
    parts = data.train[order], data.valid
    groups = [batch for part in parts for batch in torch.split(part, run.batch_size)]
    for number, starts in enumerate(groups):
        yield starts, torch.full_like(starts, number)


def pool_size(run: TrainingRun, data: TrainingSet) -> int:
    """Number of batches that `pool_batches` gives."""
    return sum(math.ceil(len(part) / run.batch_size) for part in (data.train, data.valid))


def _batches(order: Tensor, batch_size: int, data: TrainingSet) -> list[Tensor]:
    """Training windows of each batch, less a batch of one, which batch normalisation refuses."""
    order = order.to(data.train.device)
    return [batch for batch in torch.split(order, batch_size) if len(batch) > 1]
