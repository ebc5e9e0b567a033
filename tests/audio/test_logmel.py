import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.audio.logmel import LogMel, LogMelParameters
from asd.audio.recording import read_recording
from asd.errors import UserError

RATE_HZ = 16000


def by_librosa(samples, p, rate_hz=RATE_HZ):
    """The public baseline's formula, in double precision."""
    mel = librosa.feature.melspectrogram(
        y=samples.astype(np.float64), sr=rate_hz, n_fft=p.n_fft, hop_length=p.hop_length,
        n_mels=p.n_mels, power=p.power, fmin=p.fmin, fmax=p.fmax, win_length=p.win_length,
        pad_mode="constant", dtype=np.float64,
    )  # fmt: skip
    return (20 / p.power * np.log10(np.maximum(mel, np.finfo(np.float64).eps))).T


def assert_close_in_db(found, expected):
    """Within 1e-3 dB where there is sound; near the floor of -156 dB, and in bands 100 dB below
    the loudest, float32 has less to say."""
    assert found.shape == expected.shape
    heard = expected > expected.max() - 100
    np.testing.assert_allclose(found[heard], expected[heard], atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["fan_train", "fan_test"])
def test_frames_are_those_of_the_public_baseline(data_folder, name):
    golden = np.load(data_folder / "audio" / f"{name}.npy")
    ((samples,), _) = read_recording(data_folder / "audio" / f"{name}.wav")
    frames = LogMel(LogMelParameters(), RATE_HZ)(samples)
    assert frames.dtype == np.float32
    assert frames.flags.c_contiguous
    assert frames.shape == (32, 128)
    np.testing.assert_allclose(frames, golden, atol=1e-3, rtol=0)


@pytest.mark.parametrize("parameters", [LogMelParameters(), LogMelParameters(power=1.0)], ids=str)
def test_ten_seconds_equal_librosa_in_float32_to_the_last_bit(parameters):
    p = parameters
    samples = np.random.default_rng(0).normal(scale=0.1, size=160_000).astype(np.float32)
    mel = librosa.feature.melspectrogram(
        y=samples, sr=RATE_HZ, n_fft=p.n_fft, hop_length=p.hop_length, n_mels=p.n_mels,
        power=p.power, pad_mode="constant",
    )  # fmt: skip
    decibels = 20 / p.power * np.log10(np.maximum(mel, float(np.finfo(np.float64).eps)))
    assert np.array_equal(LogMel(p, RATE_HZ)(samples), decibels.T)


@pytest.mark.parametrize(
    "parameters",
    [
        LogMelParameters(n_fft=512, hop_length=128, n_mels=40),
        LogMelParameters(win_length=400),
        LogMelParameters(win_length=401, n_fft=512),
        LogMelParameters(power=1.0),
        LogMelParameters(power=1.5),
        LogMelParameters(power=3.0),
        LogMelParameters(fmin=200.0, fmax=4000.0, n_mels=32),
        LogMelParameters(fmax=8000.0),
        LogMelParameters(n_fft=1000, hop_length=333, n_mels=64),
        LogMelParameters(n_fft=1001, hop_length=500, n_mels=64),
        LogMelParameters(hop_length=2048),
        LogMelParameters(n_mels=1),
    ],
    ids=str,
)
@pytest.mark.parametrize("length", [8000, 7999, 1])
@pytest.mark.filterwarnings("ignore:n_fft=.* is too large")
def test_any_parameters_equal_librosa(parameters, length):
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, length).astype(np.float32)
    frames = LogMel(parameters, RATE_HZ)(samples)
    assert_close_in_db(frames, by_librosa(samples, parameters))
    assert len(frames) == parameters.frame_count(length)


def test_another_sampling_rate_moves_the_bands():
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, 4000).astype(np.float32)
    frames = LogMel(LogMelParameters(), 48000)(samples)
    assert_close_in_db(frames, by_librosa(samples, LogMelParameters(), 48000))
    assert not np.allclose(frames, LogMel(LogMelParameters(), RATE_HZ)(samples), atol=1)


@settings(max_examples=60)
@given(st.integers(1, 3000), st.integers(2, 700), st.integers(1, 700))
def test_frame_count_is_the_number_of_frames(length, n_fft, hop_length):
    parameters = LogMelParameters(n_mels=1, n_fft=n_fft, hop_length=hop_length)
    frames = LogMel(parameters, RATE_HZ)(np.ones(length, dtype=np.float32))
    assert len(frames) == parameters.frame_count(length)
    assert len(frames) == 1 + (length + 2 * (n_fft // 2) - n_fft) // hop_length


def test_silence_lies_on_the_floor():
    frames = LogMel(LogMelParameters(), RATE_HZ)(np.zeros(4096, dtype=np.float32))
    np.testing.assert_allclose(frames, 10 * np.log10(2.220446049250313e-16), rtol=1e-6)


def test_a_steady_tone_is_loudest_in_its_own_band():
    time_s = np.arange(RATE_HZ) / RATE_HZ
    p = LogMelParameters()
    for frequency_hz in (500, 1000, 4000):
        tone = np.sin(2 * np.pi * frequency_hz * time_s).astype(np.float32)
        centres_hz = librosa.mel_frequencies(p.n_mels + 2, fmin=0, fmax=RATE_HZ / 2)[1:-1]
        band = LogMel(p, RATE_HZ)(tone)[10:-10].mean(axis=0).argmax()
        assert abs(centres_hz[band] - frequency_hz) < 0.05 * frequency_hz


def test_twice_the_amplitude_is_six_decibels_at_any_power():
    samples = np.random.default_rng(1).uniform(-0.4, 0.4, 4000).astype(np.float32)
    for power in (1.0, 2.0, 3.0):
        log_mel = LogMel(LogMelParameters(power=power), RATE_HZ)
        np.testing.assert_allclose(log_mel(2 * samples) - log_mel(samples), 6.0206, atol=1e-2)


def test_fmin_above_half_the_sampling_rate_is_refused():
    with pytest.raises(UserError, match=r"--fmin: expected less than .*\(8000 Hz\), got 8000"):
        LogMel(LogMelParameters(fmin=8000), RATE_HZ)


def test_fmax_above_half_the_sampling_rate_is_refused():
    with pytest.raises(UserError, match=r"--fmax: expected at most .*\(8000 Hz\), got 20000"):
        LogMel(LogMelParameters(fmax=20000), RATE_HZ)


def test_more_bands_than_frequencies_are_refused():
    with pytest.raises(UserError, match=r"--n_mels: expected at most the 33 .* --n_fft 64, got 34"):
        LogMel(LogMelParameters(n_fft=64, n_mels=34), RATE_HZ)
    LogMel(LogMelParameters(n_fft=64, n_mels=33), RATE_HZ)


def test_empty_bands_are_told_once_in_one_line(caplog, recwarn):
    LogMel(LogMelParameters(n_mels=400), RATE_HZ)
    (record,) = caplog.records
    assert "of 400 mel bands" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert len(recwarn) == 0
    caplog.clear()
    LogMel(LogMelParameters(), RATE_HZ)
    assert not caplog.records
