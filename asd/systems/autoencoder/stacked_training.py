"""Training of several autoencoders as one, step by step together.

Each model sees the same batches in the same order as when it is trained alone (training.py), and
keeps its own batch statistics, Adam step count and random draws; so results are those of training
one by one, but for the order in which float32 sums are taken. Models are kept in order of their
numbers of windows, largest first. At any step those that still have a batch are then the first k,
and a step works on those alone: a model whose epoch is over stays as it is.

On a GPU the windows of an epoch are copied there in one go, every step reads what it needs by a
counter that lives on the device, and losses stay there until the epoch is over. A step thus needs
nothing from the host, and is replayed as a CUDA graph: one launch instead of about 210.
"""

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from asd.audio.windows import gather_windows
from asd.systems.autoencoder.stacked_batches import EpochOrder, Steps, in_steps
from asd.systems.autoencoder.stacked_network import StackedAdam, StackedNetwork
from asd.systems.autoencoder.training import LOSSES, TrainingRun, TrainingSet

log = logging.getLogger(__name__)

MATMUL_PRECISION = "highest"
"""Precision of float32 matrix products. "high" lets a GPU round their inputs to TF32 (10 bits of
mantissa), which is faster and no longer equal to training one by one to float32 rounding."""


class StackedTraining:
    """Trains runs together, epoch by epoch.

    Parameters
    ----------
    runs
        Networks of the same shape, optimisers with the same settings. `run_epoch` moves their
        `epoch`, `mse_pool` and `draws`; networks and optimisers are copied, and follow when
        `write_back` is called.
    data
        What each run learns from, sharing one array of rows on the runs' device (`share_rows`).
    use_graphs
        Whether steps are replayed as CUDA graphs; None does so on a CUDA device.
    """

    def __init__(
        self,
        runs: Sequence[TrainingRun],
        data: Sequence[TrainingSet],
        *,
        use_graphs: bool | None = None,
    ) -> None:
        if any(one.rows is not data[0].rows for one in data):
            raise ValueError("training sets must share their rows; see share_rows")
        self._rows, self._width = data[0].rows, data[0].width
        order = sorted(range(len(runs)), key=lambda i: -_windows(data[i]))
        self._place = {model: place for place, model in enumerate(order)}
        self._runs = [runs[i] for i in order]
        sizes = [len(data[i].train) for i in order]
        size = runs[0].batch_size
        self._train = Steps([_whole_batches(windows, size) for windows in sizes], size, self._rows)
        self._valid = Steps([len(data[i].valid) for i in order], size, self._rows)
        self._divisors = [math.ceil(windows / size) for windows in sizes]
        self._order = EpochOrder(self._runs, [data[i] for i in order], self._train)
        self._valid.starts.copy_(in_steps([data[i].valid for i in order], self._valid))
        self._network = StackedNetwork([run.network for run in self._runs])
        self._adam = StackedAdam(self._network, self._runs)
        graphs = self._rows.device.type == "cuda" if use_graphs is None else use_graphs
        self._replays = _Replays(self._rows.device) if graphs else None

    @property
    def uses_graphs(self) -> bool:
        """Whether steps are replayed as CUDA graphs: not if capturing one has failed."""
        return self._replays is not None and not self._replays.failed

    @torch.no_grad()
    def run_epoch(self) -> list[dict[str, float]]:
        """Train all for one epoch, then validate; each model's row of log.csv."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(MATMUL_PRECISION)
        try:
            is_target = self._order.begin()
            self._pass("train", self._train, self._train_step)
            for run in self._runs:
                run.draws.skip_validation()
            self._pass("valid", self._valid, self._validation_step)
            self._order.draw_next()  # while the device works
            trained = _batch_losses(self._train, is_target).cpu()
            validated = (self._valid.errors * self._valid.share).sum(dim=2).cpu()
        finally:
            torch.set_float32_matmul_precision(before)
        places = range(len(self._runs))
        rows = [self._end_epoch(i, trained[:, i], validated[:, i]) for i in places]
        return [rows[self._place[model]] for model in places]

    def write_back(self, model: int) -> None:
        """Copy what a model has become into its run's network and optimiser."""
        place = self._place[model]
        run = self._runs[place]
        self._network.write_back(place, run.network, self._adam.steps[place])
        self._adam.write_back(place, run)

    def _pass(self, name: str, steps: Steps, step: Callable[[int], None]) -> None:
        steps.counter.zero_()
        for active in steps.active:
            if self._replays is None:
                step(active)
            else:
                self._replays.run((name, active), partial(step, active))

    def _train_step(self, k: int) -> None:
        steps = self._train
        share = steps.now(steps.share, k)[:, :, None]
        correction = steps.now(steps.correction, k)[:, None]
        errors = self._network.train_step(self._windows_now(steps, k), share, correction)
        self._adam.step(k)
        steps.finish(errors, k)

    def _validation_step(self, k: int) -> None:
        steps = self._valid
        steps.finish(self._network.validation_errors(self._windows_now(steps, k)), k)

    def _windows_now(self, steps: Steps, k: int) -> Tensor:
        """Windows of this step, shape (k, batch, values)."""
        starts = steps.now(steps.starts, k)
        return gather_windows(self._rows, starts.reshape(-1), self._width).view(*starts.shape, -1)

    def _end_epoch(self, place: int, trained: Tensor, validated: Tensor) -> dict[str, float]:
        run = self._runs[place]
        trained = trained[: self._train.counts[place]]
        validated = validated[: self._valid.counts[place]]
        run.epoch += 1
        run.mse_pool = torch.cat([trained[:, 0], validated])
        loss, source, target = (trained.double().sum(dim=0) / self._divisors[place]).tolist()
        val_loss = validated.double().mean().item()
        return dict(zip(LOSSES, (loss, val_loss, loss, source, target), strict=True))


class _Replays:
    """Runs a step as it is the first time, and as a captured CUDA graph from then on.

    The first time is a real step, so that libraries are set up when the second one is captured.
    Graphs share a memory pool; they never run at the same time, and nothing they leave is in it.
    Where a step cannot be captured, `failed` becomes true and all steps are run as they are.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._graphs: dict[tuple[str, int], torch.cuda.CUDAGraph | None] = {}
        self.failed = False

    def run(self, key: tuple[str, int], step: Callable[[], None]) -> None:
        """Do a step; `key` names all that is fixed in it."""
        if self.failed or key not in self._graphs:
            self._graphs[key] = None
            step()
            return
        graph = self._graphs[key] or self._capture(key, step)
        if graph is None:
            step()
        else:
            graph.replay()

    def _capture(
        self, key: tuple[str, int], step: Callable[[], None]
    ) -> torch.cuda.CUDAGraph | None:
        others = [other for other in self._graphs.values() if other is not None]
        pool = others[0].pool() if others else None
        try:
            graph = torch.cuda.CUDAGraph()
            with (
                torch.cuda.device(self._device),
                torch.cuda.stream(torch.cuda.current_stream()),  # comes back if a capture fails
                torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"),
            ):
                step()
        except RuntimeError as error:
            self.failed = True
            # A step's own error ends the capture, which then has an error, too.
            reason = str(error.__context__ or error).splitlines()[0]
            log.warning("CUDA graphs cannot be used, training is slower: %s", reason)
            return None
        self._graphs[key] = graph
        return graph


def _windows(data: TrainingSet) -> int:
    return len(data.train) + len(data.valid)


def _whole_batches(windows: int, batch_size: int) -> int:
    """Windows of an epoch that are trained on: a last batch of one is skipped."""
    return windows - 1 if windows % batch_size == 1 else windows


def _batch_losses(steps: Steps, is_target: Tensor) -> Tensor:
    """Mean errors of each batch over all, source and target windows, shape (steps, models, 3).

    A batch without source windows gives NaN, one without target windows 0.
    """
    real = steps.share > 0
    targets, sources = real & is_target, real & ~is_target
    source = (steps.errors * sources).sum(dim=2) / sources.sum(dim=2)
    target = (steps.errors * targets).sum(dim=2) / targets.sum(dim=2).clamp(min=1)
    return torch.stack([(steps.errors * steps.share).sum(dim=2), source, target], dim=2)
