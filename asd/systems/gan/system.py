"""BiGAN and GAN as systems: one model per machine type and section group."""

import logging
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from asd.audio.clip_set import ClipSet
from asd.audio.features import Feature, Features
from asd.errors import UserError
from asd.scores.table import ScoreTable
from asd.systems.base import MAIN_STAGE, Epoch, Run, Scores, State, System, resume_stage
from asd.systems.gan.image_networks import ImageSize
from asd.systems.gan.models import (
    Adversaries,
    BiGANNetworks,
    GANNetworks,
    ImageBiGANNetworks,
    ImageGANNetworks,
    Objective,
)
from asd.systems.gan.networks import Sizes, named_sizes
from asd.systems.gan.parameters import (
    BiganParameters,
    GanParameters,
    ImageBiganParameters,
    ImageGanParameters,
    ImageParameters,
    VectorParameters,
)
from asd.systems.gan.reconstruction import reconstruction_ratio
from asd.systems.gan.scoring import Rule, bigan_scores, first_latents, gan_scores
from asd.systems.gan.training import Schedule, Trainer
from asd.systems.gan.vectors import FrameVectors, frame_scaling, frame_vectors, with_target_share

log = logging.getLogger(__name__)

_IMAGE_REACH = 4.0
"""Deviations of a mel band that become 1, the most that the generator of images gives."""


class AdversarialSystem(System):
    """Adversaries trained on vectors of frames; a clip's score is the mean over its vectors."""

    scope: ClassVar[str] = "section"

    parameters: VectorParameters | ImageParameters

    _reach: ClassVar[float] = 1.0
    """Deviations of a mel band that become 1: see `frame_scaling`."""

    _at_once: ClassVar[int] = 2048
    """Vectors scored together: few enough to stay in memory that is reused."""

    @property
    def score_names(self) -> tuple[str, ...]:
        return self.parameters.methods

    def inputs(self) -> Mapping[str, Feature]:
        return {"logmel": self.parameters.feature()}

    @abstractmethod
    def _build(self, mels: int, random: Generator) -> Adversaries:
        """Networks for `frames` frames of `mels` bands, with initial weights, on the CPU."""

    @abstractmethod
    def _latent(self) -> int:
        """Width of z."""

    @abstractmethod
    def _score_vectors(self, x: Tensor, within: Tensor) -> Tensor:
        """Scores (methods, batch) of vectors (batch, width), the `within`-th of their clips."""

    def fit(self, train: ClipSet, run: Run) -> None:
        """Learn from normal clips; see `System.fit`.

        Raises
        ------
        UserError
            There is no clip, one is shorter than a vector, or training diverged.
        """
        if not len(train):
            raise UserError("training: there is no clip to learn from; check the train folder")
        features = train.features(self.parameters.feature())
        self._check_lengths(train, features)
        self.train(features, run, np.array([clip.is_target for clip in train]))
        count = min(self.parameters.threshold_clips or len(train), len(train))
        chosen = train.select([index * len(train) // count for index in range(count)])
        self._normal = ScoreTable(chosen.clips, self.score(chosen))

    def train(self, features: Features, run: Run, is_target: NDArray[np.bool_]) -> None:
        """The part of `fit` before the training clips are scored.

        Parameters
        ----------
        is_target
            Of each clip, shape (clips,).
        """
        self._rule()  # a mistake in the score's parameters is said before training, not after
        self._seed = run.seed
        self._mean, self._deviation = self._statistics(features)
        vectors = self._vectors(features, self.parameters.frame_hop_length)
        share = self.parameters.target_share
        epoch = vectors.select(with_target_share(vectors.counts, is_target, share))
        trainer = self._trainer()
        total = self.parameters.epochs
        stage = run.stage(MAIN_STAGE, total)
        resume_stage(stage, trainer.restore)
        while trainer.epochs < total:
            losses = trainer.epoch(epoch)
            self._check_convergence(losses, trainer.epochs)
            losses |= self._quality(trainer, vectors)
            stage.report(Epoch(trainer.epochs, total, losses, trainer.snapshot))
        self._scorer = trainer.average

    def score(
        self,
        clips: ClipSet,
        names: Sequence[str] | None = None,  # noqa: ARG002 - all are found together
    ) -> Scores:
        """Anomaly score of each clip, the mean over its vectors; see `System.score`.

        Raises
        ------
        UserError
            A clip is shorter than a vector.
        """
        features = clips.features(self.parameters.feature())
        self._check_lengths(clips, features)
        return self.score_features(features)

    def score_features(self, features: Features) -> Scores:
        """Scores of clips that are known by their frames alone, as `score` gives them."""
        scores, counts = self.vector_scores(features)
        return {name: _clip_means(values, counts) for name, values in scores.items()}

    def vector_scores(self, features: Features) -> tuple[Scores, NDArray[np.int64]]:
        """Scores of every vector, or image, of clips; and how many of them each clip has.

        Returns
        -------
        tuple
            Score name -> shape (vectors,), clip after clip; and counts, shape (clips,).
        """
        p = self.parameters
        vectors = self._vectors(features, p.score_hop_length or p.frame_hop_length)
        scores = torch.empty(len(self.score_names), len(vectors), device=self.device)
        for first in range(0, len(vectors), self._at_once):
            batch = slice(first, first + self._at_once)
            scores[:, batch] = self._score_vectors(vectors.batch(batch), vectors.within[batch])
        values = scores.cpu().double().numpy()
        return dict(zip(self.score_names, values, strict=True)), vectors.counts

    def normal_scores(self) -> Mapping[str, ScoreTable]:
        """Scores of the training clips; the model knows one machine type only."""
        return {self._normal.clips[0].machine: self._normal}

    def state(self) -> State:
        """Averaged weights, statistics, and the training clips' scores, on the CPU."""
        return {
            "seed": self._seed,
            "mean": self._mean.cpu(),
            "deviation": self._deviation.cpu(),
            "weights": {name: value.cpu() for name, value in self._scorer.state_dict().items()},
            "normal_scores": self._normal.to_state(),
        }

    def load_state(self, state: State) -> None:
        """Take over what `state` gave."""
        self._seed = state["seed"]
        self._mean = state["mean"].to(self.device)
        self._deviation = state["deviation"].to(self.device)
        self._scorer = self._networks(Generator()).requires_grad_(False).eval()
        self._scorer.load_state_dict(state["weights"])
        self._normal = ScoreTable.from_state(state["normal_scores"])

    def _statistics(self, features: Features) -> tuple[Tensor, Tensor]:
        """What to take off each mel band and what to divide it by, on the device."""
        mean, deviation = frame_scaling(features, self.parameters.scaling, self._reach)
        return mean.to(self.device), deviation.to(self.device)

    def _vectors(self, features: Features, hop: int) -> FrameVectors:
        return frame_vectors(features, self.parameters.frames, hop, self._mean, self._deviation)

    def _rule(self) -> Rule:
        return Rule(self.score_names, self.parameters.w, self.parameters.d)

    def _objective(self) -> Objective:
        return Objective()

    def _networks(self, random: Generator) -> Adversaries:
        return self._build(len(self._mean), random).to(self.device)

    def _trainer(self) -> Trainer:
        random = Generator().manual_seed(self._seed)
        p = self.parameters
        schedule = Schedule(
            p.batch_size, p.learning_rate, p.ema_decay, p.ema_warm_up, self._objective()
        )
        return Trainer(self._networks(random), self._latent(), schedule, random)

    def _quality(self, trainer: Trainer, vectors: FrameVectors) -> dict[str, float]:  # noqa: ARG002
        """More columns of the log, after each epoch."""
        return {}

    def _check_lengths(self, clips: ClipSet, features: Features) -> None:
        short = np.flatnonzero(features.lengths < self.parameters.frames)
        if len(short):
            raise UserError(
                f"{clips[short[0]].path}: {features.lengths[short[0]]} frames are fewer than the "
                f"{self.parameters.frames} of a vector; remove the clip or set a smaller --frames"
            )

    def _check_convergence(self, losses: dict[str, float], epoch: int) -> None:
        """Stop before a diverged epoch is reported: the last checkpoint stays a good one."""
        if not all(math.isfinite(loss) for loss in losses.values()):
            listed = ", ".join(f"{name} {loss:g}" for name, loss in losses.items())
            p = self.parameters
            raise UserError(
                f"training diverged in epoch {epoch} of {p.epochs} ({listed}); set a smaller "
                f"--learning_rate (now {p.learning_rate:g}) or a larger --batch_size "
                f"(now {p.batch_size})"
            )


class _Reconstructing(AdversarialSystem):
    """A BiGAN: what is scored is encoded and generated again."""

    parameters: BiganParameters | ImageBiganParameters
    _scorer: BiGANNetworks

    _checked: ClassVar[int] = 1024
    """Training vectors, at most, that reconstructions are judged by."""

    def _objective(self) -> Objective:
        return Objective(self.parameters.adversary, self.parameters.cycle)

    def _quality(self, trainer: Trainer, vectors: FrameVectors) -> dict[str, float]:
        """The reconstruction's error relative to the mean's, with a warning above 1."""
        step = math.ceil(len(vectors) / self._checked)
        assert isinstance(trainer.average, BiGANNetworks)
        ratio = reconstruction_ratio(trainer.average, vectors.batch(slice(None, None, step)))
        total = self.parameters.epochs
        if ratio > 1 and (trainer.epochs % math.ceil(total / 5) == 0 or trainer.epochs == total):
            log.warning(
                "epoch %d of %d: reconstructions are %.2f times as far off as the mean of the "
                "training data, so scores tell little; give --cycle above 0 (now %g) or more "
                "--epochs", trainer.epochs, total, ratio, self.parameters.cycle,
            )  # fmt: skip
        return {"reconstruction_ratio": ratio}

    def _score_vectors(self, x: Tensor, within: Tensor) -> Tensor:  # noqa: ARG002
        return bigan_scores(self._scorer, x, self._rule())


class _Searching(AdversarialSystem):
    """A GAN: for each vector that is scored, the nearest one that G can make is searched."""

    parameters: GanParameters | ImageGanParameters
    _scorer: GANNetworks

    def _score_vectors(self, x: Tensor, within: Tensor) -> Tensor:
        # Every clip's search starts at the same latents: its score depends on no other clip.
        starts = first_latents(int(within.max()) + 1, self._latent(), self._seed)
        z = starts.to(x.device)[within]
        return gan_scores(self._scorer, x, z, self._rule(), self.parameters.search_steps)


class BiGAN(_Reconstructing):
    """The BiGAN of frame vectors: dense networks."""

    Parameters: ClassVar[type] = BiganParameters
    parameters: BiganParameters

    def _build(self, mels: int, random: Generator) -> BiGANNetworks:
        return BiGANNetworks(self.parameters.frames * mels, _sizes(self.parameters), random)

    def _latent(self) -> int:
        return _sizes(self.parameters).latent


class GAN(_Searching):
    """The GAN of frame vectors: slow to score.

    On one core a clip of 10 s takes 4 s per method; a larger score_hop_length and fewer
    threshold_clips or search_steps make it bearable there.
    """

    Parameters: ClassVar[type] = GanParameters
    parameters: GanParameters

    def _build(self, mels: int, random: Generator) -> GANNetworks:
        return GANNetworks(self.parameters.frames * mels, _sizes(self.parameters), random)

    def _latent(self) -> int:
        return _sizes(self.parameters).latent


class ImageBiGAN(_Reconstructing):
    """The BiGAN of log-mel images: convolutional networks."""

    Parameters: ClassVar[type] = ImageBiganParameters
    parameters: ImageBiganParameters
    _reach = _IMAGE_REACH
    _at_once = 64
    _checked = 64

    def _build(self, mels: int, random: Generator) -> ImageBiGANNetworks:
        return ImageBiGANNetworks(ImageSize(self.parameters.frames, mels), self._latent(), random)

    def _latent(self) -> int:
        return self.parameters.latent_dim


class ImageGAN(_Searching):
    """The GAN of log-mel images: convolutional networks. Scoring wants a GPU."""

    Parameters: ClassVar[type] = ImageGanParameters
    parameters: ImageGanParameters
    _reach = _IMAGE_REACH
    _at_once = 64

    def _build(self, mels: int, random: Generator) -> ImageGANNetworks:
        return ImageGANNetworks(ImageSize(self.parameters.frames, mels), self._latent(), random)

    def _latent(self) -> int:
        return self.parameters.latent_dim


def _sizes(parameters: VectorParameters) -> Sizes:
    return named_sizes(parameters.network, parameters.latent_dim)


def _clip_means(scores: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over each clip's vectors: (vectors,) -> (clips,); no count is 0."""
    return np.add.reduceat(scores, np.cumsum(counts) - counts) / counts
