"""BiGAN and GAN as systems: one model per machine type and section group."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from asd.audio.features import Features
from asd.clips import Clip
from asd.errors import UserError
from asd.systems.base import Epoch, Scores, State, System
from asd.systems.gan.models import Adversaries, BiGANNetworks, GANNetworks
from asd.systems.gan.networks import Sizes, named_sizes
from asd.systems.gan.scoring import (
    CROSS_E,
    FM,
    Rule,
    bigan_scores,
    first_latents,
    gan_scores,
)
from asd.systems.gan.training import Schedule, Trainer
from asd.systems.gan.vectors import FrameVectors, frame_statistics, frame_vectors


class AdversarialSystem(System):
    """Adversaries trained on vectors of frames; a clip's score is the mean over its vectors.

    Parameters
    ----------
    frames
        Frames per vector.
    frame_hop_length
        Frames between the beginnings of vectors.
    network
        Layer sizes: "frames", for 5 frames of 128 mels, or "kdd", as published.
    latent_dim
        Width of the latent vector; None: as the network has it (32).
    epochs, batch_size, learning_rate
        Of training with Adam. Published for KDD: 50, 50, 1e-5.
    w
        Share of the discriminator term in the score, from 0 to 1.
    d
        Degree of the norms in the score, above 0: 1 sums absolute differences, 2 is Euclidean.
    methods
        The scores wanted, of "CROSS-E" (cross entropy) and "FM" (feature matching).
    ema_decay
        Share that each step keeps of the weights' moving average, below 1.
    ema_warm_up
        Let the average forget the initial weights within the first steps; published: False, which
        needs several times 1 / (1 - ema_decay) steps.
    standardise
        Bring each mel band to mean 0 and deviation 1 over the training frames.
    score_hop_length
        Frames between scored vectors; None: frame_hop_length. A larger one scores faster.
    search_steps
        Of the GAN's search for each vector's latent (published: 500); the BiGAN needs none.
    threshold_clips
        Training clips that are scored for the decision threshold, evenly spaced; None: all.
    score_batch_size
        Vectors scored at once. It does not change the scores.
    device
        Where to compute.
    """

    scope = "section"
    scoring_parameters = ("w", "d", "methods", "search_steps", "score_hop_length")
    feature_kind = "logmel"

    def __init__(
        self,
        *,
        frames: int = 5,
        frame_hop_length: int = 1,
        network: str = "frames",
        latent_dim: int | None = None,
        epochs: int = 50,
        batch_size: int = 256,
        learning_rate: float = 1e-4,
        w: float = 0.1,
        d: float = 1,
        methods: Sequence[str] = (CROSS_E, FM),
        ema_decay: float = 0.9999,
        ema_warm_up: bool = True,
        standardise: bool = True,
        score_hop_length: int | None = None,
        search_steps: int = 500,
        threshold_clips: int | None = None,
        score_batch_size: int = 2048,
        device: str | torch.device = "cpu",
    ) -> None:
        self.frames = frames
        self.frame_hop_length = frame_hop_length
        self.network = network
        self.latent_dim = latent_dim
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.w = w
        self.d = d
        self.methods = tuple(method.upper() for method in methods)
        self.ema_decay = ema_decay
        self.ema_warm_up = ema_warm_up
        self.standardise = standardise
        self.score_hop_length = score_hop_length
        self.search_steps = search_steps
        self.threshold_clips = threshold_clips
        self.score_batch_size = score_batch_size
        self.device = device
        self.score_names = self.methods

    @abstractmethod
    def _build(self, width: int, sizes: Sizes, random: Generator) -> Adversaries:
        """Networks for vectors of `width` values, with initial weights, on the CPU."""

    @abstractmethod
    def _score_vectors(self, x: Tensor, within: Tensor) -> Tensor:
        """Scores (methods, batch) of vectors (batch, width), the `within`-th of their clips."""

    def fit(
        self,
        clips: Sequence[Clip],
        features: Features,
        *,
        seed: int,
        on_epoch: Callable[[Epoch], None],
        resume: State | None = None,
    ) -> None:
        """Learn from normal clips; see `System.fit`.

        Raises
        ------
        UserError
            There is no clip, one is shorter than a vector, or training diverged.
        """
        if not clips:
            raise UserError("training: there is no clip to learn from; check the train folder")
        self._check_lengths(clips, features)
        self.train(features, seed=seed, on_epoch=on_epoch, resume=resume)
        count = min(self.threshold_clips or len(clips), len(clips))
        chosen = [index * len(clips) // count for index in range(count)]
        self._normal_scores = self.score([clips[i] for i in chosen], features.select(chosen))

    def train(
        self,
        features: Features,
        *,
        seed: int,
        on_epoch: Callable[[Epoch], None],
        resume: State | None = None,
    ) -> None:
        """The part of `fit` before the training clips are scored."""
        self._rule()  # a mistake in the score's parameters is said before training, not after
        self._seed = seed
        self._mean, self._deviation = self._statistics(features)
        vectors = self._vectors(features, self.frame_hop_length)
        trainer = self._trainer()
        if resume is not None:
            trainer.restore(resume)
        while trainer.epochs < self.epochs:
            losses = trainer.epoch(vectors)
            self._check_convergence(losses, trainer.epochs)
            on_epoch(Epoch(trainer.epochs, self.epochs, losses, trainer.snapshot))
        self._scorer = trainer.average

    def score(
        self,
        clips: Sequence[Clip],
        features: Features,
        names: Sequence[str] | None = None,  # noqa: ARG002 - all are found together
    ) -> Scores:
        """Anomaly score of each clip, the mean over its vectors; see `System.score`.

        Raises
        ------
        UserError
            A clip is shorter than a vector.
        """
        self._check_lengths(clips, features)
        vectors = self._vectors(features, self.score_hop_length or self.frame_hop_length)
        scores = torch.empty(len(self.score_names), len(vectors), device=self.device)
        for first in range(0, len(vectors), self.score_batch_size):
            batch = slice(first, first + self.score_batch_size)
            scores[:, batch] = self._score_vectors(vectors.batch(batch), vectors.within[batch])
        means = _clip_means(scores.cpu().double().numpy(), vectors.counts)
        return dict(zip(self.score_names, means, strict=True))

    def threshold_samples(self, kind: str, machine: str) -> Scores:  # noqa: ARG002
        """Scores of the training clips; the model knows one machine type only."""
        if kind not in self.threshold_kinds:
            raise UserError(f"threshold_fit {kind!r}: {type(self).__name__} can only use 'clip'")
        return self._normal_scores

    def state(self) -> State:
        """Averaged weights, statistics, and the training clips' scores, on the CPU."""
        return {
            "seed": self._seed,
            "mean": self._mean.cpu(),
            "deviation": self._deviation.cpu(),
            "weights": {name: value.cpu() for name, value in self._scorer.state_dict().items()},
            "normal_scores": {
                name: torch.from_numpy(scores) for name, scores in self._normal_scores.items()
            },
        }

    def load_state(self, state: State) -> None:
        """Take over what `state` gave."""
        self._seed = state["seed"]
        self._mean = state["mean"].to(self.device)
        self._deviation = state["deviation"].to(self.device)
        self._scorer = self._networks(Generator()).requires_grad_(False)
        self._scorer.load_state_dict(state["weights"])
        self._normal_scores = {
            name: scores.cpu().numpy() for name, scores in state["normal_scores"].items()
        }

    def _statistics(self, features: Features) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each mel band, on the device."""
        if self.standardise:
            mean, deviation = frame_statistics(features)
        else:
            mels = features.rows.shape[1]
            mean, deviation = torch.zeros(mels), torch.ones(mels)
        return mean.to(self.device), deviation.to(self.device)

    def _vectors(self, features: Features, hop: int) -> FrameVectors:
        return frame_vectors(features, self.frames, hop, self._mean, self._deviation)

    def _sizes(self) -> Sizes:
        return named_sizes(self.network, self.latent_dim)

    def _rule(self) -> Rule:
        return Rule(self.score_names, self.w, self.d)

    def _networks(self, random: Generator) -> Adversaries:
        return self._build(self.frames * len(self._mean), self._sizes(), random).to(self.device)

    def _trainer(self) -> Trainer:
        random = Generator().manual_seed(self._seed)
        schedule = Schedule(self.batch_size, self.learning_rate, self.ema_decay, self.ema_warm_up)
        return Trainer(self._networks(random), self._sizes().latent, schedule, random)

    def _check_lengths(self, clips: Sequence[Clip], features: Features) -> None:
        short = np.flatnonzero(features.lengths < self.frames)
        if len(short):
            raise UserError(
                f"{clips[short[0]].path}: {features.lengths[short[0]]} frames are fewer than the "
                f"{self.frames} of a vector; remove the clip or set a smaller --frames"
            )

    def _check_convergence(self, losses: dict[str, float], epoch: int) -> None:
        """Stop before a diverged epoch is reported: the last checkpoint stays a good one."""
        if not all(math.isfinite(loss) for loss in losses.values()):
            listed = ", ".join(f"{name} {loss:g}" for name, loss in losses.items())
            raise UserError(
                f"training diverged in epoch {epoch} of {self.epochs} ({listed}); set a smaller "
                f"--learning_rate (now {self.learning_rate:g}) or a larger --batch_size "
                f"(now {self.batch_size})"
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
        return gan_scores(self._scorer, x, z, self._rule(), self.search_steps)


def _clip_means(scores: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over each clip's vectors: (methods, vectors) -> (methods, clips); no count is 0."""
    firsts = np.cumsum(counts) - counts
    return np.add.reduceat(scores, firsts, axis=1) / counts
