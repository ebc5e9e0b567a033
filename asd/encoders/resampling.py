"""Batches of waves at another sampling rate, on whatever device they are."""

import torch
from torch import Tensor


def resampled_length(samples: int, rate_hz: int, wanted_hz: int) -> int:
    """How many samples `resampled` gives."""
    return round(samples * wanted_hz / rate_hz)


def resampled(waves: Tensor, rate_hz: int, wanted_hz: int) -> Tensor:
    """Waves of shape (clips, samples) at another rate, by way of their Fourier transform.

    Frequencies below half of either rate stay as they are, others are left out. As the transform
    takes a clip to go round, its first and last milliseconds hear each other: good for pieces of
    seconds, not for single clicks at an end.
    """
    if rate_hz == wanted_hz:
        return waves
    samples = waves.shape[1]
    wanted = resampled_length(samples, rate_hz, wanted_hz)
    spectrum = torch.fft.rfft(waves)
    shorter = min(samples, wanted)
    kept = spectrum[:, : (shorter + 1) // 2]  # without the bin at half the rate, which is ambiguous
    found: Tensor = torch.fft.irfft(kept, n=wanted) * (wanted / samples)
    return found
