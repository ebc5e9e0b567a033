import os

import numpy as np
import pytest
import soundfile

from asd.audio import recording
from asd.audio.features import Waveform
from asd.audio.recording import is_finite, read_content, read_recording, resample
from asd.audio.recordings import recordings
from asd.errors import UserError


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.flac", {}), ("x.flac", {"subtype": "PCM_24"}), ("x.aiff", {}), ("x.w64", {}),
        ("x.caf", {}), ("x.au", {}), ("x.wav", {}), ("x.WAV", {"format": "WAV"}),
    ],
)  # fmt: skip
def test_every_lossless_format_gives_the_same_samples(tmp_path, rng, name, options):
    samples = rng.integers(-(2**15), 2**15, (1000, 3)).astype(np.float64) / 2**15
    soundfile.write(tmp_path / name, samples, 22050, **options)
    wave, rate_hz = read_recording(tmp_path / name)
    assert rate_hz == 22050
    assert wave.dtype == np.float32
    assert np.array_equal(wave, samples.T)


@pytest.mark.parametrize("name", ["x.ogg", "x.mp3"])
def test_lossy_formats_are_read(tmp_path, name):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    soundfile.write(tmp_path / name, tone, 16000)
    (samples,), rate_hz = read_recording(tmp_path / name)
    spectrum = np.abs(np.fft.rfft(samples[2000:14000]))
    assert rate_hz == 16000
    assert spectrum.argmax() == 440 * 12000 // 16000
    assert np.std(samples[2000:14000]) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_one_channel_of_many(tmp_path, rng):
    samples = rng.integers(-(2**15), 2**15, (100, 8)).astype(np.float64) / 2**15
    soundfile.write(tmp_path / "x.wav", samples, 16000)
    third = read_recording(tmp_path / "x.wav", "3").wave
    assert np.array_equal(third, samples.T[2:3])
    mix = read_recording(tmp_path / "x.wav", "mix").wave
    np.testing.assert_allclose(mix, samples.mean(axis=1)[None], atol=1e-6)
    with pytest.raises(UserError, match=r"x\.wav: has 8 channel\(s\), so there is no channel 9"):
        read_recording(tmp_path / "x.wav", "9")


@pytest.mark.parametrize(("rate_hz", "wanted_hz"), [(48000, 16000), (44100, 16000), (16000, 32000)])
def test_tones_below_half_the_lower_rate_keep_their_height_and_phase(rate_hz, wanted_hz):
    tones_hz = np.array([[100.0], [2500.0], [6000.0]])
    wave = np.sin(2 * np.pi * tones_hz * np.arange(rate_hz) / rate_hz).astype(np.float32)
    found = resample(wave, rate_hz, wanted_hz)
    assert found.shape == (3, wanted_hz)
    assert found.dtype == np.float32
    expected = np.sin(2 * np.pi * tones_hz * np.arange(wanted_hz) / wanted_hz)
    middle = slice(wanted_hz // 10, -wanted_hz // 10)
    assert np.abs(found - expected)[:, middle].max() < 1e-3


def test_tones_above_half_the_lower_rate_are_gone():
    wave = np.sin(2 * np.pi * 9000 * np.arange(48000) / 48000).astype(np.float32)[None]
    middle = resample(wave, 48000, 16000)[:, 1000:-1000]
    assert np.abs(middle).max() < 1e-5


def test_a_recording_is_brought_to_the_rate_asked_for(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)
    soundfile.write(tmp_path / "x.flac", np.stack([tone, -tone], axis=1), 44100)
    wave, rate_hz = read_recording(tmp_path / "x.flac", rate_hz=16000)
    assert rate_hz == 16000
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(wave[0, 1000:-1000], expected[1000:-1000], atol=1e-4)
    np.testing.assert_allclose(wave[1], -wave[0], atol=1e-6)
    own, rate_hz = read_recording(tmp_path / "x.flac", rate_hz=44100)
    assert own.shape == (2, 44100)


BAD = {
    "x.flac": (b"fLaC" + bytes(60), "cannot be read as a sound file"),
    "x.ogg": (b"no sound at all", "cannot be read as a sound file"),
    "y.flac": (b"", "is empty (0 bytes)"),
    "x.wav": (b"fLaC" + bytes(60), "is not a wav file"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_sound_is_refused_in_one_line(tmp_path, name):
    content, expected = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_recording(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: {expected}")
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(UserError, match=r"gone\.wav: cannot be read .*No such file"):
        read_recording(tmp_path / "gone.wav")
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(UserError, match=r"folder\.wav: cannot be read, it is not a file"):
        read_recording(tmp_path / "folder.wav")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such pipes on Windows")
def test_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    for name in ("pipe.wav", "zero.wav"):
        with pytest.raises(UserError, match=rf"{name}: cannot be read, it is not a file"):
            read_recording(tmp_path / name)
        with pytest.raises(UserError, match=rf"{name}: cannot be read, it is not a file"):
            recordings(tmp_path / name).features(Waveform())


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path, monkeypatch):
    path = tmp_path / "x.wav"
    path.write_bytes(bytes(100))
    fstat = os.fstat

    def then_grow(file):
        before = fstat(file)
        path.write_bytes(bytes(before.st_size + 100))
        return before

    monkeypatch.setattr(os, "fstat", then_grow)
    with pytest.raises(UserError, match=r"x\.wav: changed while it was read"):
        read_content(path)


def test_finite_values_are_told_from_others():
    assert is_finite(np.full(8, 3e38, dtype=np.float32))
    assert is_finite(np.zeros((0, 3), dtype=np.float32))
    for bad in ([np.nan, 0], [np.inf, 0], [-np.inf, 0], [np.inf, -np.inf]):
        assert not is_finite(np.array(bad, dtype=np.float32))


def test_samples_that_are_only_claimed_take_no_memory(tmp_path, monkeypatch):
    """A header may claim 2^36 samples: those that there are are read, block by block."""
    monkeypatch.setattr(recording, "_BLOCK_SAMPLES", 200)
    samples = np.arange(1000) / 2**15
    soundfile.write(tmp_path / "x.flac", samples, 16000)
    assert np.array_equal(read_recording(tmp_path / "x.flac").wave, samples[None])
    content = bytearray((tmp_path / "x.flac").read_bytes())
    content[21] |= 0x0F  # the upper bits of the number of samples
    (tmp_path / "x.flac").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as a sound file"):
        read_recording(tmp_path / "x.flac")


def test_compressed_silence_of_days_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "_BLOCK_SAMPLES", 1000)
    monkeypatch.setattr(recording, "_MOST_SAMPLES", 9_999)
    soundfile.write(tmp_path / "x.flac", np.zeros((5000, 2)), 16000)
    with pytest.raises(UserError, match=r"x\.flac: holds more than 9,999 samples.*split it"):
        read_recording(tmp_path / "x.flac")
    monkeypatch.setattr(recording, "_MOST_SAMPLES", 10_000)
    assert read_recording(tmp_path / "x.flac").wave.shape == (2, 5000)


@pytest.mark.parametrize("rate_hz", [1, 62, 4_100_000])
def test_rates_that_are_too_far_apart_are_refused(tmp_path, rate_hz):
    soundfile.write(tmp_path / "x.wav", np.zeros(1000), rate_hz)
    with pytest.raises(UserError, match=f"x.wav: is sampled at {rate_hz} Hz, it says"):
        read_recording(tmp_path / "x.wav", rate_hz=16000)


def test_recordings_of_which_no_sample_is_left_are_refused(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(1), 48000)
    with pytest.raises(UserError, match="is too short for 1000 Hz"):
        read_recording(tmp_path / "x.wav", rate_hz=1000)


def test_a_mean_beyond_the_largest_float_is_refused(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.full((4, 2), 3e38), 16000, "FLOAT")
    with pytest.raises(UserError, match="holds samples that are NaN or infinite"):
        read_recording(tmp_path / "x.wav", channel="mix")
