"""Resampling by Fourier transform, and how many tokens a clip gives."""

import math

import pytest
import torch

from asd.encoders.checkpoint import read_network
from asd.encoders.network import EncoderNetwork
from asd.encoders.resampling import resampled, resampled_length


def tone(hz, rate_hz, seconds=0.5):
    t = torch.arange(int(seconds * rate_hz), dtype=torch.float64) / rate_hz
    return torch.sin(2 * math.pi * hz * t)[None]


@pytest.mark.parametrize(("rate_hz", "wanted_hz"), [(16000, 32000), (32000, 16000), (44100, 16000)])
def test_a_tone_stays_a_tone(rate_hz, wanted_hz):
    """Of whole periods, exactly; one above the lower rate's half is gone."""
    found = resampled(tone(440, rate_hz), rate_hz, wanted_hz)
    torch.testing.assert_close(found, tone(440, wanted_hz), atol=1e-9, rtol=0)
    assert found.shape[1] == resampled_length(int(0.5 * rate_hz), rate_hz, wanted_hz)
    if wanted_hz < rate_hz:
        assert resampled(tone(9000, rate_hz), rate_hz, wanted_hz).abs().max() < 1e-9


@pytest.mark.parametrize("kind", ["beats", "eat", "mn"])
@pytest.mark.parametrize("seconds", [0.51, 1.0, 1.777])
def test_the_number_of_tokens_is_known_beforehand(tiny_encoders, kind, seconds):
    network = read_network(tiny_encoders[kind])
    samples = int(seconds * network.rate_hz)
    with torch.no_grad():
        grid = network(network.features(torch.zeros(1, samples)))
    assert grid.tokens.shape[1:3] == (network.time_steps(samples), network.bands)
    assert EncoderNetwork.time_steps(network, samples) == network.time_steps(samples)
