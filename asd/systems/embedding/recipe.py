"""Recipes: small YAML files that say how an embedding system is put together.

`--model dis_spec_scac_trainable` takes one that comes with the package, `--model my/recipe.yaml` a
user's own. Both name classes; the keys beside `class` are that class's keyword parameters,
described there:

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

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from asd.schema.node import Node
from asd.schema.values import NonNegative, Positive
from asd.systems.embedding.oversampling import OversamplingRecipe
from asd.systems.embedding.recipe_files import with_base
from asd.systems.embedding.recipe_parts import (
    BackendRecipes,
    FrontendRecipe,
    LabelRecipe,
    LossRecipe,
)
from asd.systems.embedding.recipe_training import (
    AugmentationRecipe,
    SupplementalRecipe,
    TrainingRecipe,
)
from asd.systems.logmel import ChannelInput

INPUT_SECONDS = {2020: 11.0, 2021: 10.0, 2022: 10.0, 2023: 18.0, 2024: 12.0, 2025: 12.0}
"""Length of the longest clip of each challenge year: the public toolkit's input length."""


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
    labels: LabelRecipe = field(default_factory=LabelRecipe)
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    supplemental: SupplementalRecipe = field(default_factory=SupplementalRecipe)
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


def set_in_recipe(node: Node, values: Iterable[tuple[str, Node]]) -> None:
    """Put the values of the flag `--set` into a recipe, in whatever order they were given.

    A block whose `class` changes begins with the defaults of the new one: the other keys were the
    former's. Values for keys of the block lie over that.

    Parameters
    ----------
    values
        Dotted keys and their values; of the same key the last counts.

    Raises
    ------
    UserError
        There is no such place.
    """
    for key, value in sorted(values, key=lambda each: _rank(each[0])):
        place, _, name = key.rpartition(".")
        if place and name == "class":
            _change_class(node, place, value)
        node.replace(key, value)


def _rank(key: str) -> tuple[int, bool]:
    """What sorts whole blocks before entries of them, and of these the class first."""
    return key.count(".") + key.count("["), not key.endswith(".class")


def _change_class(node: Node, place: str, value: Node) -> None:
    """Empty a block that is of another class, but for what is not that class's own."""
    block = node.at(place)
    if block is None or not block.is_mapping():
        return
    entries = block.items()
    former = entries["class"].scalar() if "class" in entries else LabelRecipe.kind
    if former == value.scalar():
        return
    node.replace(place, Node.parse(value.file, "{}"))
    for name in LossRecipe.OWN if place.startswith("losses[") else ():
        if name in entries:
            node.replace(f"{place}.{name}", entries[name])


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
