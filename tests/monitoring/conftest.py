import numpy as np
import pytest
import soundfile

from asd.audio.recording import resample
from asd.synthetic.machine_sound import (
    FAULTS,
    SAMPLE_RATE_HZ,
    background_noise,
    draw_machine,
    faulty_sound,
    machine_sound,
    unit_level,
)

LEVEL = 0.05


class Pump:
    """A synthetic machine whose recordings differ in condition and loudness."""

    def __init__(self, seed):
        self.random = np.random.default_rng([seed, 14])
        self.machine = draw_machine(self.random)

    def sound(self, seconds, fault=""):
        """Samples at 16 kHz, shape (samples,)."""
        random, samples = self.random, round(seconds * SAMPLE_RATE_HZ)
        conditions = self.machine.conditions["source"]
        condition = conditions[random.integers(len(conditions))]
        if fault:
            wave = faulty_sound(self.machine, condition, fault, samples, random)
        else:
            wave = machine_sound(self.machine, condition, samples, random)
        heard = unit_level(wave + background_noise(condition, samples, random))
        return LEVEL * 10 ** (random.uniform(-2, 2) / 20) * heard

    def record(self, path, seconds, fault="", rate_hz=SAMPLE_RATE_HZ, channels=1):
        """Write a recording."""
        wave = self.sound(seconds, fault)[None].astype(np.float32)
        if rate_hz != SAMPLE_RATE_HZ:
            wave = resample(wave, SAMPLE_RATE_HZ, rate_hz)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.repeat(wave.T, channels, axis=1), rate_hz)
        return path

    def faults(self, count):
        """Names of faults, in turn."""
        return [list(FAULTS)[i % len(FAULTS)] for i in range(count)]


@pytest.fixture(scope="session")
def make_pump():
    return Pump


@pytest.fixture(scope="session")
def normal_folder(tmp_path_factory):
    """Twenty short normal recordings of a pump; not to be changed."""
    folder, pump = tmp_path_factory.mktemp("pump") / "normal", Pump(1)
    for i in range(20):
        pump.record(folder / f"{i:02d}.wav", 1.0 + 0.1 * (i % 5))
    return folder


@pytest.fixture(scope="session")
def detector_file(normal_folder, tmp_path_factory):
    """A detector of them, with windows of one second."""
    import asd

    path = tmp_path_factory.mktemp("detector") / "pump.asd"
    asd.learn(normal_folder, window_s=1.0, progress=False).save(path)
    return path
