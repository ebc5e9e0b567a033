"""Normal sound, slightly changed: stand-ins for faults that nobody has recorded.

All take samples of shape (channels, samples) and their rate, and give such samples. How strong a
change is comes from the generator: some are hardly heard, so that detectors differ in what they
find.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from asd.audio.recording import resample

Wave = NDArray[np.float32]
Change = Callable[[Wave, int, Generator], Wave]

_RING_S = 0.004
"""Time in which the ringing of a knock falls to 1/e."""


def pitch(wave: Wave, rate_hz: int, random: Generator) -> Wave:
    """Runs 2 to 6 % faster or slower."""
    factor = 1 + random.choice([-1, 1]) * random.uniform(0.02, 0.06)
    return resample(wave, rate_hz, round(rate_hz * factor))


def tone(wave: Wave, rate_hz: int, random: Generator) -> Wave:
    """Adds a tone, 10 to 25 dB below the sound."""
    frequency_hz = _frequency(rate_hz, random)
    phase = random.uniform(0, 2 * np.pi)
    turns = 2 * np.pi * frequency_hz / rate_hz * np.arange(wave.shape[1]) + phase
    return _added(wave, np.sin(turns), random.uniform(-25, -10))


def knocks(wave: Wave, rate_hz: int, random: Generator) -> Wave:
    """Adds 2 to 15 knocks a second that ring, 5 to 20 dB below the sound."""
    samples = wave.shape[1]
    seconds = np.arange(round(10 * _RING_S * rate_hz)) / rate_hz
    frequency_hz = _frequency(rate_hz, random)
    ring = np.exp(-seconds / _RING_S) * np.sin(2 * np.pi * frequency_hz * seconds)
    added = np.zeros(samples + len(ring))
    count = max(round(random.uniform(2, 15) * samples / rate_hz), 1)
    for start in random.integers(0, samples, size=count):
        added[start : start + len(ring)] += random.uniform(0.7, 1.3) * ring
    return _added(wave, added[:samples], random.uniform(-20, -5))


def band_loss(wave: Wave, rate_hz: int, random: Generator) -> Wave:
    """Weakens a band of a third of an octave to an octave by 6 to 20 dB."""
    spectrum = np.fft.rfft(wave)
    frequency_hz = np.fft.rfftfreq(wave.shape[1], 1 / rate_hz)
    low_hz = _frequency(rate_hz, random)
    inside = (frequency_hz >= low_hz) & (frequency_hz < low_hz * 2 ** random.uniform(1 / 3, 1))
    spectrum[:, inside] *= 10 ** (random.uniform(-20, -6) / 20)
    changed: Wave = np.fft.irfft(spectrum, wave.shape[1]).astype(np.float32)
    return changed


def level(wave: Wave, rate_hz: int, random: Generator) -> Wave:  # noqa: ARG001
    """Makes the sound 3 to 8 dB louder or softer."""
    change_db = random.choice([-1, 1]) * random.uniform(3, 8)
    changed: Wave = wave * np.float32(10 ** (change_db / 20))
    return changed


CHANGES: Mapping[str, Change] = {
    "pitch": pitch,
    "tone": tone,
    "knocks": knocks,
    "band loss": band_loss,
    "level": level,
}


def _frequency(rate_hz: int, random: Generator) -> float:
    """From 100 Hz to 0.4 of the rate, evenly in octaves."""
    return float(np.exp(random.uniform(np.log(min(100, 0.1 * rate_hz)), np.log(0.4 * rate_hz))))


def _added(wave: Wave, signal: NDArray[np.float64], level_db: float) -> Wave:
    """The sound with a signal at a level against it."""
    sound, own = (np.sqrt(np.mean(np.square(x))) for x in (wave, signal))
    gain = 10 ** (level_db / 20) * sound / max(own, 1e-12)
    changed: Wave = (wave + gain * signal).astype(np.float32)
    return changed
