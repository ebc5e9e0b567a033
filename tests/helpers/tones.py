"""Clips of tones whose pitch is a hidden attribute of a machine."""

from pathlib import Path

import numpy as np

from asd.audio.clip_set import ClipSet
from asd.audio.features import Features
from asd.clips import Clip

RATE_HZ = 8000
ANOMALY_HZ = 2600.0


def features_of(waves, feature):
    """A feature computed from waves that are at hand."""
    if hasattr(feature, "prepare"):
        feature.prepare(RATE_HZ)
    values = [feature.compute(wave[None], RATE_HZ) for wave in waves]
    lengths = np.array([len(each) for each in values])
    return Features(np.concatenate(values), np.cumsum(lengths) - lengths, lengths, RATE_HZ)


def tone(rng, hz, seconds=0.6):
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    wave = 0.3 * np.sin(2 * np.pi * hz * time + rng.uniform(0, 6)) + rng.normal(0, 0.03, len(time))
    return (wave * rng.uniform(0.5, 1.5)).astype(np.float32)


def hidden_tones(seed=0, pitches=(500.0, 900.0, 1500.0), count=30, machines=("ToyA", "ToyB")):
    """Normal clips of machines whose pitches their names do not tell; every fifth is target.

    Returns the clips, and the number of each clip's pitch.
    """
    rng = np.random.default_rng(seed)
    clips, waves, hidden = [], {}, []
    for octave, machine in enumerate(machines):
        for number in range(count):
            pitch = int(rng.integers(len(pitches)))
            domain = "target" if number % 5 == 4 else "source"
            name = f"section_00_{domain}_train_normal_{number:04d}_noAttribute.wav"
            clip = Clip(Path(machine) / name, machine, domain=domain, label="normal")
            clips.append(clip)
            waves[clip] = tone(rng, pitches[pitch] * 1.3**octave)
            hidden.append(pitch)

    def source(chosen, feature):
        return features_of([waves[clip] for clip in chosen], feature)

    return ClipSet(clips, source), np.array(hidden)
