"""Every value equals librosa's, bit for bit: training magnifies a single bit."""

import warnings

import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.audio.mel import hann_window, hz_to_mel, mel_filters, mel_frequencies, mel_to_hz


@given(st.floats(0, 50_000))
def test_the_scale_is_librosas(hz):
    assert hz_to_mel(hz) == librosa.hz_to_mel(hz)
    assert mel_to_hz(hz / 200) == librosa.mel_to_hz(hz / 200)


@given(st.floats(0, 50_000))
def test_both_ways_lead_back(hz):
    assert mel_to_hz(hz_to_mel(hz)) == pytest.approx(hz, rel=1e-12)


@given(st.integers(2, 300), st.floats(0, 900), st.floats(1000, 24_000))
def test_frequencies_are_librosas(count, low, high):
    expected = librosa.mel_frequencies(count, fmin=low, fmax=high)
    assert np.array_equal(mel_frequencies(count, low, high), expected)


@given(
    st.sampled_from([8000, 16000, 22050, 44100, 48000]),
    st.sampled_from([256, 401, 512, 1024, 2048, 4096]),
    st.integers(1, 128),
    st.floats(0, 400),
    st.floats(0.5, 1),
)
def test_filters_are_librosas(rate_hz, n_fft, bands, low, share):
    high = share * rate_hz / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty bands
        expected = librosa.filters.mel(sr=rate_hz, n_fft=n_fft, n_mels=bands, fmin=low, fmax=high)
    found = mel_filters(rate_hz, n_fft, bands, low, high)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


@given(st.integers(1, 3000), st.integers(0, 500))
def test_windows_are_librosas(length, more):
    expected = librosa.util.pad_center(
        librosa.filters.get_window("hann", length, fftbins=True), size=length + more
    )
    assert np.array_equal(hann_window(length, length + more), expected)
