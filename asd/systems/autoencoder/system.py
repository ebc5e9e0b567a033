"""The official autoencoder as a system."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from asd.audio.features import Features
from asd.audio.windows import rows_tensor
from asd.clips import Clip
from asd.errors import UserError
from asd.systems.autoencoder.network import AutoencoderNetwork
from asd.systems.autoencoder.scoring import (
    MAHALA_FRAME,
    MSE,
    SCORES,
    Precisions,
    invert_covariances,
    score_groups,
)
from asd.systems.autoencoder.stacked import fit_stacked
from asd.systems.autoencoder.stacked_batches import share_rows
from asd.systems.autoencoder.training import (
    TrainingRun,
    TrainingSet,
    collect_covariances,
    pool_batches,
    pool_size,
    run_epoch,
    split_windows,
    start_run,
)
from asd.systems.base import Epoch, Fit, Scores, State, System

log = logging.getLogger(__name__)

_WINDOWS_AT_ONCE = 1024
"""Windows scored together: few enough to stay in memory that is reused."""


class Autoencoder(System):
    """Reconstructs windows of log-mel frames; what it cannot reconstruct is anomalous.

    Scores: "MSE" (simple autoencoder mode), "MAHALA" (selective Mahalanobis mode as the public
    baseline computes it) and "MAHALA-FRAME" (its textbook form).

    Parameters
    ----------
    frames, frame_hop_length
        Frames of a window, and frames between windows.
    batch_size, epochs, learning_rate
        Of training with Adam.
    shuffle
        Whether training windows come in a new order each epoch.
    validation_split
        Share of windows that is held out for `val_loss`.
    precision
        "float32", or "bfloat16" for matrix products in training; weights, losses, validation and
        scores stay float32. Models of bfloat16 are trained one by one.
    device
        Where the network lives: "cpu" or "cuda".
    """

    scope: ClassVar[str] = "section"
    score_names = SCORES
    threshold_kinds: ClassVar[tuple[str, ...]] = ("batch", "clip")

    def __init__(
        self,
        *,
        frames: int = 5,
        frame_hop_length: int = 1,
        batch_size: int = 256,
        epochs: int = 100,
        learning_rate: float = 0.001,
        shuffle: bool = True,
        validation_split: float = 0.1,
        precision: str = "float32",
        device: str = "cpu",
    ) -> None:
        self.frames = frames
        self.frame_hop_length = frame_hop_length
        self.batch_size = batch_size
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.shuffle = shuffle
        self.validation_split = validation_split
        self.precision = precision
        self.device = torch.device(device)
        self._network: AutoencoderNetwork | None = None
        self._precisions: Precisions | None = None
        self._samples: dict[str, Scores] = {}

    def fit(
        self,
        clips: Sequence[Clip],
        features: Features,
        *,
        seed: int,
        on_epoch: Callable[[Epoch], None],
        resume: State | None = None,
    ) -> None:
        fit = Fit(self, clips, features, seed, on_epoch, resume)
        run, data = self.prepare(fit)
        data = share_rows([data], self.device)[0]
        while run.epoch < self.epochs:
            losses = run_epoch(run, data)
            on_epoch(Epoch(run.epoch, self.epochs, losses, run.snapshot))
        self.finish(run, data, clips, features)

    @classmethod
    def fit_many(cls, fits: Sequence[Fit]) -> list[Exception | None]:
        if any(getattr(fit.system, "precision", "") == "bfloat16" for fit in fits):
            return super().fit_many(fits)
        return fit_stacked(fits)

    def prepare(self, fit: Fit) -> tuple[TrainingRun, TrainingSet]:
        """What training begins with: a run on the device, and a training set not yet there.

        Raises
        ------
        UserError
            A clip is too short, or there are too few windows.
        """
        data = self._training_set(fit.clips, fit.features, fit.seed)
        mels = data.rows.shape[1]
        run = start_run(
            self.frames * mels,
            mels,
            seed=fit.seed,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            shuffle=self.shuffle,
            precision=self.precision,
            device=self.device,
        )
        if fit.resume is not None:
            run.load_snapshot(fit.resume)
        return run, data

    def finish(
        self, run: TrainingRun, data: TrainingSet, clips: Sequence[Clip], features: Features
    ) -> None:
        """Take over what a run has learned, with its covariances and threshold samples."""
        collect_covariances(run, data)
        self._network = run.network.eval()
        self._precisions = invert_covariances(run.network, clips[0].machine)
        self._samples["batch"] = self._batch_samples(run, data, self._precisions)
        self._samples["clip"] = self.score(clips, features)

    def score(
        self, clips: Sequence[Clip], features: Features, names: Sequence[str] | None = None
    ) -> Scores:
        network = self._fitted()
        precisions = None
        if names is None or set(names) != {MSE}:  # else nobody cares whether they are singular
            precisions = self._inverted(network, clips[0].machine)
        starts, owner = self._windows(clips, features)
        rows = rows_tensor(features.rows).to(self.device)
        batches = self._large_batches(starts.to(self.device), owner.to(self.device))
        with_frames = names is None or MAHALA_FRAME in names
        scores = score_groups(
            network, precisions, rows, batches, len(clips), self.frames, with_frames
        )
        return {name: values.cpu().numpy() for name, values in scores.items()}

    def threshold_samples(self, kind: str, machine: str) -> Scores:  # noqa: ARG002
        return self._samples[kind]

    def state(self) -> State:
        samples = {
            kind: {name: torch.from_numpy(values) for name, values in scores.items()}
            for kind, scores in self._samples.items()
        }
        return {"network": self._fitted().state_dict(), "samples": samples}

    def load_state(self, state: State) -> None:
        weights = state["network"]
        network = AutoencoderNetwork(
            weights["encoder.0.weight"].shape[1], len(weights["cov_source"])
        )
        network.load_state_dict(weights)
        self._network = network.to(self.device).eval()
        self._precisions = None
        self._samples = {
            kind: {name: values.numpy() for name, values in scores.items()}
            for kind, scores in state["samples"].items()
        }

    def _fitted(self) -> AutoencoderNetwork:
        if self._network is None:
            raise RuntimeError("the autoencoder has neither been fitted nor loaded")
        return self._network

    def _inverted(self, network: AutoencoderNetwork, machine: str) -> Precisions:
        if self._precisions is None:
            self._precisions = invert_covariances(network, machine)
        return self._precisions

    def _windows(self, clips: Sequence[Clip], features: Features) -> tuple[Tensor, Tensor]:
        """First frame and owning clip of every window, shape (windows,) each."""
        counts = features.window_counts(self.frames, self.frame_hop_length)
        for clip, count, length in zip(clips, counts, features.lengths, strict=True):
            if count == 0:
                raise UserError(
                    f"{clip.path}: has {length} frames, a window takes {self.frames}; "
                    "remove the clip or set smaller --frames"
                )
        starts = features.window_starts(self.frames, self.frame_hop_length)
        owner = np.repeat(np.arange(len(clips)), counts)
        return torch.from_numpy(starts), torch.from_numpy(owner)

    def _training_set(self, clips: Sequence[Clip], features: Features, seed: int) -> TrainingSet:
        starts, owner = self._windows(clips, features)
        train, valid = split_windows(len(starts), self.validation_split, seed)
        if len(train) < 2:
            raise UserError(
                f"{clips[0].path.parent}: {len(starts)} window(s) are too few to train on; "
                "add clips or set a smaller --validation_split"
            )
        is_target = torch.tensor([clip.is_target for clip in clips])[owner]
        return TrainingSet(
            rows=rows_tensor(features.rows),
            train=starts[train],
            valid=starts[valid],
            train_is_target=is_target[train],
            width=self.frames,
        )

    def _batch_samples(self, run: TrainingRun, data: TrainingSet, precisions: Precisions) -> Scores:
        """What the public baseline fits its thresholds to: scores of batches, not of clips."""
        batches, count = pool_batches(run, data), pool_size(run, data)
        scores = score_groups(run.network, precisions, data.rows, batches, count, self.frames)
        samples = {name: values.cpu().numpy() for name, values in scores.items()}
        return {**samples, MSE: run.mse_pool.double().numpy()}

    @staticmethod
    def _large_batches(starts: Tensor, owner: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        parts = (torch.split(part, _WINDOWS_AT_ONCE) for part in (starts, owner))
        yield from zip(*parts, strict=True)
