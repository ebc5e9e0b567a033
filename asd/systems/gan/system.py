"""BiGAN and GAN as systems: one model per machine type and section group."""

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
from asd.systems.base import MAIN_STAGE, Epoch, Run, Scores, State, System
from asd.systems.gan.models import Adversaries, BiGANNetworks, GANNetworks
from asd.systems.gan.networks import Sizes, named_sizes
from asd.systems.gan.parameters import GanParameters
from asd.systems.gan.scoring import Rule, bigan_scores, first_latents, gan_scores
from asd.systems.gan.training import Schedule, Trainer
from asd.systems.gan.vectors import FrameVectors, frame_statistics, frame_vectors

_VECTORS_AT_ONCE = 2048


class AdversarialSystem(System):
    """Adversaries trained on vectors of frames; a clip's score is the mean over its vectors."""

    Parameters: ClassVar[type] = GanParameters
    scope: ClassVar[str] = "section"

    parameters: GanParameters

    @property
    def score_names(self) -> tuple[str, ...]:
        return self.parameters.methods

    def inputs(self) -> Mapping[str, Feature]:
        return {"logmel": self.parameters.feature()}

    @abstractmethod
    def _build(self, width: int, sizes: Sizes, random: Generator) -> Adversaries:
        """Networks for vectors of `width` values, with initial weights, on the CPU."""

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
        features = train.features(self.parameters.feature())
        self._check_lengths(train, features)
        self.train(features, run)
        count = min(self.parameters.threshold_clips or len(train), len(train))
        chosen = train.select([index * len(train) // count for index in range(count)])
        self._normal = ScoreTable(chosen.clips, self.score(chosen))

    def train(self, features: Features, run: Run) -> None:
        """The part of `fit` before the training clips are scored."""
        self._seed = run.seed
        self._mean, self._deviation = self._statistics(features)
        vectors = self._vectors(features, self.parameters.frame_hop_length)
        trainer = self._trainer()
        total = self.parameters.epochs
        stage = run.stage(MAIN_STAGE, total)
        if stage.resume is not None:
            trainer.restore(stage.resume)
        while trainer.epochs < total:
            losses = trainer.epoch(vectors)
            self._check_convergence(losses, trainer.epochs)
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
        """Scores of clips that are known by their frames alone."""
        p = self.parameters
        vectors = self._vectors(features, p.score_hop_length or p.frame_hop_length)
        scores = torch.empty(len(self.score_names), len(vectors), device=self.device)
        for first in range(0, len(vectors), _VECTORS_AT_ONCE):
            batch = slice(first, first + _VECTORS_AT_ONCE)
            scores[:, batch] = self._score_vectors(vectors.batch(batch), vectors.within[batch])
        means = _clip_means(scores.cpu().double().numpy(), vectors.counts)
        return dict(zip(self.score_names, means, strict=True))

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
        self._scorer = self._networks(Generator()).requires_grad_(False)
        self._scorer.load_state_dict(state["weights"])
        self._normal = ScoreTable.from_state(state["normal_scores"])

    def _statistics(self, features: Features) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each mel band, on the device."""
        if self.parameters.standardise:
            mean, deviation = frame_statistics(features)
        else:
            mels = features.rows.shape[1]
            mean, deviation = torch.zeros(mels), torch.ones(mels)
        return mean.to(self.device), deviation.to(self.device)

    def _vectors(self, features: Features, hop: int) -> FrameVectors:
        return frame_vectors(features, self.parameters.frames, hop, self._mean, self._deviation)

    def _sizes(self) -> Sizes:
        return named_sizes(self.parameters.network, self.parameters.latent_dim)

    def _rule(self) -> Rule:
        return Rule(self.score_names, self.parameters.w, self.parameters.d)

    def _networks(self, random: Generator) -> Adversaries:
        return self._build(self.parameters.frames * len(self._mean), self._sizes(), random).to(
            self.device
        )

    def _trainer(self) -> Trainer:
        random = Generator().manual_seed(self._seed)
        p = self.parameters
        schedule = Schedule(p.batch_size, p.learning_rate, p.ema_decay, p.ema_warm_up)
        return Trainer(self._networks(random), self._sizes().latent, schedule, random)

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


class BiGAN(AdversarialSystem):
    """A clip's vectors are encoded and generated again. Parameters as in `AdversarialSystem`."""

    _scorer: BiGANNetworks

    def _build(self, width: int, sizes: Sizes, random: Generator) -> BiGANNetworks:
        return BiGANNetworks(width, sizes, random)

    def _score_vectors(self, x: Tensor, within: Tensor) -> Tensor:  # noqa: ARG002
        return bigan_scores(self._scorer, x, self._rule())


class GAN(AdversarialSystem):
    """For each vector, the nearest one that G can make is searched: slow to score.

    On one core a clip of 10 s takes 4 s per method; a larger score_hop_length and fewer
    threshold_clips or search_steps make it bearable there. Parameters as in `AdversarialSystem`.
    """

    _scorer: GANNetworks

    def _build(self, width: int, sizes: Sizes, random: Generator) -> GANNetworks:
        return GANNetworks(width, sizes, random)

    def _score_vectors(self, x: Tensor, within: Tensor) -> Tensor:
        # Every clip's search starts at the same latents: its score depends on no other clip.
        starts = first_latents(int(within.max()) + 1, self._sizes().latent, self._seed)
        z = starts.to(x.device)[within]
        return gan_scores(self._scorer, x, z, self._rule(), self.parameters.search_steps)


def _clip_means(scores: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over each clip's vectors: (methods, vectors) -> (methods, clips); no count is 0."""
    firsts = np.cumsum(counts) - counts
    return np.add.reduceat(scores, firsts, axis=1) / counts
