"""A labeller of your own: training classes from machine type and loudness, in a recipe.

labels: {class: examples/own_labeller.py:LoudnessLabeller, levels: 3}
"""

import numpy as np

from asd.audio.features import Waveform
from asd.schema.values import Count
from asd.systems.embedding.labellers import Labeller, TrainingClasses


class LoudnessLabeller(Labeller):
    """Splits the clips of each machine type into as many levels of loudness."""

    def __init__(self, *, levels: Count = 2):
        self.levels = levels

    def classes(self, train, run):
        features = train.features(Waveform())
        loudness = np.array([np.square(features.clip(i)).mean() for i in range(len(train))])
        numbers = np.zeros(len(train), dtype=np.int64)
        for first, members in enumerate(train.by_machine().values()):
            rank = loudness[members].argsort().argsort()
            numbers[members] = first * self.levels + rank * self.levels // len(members)
        return TrainingClasses(numbers, self.levels * len(train.machines))
