"""Resampling by matrix products against the resamplers that detectors use."""

import numpy as np
import pytest
import torch

from asd.audio.recording import resample
from asd.encoders.resampling import resampled
from asd.errors import UserError
from asd.systems.embedding.exporting.resampling import FilterResampler, FourierResampler

RATES = [(16000, 32000), (44100, 32000), (48000, 32000), (22050, 16000), (8000, 16000),
         (44100, 16000), (96000, 16000), (16000, 48000)]  # fmt: skip


@pytest.mark.parametrize(("rate_hz", "wanted_hz"), RATES)
@pytest.mark.parametrize("samples", [9973, 16000])
def test_the_filter_is_that_of_the_library(rate_hz, wanted_hz, samples, rng):
    """To 1e-6 of full scale, the ends too: -120 dB, as near as single precision gets."""
    waves = rng.uniform(-1, 1, (2, samples)).astype(np.float32)
    found = FilterResampler(samples, rate_hz, wanted_hz)(torch.from_numpy(waves)).numpy()
    expected = resample(waves, rate_hz, wanted_hz)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_rates_without_a_common_period_are_refused():
    with pytest.raises(UserError, match=r"hears 32000 Hz cannot be .* recordings at 15999 Hz, as"):
        FilterResampler(16000, 15999, 32000)


@pytest.mark.parametrize(("rate_hz", "wanted_hz"), [(16000, 32000), (44100, 16000), (800, 1600)])
@pytest.mark.parametrize("samples", [4410, 4411])
def test_the_way_by_the_spectrum_is_that_of_tuned_encoders(rate_hz, wanted_hz, samples, rng):
    waves = torch.from_numpy(rng.uniform(-1, 1, (2, samples)).astype(np.float32))
    found = FourierResampler(samples, rate_hz, wanted_hz)(waves)
    torch.testing.assert_close(found, resampled(waves, rate_hz, wanted_hz), atol=3e-6, rtol=0)
