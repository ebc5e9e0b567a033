"""Parts of recipes that say how a frontend is trained: batches, learning rates, epochs."""

import math
from dataclasses import dataclass
from typing import Literal

from asd.errors import UserError
from asd.schema.parameters import parameter
from asd.schema.values import BatchSize, Count, NonNegative, Positive, Share, WholeNumber
from asd.systems.embedding.kept_epochs import KeptEpochs
from asd.systems.embedding.restarts import RestartRecipe


@dataclass(frozen=True)
class SpecAugmentRecipe:
    """Parameters of `augmentation.spec_augment_waves`."""

    time_width: Count = 80
    time_probability: Share = 0.5
    frequency_width: Count = 80
    frequency_probability: Share = 0.5


@dataclass(frozen=True)
class AugmentationRecipe:
    """What is done to training batches; mixup (with this probability per row) comes first."""

    mixup: Share = 0.0
    spec_augment: SpecAugmentRecipe | None = None


@dataclass(frozen=True)
class SupplementalRecipe:
    """What is done with supplemental clips, where there are any (2025: clean machine, or noise).

    Reference clips of backends they never are.

    Parameters
    ----------
    classes
        Whether they are learned from too: those of a machine type and section are a class, clean
        ones and noise apart.
    noise
        Probability with which a training clip gets a noise clip of its machine type added.
    snr_db
        Lowest and highest signal-to-noise ratio of that.
    """

    classes: bool = False
    noise: Share = 0.0
    snr_db: tuple[float, float] = (0.0, 10.0)

    @property
    def is_used(self) -> bool:
        """Whether anything is done with them."""
        return self.classes or self.noise > 0


@dataclass(frozen=True)
class ScheduleRecipe:
    """A learning rate that rises in a warm-up, and may then fall as a cosine.

    Parameters
    ----------
    warm_up_steps
        Optimiser steps in which it rises linearly: the first has `first_rate`.
    first_rate
        Learning rate of the first step.
    cosine_steps
        Steps, counted from the first one, after which the cosine has reached `last_rate`; None
        leaves the rate constant after the warm-up.
    last_rate
        Learning rate at the end of the cosine, and after it.
    """

    warm_up_steps: WholeNumber = 0
    first_rate: NonNegative = 0.0
    cosine_steps: Count | None = None
    last_rate: NonNegative = 0.0

    def rate(self, step: int, highest: float) -> float:
        """Learning rate of an optimiser step, counted from 1; `highest` is that after the warm-up.

        The cosine counts from the first step too, so after a warm-up it has already begun, as in
        timm's CosineLRScheduler without warmup_prefix.

        Source: Loshchilov and Hutter, "SGDR", ICLR 2017.
        """
        done = step - 1
        if done < self.warm_up_steps:
            return self.first_rate + done * (highest - self.first_rate) / self.warm_up_steps
        if self.cosine_steps is None:
            return highest
        if done >= self.cosine_steps:
            return self.last_rate
        share = 0.5 * (1 + math.cos(math.pi * done / self.cosine_steps))
        return self.last_rate + (highest - self.last_rate) * share


@dataclass(frozen=True)
class TrainingRecipe:
    """Training with AdamW, at a constant learning rate where there is no schedule.

    Parameters
    ----------
    schedule
        How the learning rate changes from step to step.
    clip_gradient
        Largest norm of the gradient; None is no limit.
    crop
        Where a longer clip than the input is cut: "each_epoch" anew, or "once" for all epochs.
    restarts
        A learning rate that starts anew again and again, in place of `schedule`.
    mixed_precision
        Whether the networks run in bfloat16 on GPUs that have it; spectra and losses never do.
    keep_epochs
        Epochs whose networks are scored, each for itself and by the mean of their scores (epoch
        ensemble); none scores the network at the end of the training.
    epoch_weights
        How much each of `keep_epochs`, in their order, counts in that mean; none is all alike.
        A trained model keeps them, as its normal scores do.
    """

    epochs: Count = parameter(
        16,
        "passes over the training data",
        role="training",
        flags=("--nb_epochs",),
        resumable=True,
    )
    batch_size: BatchSize = parameter(64, "clips per training step", role="training")
    learning_rate: Positive = parameter(
        0.001, "step size of AdamW", role="training", flags=("-lr",)
    )
    weight_decay: NonNegative = 0.01
    clip_gradient: Positive | None = None
    mixed_precision: bool = True
    crop: Literal["each_epoch", "once"] = "each_epoch"
    schedule: ScheduleRecipe | None = None
    restarts: RestartRecipe | None = None
    keep_epochs: tuple[Count, ...] = ()
    epoch_weights: tuple[Positive, ...] = ()

    def rate(self, steps: int, epochs: int) -> float:
        """Learning rate after so many steps of the optimiser and whole epochs."""
        if self.restarts is not None:
            return self.restarts.rate(steps, epochs, self.learning_rate)
        if self.schedule is not None:
            return self.schedule.rate(steps + 1, self.learning_rate)
        return self.learning_rate

    def kept_epochs(self) -> KeptEpochs:
        """`keep_epochs` in ascending order, with their weights.

        Raises
        ------
        UserError
            The training does not get to one of them, or there is not one weight for each.
        """
        if self.keep_epochs and max(self.keep_epochs) > self.epochs:
            raise UserError(
                f"training.keep_epochs: epoch {max(self.keep_epochs)} is not reached in "
                f"{self.epochs} epochs; set more epochs, or others to keep (--set "
                "training.keep_epochs=[] keeps none)"
            )
        if not self.epoch_weights or not self.keep_epochs:
            return KeptEpochs(tuple(sorted(set(self.keep_epochs))))
        if not len(self.epoch_weights) == len(self.keep_epochs) == len(set(self.keep_epochs)):
            raise UserError(
                "training.epoch_weights: expected a weight for each of keep_epochs "
                f"{list(self.keep_epochs)}, got {list(self.epoch_weights)}; --set "
                "training.epoch_weights=[] makes them equal"
            )
        epochs, weights = zip(
            *sorted(zip(self.keep_epochs, self.epoch_weights, strict=True)), strict=True
        )
        return KeptEpochs(epochs, weights)
