"""The official autoencoder as a system."""

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from asd.audio.clip_set import ClipSet
from asd.audio.features import Feature, Features
from asd.audio.windows import rows_tensor
from asd.errors import UserError
from asd.scores.explanation import Explanation
from asd.scores.table import ScoreTable
from asd.systems.autoencoder.explaining import Contributions
from asd.systems.autoencoder.exporting import AutoencoderScore
from asd.systems.autoencoder.network import AutoencoderNetwork
from asd.systems.autoencoder.parameters import AutoencoderParameters
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
from asd.systems.base import (
    MAIN_STAGE,
    Epoch,
    Fit,
    Run,
    Scores,
    Stage,
    State,
    System,
    resume_stage,
)

log = logging.getLogger(__name__)

_WINDOWS_AT_ONCE = 1024
"""Windows scored together: few enough to stay in memory that is reused."""

_CLIPS_FOR_USUAL = 32
"""Training clips whose mean error per mel band stands for what is usual."""


class Autoencoder(System):
    """Reconstructs windows of log-mel frames; what it cannot reconstruct is anomalous.

    Scores: "MSE" (simple autoencoder mode), "MAHALA" (selective Mahalanobis mode as the public
    baseline computes it) and "MAHALA-FRAME" (its textbook form).
    """

    Parameters: ClassVar[type] = AutoencoderParameters
    scope: ClassVar[str] = "section"
    score_names = SCORES

    parameters: AutoencoderParameters

    def __init__(self, parameters: AutoencoderParameters, device: str = "cpu") -> None:
        super().__init__(parameters, device)
        self.torch_device = torch.device(device)
        self._network: AutoencoderNetwork | None = None
        self._precisions: Precisions | None = None
        self._batch_scores: Scores = {}
        self._normal: ScoreTable | None = None
        self._usual: Scores = {}

    def inputs(self) -> Mapping[str, Feature]:
        return {"logmel": self.parameters.feature()}

    def fit(self, train: ClipSet, run: Run) -> None:
        stage = run.stage(MAIN_STAGE, self.parameters.epochs)
        training, data = self.prepare(train, run.seed, stage)
        data = share_rows([data], self.torch_device)[0]
        while training.epoch < self.parameters.epochs:
            losses = run_epoch(training, data)
            number, total = training.epoch, self.parameters.epochs
            stage.report(Epoch(number, total, losses, training.snapshot))
        self.finish(training, data, train)

    @classmethod
    def fit_many(cls, fits: Sequence[Fit]) -> list[Exception | None]:
        if any(fit.system.parameters.precision == "bfloat16" for fit in fits):
            return super().fit_many(fits)
        return fit_stacked(fits)

    def prepare(self, train: ClipSet, seed: int, stage: Stage) -> tuple[TrainingRun, TrainingSet]:
        """What training begins with: a run on the device, and a training set not yet there.

        Raises
        ------
        UserError
            A clip is too short, or there are too few windows.
        """
        data = self._training_set(train, seed)
        mels = data.rows.shape[1]
        p = self.parameters
        run = start_run(
            p.frames * mels,
            mels,
            seed=seed,
            learning_rate=p.learning_rate,
            batch_size=p.batch_size,
            shuffle=p.shuffle,
            precision=p.precision,
            device=self.torch_device,
        )
        resume_stage(stage, run.load_snapshot)
        return run, data

    def finish(self, run: TrainingRun, data: TrainingSet, train: ClipSet) -> None:
        """Take over what a run has learned, with its covariances and normal scores."""
        collect_covariances(run, data)
        self._network = run.network.eval()
        self._precisions = invert_covariances(run.network, train[0].machine)
        self._batch_scores = self._scores_of_batches(run, data, self._precisions)
        self._normal = ScoreTable(train.clips, self.score(train))
        self._usual = self._usual_by_band(train)

    def score(self, clips: ClipSet, names: Sequence[str] | None = None) -> Scores:
        network = self._fitted()
        precisions = None
        if names is None or set(names) != {MSE}:  # else nobody cares whether they are singular
            precisions = self._inverted(network, clips[0].machine)
        features = clips.features(self.parameters.feature())
        starts, owner = self._windows(clips, features)
        rows = rows_tensor(features.rows).to(self.torch_device)
        batches = self._large_batches(starts.to(self.torch_device), owner.to(self.torch_device))
        with_frames = names is None or MAHALA_FRAME in names
        scores = score_groups(
            network, precisions, rows, batches, len(clips), self.parameters.frames, with_frames
        )
        return {name: values.cpu().numpy() for name, values in scores.items()}

    def explain(self, clips: ClipSet, score: str = MSE) -> list[Explanation]:
        """What frames and mel bands add to the score of each clip, see `explaining`.

        A frame lies at the middle of its samples. What is usual is the mean over training clips.
        """
        contributions = self._contributions(score, clips[0].machine)
        features = clips.features(self.parameters.feature())
        self._windows(clips, features)  # refuses clips that are too short
        rate = features.sample_rate_hz
        return [
            self._explanation(contributions, rows_tensor(features.clip(i)), score, rate)
            for i in range(len(clips))
        ]

    def module(self, score: str, samples: int, rate_hz: int, machine: str) -> nn.Module:
        """A score as a module, see `asd.systems.base.Exportable`.

        Raises
        ------
        UserError
            The waveforms are shorter than a window.
        """
        p = self.parameters
        if p.spectrogram().frame_count(samples) < p.frames:
            raise UserError(
                f"{samples} samples are too few for a window of {p.frames} frames; set a longer one"
            )
        network = copy.deepcopy(self._fitted()).cpu()
        precisions = None if score == MSE else invert_covariances(network, machine)
        return AutoencoderScore(
            network, precisions, score, p.spectrogram(), rate_hz, *self._window
        ).eval()

    def normal_scores(self) -> Mapping[str, ScoreTable]:
        """Scores of the training clips: the baseline holds out windows, not clips."""
        if self._normal is None:  # imported from the public baseline, which keeps none
            return {}
        return {self._normal.clips[0].machine: self._normal}

    def gamma_samples(self) -> Mapping[str, Mapping[str, Scores]]:
        if self._normal is None:
            return {}
        kinds = {"batch": self._batch_scores, "clip": dict(self._normal.columns)}
        return {self._normal.clips[0].machine: kinds}

    def state(self) -> State:
        return {
            "network": self._fitted().state_dict(),
            "batch_scores": {n: torch.from_numpy(v) for n, v in self._batch_scores.items()},
            "normal_scores": self._normal.to_state() if self._normal else None,
            "usual": {n: torch.from_numpy(v) for n, v in self._usual.items()},
        }

    def load_state(self, state: State) -> None:
        weights = state["network"]
        network = AutoencoderNetwork(
            weights["encoder.0.weight"].shape[1], len(weights["cov_source"])
        )
        network.load_state_dict(weights)
        self._network = network.to(self.torch_device).eval()
        self._precisions = None
        self._batch_scores = {n: values.numpy() for n, values in state["batch_scores"].items()}
        normal = state["normal_scores"]
        self._normal = ScoreTable.from_state(normal) if normal else None
        usual = state.get("usual", {})  # models made before scores were explained have none
        self._usual = {n: values.numpy() for n, values in usual.items()}

    @property
    def _window(self) -> tuple[int, int]:
        """Frames of a window, and frames between windows."""
        return self.parameters.frames, self.parameters.frame_hop_length

    def _fitted(self) -> AutoencoderNetwork:
        if self._network is None:
            raise RuntimeError("the autoencoder has neither been fitted nor loaded")
        return self._network

    def _inverted(self, network: AutoencoderNetwork, machine: str) -> Precisions:
        if self._precisions is None:
            self._precisions = invert_covariances(network, machine)
        return self._precisions

    def _contributions(self, score: str, machine: str) -> Contributions:
        network = self._fitted()
        precisions = None if score == MSE else self._inverted(network, machine)
        return Contributions(network, precisions, *self._window)

    def _usual_by_band(self, train: ClipSet) -> Scores:
        """Score name -> what mel bands add to it on average, shape (mels,)."""
        features = train.features(self.parameters.feature())
        chosen = range(0, len(train), -(-len(train) // _CLIPS_FOR_USUAL))
        clips = [rows_tensor(features.clip(i)).to(self.torch_device) for i in chosen]
        machine = train[0].machine
        return {name: self._contributions(name, machine).by_band(clips, name) for name in SCORES}

    def _explanation(
        self, contributions: Contributions, frames: Tensor, score: str, rate_hz: int
    ) -> Explanation:
        values = contributions.of_clip(frames.to(self.torch_device), score)
        usual = None
        if score in self._usual:
            usual = contributions.visits(len(frames))[:, None] * self._usual[score]
        times_s = self.parameters.frame_edges_s(len(frames), rate_hz)
        return Explanation(score, values, times_s, self.parameters.band_edges_hz(rate_hz), usual)

    def _windows(self, clips: ClipSet, features: Features) -> tuple[Tensor, Tensor]:
        """First frame and owning clip of every window, shape (windows,) each."""
        counts = features.window_counts(*self._window)
        for clip, count, length in zip(clips, counts, features.lengths, strict=True):
            if count == 0:
                raise UserError(
                    f"{clip.path}: has {length} frames, a window takes {self.parameters.frames}; "
                    "remove the clip or set smaller --frames"
                )
        starts = features.window_starts(*self._window)
        owner = np.repeat(np.arange(len(clips)), counts)
        return torch.from_numpy(starts), torch.from_numpy(owner)

    def _training_set(self, clips: ClipSet, seed: int) -> TrainingSet:
        features = clips.features(self.parameters.feature())
        starts, owner = self._windows(clips, features)
        train, valid = split_windows(len(starts), self.parameters.validation_split, seed)
        if len(train) < 2:
            raise UserError(
                f"{clips[0].path.parent}: {len(starts)} window(s) are too few to train on; "
                "add clips or set a smaller --validation_split"
            )
        is_target = torch.from_numpy(clips.is_target)[owner]
        return TrainingSet(
            rows=rows_tensor(features.rows),
            train=starts[train],
            valid=starts[valid],
            train_is_target=is_target[train],
            width=self.parameters.frames,
        )

    def _scores_of_batches(
        self, run: TrainingRun, data: TrainingSet, precisions: Precisions
    ) -> Scores:
        """What the public baseline fits its thresholds to: scores of batches, not of clips."""
        batches, count = pool_batches(run, data), pool_size(run, data)
        scores = score_groups(run.network, precisions, data.rows, batches, count, data.width)
        samples = {name: values.cpu().numpy() for name, values in scores.items()}
        return {**samples, MSE: run.mse_pool.double().numpy()}

    @staticmethod
    def _large_batches(starts: Tensor, owner: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        parts = (torch.split(part, _WINDOWS_AT_ONCE) for part in (starts, owner))
        yield from zip(*parts, strict=True)
