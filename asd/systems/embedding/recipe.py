"""Recipes: small YAML files that say how an embedding system is put together.

`read_recipe("dis_spec_scac_trainable")` reads one that comes with the package,
`read_recipe("my/recipe.yaml")` a user's own. Both name classes; the keys beside `class` are that
class's keyword parameters, described there:

    frontend    SpectralNetwork, PooledSpectrogram (asd/systems/embedding/frontends.py),
                FrozenEncoder, AdaptedEncoder (asd/systems/embedding/pretrained.py),
                TunedEncoder (asd/systems/embedding/tuned.py)
    losses      ArcFace, AdaCos, SubclusterAdaCos, AdaProj (asd/systems/embedding/losses.py)
    labels      NameLabeller (asd/systems/embedding/labellers.py),
                FileLabeller (asd/systems/embedding/clip_labels.py),
                ClusterLabeller, KMeansLabeller (asd/systems/embedding/clusters.py)
    backends    knn, kmeans, rescaled_knn, standardised_knn, beam, domain_scaled_knn, mem_mixup,
                mahalanobis, gmm, pca_residual, z_min (asd/backends)

`base: dis_spec_featex` begins with another recipe, of the package or by its path, over which own
entries are laid (asd/systems/embedding/recipe_files.py).

A class of your own is named by its file or module, `class: my_file.py:MyBackend`; a relative path
is meant from the recipe's folder, or from the current one. Backends that an installed package
offers through the entry point group "asd.backends" go by their names.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from asd.backends import BACKENDS, backend_class, make_backend
from asd.backends.base import Backend
from asd.encoders.weights import checked_weights, is_path
from asd.errors import UserError
from asd.extensions import absolute_reference, is_reference, load_class
from asd.schema.node import Node
from asd.schema.parameters import parameter
from asd.schema.values import BatchSize, Count, NonNegative, Positive, Share, WholeNumber
from asd.systems.embedding.clip_labels import FileLabeller
from asd.systems.embedding.clusters import ClusterLabeller, KMeansLabeller
from asd.systems.embedding.frontends import Frontend, PooledSpectrogram, SpectralNetwork
from asd.systems.embedding.kept_epochs import KeptEpochs
from asd.systems.embedding.labellers import Labeller, NameLabeller
from asd.systems.embedding.losses import AdaCos, AdaProj, AngularLoss, ArcFace, SubclusterAdaCos
from asd.systems.embedding.oversampling import OversamplingRecipe
from asd.systems.embedding.pretrained import AdaptedEncoder, FrozenEncoder
from asd.systems.embedding.recipe_files import with_base
from asd.systems.embedding.restarts import RestartRecipe
from asd.systems.embedding.tuned import TunedEncoder
from asd.systems.logmel import ChannelInput

T = TypeVar("T")

FRONTENDS: dict[str, type[Any]] = {
    "SpectralNetwork": SpectralNetwork,
    "PooledSpectrogram": PooledSpectrogram,
    "FrozenEncoder": FrozenEncoder,
    "AdaptedEncoder": AdaptedEncoder,
    "TunedEncoder": TunedEncoder,
}
LOSSES: dict[str, type[AngularLoss]] = {
    "ArcFace": ArcFace,
    "AdaCos": AdaCos,
    "SubclusterAdaCos": SubclusterAdaCos,
    "AdaProj": AdaProj,
}
LABELLERS: dict[str, type[Labeller]] = {
    "NameLabeller": NameLabeller,
    "FileLabeller": FileLabeller,
    "ClusterLabeller": ClusterLabeller,
    "KMeansLabeller": KMeansLabeller,
}

_FILES = ("checkpoint", "file", "true_labels")
"""Parameters of classes that are paths of files, or of folders of tables."""

INPUT_SECONDS = {2020: 11.0, 2021: 10.0, 2022: 10.0, 2023: 18.0, 2024: 12.0, 2025: 12.0}
"""Length of the longest clip of each challenge year: the public toolkit's input length."""


@dataclass(frozen=True)
class Part:
    """A class, and keyword parameters for it.

    Parameters
    ----------
    kind
        Its name in the package, or "file.py:Class".
    """

    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """The part as it stands in a recipe."""
        return {"class": self.kind, **self.parameters}

    def check(self) -> None:
        """Refuse weights and checkpoints that are not here, or not what the catalog knows.

        Raises
        ------
        UserError
            Says which command gets them.
        """
        if isinstance(weights := self.parameters.get("weights"), str):
            checked_weights(weights)
        for key in _FILES:
            path = self.parameters.get(key)
            if isinstance(path, str) and not Path(path).exists():
                word = "checkpoint" if key == "checkpoint" else f"file ({key} of the recipe)"
                raise UserError(f"{path}: no such {word}; check the path")


@dataclass(frozen=True)
class FrontendRecipe(Part):
    """A frontend and its keyword parameters."""

    @classmethod
    def from_node(cls, node: Node) -> "FrontendRecipe":
        kind, parameters = _read_part(node, node.items(), FRONTENDS, Frontend, "frontend")
        return cls(kind, _with_absolute_files(parameters, Path(node.file).parent))

    @property
    def learns(self) -> bool | None:
        """Whether it must learn from losses (True), cannot (False), or may (None)."""
        found: bool | None = _class_of(self.kind, FRONTENDS, Frontend, "frontend").learns
        return found

    @property
    def frozen(self) -> FrozenEncoder | None:
        """The frozen encoder that this is, if it is one."""
        return FrozenEncoder(**self.parameters) if self.kind == "FrozenEncoder" else None

    def make(self, width: int, sample_rate_hz: int) -> Frontend:
        """A frontend for waves of `width` samples."""
        found: Callable[..., Frontend] = _class_of(self.kind, FRONTENDS, Frontend, "frontend")
        return found(width, sample_rate_hz, **self.parameters)


@dataclass(frozen=True)
class LabelRecipe(Part):
    """A labeller and its keyword parameters; by default classes come from names."""

    kind: str = "NameLabeller"

    @classmethod
    def from_node(cls, node: Node) -> "LabelRecipe":
        entries = node.items()
        if "class" not in entries:
            return cls(cls.kind, node.read_arguments(NameLabeller, entries))
        kind, parameters = _read_part(node, entries, LABELLERS, Labeller, "labeller")
        found = cls(kind, _with_absolute_files(parameters, Path(node.file).parent))
        if kind in LABELLERS:
            try:
                found.make("left")
            except UserError as error:
                raise node.error(str(error).removeprefix("labels: ")) from None
        return found

    def make(self, channel: str) -> Labeller:
        """The labeller; one that listens hears `channel` if its parameters name none."""
        found: Callable[..., Labeller] = _class_of(self.kind, LABELLERS, Labeller, "labeller")
        parameters = dict(self.parameters)
        hears = isinstance(found, type) and issubclass(found, ClusterLabeller)
        if hears and parameters.get("channel") is None:
            parameters["channel"] = channel
        return found(**parameters)


@dataclass(frozen=True)
class LossRecipe:
    """A class of `LOSSES`, its keyword parameters, and what it is taken of.

    Parameters
    ----------
    on
        "embedding": the whole embedding. "branches": each branch of it alone, losses added
        (subspace loss). "feature_exchange": embeddings put together from branches of different
        clips, with classes of their own (FeatEx). "statistics_exchange": the whole embedding, of
        clips whose spectrograms got another clip's statistics, with three times the classes
        (StatEx; see `augmentation.statistics_exchange`). As in the program of Wilkinghoff (ICASSP
        2024) it follows mixup and changes what the networks see, which run once: the other losses
        are taken of the same embeddings, under the labels from before the exchange. Feature
        exchange comes after it and multiplies its classes.
    weight
        Factor of this loss in the sum.
    probability
        Share of rows that an exchange changes.
    """

    on: Literal["embedding", "branches", "feature_exchange", "statistics_exchange"]
    kind: str
    parameters: Mapping[str, Any]
    weight: Positive = 1.0
    probability: Share = 0.5

    @classmethod
    def from_node(cls, node: Node) -> "LossRecipe":
        entries = node.items()
        own: dict[str, Any] = {"on": "embedding"}
        if "on" in entries:
            own["on"] = entries.pop("on").read(cls.__annotations__["on"])
        if "weight" in entries:
            own["weight"] = entries.pop("weight").read(Positive)
        if own["on"].endswith("exchange") and "probability" in entries:
            own["probability"] = entries.pop("probability").read(Share)
        kind, parameters = _read_part(node, entries, LOSSES, AngularLoss, "loss")
        return cls(kind=kind, parameters=parameters, **own)

    def to_plain(self) -> dict[str, Any]:
        """The loss as it stands in a recipe."""
        own: dict[str, Any] = {"on": self.on, "class": self.kind, "weight": self.weight}
        if self.on.endswith("exchange"):
            own["probability"] = self.probability
        return {**own, **self.parameters}

    def make(self, width: int, classes: int) -> AngularLoss:
        """The loss of embeddings of some width."""
        found: Callable[..., AngularLoss] = _class_of(self.kind, LOSSES, AngularLoss, "loss")
        return found(width, classes, **self.parameters)


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
        if not self.epoch_weights:
            return KeptEpochs(tuple(sorted(set(self.keep_epochs))))
        if not len(self.epoch_weights) == len(self.keep_epochs) == len(set(self.keep_epochs)):
            raise UserError(
                "training.epoch_weights: expected a weight for each of keep_epochs "
                f"{list(self.keep_epochs)}, got {list(self.epoch_weights)}"
            )
        epochs, weights = zip(
            *sorted(zip(self.keep_epochs, self.epoch_weights, strict=True)), strict=True
        )
        return KeptEpochs(epochs, weights)


@dataclass(frozen=True)
class BackendRecipe(Part):
    """A backend and its keyword parameters."""

    @classmethod
    def from_node(cls, node: Node) -> "BackendRecipe":
        entries = node.items()
        recipe = cls(*_read_part(node, entries, BACKENDS, Backend, "backend", backend_class))
        try:
            recipe.make()
        except UserError as error:
            raise node.error(str(error)) from None
        return recipe

    def make(self) -> Backend:
        """An unfitted backend."""
        return make_backend(self.kind, self.parameters)


@dataclass(frozen=True)
class BackendRecipes:
    """Score name -> backend."""

    by_name: Mapping[str, BackendRecipe]

    @classmethod
    def from_node(cls, node: Node) -> "BackendRecipes":
        entries = node.items()
        for name, entry in entries.items():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", name):
                raise entry.error(f"score name {name!r} may hold letters, digits and - only")
        if not entries:
            raise node.error("names no backend; add one")
        return cls({name: BackendRecipe.from_node(entry) for name, entry in entries.items()})

    def to_plain(self) -> dict[str, Any]:
        """The backends as they stand in a recipe."""
        return {name: backend.to_plain() for name, backend in self.by_name.items()}


@dataclass(frozen=True, kw_only=True)
class Recipe(ChannelInput):
    """How an embedding system is put together.

    Parameters
    ----------
    input_s
        Length of the network's input in seconds, or "by_year": the longest clip of the year, or of
        the training clips where the year or its longest clip is not known. "whole": each clip as
        long as it is, which only a frozen encoder can take.
    losses
        Added up; none for a frontend that learns nothing.
    far_share
        How much of the embedding of the far channel ("right") is taken off that of `channel`:
        e = e_near - share e_far. 0 hears one channel. Source: the residual view of UTurtle's
        system for the DCASE 2026 Challenge, with a share of 0.5.
    oversampling
        Training on classes of equal size; None trains on every clip once an epoch.
    references
        What backends compare with: "evaluation", embeddings of the training clips by the trained
        frontend, or "training_pass", those that the last epoch of training made of its rows.
    """

    frontend: FrontendRecipe
    backends: BackendRecipes
    losses: tuple[LossRecipe, ...] = ()
    labels: LabelRecipe = LabelRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    training: TrainingRecipe = TrainingRecipe()
    supplemental: SupplementalRecipe = SupplementalRecipe()
    input_s: Literal["by_year", "whole"] | Positive = "by_year"
    far_share: NonNegative = 0.0
    oversampling: OversamplingRecipe | None = None
    references: Literal["evaluation", "training_pass"] = "evaluation"

    @property
    def learns(self) -> bool:
        """Whether there is anything to train."""
        return bool(self.losses)

    @property
    def epochs(self) -> int:
        """Passes over the training data; 0 where there is nothing to train."""
        return self.training.epochs if self.learns else 0

    def input_seconds(self, year: int | None, longest_s: float) -> float:
        """Length of the input for a challenge year, or for clips of which one is the longest."""
        if self.input_s not in ("by_year", "whole"):
            return float(self.input_s)
        return INPUT_SECONDS.get(year, longest_s) if year is not None else longest_s


def recipe_of_node(node: Node) -> Recipe:
    """The recipe in a YAML node.

    Raises
    ------
    UserError
        Something in it is unknown or cannot be; the text names file, line and key.
    """
    recipe = node.read_dataclass(Recipe)
    if recipe.frontend.learns and not recipe.losses:
        raise node.error(f"losses: {recipe.frontend.kind} must learn from a loss; add one")
    if recipe.losses and recipe.frontend.learns is False:
        raise node.error(f"losses: {recipe.frontend.kind} learns nothing; remove them")
    if recipe.training.keep_epochs and not recipe.losses:
        raise node.error("training.keep_epochs: there is no training; remove it")
    if recipe.input_s == "whole" and recipe.frontend.kind != "FrozenEncoder":
        raise node.error(
            f"input_s: {recipe.frontend.kind} needs clips of one length; set seconds or by_year"
        )
    _check_exchange(node, recipe)
    _check_training(node, recipe)
    return recipe


def parse_recipe(text: str, file: str) -> Recipe:
    """The recipe in a YAML text; `file` is what errors call it."""
    return recipe_of_node(with_base(Node.parse(file, text)))


def _check_exchange(node: Node, recipe: Recipe) -> None:
    exchanges = [loss for loss in recipe.losses if loss.on == "statistics_exchange"]
    if len(exchanges) > 1:
        raise node.error("losses: on: statistics_exchange stands twice; remove one of them")
    if exchanges and recipe.frontend.parameters.get("windows") == ():
        raise node.error(
            "losses: on: statistics_exchange needs a spectrogram; add a window to frontend.windows"
        )


def _check_training(node: Node, recipe: Recipe) -> None:
    training = recipe.training
    if training.schedule is not None and training.restarts is not None:
        raise node.error("training: schedule and restarts both set the learning rate; remove one")
    if recipe.oversampling is not None and training.crop != "once":
        raise node.error("oversampling: mixes clips that are cut once; set training.crop: once")
    if recipe.references == "training_pass":
        if not recipe.learns:
            raise node.error("references: nothing is trained; set evaluation, or add a loss")
        if recipe.augmentation.mixup or recipe.far_share:
            raise node.error(
                "references: training_pass wants embeddings of one clip each; set "
                "augmentation.mixup and far_share to 0, or references: evaluation"
            )
        if training.keep_epochs:
            raise node.error(
                "references: training_pass is of the last epoch; set training.keep_epochs: [], or "
                "references: evaluation"
            )


def _read_part(
    node: Node,
    entries: dict[str, Node],
    known: Mapping[str, type[T]],
    base: type[T],
    word: str,
    find: Callable[[str], type[T]] | None = None,
) -> tuple[str, dict[str, Any]]:
    """Name and keyword parameters of a class, from the entries of a mapping."""
    if "class" not in entries:
        raise node.error(f"key 'class' is missing; choose from {', '.join(known)}")
    entry = entries.pop("class")
    kind = absolute_reference(str(entry.scalar()), Path(node.file).parent, Path())
    if kind not in known and not is_reference(kind) and find is None:
        kind = entry.choose(list(known))
    try:
        found = find(kind) if find else _class_of(kind, known, base, word)
    except UserError as error:
        raise entry.error(str(error)) from None
    return kind, node.read_arguments(found, entries)


def _with_absolute_files(parameters: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Files as absolute paths: from the recipe's folder, or from the current one."""
    found = dict(parameters)
    for key in ("weights", *_FILES):
        value = found.get(key)
        if isinstance(value, str) and (key != "weights" or is_path(value)):
            places = [folder / value, Path(value).expanduser()]
            found[key] = str(next((p for p in places if p.exists()), places[-1]).absolute())
    return found


def _class_of(kind: str, known: Mapping[str, type[T]], base: type[T], word: str) -> type[T]:
    return known[kind] if kind in known else load_class(kind, base, word)
