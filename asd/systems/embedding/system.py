"""Embedding systems: one frontend for all machine types, backends for each of them."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from asd.audio.clip_set import ClipSet
from asd.audio.features import ClipLength, Feature, Waveform
from asd.backends.base import Backend
from asd.clips import Clip
from asd.encoders.feature import EncoderFeature, key_of_file
from asd.errors import UserError
from asd.scores.table import ScoreTable
from asd.scores.threshold import refuse_non_finite
from asd.systems.base import MAIN_STAGE, Epoch, Run, Scores, State, System, Table, resume_stage
from asd.systems.embedding.backend_checks import check_bands, left_out, tell_idle_smote
from asd.systems.embedding.clusters import spectrum_labeller
from asd.systems.embedding.crops import Waves
from asd.systems.embedding.exporting.backends import backend_module
from asd.systems.embedding.exporting.score import EmbeddingScore, check_frontend, embedding_module
from asd.systems.embedding.frontends import Frontend
from asd.systems.embedding.kept_epochs import LAST, KeptEpochs
from asd.systems.embedding.labellers import Embed, Trainers, TrainingClasses
from asd.systems.embedding.labels import ALL_PARTS, OneClassError, class_name
from asd.systems.embedding.oversampled_set import cut_or_oversampled
from asd.systems.embedding.pretrained import AdaptedEncoder, FrozenEncoder, check_weights
from asd.systems.embedding.recipe import Recipe
from asd.systems.embedding.references import References
from asd.systems.embedding.supplemental import training_set, with_supplemental
from asd.systems.embedding.thresholds import held_out_table
from asd.systems.embedding.training import Training, embed_clips
from asd.systems.embedding.training_pass import TrainedRows, held_out_by_rows
from asd.systems.embedding.triplet_embeddings import triplet_embeddings

log = logging.getLogger(__name__)

_CLASSES = "classes_sha256"

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
        self._frontends: dict[int, Frontend] = {}
        self._precision = ""
        self._backends: dict[str, dict[str, Backend]] = {}
        self._normal: dict[str, ScoreTable] = {}
        self._references: dict[str, References] = {}
        self._left_out: tuple[str, ...] = ()
        self._tables: Mapping[str, Table] = {}
        self._trained_rows: TrainedRows | None = None

    @property
    def score_names(self) -> tuple[str, ...]:
        """Of the recipe's backends, less those that training had too few clips for.

        With kept epochs there are scores of each, and their mean.
        """
        return self._kept.score_names(self._backend_names)

    def inputs(self) -> Mapping[str, Feature]:
        if self._frozen is not None and self._has_no_length:
            return {"length": ClipLength()}  # which may decide how long the input is
        name = "waveform" if self._frozen is None else "embedding"
        inputs = {f"{name} {channel}": self._input(channel) for channel in self._channels}
        return inputs if len(inputs) > 1 else {name: self._input(self.parameters.channel)}

    def check(self) -> None:
        self.parameters.frontend.check()
        self.parameters.labels.check()
        self.parameters.training.kept_epochs()

    def fit(self, train: ClipSet, run: Run) -> None:
        """Train the frontend on the clips of all machine types, then fit each one's backends.

        Raises
        ------
        UserError
            All clips are of one class, the loss is no longer finite, or a backend has too few
            clips.
        """
        self._left_out = ()
        self._left_out = left_out(self.parameters.backends.by_name, train)
        tell_idle_smote(self._new_backends(), train)
        self._find_length(train)
        if self._frozen is not None:
            own = self._input(self.parameters.channel)
            assert isinstance(own, EncoderFeature)
            self._precision = own.precision
        else:
            begun = self.parameters.learns
            self._frontends = self._trained(train, run) if begun else {LAST: self._begun()}
        self._check_bands(train)
        embeddings = self._embed_all(train, self._kept.keys)
        self._backends, self._normal, self._references = {}, {}, {}
        for machine, members in train.by_machine().items():
            rows_of = {epoch: each[members] for epoch, each in embeddings.items()}
            trained = self._trained_rows and self._trained_rows.of(members, len(train))
            self._fit_backends(machine, train.select(members), rows_of, trained)
        self._trained_rows = None

    def embed(self, clips: ClipSet) -> NDArray[np.float32]:
        """Embeddings of clips, shape (clips, dim); of kept epochs those of the last.

        Raises
        ------
        UserError
            The clips' sampling rate is not that of training.
        """
        return self._embed_by(clips, self._kept.keys[-1])

    def _embed_all(self, clips: ClipSet, epochs: Iterable[int]) -> dict[int, NDArray[np.float32]]:
        """Embeddings of clips by the networks of epochs."""
        return {epoch: self._embed_by(clips, epoch) for epoch in epochs}

    def _embed_by(self, clips: ClipSet, epoch: int) -> NDArray[np.float32]:
        near, *far = (self._embed_channel(clips, channel, epoch) for channel in self._channels)
        found = near - np.float32(self.parameters.far_share) * far[0] if far else near
        refuse_non_finite(found, clips.clips, "embedding")
        return found

    def _embed_channel(self, clips: ClipSet, channel: str, epoch: int) -> NDArray[np.float32]:
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
            found = self._embedded(self._fitted(epoch), clips, channel)
        return found

    def _embedded(self, frontend: Frontend, clips: ClipSet, channel: str) -> NDArray[np.float32]:
        waves = Waves.place(clips.features(Waveform(channel)), self.torch_device)
        found: NDArray[np.float32] = embed_clips(
            frontend, waves, self._width, self.torch_device
        ).numpy()
        return found

    def score(self, clips: ClipSet, names: Sequence[str] | None = None) -> Scores:
        """Scores of every backend, shape (clips,) each; with `names`, those that they need.

        Raises
        ------
        UserError
            A machine type that was not trained on, or embeddings that are not finite.
        """
        members_of = self._kept.members(self._backend_names, names)
        embeddings = self._embed_all(clips, {epoch for epoch, _ in members_of.values()})
        scores = {name: np.empty(len(clips)) for name in members_of}
        for machine, members in clips.by_machine().items():
            if machine not in self._backends:
                known = list(self._backends)
                raise UserError(
                    f"{machine}: the model was trained on {', '.join(known)}; train it again with "
                    f"{machine}, or score clips of those (--machine_types {' '.join(known)}; in "
                    "Python asd.recordings(..., machine=...))"
                )
            section = clips.sections[members]
            for name, (epoch, _) in members_of.items():
                with _where(machine, name):
                    backend = self._backends[machine][name]
                    scores[name][members] = backend.score(embeddings[epoch][members], section)
        return self._kept.with_ensembles(scores, self._backend_names)

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

    def module(self, score: str, samples: int, rate_hz: int, machine: str) -> nn.Module:
        """A backend's score as a module, see `asd.systems.base.Exportable`.

        Raises
        ------
        UserError
            There is no export of the frontend or the backend.
        """
        check_frontend(self.parameters.frontend.kind, self._precision)
        if self.parameters.far_share:
            raise UserError(
                "an embedding that a second channel's is taken off cannot be exported; train with "
                "far_share 0"
            )
        members = self._kept.members(self._backend_names)
        if score not in members:
            raise UserError(
                f"{score} is a mean over {len(self._kept.epochs)} networks, which cannot be "
                f"exported; export the score of one (--score {next(reversed(members))})"
            )
        backend = backend_module(self._backends[machine][score], score)
        width = self._width or samples
        frontend = self._frozen or self._fitted(members[score][0])
        embedding = embedding_module(frontend, width, rate_hz)
        return EmbeddingScore(embedding, backend, samples, width).eval()

    def normal_scores(self) -> Mapping[str, ScoreTable]:
        """Scores of held-out training clips, see `thresholds.held_out_table`."""
        return self._normal

    def state(self) -> State:
        return {
            "input_s": self._input_s,
            "sample_rate_hz": self._sample_rate_hz,
            **self._frontend_state(),
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
            saved = state["frontends"] if self._kept.epochs else {LAST: state["frontend"]}
            self._frontends = {int(epoch): self._loaded(each) for epoch, each in saved.items()}
        self._left_out = tuple(state["left_out"])
        self._backends = {}
        for machine, states in state["backends"].items():
            self._backends[machine] = self._new_members()
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
        if self._frozen is not None:
            sha256 = key_of_file(self._frozen.weights)
            return {"frontend": {"weights_sha256": sha256, "precision": self._precision}}
        saved = {str(epoch): self._fitted(epoch).saved() for epoch in self._kept.keys}
        return {"frontends": saved} if self._kept.epochs else {"frontend": saved[str(LAST)]}

    @property
    def _width(self) -> int:
        """Samples of the frontend's input."""
        return int(self._input_s * self._sample_rate_hz)

    @property
    def _kept(self) -> KeptEpochs:
        return self.parameters.training.kept_epochs() if self.parameters.learns else KeptEpochs()

    @property
    def _backend_names(self) -> tuple[str, ...]:
        return tuple(n for n in self.parameters.backends.by_name if n not in self._left_out)

    def _fitted(self, epoch: int) -> Frontend:
        if epoch not in self._frontends:
            raise RuntimeError("the embedding system has neither been fitted nor loaded")
        return self._frontends[epoch]

    def _loaded(self, saved: State) -> Frontend:
        frontend = self._new_frontend()
        frontend.load_saved(saved)
        return frontend

    def _new_frontend(self) -> Frontend:
        made = self.parameters.frontend.make(self._width, self._sample_rate_hz)
        return made.to(self.torch_device)

    def _begun(self) -> Frontend:
        """A frontend at the start of a training."""
        made = self._new_frontend()
        made.begin()
        return made

    def _check_bands(self, train: ClipSet) -> None:
        """See `backend_checks.check_bands`."""
        if self._frozen is not None:
            values = train.features(self._input(self.parameters.channel)).rows
            vectors = values.shape[1] if values.ndim == 3 else 1
        elif isinstance(frontend := self._fitted(self._kept.keys[-1]), AdaptedEncoder):
            vectors = frontend.vectors
        else:
            return
        check_bands(self._new_backends(), vectors)

    def _new_backends(self) -> dict[str, Backend]:
        backends = self.parameters.backends.by_name
        return {name: backends[name].make() for name in self._backend_names}

    def _new_members(self) -> dict[str, Backend]:
        """A backend for each score that is no mean."""
        backends = self.parameters.backends.by_name
        members = self._kept.members(self._backend_names)
        return {score: backends[name].make() for score, (_, name) in members.items()}

    def tables(self) -> Mapping[str, Table]:
        """The clusters that classes are, where they are clusters."""
        return self._tables

    def _trained(self, train: ClipSet, run: Run) -> dict[int, Frontend]:
        """The networks that are scored, by epoch."""
        classes, kept = self._classes(train, run), self._kept
        last, snapshots = self._train(
            train, classes, run, MAIN_STAGE, self.parameters.epochs, kept.epochs
        )
        if not kept.epochs:
            return {LAST: last}
        if missing := set(kept.epochs) - snapshots.keys():
            raise UserError(
                f"training.keep_epochs: the network of epoch {min(missing)} was not kept by the "
                "training that goes on; train without --restart"
            )
        return {epoch: self._loaded(snapshots[epoch]["frontend"]) for epoch in kept.epochs}

    def _classes(self, train: ClipSet, run: Run) -> TrainingClasses:
        """Classes of the recipe's labeller; clusters where nothing is known of the clips."""

        def learn(
            train: ClipSet, classes: TrainingClasses, run: Run, stage: str, epochs: int
        ) -> Embed:
            frontend, _ = self._train(train, classes, run, stage, epochs)
            return lambda chosen: self._embedded(frontend, chosen, self.parameters.channel)

        labeller = self.parameters.labels.make(self.parameters.channel)
        triplet = partial(
            triplet_embeddings,
            channel=self.parameters.channel,
            width=self._width,
            rate_hz=self._sample_rate_hz,
            device=self.torch_device,
        )
        labeller.trainers = Trainers(learn, triplet)
        try:
            classes = labeller.classes(train, run)
        except OneClassError as error:
            if len({class_name(clip, ALL_PARTS) for clip in train}) > 1:
                raise  # the recipe leaves out what is known
            labeller = spectrum_labeller(self.parameters.channel)
            try:
                classes = labeller.classes(train, run)
            except OneClassError:
                raise error from None
            log.warning(
                "labels: all training clips are of one class; clusters of their mean spectra are "
                "told apart instead, %d classes (ClusterLabeller with source: spectrum)",
                classes.count,
            )
        self._tables = labeller.tables()
        return classes

    def _train(
        self,
        train: ClipSet,
        classes: TrainingClasses,
        run: Run,
        stage_name: str,
        epochs: int,
        keep: Sequence[int] = (),
    ) -> tuple[Frontend, Mapping[int, State]]:
        """The recipe's frontend, trained to tell classes apart, and snapshots of epochs to keep."""
        supplemental = self.parameters.supplemental
        classes = with_supplemental(classes, train.supplemental, supplemental)
        training = Training(
            self._begun,
            self.parameters.losses,
            classes.count,
            replace(self.parameters.training, epochs=epochs),
            self.parameters.augmentation,
            seed=run.seed,
            device=self.torch_device,
            keeps_last_pass=stage_name == MAIN_STAGE
            and self.parameters.references == "training_pass",
        )
        stage = run.stage(stage_name, epochs, keep)
        sha256 = classes.sha256

        def load(snapshot: State) -> None:
            _check_classes(snapshot, sha256)
            training.load_snapshot(snapshot)

        resume_stage(stage, load)
        heard = Waveform(self.parameters.channel)
        clips = training_set(train, heard, classes, supplemental, self._width, self.torch_device)
        data = cut_or_oversampled(clips, self.parameters, self._sample_rate_hz, run.seed)

        def report(epoch: Epoch) -> None:
            _check_finite(epoch)
            stage.report(replace(epoch, snapshot=lambda: {**epoch.snapshot(), _CLASSES: sha256}))

        training.run(data, report)
        if training.last_pass is not None:
            self._trained_rows = training.last_pass.rows()
        return training.frontend, stage.kept()

    def _fit_backends(
        self,
        machine: str,
        clips: ClipSet,
        embeddings: Mapping[int, NDArray[np.float32]],
        trained: TrainedRows | None = None,
    ) -> None:
        """Fit a machine type's backends to embeddings of each kept epoch, or to trained rows."""
        is_target, section = clips.is_target, clips.sections
        last = embeddings[self._kept.keys[-1]]
        self._references[machine] = References.of(clips.clips, last)
        self._backends[machine] = self._new_members()
        members = self._kept.members(self._backend_names)
        if trained is not None:
            with _where(machine, "references: training_pass"):
                trained.fit(self._backends[machine], clips.clips)
                self._normal[machine] = held_out_by_rows(
                    self._new_backends, clips.clips, last, trained
                )
            return
        for name, backend in self._backends[machine].items():
            with _where(machine, name):
                backend.fit(embeddings[members[name][0]], is_target, section)
        with _where(machine, "decision threshold (a fifth of the clips held out)"):
            tables = {
                epoch: held_out_table(self._new_backends, clips.clips, rows)
                for epoch, rows in embeddings.items()
            }
        scores = {name: tables[epoch][backend] for name, (epoch, backend) in members.items()}
        every = self._kept.with_ensembles(scores, self._backend_names)
        self._normal[machine] = ScoreTable(next(iter(tables.values())).clips, every)


def _check_classes(snapshot: State, sha256: str) -> None:
    """Refuse to go on with other classes, such as those of a file of labels that was edited."""
    if snapshot.get(_CLASSES, sha256) != sha256:
        raise UserError(
            "labels: training clips are of other classes than when this training began (was the "
            "file of labels edited?); train without --restart"
        )


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
