"""Recipes: small YAML files that say how an embedding system is put together.

`read_recipe("dis_spec_scac_trainable")` reads one that comes with the package,
`read_recipe("my/recipe.yaml")` a user's own. Both name classes; the keys beside `class` are that
class's keyword parameters, described there:

    frontend    SpectralNetwork, PooledSpectrogram (asd/systems/embedding/frontends.py)
    losses      ArcFace, AdaCos, SubclusterAdaCos, AdaProj (asd/systems/embedding/losses.py)
    backends    knn, kmeans, rescaled_knn, domain_scaled_knn, mahalanobis, gmm (asd/backends)
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from asd.backends import BACKENDS, make_backend
from asd.errors import UserError
from asd.schema.node import Node
from asd.schema.values import BatchSize, Count, NonNegative, Positive, Share
from asd.systems.embedding.frontends import Frontend, PooledSpectrogram, SpectralNetwork
from asd.systems.embedding.labels import Part
from asd.systems.embedding.losses import AdaCos, AdaProj, AngularLoss, ArcFace, SubclusterAdaCos
from asd.words import nearest

FRONTENDS: dict[str, Callable[..., Frontend]] = {
    "SpectralNetwork": SpectralNetwork,
    "PooledSpectrogram": PooledSpectrogram,
}
LOSSES: dict[str, Callable[..., AngularLoss]] = {
    "ArcFace": ArcFace,
    "AdaCos": AdaCos,
    "SubclusterAdaCos": SubclusterAdaCos,
    "AdaProj": AdaProj,
}

INPUT_SECONDS = {2020: 11.0, 2021: 10.0, 2022: 10.0, 2023: 18.0, 2024: 12.0, 2025: 12.0}
"""Length of the longest clip of each challenge year: the public toolkit's input length."""

_FOLDER = Path(__file__).with_name("recipes")


@dataclass(frozen=True)
class FrontendRecipe:
    """A class of `FRONTENDS` and its keyword parameters."""

    kind: str
    parameters: Mapping[str, Any]

    @classmethod
    def from_node(cls, node: Node) -> "FrontendRecipe":
        entries = node.items()
        kind = _take_class(node, entries, FRONTENDS)
        return cls(kind, node.read_arguments(FRONTENDS[kind], entries))


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
        kind = _take_class(node, entries, LOSSES)
        own: dict[str, Any] = {"on": "embedding"}
        if "on" in entries:
            own["on"] = entries.pop("on").read(cls.__annotations__["on"])
        if "weight" in entries:
            own["weight"] = entries.pop("weight").read(Positive)
        if own["on"].endswith("exchange") and "probability" in entries:
            own["probability"] = entries.pop("probability").read(Share)
        return cls(kind=kind, parameters=node.read_arguments(LOSSES[kind], entries), **own)


@dataclass(frozen=True)
class LabelRecipe:
    """What makes a class; see `labels.find_classes`.

    Parameters
    ----------
    parts
        Parts of a clip's name whose combinations are the classes.
    count_test_names
        Whether classes that only test clips have are counted too, as in the published results.
    """

    parts: tuple[Part, ...] = ("machine", "section", "attributes", "domain")
    count_test_names: bool = False


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
class TrainingRecipe:
    """Training with AdamW at a constant learning rate.

    Parameters
    ----------
    clip_gradient
        Largest norm of the gradient; None is no limit.
    mixed_precision
        Whether the networks run in bfloat16 on GPUs that have it; spectra and losses never do.
    """

    epochs: Count = 16
    batch_size: BatchSize = 64
    learning_rate: Positive = 0.001
    weight_decay: NonNegative = 0.01
    clip_gradient: Positive | None = None
    mixed_precision: bool = True


@dataclass(frozen=True)
class BackendRecipe:
    """A class of `asd.backends.BACKENDS` and its keyword parameters."""

    kind: str
    parameters: Mapping[str, Any]

    @classmethod
    def from_node(cls, node: Node) -> "BackendRecipe":
        entries = node.items()
        kind = _take_class(node, entries, BACKENDS)
        recipe = cls(kind, node.read_arguments(BACKENDS[kind], entries))
        try:
            make_backend(kind, recipe.parameters)
        except UserError as error:
            raise node.fail(str(error)) from None
        return recipe


@dataclass(frozen=True)
class BackendRecipes:
    """Score name -> backend."""

    by_name: Mapping[str, BackendRecipe]

    @classmethod
    def from_node(cls, node: Node) -> "BackendRecipes":
        entries = node.items()
        for name, entry in entries.items():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", name):
                raise entry.fail(f"score name {name!r} may hold letters, digits and - only")
        if not entries:
            raise node.fail("names no backend; add one")
        return cls({name: BackendRecipe.from_node(entry) for name, entry in entries.items()})


@dataclass(frozen=True)
class Recipe:
    """How an embedding system is put together.

    Parameters
    ----------
    input_s
        Length of the network's input in seconds, or "by_year": the longest clip of the year.
    losses
        Added up; none for a frontend that learns nothing.
    """

    frontend: FrontendRecipe
    backends: BackendRecipes
    losses: tuple[LossRecipe, ...] = ()
    labels: LabelRecipe = LabelRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    training: TrainingRecipe = TrainingRecipe()
    input_s: Literal["by_year"] | Positive = "by_year"

    @property
    def learns(self) -> bool:
        """Whether there is anything to train."""
        return bool(self.losses)

    def input_seconds(self, year: int) -> float:
        """Length of the input for a challenge year.

        Raises
        ------
        UserError
            The recipe leaves it to the year, and the year's is not known.
        """
        if self.input_s != "by_year":
            return float(self.input_s)
        if year not in INPUT_SECONDS:
            known = ", ".join(map(str, INPUT_SECONDS))
            raise UserError(
                f"input_s: by_year is known for {known}, not for {year}; "
                "write the seconds of the longest clip into the recipe"
            )
        return INPUT_SECONDS[year]

    def plain(self) -> str:
        """The recipe as one line of JSON; equal for equal recipes."""
        return json.dumps(asdict(self), sort_keys=True)


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def read_recipe(name_or_path: str | Path) -> Recipe:
    """A recipe of the package by its name, or any by its path (which ends in .yaml or .yml).

    Raises
    ------
    UserError
        There is no such recipe, or something in it is unknown or cannot be; the text names file,
        line and key.
    """
    name = str(name_or_path)
    if name in recipe_names():
        path = _FOLDER / f"{name}.yaml"
    elif name.endswith((".yaml", ".yml")):
        path = Path(name)
    else:
        names = recipe_names()
        raise UserError(
            f"model {name!r} is unknown{nearest(name, names)}; choose from {', '.join(names)}, "
            "or give the path of a recipe that ends in .yaml"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"{path}: recipe cannot be read ({reason}); check the path") from None
    return parse_recipe(text, str(path))


def parse_recipe(text: str, file: str) -> Recipe:
    """The recipe in a YAML text; `file` is what errors call it."""
    node = Node.parse(file, text)
    recipe = node.read_dataclass(Recipe)
    trainable = recipe.frontend.kind == "SpectralNetwork"
    if trainable and not recipe.losses:
        raise node.fail("losses: SpectralNetwork must learn from a loss; add one")
    if recipe.losses and not trainable:
        raise node.fail(f"losses: {recipe.frontend.kind} learns nothing; remove them")
    _check_exchange(node, recipe)
    return recipe


def _check_exchange(node: Node, recipe: Recipe) -> None:
    exchanges = [loss for loss in recipe.losses if loss.on == "statistics_exchange"]
    if len(exchanges) > 1:
        raise node.fail("losses: on: statistics_exchange stands twice; remove one of them")
    if exchanges and recipe.frontend.parameters.get("windows") == ():
        raise node.fail(
            "losses: on: statistics_exchange needs a spectrogram; add a window to frontend.windows"
        )


def _take_class(node: Node, entries: dict[str, Node], known: Mapping[str, Any]) -> str:
    if "class" not in entries:
        raise node.fail(f"key 'class' is missing; choose from {', '.join(known)}")
    return str(entries.pop("class").choose(list(known)))
