"""Detectors: decisions, what a stored model holds, flags that contradict it."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.archives import load_archive, save_archive
from asd.audio.clip_set import ClipSet
from asd.audio.features import Features, Waveform
from asd.clips import Clip
from asd.detector import Detector
from asd.errors import UserError
from asd.schema.parameters import parameter, plain
from asd.schema.values import Positive
from asd.scores.table import ScoreTable
from asd.systems.base import System
from asd.systems.registry import SystemEntry


@dataclass(frozen=True)
class LoudnessParameters:
    degree: Positive = parameter(1.0, "exponent", role="training")
    block: int = parameter(8, "a block", role="features", unit="samples")
    offset: float = parameter(0.0, "is added to scores", role="scoring")


class Loudness(System):
    """Scores a clip by the distance of its loudness from the mean of the training clips."""

    Parameters = LoudnessParameters
    scope = "challenge"
    score_names = ("UP", "DOWN")

    def inputs(self):
        return {"waveform": Waveform()}

    def _loudness(self, clips):
        features = clips.features(Waveform())
        return np.array([features.clip(i).mean() for i in range(len(clips))], dtype=float)

    def fit(self, train, run):  # noqa: ARG002
        self.mean = torch.tensor(self._loudness(train).mean())
        self.normal = {
            machine: ScoreTable(train.select(members).clips, self.score(train.select(members)))
            for machine, members in train.by_machine().items()
        }

    def score(self, clips, names=None):  # noqa: ARG002
        apart = self._loudness(clips) - float(self.mean) + self.parameters.offset
        return {"UP": apart**self.parameters.degree, "DOWN": -apart}

    def normal_scores(self):
        return self.normal

    def state(self):
        return {"mean": self.mean}

    def load_state(self, state):
        self.mean, self.normal = state["mean"], {}


ENTRY = SystemEntry("loud", f"{Path(__file__).resolve()}:Loudness")


def clips_of(values, machines="fan", rate=16000):
    """Clips of constant value, 4 samples each."""
    machines = [machines] * len(values) if isinstance(machines, str) else machines
    clips = [
        Clip(Path(machine) / f"{i}.wav", machine, label="normal")
        for i, machine in enumerate(machines)
    ]
    rows = np.repeat(np.array(values, dtype=np.float32), 4)
    starts = 4 * np.arange(len(values))
    features = Features(rows, starts, np.full(len(values), 4), rate)
    return ClipSet(clips, lambda *_: features)


TRAIN = clips_of([*np.arange(10.0), *np.arange(0.0, 40.0, 4)], ["fan"] * 10 + ["valve"] * 10)
MEAN = (4.5 + 18) / 2


@pytest.fixture
def detector():
    return Detector.create(ENTRY, LoudnessParameters()).fit(TRAIN, progress=False)


@pytest.fixture
def stored(detector, tmp_path):
    detector.save(tmp_path / "model.asd")
    return tmp_path / "model.asd"


def test_every_machine_type_is_decided_by_its_own_normal_scores(detector):
    """Of 10 normal scores 0.9 is the largest: 9 for the fan, 36 for the valve, less the mean."""
    assert detector.threshold("fan", "UP", 0.9) == 9 - MEAN
    assert detector.threshold("valve", "UP", 0.9) == 36 - MEAN
    clips = clips_of([8, 9, 9.5, 9.5, 36, 37], ["fan"] * 3 + ["valve"] * 3)
    assert detector.decide(detector.score(clips), "UP", 0.9).tolist() == [0, 0, 1, 0, 0, 1]


def test_a_score_that_is_unknown_is_refused(detector):
    with pytest.raises(UserError, match="--score: 'SIDE' is unknown; choose from UP, DOWN, all"):
        detector.score(clips_of([1]), ["SIDE"])


def test_a_detector_that_has_learned_nothing_scores_nothing():
    empty = Detector.create(ENTRY, LoudnessParameters())
    assert not empty.is_fitted
    with pytest.raises(UserError, match="loud: has learned nothing yet; fit it, or load a model"):
        empty.score(clips_of([1.0]))


def test_clips_that_cannot_be_learned_from():
    empty = Detector.create(ENTRY, LoudnessParameters())
    with pytest.raises(UserError, match="there is no clip to learn from"):
        empty.fit(clips_of([]), progress=False)

    class OfOneMachine(Loudness):
        scope = "section"

    with pytest.raises(UserError, match="loud: learns one machine type, the clips are of fan, val"):
        Detector(ENTRY, OfOneMachine(LoudnessParameters())).fit(TRAIN, progress=False)


def test_a_score_that_is_not_finite_is_refused_and_its_clip_named(detector):
    with pytest.raises(UserError, match=r"fan/1\.wav: "):
        detector.score(clips_of([1.0, np.nan, 2.0]))


def test_clips_of_another_rate_are_refused(detector):
    with pytest.raises(UserError, match=r"fan/0\.wav: is sampled at 8000 Hz, .* at 16000 Hz; resa"):
        detector.score(clips_of([1.0], rate=8000))


def test_a_stored_detector_is_the_same(detector, stored):
    """It knows its parameters, facts and normal scores; nobody names them again."""
    loaded = Detector.load(stored)
    assert plain(loaded.parameters) == plain(detector.parameters)
    assert loaded.facts == detector.facts
    assert loaded.facts.machines == ("fan", "valve")
    assert (loaded.facts.clips, loaded.facts.sample_rate_hz) == (20, 16000)
    clips = clips_of([1.0, 30.0])
    assert loaded.score(clips) == detector.score(clips)
    for machine in ("fan", "valve"):
        assert loaded.normal[machine] == detector.normal[machine]
        assert loaded.threshold(machine, "DOWN", 0.8) == detector.threshold(machine, "DOWN", 0.8)


def test_parameters_come_back_as_they_were(tmp_path):
    parameters = LoudnessParameters(degree=3.0, block=4)
    detector = Detector.create(ENTRY, parameters).fit(TRAIN, progress=False)
    detector.save(tmp_path / "model.asd")
    assert plain(Detector.load(tmp_path / "model.asd").parameters) == plain(parameters)


BROKEN = {
    "format": (9, "is of another version of this program; train the model again"),
    "state": ({"mean": torch.tensor(np.nan)}, "mean holds values that are not finite; train again"),
    "parameters": ({"degree": -1}, "degree: expected a number above 0, got '-1'"),
    "facts": ({"clips": "many"}, "clips: expected a whole number, got 'many'"),
    "normal_scores": ([1], "holds something else than a model of this program"),
    "system": ("no_such_module:Loudness", "there is no such file and no such module"),
}


@pytest.mark.parametrize("key", BROKEN)
def test_a_file_that_holds_something_else_is_one_line(stored, key):
    value, complaint = BROKEN[key]
    save_archive(stored, load_archive(stored, "") | {key: value})
    with pytest.raises(UserError) as caught:
        Detector.load(stored)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_lacks_something_is_one_line(stored):
    content = load_archive(stored, "")
    for key in content:
        save_archive(stored, {name: value for name, value in content.items() if name != key})
        with pytest.raises(UserError, match=r"model\.asd: .*train the model again"):
            Detector.load(stored)


def test_what_is_made_of_scores_may_differ_from_training(detector):
    detector.set_scoring(replace(detector.parameters, offset=2.0), frozenset(), Path("m"))
    assert detector.score(clips_of([MEAN]))["UP"].tolist() == [2.0]


def test_a_flag_that_contradicts_the_model_is_refused_and_named(detector):
    given = LoudnessParameters(degree=2.0, block=4, offset=1.0)
    with pytest.raises(UserError) as caught:
        detector.set_scoring(given, frozenset({"block", "offset"}), Path("m.pt"))
    assert str(caught.value) == (
        "m.pt: was trained with block 8 (now 4); leave the flag out, as the model knows, or train "
        "again"
    )


def test_what_a_file_says_otherwise_is_told_and_the_model_holds(detector, caplog):
    detector.set_scoring(replace(detector.parameters, degree=2.0), frozenset(), Path("m.pt"))
    assert caplog.messages == [
        "m.pt: was trained with degree 1.0 (now 2.0), which holds; train again for the new values"
    ]
    assert detector.parameters.degree == 1.0


def test_what_a_flag_of_the_training_said_is_not_told(detector, caplog):
    """The file was overruled then; the model knows."""
    detector.facts = replace(detector.facts, given=("degree",))
    detector.set_scoring(replace(detector.parameters, degree=2.0), frozenset(), Path("m.pt"))
    assert not caplog.messages
