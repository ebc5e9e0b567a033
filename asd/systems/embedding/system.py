"""Embedding systems: one frontend for all machine types, backends for each of them."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from asd.audio.features import Features
from asd.backends import make_backend
from asd.backends.base import Backend
from asd.clips import Clip
from asd.errors import UserError
from asd.systems.base import Epoch, Scores, State, System
from asd.systems.embedding.crops import Waves
from asd.systems.embedding.frontends import Frontend
from asd.systems.embedding.labels import find_classes
from asd.systems.embedding.recipe import FRONTENDS, Recipe
from asd.systems.embedding.thresholds import check_clip_counts, held_out_scores
from asd.systems.embedding.training import Training, TrainingSet, embed_clips


class EmbeddingSystem(System):
    """Scores a clip by the distance of its embedding from those of normal clips.

    The frontend learns to tell the classes of the recipe apart, from the normal training clips of
    all machine types together; then backends are fitted to the embeddings of each machine type.
    Every backend gives a score of its own.

    Parameters
    ----------
    recipe
        As `recipe.read_recipe` gives it.
    input_s
        Length of the frontend's input in seconds, such as `recipe.input_seconds(year)`.
    named
        Clips whose names count as classes without being trained on: the test clips, where
        `recipe.labels.count_test_names` asks for them; not used otherwise.
    device
        Where the frontend lives: "cpu" or "cuda".
    """

    scope: ClassVar[str] = "challenge"
    feature_kind: ClassVar[str] = "waveform"
    threshold_kinds: ClassVar[tuple[str, ...]] = ("held_out",)

    def __init__(
        self,
        recipe: Recipe,
        *,
        input_s: float,
        named: Sequence[Clip] = (),
        device: str = "cpu",
    ) -> None:
        self.recipe = recipe
        self.input_s = input_s
        self.named = named
        self.device = torch.device(device)
        self.score_names = tuple(recipe.backends.by_name)
        self._sample_rate_hz = 0
        self._frontend: Frontend | None = None
        self._backends: dict[str, dict[str, Backend]] = {}
        self._samples: dict[str, Scores] = {}

    def fit(
        self,
        clips: Sequence[Clip],
        features: Features,
        *,
        seed: int,
        on_epoch: Callable[[Epoch], None],
        resume: State | None = None,
    ) -> None:
        """Train the frontend on the clips of all machine types, then fit each one's backends.

        Raises
        ------
        UserError
            All clips are of one class, the loss is no longer finite, a backend has too few clips,
            or `resume` is of another recipe.
        """
        self._check_clip_counts(clips)
        self._sample_rate_hz = features.sample_rate_hz
        if self.recipe.learns:
            self._frontend = self._trained(clips, features, seed, on_epoch, resume)
        else:
            self._frontend = self._new_frontend()
        embeddings = self.embed(clips, features)
        self._backends, self._samples = {}, {}
        for machine, members in _by_machine(clips).items():
            self._fit_backends(machine, [clips[i] for i in members], embeddings[members])

    def embed(self, clips: Sequence[Clip], features: Features) -> NDArray[np.float32]:
        """Embeddings of clips, shape (clips, dim).

        Raises
        ------
        UserError
            The clips' sampling rate is not that of training.
        """
        frontend = self._fitted()
        if features.sample_rate_hz != self._sample_rate_hz:
            raise UserError(
                f"{clips[0].path}: sampling rate {features.sample_rate_hz} Hz, the model was "
                f"trained at {self._sample_rate_hz} Hz; resample the clips"
            )
        waves = Waves.place(features, self.device)
        found: NDArray[np.float32] = embed_clips(frontend, waves, self._width, self.device).numpy()
        return found

    def score(
        self,
        clips: Sequence[Clip],
        features: Features,
        names: Sequence[str] | None = None,  # noqa: ARG002 - all are found together
    ) -> Scores:
        """Scores of every backend, shape (clips,) each.

        Raises
        ------
        UserError
            A machine type that was not trained on, or embeddings that are not finite.
        """
        embeddings = self.embed(clips, features)
        scores = {name: np.empty(len(clips)) for name in self.score_names}
        for machine, members in _by_machine(clips).items():
            if machine not in self._backends:
                known = list(self._backends)
                raise UserError(
                    f"{machine}: the model was trained on {', '.join(known)}; train it again with "
                    f"{machine}, or test it with --machine_types {' '.join(known)}"
                )
            section = _sections(clips[i] for i in members)
            for name, backend in self._backends[machine].items():
                with _where(machine, name):
                    scores[name][members] = backend.score(embeddings[members], section)
        return scores

    def threshold_samples(self, kind: str, machine: str) -> Scores:  # noqa: ARG002
        """Scores of held-out training clips, see `thresholds.held_out_scores`."""
        return self._samples[machine]

    def state(self) -> State:
        return {
            "recipe": self.recipe.plain(),
            "input_s": self.input_s,
            "sample_rate_hz": self._sample_rate_hz,
            "frontend": self._fitted().state_dict(),
            "backends": {
                machine: {name: _tensors(backend.state()) for name, backend in backends.items()}
                for machine, backends in self._backends.items()
            },
            "samples": {machine: _tensors(scores) for machine, scores in self._samples.items()},
        }

    def load_state(self, state: State) -> None:
        """Take over what `state` gave.

        Raises
        ------
        UserError
            The state is of another recipe or input length.
        """
        self._check_same(state, "model")
        self._sample_rate_hz = state["sample_rate_hz"]
        self._frontend = self._new_frontend()
        self._frontend.load_state_dict(state["frontend"])
        self._backends = {}
        for machine, states in state["backends"].items():
            self._backends[machine] = self._new_backends()
            for name, backend in self._backends[machine].items():
                backend.load_state(_arrays(states[name]))
        self._samples = {machine: _arrays(scores) for machine, scores in state["samples"].items()}

    @property
    def _width(self) -> int:
        """Samples of the frontend's input."""
        return int(self.input_s * self._sample_rate_hz)

    def _fitted(self) -> Frontend:
        if self._frontend is None:
            raise RuntimeError("the embedding system has neither been fitted nor loaded")
        return self._frontend

    def _new_frontend(self) -> Frontend:
        spec = self.recipe.frontend
        make = FRONTENDS[spec.kind]
        return make(self._width, self._sample_rate_hz, **spec.parameters).to(self.device)

    def _check_clip_counts(self, clips: Sequence[Clip]) -> None:
        """Refuse too few clips now, not after hours of training."""
        for machine, members in _by_machine(clips).items():
            is_target = np.array([clips[i].is_target for i in members])
            section = _sections(clips[i] for i in members)
            for name, spec in self.recipe.backends.by_name.items():
                with _where(machine, name):
                    make = partial(make_backend, spec.kind, spec.parameters)
                    check_clip_counts(make, is_target, section)

    def _new_backends(self) -> dict[str, Backend]:
        specs = self.recipe.backends.by_name
        return {name: make_backend(spec.kind, spec.parameters) for name, spec in specs.items()}

    def _trained(
        self,
        clips: Sequence[Clip],
        features: Features,
        seed: int,
        on_epoch: Callable[[Epoch], None],
        resume: State | None,
    ) -> Frontend:
        labels = self.recipe.labels
        named = self.named if labels.count_test_names else ()
        classes = find_classes(clips, labels.parts, named)
        training = Training(
            self._new_frontend,
            self.recipe.losses,
            len(classes),
            self.recipe.training,
            self.recipe.augmentation,
            seed=seed,
            device=self.device,
        )
        if resume is not None:
            self._check_same(resume, "checkpoint", ignore_epochs=True)  # there may be more now
            training.load_snapshot(resume["training"])
        data = TrainingSet(
            Waves.place(features, self.device),
            torch.from_numpy(classes.numbers(clips)),
            len(classes),
            self._width,
        )
        training.run(data, lambda epoch: on_epoch(self._checked(epoch)))
        return training.frontend

    def _checked(self, epoch: Epoch) -> Epoch:
        """The epoch, with the recipe in its snapshot."""
        if not math.isfinite(epoch.losses["loss"]):
            raise UserError(
                f"training diverged: the loss of epoch {epoch.number} is {epoch.losses['loss']}; "
                "set a smaller training.learning_rate or a training.clip_gradient in the recipe"
            )

        def snapshot() -> State:
            same = {"recipe": self.recipe.plain(), "input_s": self.input_s}
            return {**same, "training": epoch.snapshot()}

        return Epoch(epoch.number, epoch.total, epoch.losses, snapshot)

    def _check_same(self, state: State, what: str, ignore_epochs: bool = False) -> None:
        stored, own = state.get("recipe"), self.recipe.plain()
        if stored and ignore_epochs:
            stored, own = _without_epochs(stored), _without_epochs(own)
        if stored != own or state["input_s"] != self.input_s:
            raise UserError(
                f"the stored {what} is of another recipe or input length; "
                "use the recipe it was made with, or train again"
            )

    def _fit_backends(
        self, machine: str, clips: Sequence[Clip], embeddings: NDArray[np.float32]
    ) -> None:
        is_target = np.array([clip.is_target for clip in clips])
        section = _sections(clips)
        self._backends[machine] = self._new_backends()
        for name, backend in self._backends[machine].items():
            with _where(machine, name):
                backend.fit(embeddings, is_target, section)
        with _where(machine, "decision threshold (a fifth of the clips held out)"):
            self._samples[machine] = held_out_scores(
                self._new_backends, embeddings, is_target, section
            )


def _without_epochs(plain: str) -> str:
    """A recipe as `Recipe.plain` gives it, less the length of its training."""
    recipe = json.loads(plain)
    del recipe["training"]["epochs"]
    return json.dumps(recipe, sort_keys=True)


def _by_machine(clips: Sequence[Clip]) -> dict[str, list[int]]:
    """Machine type -> indices of its clips."""
    members: dict[str, list[int]] = {}
    for index, clip in enumerate(clips):
        members.setdefault(clip.machine, []).append(index)
    return members


def _sections(clips: Iterable[Clip]) -> NDArray[np.int64]:
    return np.array([int(clip.section) for clip in clips], dtype=np.int64)


def _tensors(arrays: Mapping[str, NDArray[np.float64]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.float64]]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


@contextmanager
def _where(machine: str, name: str) -> Iterator[None]:
    """Say in a backend's error which machine type and score it is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{machine}, {name}: {error}") from None
