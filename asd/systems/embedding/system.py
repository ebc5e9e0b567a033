"""Embedding systems: one frontend for all machine types, backends for each of them."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from asd.audio.clip_set import ClipSet
from asd.audio.features import ClipLength, Feature, Waveform
from asd.backends.base import Backend
from asd.backends.beam import Beam
from asd.clips import Clip
from asd.encoders.feature import EncoderFeature, key_of_file
from asd.errors import UserError
from asd.scores.table import ScoreTable
from asd.scores.threshold import refuse_non_finite
from asd.systems.base import MAIN_STAGE, Epoch, Run, Scores, State, System, resume_stage
from asd.systems.embedding.crops import Waves
from asd.systems.embedding.exporting import EmbeddingScore, backend_module, check_frontend
from asd.systems.embedding.frontends import Frontend
from asd.systems.embedding.oversampled_set import cut_or_oversampled
from asd.systems.embedding.pretrained import AdaptedEncoder, FrozenEncoder, check_weights
from asd.systems.embedding.recipe import Recipe
from asd.systems.embedding.references import References
from asd.systems.embedding.supplemental import training_set, with_supplemental
from asd.systems.embedding.thresholds import held_out_table, smote_notes, too_few_clips
from asd.systems.embedding.training import Training, embed_clips
from asd.systems.embedding.training_pass import TrainedRows, held_out_by_rows

log = logging.getLogger(__name__)

FAR = "right"
"""The far channel of two, as the challenge of 2026 has it."""


class EmbeddingSystem(System):
    """Scores a clip by the distance of its embedding from those of normal clips.

    The frontend learns to tell the classes of the recipe apart, from the normal training clips of
    all machine types together; then backends are fitted to the embeddings of each machine type.
    Every backend gives a score of its own.
    """

    Parameters: ClassVar[type] = Recipe
    scope: ClassVar[str] = "challenge"

    parameters: Recipe

    def __init__(self, parameters: Recipe, device: str = "cpu") -> None:
        super().__init__(parameters, device)
        self.torch_device = torch.device(device)
        self._input_s = 0.0
        self._sample_rate_hz = 0
        self._frontend: Frontend | None = None
        self._precision = ""
        self._backends: dict[str, dict[str, Backend]] = {}
        self._normal: dict[str, ScoreTable] = {}
        self._references: dict[str, References] = {}
        self._left_out: tuple[str, ...] = ()
        self._trained_rows: TrainedRows | None = None

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the recipe's backends, less those that training had too few clips for."""
        return tuple(n for n in self.parameters.backends.by_name if n not in self._left_out)

    def inputs(self) -> Mapping[str, Feature]:
        if self._frozen is not None and self._has_no_length:
            return {"length": ClipLength()}  # which may decide how long the input is
        name = "waveform" if self._frozen is None else "embedding"
        inputs = {f"{name} {channel}": self._input(channel) for channel in self._channels}
        return inputs if len(inputs) > 1 else {name: self._input(self.parameters.channel)}

    def check(self) -> None:
        self.parameters.frontend.check()
        self.parameters.labels.check()

    def fit(self, train: ClipSet, run: Run) -> None:
        """Train the frontend on the clips of all machine types, then fit each one's backends.

        Raises
        ------
        UserError
            All clips are of one class, the loss is no longer finite, or a backend has too few
            clips.
        """
        self._left_out = ()
        self._left_out = self._too_hungry(train)
        self._tell_idle_smote(train)
        self._find_length(train)
        if self._frozen is not None:
            own = self._input(self.parameters.channel)
            assert isinstance(own, EncoderFeature)
            self._precision = own.precision
        else:
            self._frontend = self._trained(train, run) if self.parameters.learns else self._begun()
        self._check_bands(train)
        embeddings = self.embed(train)
        self._backends, self._normal, self._references = {}, {}, {}
        for machine, members in train.by_machine().items():
            rows = self._trained_rows and self._trained_rows.of(members, len(train))
            self._fit_backends(machine, train.select(members), embeddings[members], rows)
        self._trained_rows = None

    def embed(self, clips: ClipSet) -> NDArray[np.float32]:
        """Embeddings of clips, shape (clips, dim).

        Raises
        ------
        UserError
            The clips' sampling rate is not that of training.
        """
        near, *far = (self._embed_channel(clips, channel) for channel in self._channels)
        found = near - np.float32(self.parameters.far_share) * far[0] if far else near
        refuse_non_finite(found, clips.clips, "embedding")
        return found

    def _embed_channel(self, clips: ClipSet, channel: str) -> NDArray[np.float32]:
        features = clips.features(self._input(channel))
        if features.sample_rate_hz != self._sample_rate_hz:
            raise UserError(
                f"{clips[0].path}: sampling rate {features.sample_rate_hz} Hz, the model was "
                f"trained at {self._sample_rate_hz} Hz; resample the clips"
            )
        found: NDArray[np.float32]
        if self._frozen is not None:
            found = np.array(features.rows[features.starts], dtype=np.float32)
            found = found.reshape(len(clips), -1)
        else:
            waves = Waves.place(features, self.torch_device)
            found = embed_clips(self._fitted(), waves, self._width, self.torch_device).numpy()
        return found

    def score(
        self,
        clips: ClipSet,
        names: Sequence[str] | None = None,  # noqa: ARG002 - all are found together
    ) -> Scores:
        """Scores of every backend, shape (clips,) each.

        Raises
        ------
        UserError
            A machine type that was not trained on, or embeddings that are not finite.
        """
        embeddings = self.embed(clips)
        scores = {name: np.empty(len(clips)) for name in self.score_names}
        for machine, members in clips.by_machine().items():
            if machine not in self._backends:
                known = list(self._backends)
                raise UserError(
                    f"{machine}: the model was trained on {', '.join(known)}; train it again with "
                    f"{machine}, or score clips of those (--machine_types {' '.join(known)}; in "
                    "Python asd.recordings(..., machine=...))"
                )
            section = clips.sections[members]
            for name, backend in self._backends[machine].items():
                with _where(machine, name):
                    scores[name][members] = backend.score(embeddings[members], section)
        return scores

    def nearest_normal(self, clips: ClipSet) -> list[Clip | None]:
        """The training clip of the same machine type whose embedding is nearest.

        None of machine types whose training clips the model does not remember.
        """
        embeddings = self.embed(clips)
        found: list[Clip | None] = [None] * len(clips)
        for machine, members in clips.by_machine().items():
            if machine in self._references:
                near = self._references[machine].nearest(embeddings[members])
                for i, clip in zip(members, near, strict=True):
                    found[i] = clip
        return found

    @property
    def input_s(self) -> float:
        """Length of the frontend's input in seconds; 0 before training."""
        return self._input_s

    def module(self, score: str, samples: int, rate_hz: int, machine: str) -> nn.Module:  # noqa: ARG002
        """A backend's score as a module, see `asd.systems.base.Exportable`.

        Raises
        ------
        UserError
            There is no export of the frontend or the backend.
        """
        check_frontend(self.parameters.frontend.kind)
        backend = backend_module(self._backends[machine][score], score)
        return EmbeddingScore(self._fitted(), backend, samples, self._width).eval()

    def normal_scores(self) -> Mapping[str, ScoreTable]:
        """Scores of held-out training clips, see `thresholds.held_out_table`."""
        return self._normal

    def state(self) -> State:
        return {
            "input_s": self._input_s,
            "sample_rate_hz": self._sample_rate_hz,
            "frontend": self._frontend_state(),
            "backends": {
                machine: {name: _tensors(backend.state()) for name, backend in backends.items()}
                for machine, backends in self._backends.items()
            },
            "left_out": list(self._left_out),
            "references": {machine: each.state() for machine, each in self._references.items()},
            "normal_scores": {machine: t.to_state() for machine, t in self._normal.items()},
        }

    def load_state(self, state: State) -> None:
        self._input_s = state["input_s"]
        self._sample_rate_hz = state["sample_rate_hz"]
        if self._frozen is not None:
            self._precision = state["frontend"]["precision"]
            check_weights(state["frontend"]["weights_sha256"], key_of_file(self._frozen.weights))
        else:
            self._frontend = self._new_frontend()
            self._frontend.load_saved(state["frontend"])
        self._left_out = tuple(state["left_out"])
        self._backends = {}
        for machine, states in state["backends"].items():
            self._backends[machine] = self._new_backends()
            for name, backend in self._backends[machine].items():
                backend.load_state(_arrays(states[name]))
        kept = state.get("references", {})  # models made before clips were remembered have none
        self._references = {machine: References.from_state(each) for machine, each in kept.items()}
        tables = state["normal_scores"].items()
        self._normal = {machine: ScoreTable.from_state(table) for machine, table in tables}

    @property
    def _frozen(self) -> FrozenEncoder | None:
        """The frontend, where it is a frozen encoder: embeddings are features of the store then."""
        return self.parameters.frontend.frozen

    @property
    def _channels(self) -> tuple[str, ...]:
        """The channels that are heard: near, and far where it plays a part."""
        own = self.parameters.channel
        return (own, FAR) if self.parameters.far_share else (own,)

    @property
    def _has_no_length(self) -> bool:
        return self._sample_rate_hz == 0 and self.parameters.input_s == "by_year"

    def _input(self, channel: str) -> Waveform | EncoderFeature:
        """What is heard of a channel: samples, or the stored embeddings of a frozen encoder."""
        if self._frozen is None:
            return Waveform(channel)
        length = self.parameters.input_s
        seconds = None if length == "whole" else self._input_s if length == "by_year" else length
        return self._frozen.feature(channel, seconds, self.device, self._precision)

    def _find_length(self, train: ClipSet) -> None:
        """Find sampling rate, and the length of the input in seconds (0 for whole clips)."""
        if self._frozen is not None and self.parameters.input_s != "by_year":
            own = self._input(self.parameters.channel)
            self._sample_rate_hz = train.features(own).sample_rate_hz
            whole = self.parameters.input_s == "whole"
            self._input_s = 0.0 if whole else float(self.parameters.input_s)
            return
        waveform = Waveform(self.parameters.channel)
        features = train.features(ClipLength() if self._frozen else waveform)
        lengths = features.lengths if self._frozen is None else features.rows[features.starts]
        self._sample_rate_hz = features.sample_rate_hz
        longest_s = float(lengths.max()) / features.sample_rate_hz
        self._input_s = self.parameters.input_seconds(train.year, longest_s)

    def _frontend_state(self) -> State:
        if self._frozen is None:
            return self._fitted().saved()
        return {
            "weights_sha256": key_of_file(self._frozen.weights),
            "precision": self._precision,
        }

    @property
    def _width(self) -> int:
        """Samples of the frontend's input."""
        return int(self._input_s * self._sample_rate_hz)

    def _fitted(self) -> Frontend:
        if self._frontend is None:
            raise RuntimeError("the embedding system has neither been fitted nor loaded")
        return self._frontend

    def _new_frontend(self) -> Frontend:
        made = self.parameters.frontend.make(self._width, self._sample_rate_hz)
        return made.to(self.torch_device)

    def _begun(self) -> Frontend:
        """A frontend at the start of a training."""
        made = self._new_frontend()
        made.begin()
        return made

    def _too_hungry(self, train: ClipSet) -> tuple[str, ...]:
        """Backends that there are too few clips for: told now, not after hours of training.

        Raises
        ------
        UserError
            There are too few for all.
        """
        backends = self.parameters.backends.by_name
        reasons: dict[str, str] = {}
        for machine, members in train.by_machine().items():
            makes = {name: backend.make for name, backend in backends.items()}
            found = too_few_clips(makes, train.is_target[members], train.sections[members])
            for name, reason in found.items():
                reasons.setdefault(name, f"{machine}, {name}: {reason}")
        if len(reasons) == len(backends):
            raise UserError(next(iter(reasons.values())))
        for reason in reasons.values():
            log.warning("%s; it is left out, the others are trained", reason)
        return tuple(reasons)

    def _check_bands(self, train: ClipSet) -> None:
        """Refuse a backend that would cut embeddings of an encoder elsewhere than at its bands.

        Raises
        ------
        UserError
            Names the backend, and how many bands there are.
        """
        if self._frozen is not None:
            values = train.features(self._input(self.parameters.channel)).rows
            vectors = values.shape[1] if values.ndim == 3 else 1
        elif isinstance(self._frontend, AdaptedEncoder):
            vectors = self._frontend.vectors
        else:
            return
        for name, backend in self._new_backends().items():
            for each in backend.members():
                if isinstance(each, Beam) and each.bands != vectors:
                    hint = f"set bands: {vectors}" if vectors > 1 else "pool them with over: band"
                    raise UserError(
                        f"backends.{name}: bands is {each.bands}, but the frontend's embeddings "
                        f"are of {vectors}; {hint}"
                    )

    def _tell_idle_smote(self, train: ClipSet) -> None:
        machines = {
            machine: (train.is_target[members], train.sections[members])
            for machine, members in train.by_machine().items()
        }
        for note in smote_notes(self._new_backends(), machines):
            log.warning("%s", note)

    def _new_backends(self) -> dict[str, Backend]:
        backends = self.parameters.backends.by_name
        return {name: backends[name].make() for name in self.score_names}

    def _trained(self, train: ClipSet, run: Run) -> Frontend:
        labels, supplemental = self.parameters.labels, self.parameters.supplemental
        classes = with_supplemental(
            labels.make(self.parameters.channel).classes(train, run),
            train.supplemental,
            supplemental,
        )
        training = Training(
            self._begun,
            self.parameters.losses,
            classes.count,
            self.parameters.training,
            self.parameters.augmentation,
            seed=run.seed,
            device=self.torch_device,
            keeps_last_pass=self.parameters.references == "training_pass",
        )
        stage = run.stage(MAIN_STAGE, self.parameters.epochs)
        resume_stage(stage, training.load_snapshot)
        heard = Waveform(self.parameters.channel)
        clips = training_set(train, heard, classes, supplemental, self._width, self.torch_device)
        data = cut_or_oversampled(clips, self.parameters, self._sample_rate_hz, run.seed)

        def report(epoch: Epoch) -> None:
            _check_finite(epoch)
            stage.report(epoch)

        training.run(data, report)
        if training.last_pass is not None:
            self._trained_rows = training.last_pass.rows()
        return training.frontend

    def _fit_backends(
        self,
        machine: str,
        clips: ClipSet,
        embeddings: NDArray[np.float32],
        rows: TrainedRows | None = None,
    ) -> None:
        """Fit a machine type's backends to its clips, or to `rows` that were trained on."""
        is_target, section = clips.is_target, clips.sections
        self._references[machine] = References.of(clips.clips, embeddings)
        self._backends[machine] = self._new_backends()
        if rows is not None:
            with _where(machine, "references: training_pass"):
                rows.fit(self._backends[machine], clips.clips)
                self._normal[machine] = held_out_by_rows(
                    self._new_backends, clips.clips, embeddings, rows
                )
            return
        for name, backend in self._backends[machine].items():
            with _where(machine, name):
                backend.fit(embeddings, is_target, section)
        with _where(machine, "decision threshold (a fifth of the clips held out)"):
            self._normal[machine] = held_out_table(self._new_backends, clips.clips, embeddings)


def _check_finite(epoch: Epoch) -> None:
    if not math.isfinite(epoch.losses["loss"]):
        raise UserError(
            f"training diverged: the loss of epoch {epoch.number} is {epoch.losses['loss']}; "
            "set a smaller training.learning_rate or a training.clip_gradient in the recipe"
        )


def _tensors(arrays: Mapping[str, NDArray[np.floating]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.floating]]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


@contextmanager
def _where(machine: str, name: str) -> Iterator[None]:
    """Say in a backend's error which machine type and score it is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{machine}, {name}: {error}") from None
