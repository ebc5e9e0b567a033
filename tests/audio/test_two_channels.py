"""Near minus far: stored numbers, PyTorch's transform, mixtures whose parts are known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from asd.audio.channels import choose_channels
from asd.audio.features import LogMelFeature, Waveform
from asd.audio.two_channels import _Frames, cancel, subtract
from asd.errors import UserError

W1 = np.load(Path(__file__).parents[1] / "data" / "audio" / "w1.npz")
NEAR, FAR = W1["near_int16"] / 32768, W1["far_int16"] / 32768
LENGTHS = [1024, 1025, 1535, 1536, 3333, 4095, 9000]


def noise(n, seed=0):
    return np.random.default_rng(seed).normal(size=n) / 10


def test_cancellation_equals_the_formula_in_numpy():
    np.testing.assert_allclose(cancel(NEAR, FAR), W1["output"], atol=1e-9)
    silent = cancel(NEAR, np.zeros(9000))
    np.testing.assert_allclose(silent, W1["output_far_silent"], atol=1e-9)
    np.testing.assert_allclose(silent, NEAR, atol=1e-9)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("n_fft", [512, 1024])
def test_the_transform_and_back_changes_nothing(n, n_fft):
    frames = _Frames(n, n_fft)
    np.testing.assert_allclose(frames.samples(frames.spectra(noise(n))), noise(n), atol=1e-12)


def test_subtraction_equals_a_version_with_pytorchs_transform():
    window = torch.hann_window(512, dtype=torch.float64)
    c, f = (
        torch.stft(torch.from_numpy(x), 512, 256, window=window, return_complex=True)
        for x in (NEAR, FAR)
    )
    left = torch.where(c.abs() > f.abs(), c.abs() - f.abs(), 0.1 * c.abs())
    y = torch.istft(torch.polar(left, c.angle()), 512, 256, window=window, length=9000)
    np.testing.assert_allclose(subtract(NEAR, FAR), y.numpy(), atol=1e-9)


def test_a_far_channel_that_is_the_near_ones_noise_delayed_and_louder_is_cancelled():
    machine = 0.05 * np.sin(2 * np.pi * 440 / 16000 * np.arange(32000))
    common = noise(32010)
    near, far = machine + common[10:], 1.5 * common[:-10]
    left = cancel(near, far)
    assert np.std(left - machine) < 0.05 * np.std(near - machine)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("remove", [cancel, subtract])
def test_clips_of_any_length_keep_it_and_stay_in_bounds(remove, n):
    found = remove(noise(n), noise(n, seed=1))
    assert found.shape == (n,)
    assert np.abs(found).max() <= 2 * np.abs(noise(n)).max() + np.abs(noise(n, seed=1)).max()


@pytest.mark.parametrize("remove", [cancel, subtract])
def test_silence_stays_silence(remove):
    np.testing.assert_array_equal(remove(np.zeros(3000), np.zeros(3000)), 0)
    np.testing.assert_allclose(remove(np.zeros(3000), noise(3000)), 0, atol=1e-12)


@pytest.mark.parametrize("choice", ["cancellation", "subtraction"])
class TestChoice:
    def test_one_channel_is_left_of_two(self, choice):
        wave = np.stack([NEAR, FAR]).astype(np.float32)
        found = choose_channels(wave, choice)
        assert found.shape == (1, 9000)
        assert found.dtype == np.float32
        remove = {"cancellation": cancel, "subtraction": subtract}[choice]
        np.testing.assert_allclose(found[0], remove(NEAR, FAR), atol=1e-6)

    def test_features_hear_it_and_their_key_says_so(self, choice):
        wave = np.stack([NEAR, FAR]).astype(np.float32)
        left = choose_channels(wave, choice)
        for kind in (LogMelFeature, Waveform):
            feature = kind(channel=choice)
            expected = kind().compute(left, 16000)
            np.testing.assert_array_equal(feature.compute(wave, 16000), expected)
            assert feature.key()["channel"] == choice

    def test_a_clip_of_a_few_hundred_samples_is_refused(self, choice):
        with pytest.raises(UserError, match=r"has 1023 samples, but .* needs 1024 or more"):
            choose_channels(np.ones((2, 1023), np.float32), choice)

    def test_a_recording_of_one_channel_is_refused(self, choice):
        with pytest.raises(UserError) as refused:
            choose_channels(NEAR[None].astype(np.float32), choice)
        assert str(refused.value) == (
            f"has 1 channel, but --channel {choice} needs a near and a far one; set --channel left"
        )
