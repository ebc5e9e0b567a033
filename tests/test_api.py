"""The Python API: the examples of all public names, and what they cannot show."""

import doctest
from pathlib import Path

import numpy as np
import pytest

import asd
from asd.challenge.catalog import load_challenge
from asd.synthetic.dataset import SyntheticCounts, synthesize


@pytest.fixture(scope="module")
def tiny_data(tmp_path_factory):
    """A data set of one fan with 12 training and 12 test clips."""
    folder = tmp_path_factory.mktemp("tiny_data")
    counts = SyntheticCounts(10, 2, 3)
    synthesize(folder, load_challenge("DCASE2023T2"), "dev", ["fan"], clips=counts,
               seconds=(0.5, 0.5))  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def fan(tiny_data):
    return asd.load_challenge("DCASE2023T2", tiny_data).dev["fan"]


@pytest.fixture(scope="module")
def model(fan):
    return asd.create("ae", epochs=2, n_mels=16).fit(fan.train, progress=False)


@pytest.fixture(scope="module")
def fan_model(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "fan.asd"
    model.save(path)
    return path


@pytest.fixture
def sounds(tmp_path, write_wav):
    """A folder with six recordings of odd names, and files that are none."""
    random = np.random.default_rng(1)
    for i, name in enumerate(("a", "Pump 3 - Monday 08.15", "b", "sub/c", "sub/d.x", "E")):
        write_wav(tmp_path / "sounds" / f"{name}.wav", random.uniform(-0.1, 0.1, 3200 + 8 * i))
    (tmp_path / "sounds" / "notes.txt").write_text("none")
    write_wav(tmp_path / "sounds" / ".hidden.wav", random.uniform(-0.1, 0.1, 3200))
    return tmp_path / "sounds"


@pytest.fixture
def any_wav(sounds):
    return sounds / "a.wav"


@pytest.mark.parametrize("name", asd.__all__)
def test_the_examples_of_a_public_name_hold(name, request):
    cases = doctest.DocTestFinder().find(
        getattr(asd, name), name, globs={"getfixture": request.getfixturevalue}
    )
    runner = doctest.DocTestRunner()
    for case in cases:
        runner.run(case)
    done = runner.summarize(verbose=False)
    assert done.attempted
    assert not done.failed


def test_a_saved_detector_scores_and_decides_as_before(model, fan_model, fan):
    loaded = asd.load(fan_model)
    expected, found = model.score(fan.test), loaded.score(fan.test)
    assert found == expected
    for name in expected.columns:
        decided = model.decide(expected, name, 0.9)
        np.testing.assert_array_equal(loaded.decide(found, name, 0.9), decided)
        threshold = model.threshold("fan", name, 0.9)
        np.testing.assert_array_equal(decided, expected[name] > threshold)


def test_paths_are_scored_as_the_clips_of_the_data_set(model, fan):
    expected = model.score(fan.test, ["MSE"])
    found = model.score([str(clip.path) for clip in fan.test], ["MSE"])
    np.testing.assert_array_equal(found["MSE"], expected["MSE"])


def test_a_recording_at_another_rate_is_brought_to_that_of_training(model, write_wav, tmp_path):
    time = np.arange(24000) / 48000
    high = write_wav(tmp_path / "high.wav", 0.3 * np.sin(2 * np.pi * 500 * time), 48000)
    same = write_wav(tmp_path / "same.wav", 0.3 * np.sin(2 * np.pi * 500 * time[::3]), 16000)
    scores = model.score([high, same], ["MSE"])["MSE"]
    assert scores[0] == pytest.approx(scores[1], rel=0.1)


def test_recordings_of_several_rates_are_brought_to_the_lowest(write_wav, tmp_path):
    from asd.audio.features import Waveform

    write_wav(tmp_path / "a.wav", np.zeros(4410) + 0.1, 44100)
    write_wav(tmp_path / "b.wav", np.zeros(1600) + 0.1, 16000)
    features = asd.recordings(tmp_path).features(Waveform())
    assert features.sample_rate_hz == 16000
    assert features.lengths.tolist() == [1600, 1600]


def test_own_recordings_are_learned_and_scored(sounds):
    clips = asd.recordings(sounds, machine="pump", label="normal")
    model = asd.create("ae", epochs=1, n_mels=8, frames=2, hop_length=64, n_fft=128)
    scores = model.fit(clips, progress=False).score(clips)
    assert len(scores) == 6
    assert model.facts.machines == ("pump",)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: asd.create("aee"), "'aee' is unknown"),
        (lambda: asd.create("ae", epochs=0), "epochs: expected at least 1, got 0"),
        (lambda: asd.create("raw_spec", **{"frontend.melz": 3}), "unknown key"),
        (lambda: asd.load("nowhere.asd"), r"nowhere\.asd: no such model"),
        (lambda: asd.load_challenge("DCASE2019T2"), "unknown"),
        (lambda: asd.recordings("nowhere"), "no such file or folder"),
        (lambda: asd.recordings([]), "no sound file there"),
    ],
)
def test_mistakes_are_told_in_one_line(call, complaint):
    with pytest.raises(asd.UserError, match=complaint) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_unlabelled_clips_cannot_be_evaluated(model, sounds):
    scores = model.score(sorted(sounds.glob("*.wav")), ["MSE"])
    with pytest.raises(asd.UserError, match="is not known to be normal or anomalous"):
        asd.evaluate(scores)


def test_a_limit_holds_in_every_metric(model, fan):
    scores = model.score(fan.test, ["MSE"])
    narrow, wide = (asd.evaluate(scores, max_fpr=limit) for limit in (0.1, 1.0))
    assert wide.metric("pAUC", "fan", "MSE") != narrow.metric("pAUC", "fan", "MSE")
    assert wide.official["MSE"]["fan"] != narrow.official["MSE"]["fan"]


def test_types_come_with_the_package():
    assert (Path(asd.__file__).parent / "py.typed").is_file()
    assert set(asd.__all__) == set(asd._PUBLIC)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = asd.nothing
