"""A detector: a system with its parameters, what it learned, normal scores and decision rules.

It is kept in one file, which scores recordings anywhere with no parameter named again.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from asd.archives import load_archive, save_archive
from asd.audio.clip_set import ClipSet
from asd.audio.pieces import Pieces, cut_recordings
from asd.audio.recording import read_recording
from asd.audio.recordings import MACHINE, recordings
from asd.clips import Clip
from asd.differences import differences
from asd.errors import UserError
from asd.schema.node import Node
from asd.schema.parameters import flat, parameters_of, plain, value_of, with_values
from asd.scores.decisions import DecisionRules, Gammas, fit_gammas
from asd.scores.explanation import Explanation
from asd.scores.table import ScoreTable
from asd.scores.threshold import refuse_non_finite
from asd.scores.windows import HeldOutWindows
from asd.systems.base import Epoch, Explainer, Fit, Referrer, Run, System
from asd.systems.memory_run import MemoryRun
from asd.systems.registry import SystemEntry, stored_system

log = logging.getLogger(__name__)

_FORMAT = 2


@dataclass(frozen=True)
class TrainingFacts:
    """What a detector was trained on.

    Parameters
    ----------
    dataset, split
        Challenge year and data set; "" where the clips are of none.
    year
        The challenge year as a number.
    machines, sections
        Machine types, and the sections that were learned (none: all).
    seed
        Random seed.
    clips
        Number of training clips.
    sample_rate_hz
        Their sampling rate; 0 where it is not known.
    given
        Keys of parameters that flags named.
    """

    dataset: str = ""
    split: str = ""
    year: int | None = None
    machines: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    seed: int = 0
    clips: int = 0
    sample_rate_hz: int = 0
    given: tuple[str, ...] = ()


@dataclass(frozen=True)
class OwnRecordings:
    """How a detector of one's own recordings hears them, and what it learned from.

    Parameters
    ----------
    window_s
        Longer recordings are scored in windows of this length; a recording's score is the mean of
        its windows'.
    score
        The score that decides.
    recordings, seconds
        Number of recordings that were learned from, and their length together.
    held_out
        "each": every recording, a twentieth at a time; "third": a third that was never learned.
    sessions
        Number of sessions that a table named; 0 where none was named.
    """

    window_s: float = 10.0
    score: str = ""
    recordings: int = 0
    seconds: float = 0.0
    held_out: Literal["each", "third"] = "each"
    sessions: int = 0


@dataclass
class Detector:
    """A system that can be fitted, asked for scores and decisions, and stored.

    Parameters
    ----------
    entry
        What the registry knows of the system.
    system
        The system with its parameters.
    facts
        What it was trained on.
    normal
        Machine type -> scores of normal clips, by which it decides.
    gammas
        Distributions that the official autoencoder decides by.
    own
        Of a detector of one's own recordings (`asd.learn`): how it hears them.
    windows
        Of such a detector: scores of the windows of held-out normal recordings.

    Examples
    --------
    >>> import asd
    >>> model = asd.load(getfixture("fan_model"))
    >>> model.facts.machines, model.parameters.n_mels
    (('fan',), 16)
    >>> fan = asd.load_challenge("DCASE2023T2", getfixture("tiny_data")).dev["fan"]
    >>> scores = model.score(fan.test, ["MSE"])
    >>> set(model.decide(scores, "MSE").tolist()) <= {0, 1}
    True
    """

    entry: SystemEntry
    system: System
    facts: TrainingFacts = field(default_factory=TrainingFacts)
    normal: dict[str, ScoreTable] = field(default_factory=dict)
    gammas: Gammas = field(default_factory=dict)
    own: OwnRecordings | None = None
    windows: HeldOutWindows | None = None

    @classmethod
    def create(cls, entry: SystemEntry, parameters: Any, device: str = "cpu") -> "Detector":
        """An unfitted detector."""
        return cls(entry, entry.system_class()(parameters, device))

    @property
    def parameters(self) -> Any:
        """The system's parameters."""
        return self.system.parameters

    @property
    def is_fitted(self) -> bool:
        """Whether it has learned anything."""
        return bool(self.facts.machines)

    def fit(
        self,
        train: ClipSet,
        *,
        seed: int = 13711,
        progress: bool = True,
        normal_scores: bool = True,
    ) -> "Detector":
        """Learn from normal clips, and return this detector.

        Parameters
        ----------
        train
            Normal clips.
        seed
            What all random numbers come from: same seed, same machine, same result.
        progress
            Show a bar of epochs.
        normal_scores
            False leaves out the scores that decisions are made by, where others take their place.

        Raises
        ------
        UserError
            The clips cannot be learned from.

        Examples
        --------
        >>> import asd
        >>> fan = asd.load_challenge("DCASE2023T2", getfixture("tiny_data")).dev["fan"]
        >>> model = asd.create("ae", epochs=1, n_mels=16).fit(fan.train, progress=False)
        >>> model.score(fan.test[:2], ["MSE"])
        <ScoreTable: 2 clips of fan; MSE>
        """
        with tqdm(unit="epoch", desc=self.entry.label, disable=not progress) as bar:

            def show(_stage: str, epoch: Epoch) -> None:
                bar.total = epoch.total
                bar.update(epoch.number - bar.n)

            with _threads_of(self.system.scope):
                self.prepare(train, MemoryRun(seed, show), decides=normal_scores).run_alone()
        return self

    def prepare(
        self, train: ClipSet, run: Run, facts: TrainingFacts | None = None, *, decides: bool = True
    ) -> Fit:
        """A training that only has to be run, alone or beside others (`System.fit_many`).

        Parameters
        ----------
        train
            Normal clips.
        run
            Seed, logs and checkpoints.
        facts
            What is to be said of the training clips beside machine types, number and rate.
        decides
            Whether to keep the system's normal scores for decisions.

        Raises
        ------
        UserError
            There is no clip, or a clip's features cannot be computed.
        """
        self.system.check()
        if not len(train):
            raise UserError("training: there is no clip to learn from; check the train folder")
        if len(train.machines) > 1 and self.system.scope != "challenge":
            raise UserError(
                f"{self.entry.label}: learns one machine type, the clips are of "
                f"{', '.join(train.machines)}; train a model for each"
            )
        rates = {train.features(f).sample_rate_hz for f in self.system.inputs().values()}
        given = facts or TrainingFacts(seed=run.seed, year=train.year)
        rate = rates.pop() if rates else 0

        def store() -> None:
            self.facts = TrainingFacts(
                **{
                    **vars(given),
                    "machines": train.machines,
                    "clips": len(train),
                    "sample_rate_hz": rate,
                }
            )
            if decides:
                self._keep_normal_scores()

        return Fit(self.system, train, run, store)

    def _keep_normal_scores(self) -> None:
        self.normal = dict(self.system.normal_scores())
        for machine, table in self.normal.items():
            for name in table.columns:
                refuse_non_finite(table[name], table.clips, f"{machine} {name}")
        self.gammas = fit_gammas(self.system.gamma_samples())

    def score(
        self, clips: ClipSet | str | Path | Sequence[str | Path], names: Sequence[str] | None = None
    ) -> ScoreTable:
        """Anomaly scores of clips, one column for each score; higher is more anomalous.

        Parameters
        ----------
        clips
            Clips, or paths of recordings of any format and rate, which are brought to the rate of
            the training clips: a folder, a file, or several of either. A detector of one's own
            recordings scores long ones in windows, and gives their mean.
        names
            The scores wanted; all where none is named.

        Raises
        ------
        UserError
            The detector has learned nothing, the clips' sampling rate is not that of training, a
            clip cannot be scored, or its score is not finite.
        """
        wanted = self.wanted_scores(names)
        clips = self._clip_set(clips)
        if self.own is not None:
            return self._score_in_windows(clips, wanted)
        return self._score_clips(clips, wanted)

    def _score_clips(self, clips: ClipSet, wanted: Sequence[str]) -> ScoreTable:
        clips = self._usable(clips)
        scores = self.system.score(clips, wanted)
        for name in wanted:
            refuse_non_finite(scores[name], clips.clips, name)
        return ScoreTable(clips.clips, {name: scores[name] for name in wanted})

    def _score_in_windows(self, clips: ClipSet, wanted: Sequence[str]) -> ScoreTable:
        rate_hz = self.facts.sample_rate_hz
        tables = []
        for clip in clips:
            recording = read_recording(clip.path, rate_hz=rate_hz)
            pieces, scores = self.score_windows(clip, recording.wave, wanted)
            means = {name: pieces.means(values) for name, values in scores.columns.items()}
            tables.append(ScoreTable((clip,), means))
        return ScoreTable.concat(tables)

    def score_windows(
        self, clip: Clip, wave: NDArray[np.float32], names: Sequence[str]
    ) -> tuple[Pieces, ScoreTable]:
        """The windows of a recording, and their scores.

        Parameters
        ----------
        clip
            What is known of the recording.
        wave
            Its samples, shape (channels, samples), at the rate of the training clips.
        names
            The scores wanted.

        Raises
        ------
        UserError
            The recording cannot be scored.
        """
        rate_hz = self.facts.sample_rate_hz
        window_s = self.own.window_s if self.own else wave.shape[1] / rate_hz
        duration_s = wave.shape[1] / rate_hz
        pieces = cut_recordings([clip], [duration_s], window_s, rate_hz, lambda _: wave)
        return pieces, self._score_clips(pieces.clips, names)

    def keep_held_out(
        self, own: OwnRecordings, recordings: ScoreTable, windows: HeldOutWindows
    ) -> None:
        """Decide from now on by held-out normal recordings, whose scores the system did not give.

        Parameters
        ----------
        own
            How recordings are heard.
        recordings
            Scores of the held-out recordings.
        windows
            Scores of their windows.
        """
        self.own, self.windows, self.gammas = own, windows, {}
        self.normal = {recordings.clips[0].machine: recordings}

    def p_values(self, scores: ScoreTable, score: str) -> NDArray[np.float64]:
        """Conformal p-values, shape (clips,): low for clips unlike the held-out normal ones.

        Raises
        ------
        UserError
            There are no normal scores of such a machine type.
        """
        return self._rules().p_values(scores, score)

    def explain(
        self,
        clips: ClipSet | str | Path | Sequence[str | Path],
        score: str | None = None,
        normal: Sequence[Path | None] = (),
    ) -> list[Explanation]:
        """Where in time and frequency the score of each clip comes from.

        The autoencoder puts every term of its score where it arose. Other systems are explained by
        occlusion: parts of the recording are replaced, and the changed clips scored, some 80 for
        each clip.

        Parameters
        ----------
        clips
            As for `score`.
        score
            Name of the score; None takes the one that decides, or the first.
        normal
            For each clip the path of a normal recording, or None, whose sound is put in place of
            parts (`nearest_normal` tells which is near); without any, the clip's own floor is.

        Raises
        ------
        UserError
            As for `score`.

        Examples
        --------
        >>> import asd
        >>> model = asd.load(getfixture("fan_model"))
        >>> (why,) = model.explain([getfixture("any_wav")])
        >>> loudest = why.by_band().argmax()
        >>> bool(0 <= why.bands_hz[loudest] < 8000)
        True
        >>> [type(part).__name__ for part in why.parts(most=1)]
        ['Part']
        """
        deciding = self.own.score if self.own else ""
        name = self.wanted_scores([score or deciding] if score or deciding else None)[0]
        clips = self._usable(clips)
        if isinstance(self.system, Explainer):
            return self.system.explain(clips, name)
        from asd.systems.occlusion import Occlusion

        occlusion = Occlusion(self.system, name)
        references = [*normal, *[None] * (len(clips) - len(normal))]
        return [
            self._occluded(occlusion, clip, reference)
            for clip, reference in zip(clips, references, strict=True)
        ]

    def nearest_normal(
        self, clips: ClipSet | str | Path | Sequence[str | Path]
    ) -> list[Clip | None]:
        """The normal training clip that each clip is nearest to, where the system remembers them.

        Their paths are file names without a folder; None of systems that compare with no clip.

        Raises
        ------
        UserError
            As for `score`.
        """
        clips = self._usable(clips)
        if not isinstance(self.system, Referrer):
            return [None] * len(clips)
        return self.system.nearest_normal(clips)

    def _occluded(self, occlusion: Any, clip: Clip, normal: Path | None) -> Explanation:
        rate = self.facts.sample_rate_hz or None
        wave, rate_hz = read_recording(clip.path, rate_hz=rate)
        other = None if normal is None else read_recording(normal, rate_hz=rate_hz).wave
        found: Explanation = occlusion.explain(clip, wave, rate_hz, other)
        return found

    def _clip_set(self, clips: ClipSet | str | Path | Sequence[str | Path]) -> ClipSet:
        """Clips as they are, or recordings as clips, of a detector that has learned something."""
        if not self.is_fitted:
            raise UserError(f"{self.entry.label}: has learned nothing yet; fit it, or load a model")
        return clips if isinstance(clips, ClipSet) else self._recordings(clips)

    def _usable(self, clips: ClipSet | str | Path | Sequence[str | Path]) -> ClipSet:
        """Clips at the rate of the training clips."""
        clips = self._clip_set(clips)
        for feature in self.system.inputs().values():
            self._check_rate(clips, clips.features(feature).sample_rate_hz)
        return clips

    def wanted_scores(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """The scores of these names, or all.

        Raises
        ------
        UserError
            There is no such score.
        """
        known = self.system.score_names
        for name in names or ():
            if name not in known:
                options = ", ".join(known)
                raise UserError(f"--score: {name!r} is unknown; choose from {options}, all")
        return tuple(names) if names else known

    def decide(self, scores: ScoreTable, score: str, quantile: float = 0.9) -> NDArray[np.int_]:
        """1 for the clips that are decided anomalous by a score, 0 for the others, shape (clips,).

        Parameters
        ----------
        scores
            As `score` gives them.
        score
            Name of the score to decide by.
        quantile
            Of normal scores: 1 less the wanted rate of false alarms.

        Raises
        ------
        UserError
            There are too few normal scores for such a decision.
        """
        return self._rules().decide(scores, score, quantile)

    def threshold(self, machine: str, score: str, quantile: float) -> float:
        """The score above which a clip of a machine type is decided anomalous.

        The official autoencoder takes a quantile of a fitted gamma distribution, all other systems
        the conformal threshold of their held-out normal scores.

        Raises
        ------
        UserError
            There are too few normal scores for such a decision, or none of this machine type.
        """
        return self._rules().threshold(machine, score, quantile)

    def _rules(self) -> DecisionRules:
        kind = getattr(self.parameters, "threshold_fit", "")
        return DecisionRules(self.normal, self.gammas, self.system.gamma_samples(), kind)

    def _recordings(self, paths: str | Path | Sequence[str | Path]) -> ClipSet:
        """Recordings of the machine that the detector knows, at its sampling rate."""
        machine = self.facts.machines[0] if len(self.facts.machines) == 1 else MACHINE
        return recordings(paths, machine=machine, rate_hz=self.facts.sample_rate_hz or None)

    def _check_rate(self, clips: ClipSet, rate_hz: int) -> None:
        if self.facts.sample_rate_hz and rate_hz != self.facts.sample_rate_hz:
            raise UserError(
                f"{clips[0].path}: is sampled at {rate_hz} Hz, the model was trained at "
                f"{self.facts.sample_rate_hz} Hz; resample the clips or train again"
            )

    def save(self, path: str | Path) -> None:
        """Write the detector to a file, whole or not at all.

        Raises
        ------
        UserError
            The file cannot be written.
        """
        content = {
            "format": _FORMAT,
            "system": self.entry.system,
            "name": self.entry.name,
            "parameters": plain(self.parameters),
            "facts": plain(self.facts),
            "state": self.system.state(),
            "normal_scores": {machine: table.to_state() for machine, table in self.normal.items()},
            "gammas": self.gammas,
        }
        if self.own is not None and self.windows is not None:
            content |= {"own": plain(self.own), "windows": self.windows.to_state()}
        save_archive(Path(path), content)

    @classmethod
    def load(cls, path: Path, hint: str = "check the path", device: str = "cpu") -> "Detector":
        """Read a detector.

        Parameters
        ----------
        hint
            What to do where there is no such file.

        Raises
        ------
        UserError
            There is none, the file is damaged, of an older version, or of something else.
        """
        if not path.is_file():
            raise UserError(f"{path}: no such model; {hint}")
        content = load_archive(path, "train the model again")
        version = content.get("format")
        if not isinstance(version, int) or version != _FORMAT:
            raise UserError(f"{path}: is of another version of this program; train the model again")
        try:
            return cls._from_content(content, str(path), device)
        except UserError:
            raise
        except Exception as error:  # well-formed, but not what this program writes
            log.debug("%s: wrong content", path, exc_info=error)
            raise UserError(
                f"{path}: holds something else than a model of this program "
                f"({type(error).__name__}: {error}); train the model again"
            ) from None

    @classmethod
    def _from_content(cls, content: Mapping[str, Any], where: str, device: str) -> "Detector":
        entry = stored_system(content["system"], content["name"])
        parameters = Node.of_plain(content["parameters"], where).read(entry.parameters_class())
        detector = cls.create(entry, parameters, device)
        detector.system.load_state(content["state"])
        facts = Node.of_plain(content["facts"], where).read(TrainingFacts)
        tables = content["normal_scores"].items()
        detector.facts = facts
        detector.normal = {machine: ScoreTable.from_state(table) for machine, table in tables}
        detector.gammas = content["gammas"]
        if "own" in content:
            detector.own = Node.of_plain(content["own"], where).read(OwnRecordings)
            detector.windows = HeldOutWindows.from_state(content["windows"])
        _check_finite_state(content["state"], where)
        return detector

    def set_scoring(self, given: Any, named: frozenset[str], where: Path) -> None:
        """Take over the values of parameters that may change after training.

        Parameters
        ----------
        given
            An instance of the system's parameters.
        named
            Keys of those that a flag named: they must not contradict what the model holds.
        where
            The model's file, for messages.

        Raises
        ------
        UserError
            A flag contradicts the model.
        """
        described = parameters_of(type(self.parameters))
        free = [each for each in described if not each.is_fixed]
        changes = {each.path: value_of(given, each.path) for each in free}
        self.system.parameters = with_values(self.parameters, changes)
        resumable = {each.key for each in described if each.is_resumable}
        then, now = plain(self.parameters), plain(given)
        if differ := differences(then, now, only=named - resumable):
            raise UserError(
                f"{where}: was trained with {', '.join(differ)}; leave the flag out, as the model "
                "knows, or train again"
            )
        if differ := differences(then, now, but={*named, *resumable, *self.facts.given}):
            log.warning(
                "%s: was trained with %s, which holds; train again for the new values",
                where, ", ".join(differ),
            )  # fmt: skip


@contextmanager
def _threads_of(scope: str) -> Iterator[None]:
    """One thread for a model of one machine type, as on the command line: bits depend on it."""
    before = torch.get_num_threads()
    if scope != "challenge":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_finite_state(state: Any, where: str) -> None:
    """Refuse weights that are not finite: every score by them would be worthless."""
    for key, value in flat(state).items():
        if hasattr(value, "isfinite") and not bool(value.isfinite().all()):
            raise UserError(f"{where}: {key} holds values that are not finite; train again")
