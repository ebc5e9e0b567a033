"""The sound of machines that do not exist: whole ones and faulty ones.

A machine is a comb of harmonics that wavers slowly, noise of its own colour, and knocks that ring
at a resonance. It runs under conditions (speed, and what else is heard around it). Faults are
modelled on what real ones do to a sound: a damaged bearing, rubbing, play between gears (side
bands), a changed order of harmonics, and rattling.

All functions take and give arrays; levels of parts are set against parts of mean square 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import lfilter

Samples = NDArray[np.float64]

SAMPLE_RATE_HZ = 16000

_COMB_TABLE = 4096
"""Points of one period of a comb; 64 times its highest harmonic, so interpolation is inaudible."""


@dataclass(frozen=True)
class Spectrum:
    """The colour of a noise: a tilt and bumps, in dB over log frequency.

    Parameters
    ----------
    tilt_db
        Change per octave.
    bumps
        Shape (bumps, 3): centre in Hz, height in dB, width in octaves.
    """

    tilt_db: float
    bumps: Samples

    def gain(self, frequency_hz: Samples) -> Samples:
        """Amplitude gain at each frequency, shape (frequencies,)."""
        octave = np.log2(np.maximum(frequency_hz, 50.0) / 1000.0)
        grid = np.linspace(octave.min(), octave.max(), 256)
        level_db = self.tilt_db * grid
        for centre_hz, height_db, width in self.bumps:
            level_db += height_db * np.exp(-(((grid - np.log2(centre_hz / 1e3)) / width) ** 2))
        return np.interp(octave, grid, 10.0 ** (level_db / 20.0))


@dataclass(frozen=True)
class Condition:
    """How and where a machine runs.

    Parameters
    ----------
    attributes
        What the organisers would write into the file name: (("vel", "8"), ("n", "A")).
    speed
        Factor on everything that follows the machine's rotation.
    background
        Colour of the noise around the machine.
    background_db
        Its level against the machine's.
    """

    attributes: tuple[tuple[str, str], ...]
    speed: float
    background: Spectrum
    background_db: float


@dataclass(frozen=True)
class Machine:
    """What one machine sounds like, and the conditions it is heard under, per domain.

    Parameters
    ----------
    pitch_hz
        Fundamental of the comb at speed 1.
    harmonics
        Amplitude of each harmonic, shape (harmonics,).
    wobble_hz, wobble_depth
        Rate and depth of the comb's slow modulation.
    noise, noise_db
        Colour of the machine's own noise, and its level against the comb's.
    knock_hz, knock_ring_hz, knock_db
        Rate of the knocks at speed 1, the resonance they ring at, and their level.
    conditions
        Domain -> conditions.
    """

    pitch_hz: float
    harmonics: Samples
    wobble_hz: float
    wobble_depth: float
    noise: Spectrum
    noise_db: float
    knock_hz: float
    knock_ring_hz: float
    knock_db: float
    conditions: dict[str, tuple[Condition, ...]]


_SPEED_STEP = 1.06
"""Factor of speed from one value of the speed's attribute to the next."""


def draw_machine(rng: Generator, contrast: float = 1.0) -> Machine:
    """A machine at random.

    Parameters
    ----------
    contrast
        How far apart attributes sound: the logarithm of the step of speed is multiplied by it.
    """
    harmonics = rng.uniform(0.3, 1.0, size=24) * np.arange(1, 25) ** -rng.uniform(0.4, 0.9)
    return Machine(
        pitch_hz=rng.uniform(110.0, 220.0),
        harmonics=harmonics,
        wobble_hz=rng.uniform(1.0, 4.0),
        wobble_depth=rng.uniform(0.1, 0.3),
        noise=_draw_spectrum(rng),
        noise_db=rng.uniform(-6.0, -1.0),
        knock_hz=rng.uniform(3.0, 12.0),
        knock_ring_hz=rng.uniform(1200.0, 4000.0),
        knock_db=rng.uniform(-14.0, -8.0),
        conditions=_draw_conditions(rng, contrast),
    )


def _draw_spectrum(rng: Generator) -> Spectrum:
    bumps = [
        (300.0 * 20.0 ** rng.uniform(), rng.uniform(4.0, 12.0), rng.uniform(0.3, 1.0))
        for _ in range(3)
    ]
    return Spectrum(tilt_db=rng.uniform(-4.0, -1.0), bumps=np.array(bumps))


def _draw_conditions(rng: Generator, contrast: float) -> dict[str, tuple[Condition, ...]]:
    """Three source and two target conditions; the target is faster or slower, and elsewhere."""
    speed_word = str(rng.choice(["vel", "spd", "rot"]))
    noise_word = str(rng.choice(["n", "f-n", "m-n"]))
    shift = rng.choice([-1, 1])
    steps = {"source": (10, 11, 12), "target": (11 + 2 * shift, 11 + 3 * shift)}
    source_place = _draw_spectrum(rng)
    target_place = replace(
        source_place, bumps=np.concatenate([source_place.bumps, _draw_spectrum(rng).bumps[:1]])
    )
    background_db = rng.uniform(-8.0, -5.0)
    conditions = {}
    for domain, letter, place, louder_db in (
        ("source", "A", source_place, 0.0),
        ("target", "B", target_place, 1.0),
    ):
        conditions[domain] = tuple(
            Condition(
                attributes=((speed_word, str(step)), (noise_word, letter)),
                speed=_SPEED_STEP ** (contrast * (step - 11)),
                background=place,
                background_db=background_db + louder_db,
            )
            for step in steps[domain]
        )
    return conditions


def machine_sound(machine: Machine, condition: Condition, samples: int, rng: Generator) -> Samples:
    """The machine in order, without background, mean square 1, shape (samples,)."""
    comb = _comb(machine, condition, samples, rng)
    return unit_level(comb + _other_parts(machine, condition, samples, rng))


def faulty_sound(
    machine: Machine, condition: Condition, fault: str, samples: int, rng: Generator
) -> Samples:
    """The machine with one of `FAULTS`, of random severity, mean square 1, shape (samples,)."""
    comb = _comb(machine, condition, samples, rng)
    comb, added = FAULTS[fault](machine, condition, comb, rng)
    return unit_level(comb + _other_parts(machine, condition, samples, rng) + added)


def background_noise(condition: Condition, samples: int, rng: Generator) -> Samples:
    """What is heard around the machine, at its level, shape (samples,)."""
    return _decibel(condition.background_db) * coloured_noise(condition.background, samples, rng)


def passing_noise(samples: int, rng: Generator) -> Samples:
    """Stationary noise of mean square 1 whose colour is drawn anew, shape (samples,)."""
    return coloured_noise(_draw_spectrum(rng), samples, rng)


def coloured_noise(spectrum: Spectrum, samples: int, rng: Generator) -> Samples:
    """Stationary noise of mean square 1, shape (samples,)."""
    length = scipy.fft.next_fast_len(samples, real=True)
    frequency_hz = np.linspace(0.0, SAMPLE_RATE_HZ / 2, length // 2 + 1)
    drawn = rng.standard_normal(2 * len(frequency_hz)).view(complex)
    noise: Samples = scipy.fft.irfft(drawn * spectrum.gain(frequency_hz), length)
    return unit_level(noise[:samples])


def unit_level(signal: Samples) -> Samples:
    """The signal scaled to mean square 1 (silence stays silence)."""
    level = float(np.sqrt(np.mean(signal**2)))
    return signal / level if level > 0 else signal


def _decibel(level_db: float) -> float:
    return float(10.0 ** (level_db / 20.0))


def _comb(machine: Machine, condition: Condition, samples: int, rng: Generator) -> Samples:
    """The harmonics, wavering in pitch and strength, mean square about 1."""
    seconds = np.arange(samples) / SAMPLE_RATE_HZ
    turns = machine.wobble_hz * condition.speed * seconds + rng.uniform()
    wobble = np.sin(2 * np.pi * turns)
    pitch_hz = machine.pitch_hz * condition.speed * rng.normal(1.0, 0.003)
    phase = np.cumsum(pitch_hz / SAMPLE_RATE_HZ * (1.0 + 0.002 * wobble)) + rng.uniform()
    comb = _periodic(machine.harmonics, phase)
    return unit_level(comb) * (1.0 + machine.wobble_depth * wobble)


def _periodic(harmonics: Samples, phase: Samples) -> Samples:
    """A sum of harmonics at the phase given in periods: one period is read from a table."""
    table = np.zeros(_COMB_TABLE // 2 + 1, dtype=complex)
    angles = 2.4 * np.arange(len(harmonics)) ** 2  # spread phases keep the crest factor low
    table[1 : len(harmonics) + 1] = harmonics * np.exp(1j * angles)
    period: Samples = scipy.fft.irfft(table, _COMB_TABLE)
    return np.interp(phase, np.arange(_COMB_TABLE) / _COMB_TABLE, period, period=1.0)


def _other_parts(machine: Machine, condition: Condition, samples: int, rng: Generator) -> Samples:
    """The machine's noise and knocks."""
    noise = coloured_noise(machine.noise, samples, rng)
    knocks = _ringing(machine.knock_hz * condition.speed, machine.knock_ring_hz, 0.1, samples, rng)
    return _decibel(machine.noise_db) * noise + _decibel(machine.knock_db) * knocks


def _ringing(
    rate_hz: float, ring_hz: float, jitter: float, samples: int, rng: Generator
) -> Samples:
    """Blows at a rate, each ringing at a resonance, mean square 1; shape (samples,).

    `jitter` is how far, in periods, a blow may be from its time.
    """
    period = SAMPLE_RATE_HZ / rate_hz
    times = (np.arange(int(samples / period) + 1) + rng.uniform()) * period
    times = (times + period * jitter * rng.standard_normal(len(times))).astype(int) % samples
    blows = np.zeros(samples)
    blows[times] = rng.uniform(0.7, 1.3, size=len(times))
    return unit_level(_resonate(blows, ring_hz, decay_s=0.004))


def _resonate(signal: Samples, ring_hz: float, decay_s: float) -> Samples:
    radius = np.exp(-1.0 / (decay_s * SAMPLE_RATE_HZ))
    cosine = np.cos(2 * np.pi * ring_hz / SAMPLE_RATE_HZ)
    return np.asarray(lfilter([1.0], [1.0, -2.0 * radius * cosine, radius**2], signal))


Fault = Callable[[Machine, Condition, Samples, Generator], tuple[Samples, Samples]]
"""Machine, condition and comb -> the comb as the fault leaves it, and what the fault adds."""


def _bearing(
    machine: Machine, condition: Condition, comb: Samples, rng: Generator
) -> tuple[Samples, Samples]:
    """A pitted race: blows at a multiple of the rotation, ringing high up."""
    rate_hz = machine.knock_hz * condition.speed * rng.uniform(4.0, 7.0)
    blows = _ringing(rate_hz, rng.uniform(2500.0, 6500.0), 0.02, len(comb), rng)
    return comb, _decibel(rng.uniform(-17.0, -5.0)) * blows


def _rubbing(
    machine: Machine, condition: Condition, comb: Samples, rng: Generator
) -> tuple[Samples, Samples]:
    """Parts that touch once per turn: bursts of broad noise."""
    turn = machine.knock_hz * condition.speed * np.arange(len(comb)) / SAMPLE_RATE_HZ
    envelope = np.exp(6.0 * (np.cos(2 * np.pi * (turn + rng.uniform())) - 1.0))
    hiss = Spectrum(rng.uniform(0.0, 2.0), np.zeros((0, 3)))
    burst = unit_level(envelope * coloured_noise(hiss, len(comb), rng))
    return comb, _decibel(rng.uniform(-19.0, -7.0)) * burst


def _side_bands(
    machine: Machine, condition: Condition, comb: Samples, rng: Generator
) -> tuple[Samples, Samples]:
    """Play between gears: the comb is modulated at a third to a half of its pitch."""
    rate_hz = machine.pitch_hz * condition.speed * rng.uniform(0.3, 0.5)
    seconds = np.arange(len(comb)) / SAMPLE_RATE_HZ
    depth = rng.uniform(0.15, 0.8)
    modulation = 1.0 + depth * np.sin(2 * np.pi * rate_hz * seconds + rng.uniform(0, 2 * np.pi))
    return unit_level(comb * modulation), np.zeros_like(comb)


def _changed_harmonics(
    machine: Machine, condition: Condition, comb: Samples, rng: Generator
) -> tuple[Samples, Samples]:
    """Imbalance or a broken blade: some harmonics grow, some fade, half orders come up."""
    changes_db = rng.normal(0.0, rng.uniform(1.0, 8.0), size=len(machine.harmonics))
    orders = np.zeros(2 * len(machine.harmonics))
    orders[1::2] = machine.harmonics * 10.0 ** (changes_db / 20.0)
    orders[0::2] = machine.harmonics * _decibel(rng.uniform(-32.0, -14.0))
    pitch_hz = machine.pitch_hz * condition.speed * rng.normal(1.0, 0.003)
    phase = np.arange(len(comb)) * pitch_hz / 2 / SAMPLE_RATE_HZ
    return unit_level(_periodic(orders, phase)), np.zeros_like(comb)


def _rattling(
    machine: Machine, condition: Condition, comb: Samples, rng: Generator
) -> tuple[Samples, Samples]:
    """Something loose: blows at irregular times, ringing at two resonances."""
    rate_hz = rng.uniform(15.0, 30.0) * condition.speed
    low_hz = machine.knock_ring_hz * rng.uniform(0.3, 0.6)
    rattle = _ringing(rate_hz, low_hz, 1.0, len(comb), rng)
    rattle += _ringing(rate_hz, low_hz * rng.uniform(2.0, 3.0), 1.0, len(comb), rng)
    return comb, _decibel(rng.uniform(-17.0, -5.0)) * unit_level(rattle)


FAULTS: dict[str, Fault] = {
    "bearing": _bearing,
    "rubbing": _rubbing,
    "side bands": _side_bands,
    "changed harmonics": _changed_harmonics,
    "rattling": _rattling,
}
