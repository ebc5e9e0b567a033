"""Training of a frontend: the one loop for all recipes.

Everything random (weights, order, crops, augmentation) comes from the seed through one generator
on the CPU, so that device and interruptions change nothing but rounding. (On GPUs, convolutions
round their inputs to TF32 unless told otherwise: scores then differ from the CPU's by about 1e-3.)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import one_hot

from asd.systems.base import Epoch, State
from asd.systems.embedding import augmentation
from asd.systems.embedding.crops import JoinedWaves, Waves
from asd.systems.embedding.frontends import Frontend
from asd.systems.embedding.objective import Objective
from asd.systems.embedding.recipe_parts import LossRecipe
from asd.systems.embedding.recipe_training import AugmentationRecipe, TrainingRecipe
from asd.systems.embedding.training_pass import TrainingPass

_CLIPS_AT_ONCE = {"cpu": 8, "cuda": 64}
"""Clips embedded together; on a CPU as many as leave their activations in its cache."""


@dataclass(frozen=True)
class Noise:
    """Clips of noise alone, to be added to training clips of their machine types.

    Parameters
    ----------
    waves
        Their samples.
    members
        Of each training clip, which noise clips go with it (their indices); none leaves it alone.
    probability
        Share of rows that get noise.
    snr_db
        Lowest and highest signal-to-noise ratio.
    """

    waves: Waves
    members: Sequence[Tensor]
    probability: float
    snr_db: tuple[float, float]

    def add_to(self, crops: Tensor, clips: Tensor, generator: Generator) -> Tensor:
        """Crops of training clips, some with noise. Draws: decisions, noise clips, crops, ratios.

        Parameters
        ----------
        crops
            Shape (n, width).
        clips
            Index of each row's clip, shape (n,).
        """
        has_noise = torch.tensor([len(self.members[i]) > 0 for i in clips.tolist()])
        chosen = (torch.rand(len(clips), generator=generator) < self.probability) & has_noise
        draws = torch.rand(len(clips), generator=generator, dtype=torch.float64).tolist()
        numbers = torch.tensor(
            [
                int(own[int(draw * len(own))]) if len(own) else 0
                for draw, own in zip(draws, (self.members[i] for i in clips.tolist()), strict=True)
            ]
        )
        noise = self.waves.random_crops(numbers, crops.shape[1], generator).to(crops)
        return augmentation.add_noise(crops, noise, chosen, self.snr_db, generator)


@dataclass(frozen=True)
class TrainingSet:
    """Clips to learn from.

    Parameters
    ----------
    waves
        Their samples.
    classes
        Class of each clip to learn from, shape (clips,), int64, on the CPU.
    class_count
        Number of classes.
    width
        Samples of a crop.
    noise
        What is added to crops, if anything.
    is_cut
        Whether clips were cut once; else each crop is from anywhere in its clip.
    """

    waves: Waves | JoinedWaves
    classes: Tensor
    class_count: int
    width: int
    noise: Noise | None = None
    is_cut: bool = False

    def order(self, generator: Generator) -> Tensor:
        """All clips in random order."""
        return torch.randperm(len(self.classes), generator=generator)

    def cut_once(self, seed: int) -> "TrainingSet":
        """The same clips, longer ones cut once for all epochs."""
        generator = Generator().manual_seed(seed)
        return replace(self, waves=self.waves.cut_once(self.width, generator), is_cut=True)

    def clips_of(self, rows: Tensor) -> Tensor:
        """A row is a clip."""
        return torch.stack([rows, rows], dim=1)

    def pieces(self, clips: Tensor, first: int, samples: int) -> Tensor:
        """Samples of clips that are cut, from `first` on, shape (n, samples)."""
        return self.waves.crops_at(clips, torch.full_like(clips, first), samples).float()

    def batch(self, clips: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Crops of shape (n, width) and one-hot labels of shape (n, classes)."""
        if self.is_cut:
            crops = self.pieces(clips, 0, self.width)
        else:
            crops = self.waves.random_crops(clips, self.width, generator)
        if self.noise is not None:
            crops = self.noise.add_to(crops, clips, generator)
        return crops, one_hot(self.classes[clips], self.class_count).float()


class TrainingData(Protocol):
    """What a frontend learns from: a `TrainingSet`, or one whose classes are of one size."""

    def order(self, generator: Generator) -> Tensor:
        """Rows of an epoch, in order: the first axis is cut into batches."""

    def batch(self, rows: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Waves of shape (n, width) and labels of shape (n, classes) of some of these rows."""

    def clips_of(self, rows: Tensor) -> Tensor:
        """The clips that rows are made of, of which the first gives the label; shape (n, 2)."""


class Training:
    """A frontend in training, its objective, its optimiser and its random numbers.

    Parameters
    ----------
    make_frontend
        Makes the frontend; its weights are drawn from `seed`.
    device
        Where frontend and losses live.
    keeps_last_pass
        Whether the embeddings of the last epoch are kept, as it made them.
    """

    def __init__(
        self,
        make_frontend: Callable[[], Frontend],
        losses: tuple[LossRecipe, ...],
        classes: int,
        recipe: TrainingRecipe,
        augment: AugmentationRecipe,
        *,
        seed: int,
        device: torch.device,
        keeps_last_pass: bool = False,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            frontend = make_frontend()
            objective = Objective(losses, frontend.sizes, classes)
        self.frontend = frontend.to(device)
        self.objective = objective.to(device)
        self.recipe = recipe
        self.augment = augment
        exchanges = (loss for loss in losses if loss.on == "statistics_exchange")
        self.exchange = next(exchanges, None)
        self.device = device
        self.generator = Generator().manual_seed(seed)
        frontend.draw_from(self.generator)
        self.epoch = 0
        self.last_pass = TrainingPass() if keeps_last_pass else None
        weights = [*frontend.parameters(), *objective.parameters()]
        self.weights = [each for each in weights if each.requires_grad]
        self.steps = 0
        self.optimiser = torch.optim.AdamW(
            self.weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )

    def run(self, data: TrainingData, on_epoch: Callable[[Epoch], None]) -> None:
        """Train for the epochs that are left."""
        while self.epoch < self.recipe.epochs:
            loss = self.run_epoch(data)
            self.epoch += 1
            on_epoch(Epoch(self.epoch, self.recipe.epochs, {"loss": loss}, self.snapshot))

    def run_epoch(self, data: TrainingData) -> float:
        """Train on the rows of an epoch, by default every clip once; returns the mean loss of one.

        The loss stays on the device until the epoch is over.
        """
        self.frontend.train()
        self.objective.train()
        if self.last_pass is not None:
            self.last_pass.begin()
        order = data.order(self.generator)
        total = torch.zeros((), device=self.device)
        for rows in batches(order, self.recipe.batch_size):
            loss = self._loss(data, rows)
            self._step(loss)
            total += loss.detach() * len(rows)
        return float(total.item() / len(order))

    def snapshot(self) -> State:
        """All that it takes to go on from here."""
        kept = {} if self.last_pass is None else {"last_pass": self.last_pass.state()}
        return {
            **kept,
            "frontend": self.frontend.saved(),
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "epoch": self.epoch,
            "steps": self.steps,
        }

    def load_snapshot(self, snapshot: State) -> None:
        """Go on from what `snapshot` gave."""
        self.frontend.load_saved(snapshot["frontend"])
        self.objective.load_state_dict(snapshot["objective"])
        self.optimiser.load_state_dict(snapshot["optimiser"])
        self.generator.set_state(snapshot["generator"].cpu())
        self.epoch = snapshot["epoch"]
        self.steps = snapshot.get("steps", 0)  # of before there were schedules
        if self.last_pass is not None:
            self.last_pass.load_state(snapshot["last_pass"])

    def _loss(self, data: TrainingData, rows: Tensor) -> Tensor:
        """The mean loss of a batch; waves and spectra are freed before its gradient is taken."""
        features, labels, blocks = self._inputs(data, rows)
        with _precision(self.device, self.recipe.mixed_precision):
            embeddings = self.frontend.embed(features)
        if self.last_pass is not None and self.epoch == self.recipe.epochs - 1:
            self.last_pass.add(data.clips_of(rows), embeddings)
        return self.objective(embeddings.float(), labels, blocks, self.generator)  # type: ignore[no-any-return]

    def _inputs(self, data: TrainingData, rows: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Features of a batch, its labels, and what statistics exchange left of them."""
        waves, labels = data.batch(rows, self.generator)
        waves = waves.to(self.device, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        waves, labels = self._augmented(waves, labels)
        features, blocks = self._exchanged(self.frontend.features(waves), labels)
        return features, labels, blocks

    def _step(self, loss: Tensor) -> None:
        """One step of the optimiser."""
        rate = self.recipe.rate(self.steps, self.epoch)
        self.steps += 1
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip_gradient is not None:
            nn.utils.clip_grad_norm_(self.weights, self.recipe.clip_gradient)
        self.optimiser.step()
        self.optimiser.zero_grad()  # now, so that gradients are no holes among freed arrays

    def _augmented(self, waves: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.augment.mixup > 0:
            waves, labels = augmentation.mixup(waves, labels, self.augment.mixup, self.generator)
        if (spec := self.augment.spec_augment) is not None:
            waves = augmentation.spec_augment_waves(waves, **vars(spec), generator=self.generator)
        return waves, labels

    def _exchanged(self, features: list[Tensor], labels: Tensor) -> tuple[list[Tensor], Tensor]:
        """Features and labels after statistics exchange, where a loss is taken of it."""
        if self.exchange is None:
            return features, labels
        return augmentation.statistics_exchange(
            features, labels, self.exchange.probability, self.generator
        )


def batches(order: Tensor, size: int) -> Iterator[Tensor]:
    """Batches of `size`, and what is left over; a single one left over joins the batch before.

    (Batch normalisation cannot learn from a batch of one.)
    """
    parts = list(torch.split(order, size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    yield from parts


@torch.inference_mode()
def embed_clips(frontend: Frontend, waves: Waves, width: int, device: torch.device) -> Tensor:
    """Embeddings of the first `width` samples of every clip, shape (clips, dim), on the CPU."""
    frontend.eval()
    found = []
    for clips in torch.split(torch.arange(len(waves)), _CLIPS_AT_ONCE[device.type]):
        crops = waves.first_crops(clips, width).to(device, non_blocking=True)
        found.append(frontend(crops))
    return torch.cat(found).cpu()


def _precision(device: torch.device, mixed: bool) -> AbstractContextManager[Any]:
    """Where networks run: bfloat16 on GPUs that compute with it, else full precision."""
    if mixed and device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()
