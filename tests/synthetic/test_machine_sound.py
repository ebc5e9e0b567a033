from dataclasses import replace

import numpy as np
import pytest

from asd.synthetic.machine_sound import (
    FAULTS,
    SAMPLE_RATE_HZ,
    Spectrum,
    background_noise,
    coloured_noise,
    draw_machine,
    faulty_sound,
    machine_sound,
    unit_level,
)

SAMPLES = 2 * SAMPLE_RATE_HZ


@pytest.fixture
def machine():
    return draw_machine(np.random.default_rng(7))


def test_gain_is_tilt_plus_bumps_in_decibel():
    spectrum = Spectrum(tilt_db=-6.0, bumps=np.array([[2000.0, 10.0, 0.5]]))
    frequency_hz = np.linspace(0.0, 8000.0, 801)
    gain_db = 20 * np.log10(spectrum.gain(frequency_hz))
    # 2 kHz: one octave of tilt and the whole bump; 4 kHz: two octaves, bump faded by exp(-4).
    assert gain_db[200] == pytest.approx(-6.0 + 10.0, abs=0.1)
    assert gain_db[400] == pytest.approx(-12.0 + 10.0 * np.exp(-4.0), abs=0.1)


def test_coloured_noise_has_its_spectrum_and_level():
    spectrum = Spectrum(tilt_db=-6.0, bumps=np.zeros((0, 3)))
    noise = coloured_noise(spectrum, 20 * SAMPLE_RATE_HZ, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    band = len(power) // 64
    low, high = power[8 * band : 9 * band].mean(), power[32 * band : 33 * band].mean()
    assert np.mean(noise**2) == pytest.approx(1.0)
    assert 10 * np.log10(low / high) == pytest.approx(12.0, abs=0.8)  # two octaves, about


def test_the_comb_stands_at_multiples_of_pitch_times_speed(machine):
    bare = replace(machine, noise_db=-60.0, knock_db=-60.0)
    condition = replace(machine.conditions["source"][0], speed=1.2)
    signal = machine_sound(bare, condition, SAMPLES, np.random.default_rng(1))
    power = np.abs(np.fft.rfft(signal * np.hanning(SAMPLES))) ** 2
    frequency_hz = np.arange(len(power)) * SAMPLE_RATE_HZ / SAMPLES
    order = frequency_hz / (machine.pitch_hz * 1.2)
    near = np.abs(order - np.round(order)) < 0.2  # pitch wavers by half a percent
    assert power[(order < 8) & near].sum() > 1000 * power[(order < 8) & ~near].sum()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_changes_the_spectrum_but_not_the_level(machine, fault):
    condition = machine.conditions["source"][0]

    def spectrum_db(signal):
        power = np.abs(np.fft.rfft(signal)) ** 2
        return 10 * np.log10(power[: len(power) // 200 * 200].reshape(200, -1).mean(axis=1))

    def sounds(make, first):
        return [make(np.random.default_rng(seed)) for seed in range(first, first + 20)]

    whole = sounds(lambda rng: machine_sound(machine, condition, SAMPLES, rng), 0)
    other = sounds(lambda rng: machine_sound(machine, condition, SAMPLES, rng), 100)
    faulty = sounds(lambda rng: faulty_sound(machine, condition, fault, SAMPLES, rng), 200)
    assert [np.mean(s**2) for s in faulty] == pytest.approx([1.0] * 20)
    normal = np.mean([spectrum_db(s) for s in whole], axis=0)
    within = [np.mean((spectrum_db(s) - normal) ** 2) for s in other]
    across = [np.mean((spectrum_db(s) - normal) ** 2) for s in faulty]
    assert np.median(across) > 1.2 * np.median(within)  # median: pitch wavers now and then


def test_domains_differ_in_speed_and_background(machine):
    source, target = machine.conditions["source"], machine.conditions["target"]
    speeds = [condition.speed for condition in source]
    assert all(c.speed < min(speeds) or c.speed > max(speeds) for c in target)
    frequency_hz = np.linspace(0, 8000, 100)
    apart = source[0].background.gain(frequency_hz) / target[0].background.gain(frequency_hz)
    assert np.ptp(20 * np.log10(apart)) > 3.0


def test_attributes_tell_conditions_apart(machine):
    attributes = [c.attributes for group in machine.conditions.values() for c in group]
    assert len(set(attributes)) == len(attributes)


def test_background_has_its_level_against_the_machine(machine):
    condition = replace(machine.conditions["source"][0], background_db=-6.0)
    noise = background_noise(condition, SAMPLES, np.random.default_rng(0))
    assert np.mean(noise**2) == pytest.approx(10**-0.6)


def test_unit_level_leaves_silence():
    assert not unit_level(np.zeros(4)).any()


@pytest.mark.parametrize("seed", range(20))
def test_sounds_are_finite_for_any_machine_and_short_clips(seed):
    rng = np.random.default_rng(seed)
    drawn = draw_machine(rng)
    for condition in (*drawn.conditions["source"], *drawn.conditions["target"]):
        for fault in FAULTS:
            signal = faulty_sound(drawn, condition, fault, 1600, rng)
            assert signal.shape == (1600,)
            assert np.isfinite(signal).all()
