"""Parts of recipes that name a class: frontends, labellers, losses and backends."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from asd.backends import BACKENDS, backend_class, make_backend
from asd.backends.base import Backend
from asd.encoders.weights import checked_weights, is_path
from asd.errors import UserError
from asd.extensions import absolute_reference, is_reference, load_class
from asd.schema.node import Node
from asd.schema.values import Positive, Share
from asd.systems.embedding.clip_labels import FileLabeller
from asd.systems.embedding.clusters import ClusterLabeller, KMeansLabeller
from asd.systems.embedding.frontends import Frontend, PooledSpectrogram, SpectralNetwork
from asd.systems.embedding.labellers import Labeller, NameLabeller
from asd.systems.embedding.losses import AdaCos, AdaProj, AngularLoss, ArcFace, SubclusterAdaCos
from asd.systems.embedding.pretrained import AdaptedEncoder, FrozenEncoder
from asd.systems.embedding.tuned import TunedEncoder

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

    OWN: ClassVar[tuple[str, ...]] = ("on", "weight", "probability")
    """Keys that are not those of the class."""

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
