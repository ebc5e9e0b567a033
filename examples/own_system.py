"""A system of your own, with a feature and a parameter of its own: how far the level is off.

asd run -d --machine_types fan --model examples/own_system.py:LevelDetector --percentile 90
"""

from dataclasses import dataclass

import numpy as np

from asd.schema.parameters import parameter
from asd.schema.values import Count
from asd.scores.table import ScoreTable
from asd.systems.base import System


@dataclass(frozen=True)
class LevelFeature:
    """The level of each block of samples in dB, shape (blocks,)."""

    block: int
    kind = "level"

    def key(self):
        return {"level": self.block}

    def compute(self, wave, rate_hz):
        blocks = wave[0][: wave.shape[1] // self.block * self.block].reshape(-1, self.block)
        return 10 * np.log10(np.square(blocks).mean(axis=1) + 1e-12)


@dataclass(frozen=True)
class LevelParameters:
    block: Count = parameter(1024, "length of a block", role="features", unit="samples")
    percentile: Count = parameter(50, "percentile of a clip's levels", role="training")


class LevelDetector(System):
    Parameters = LevelParameters
    score_names = ("LEVEL",)

    def inputs(self):
        return {"level": LevelFeature(self.parameters.block)}

    def _levels(self, clips):
        features = clips.features(self.inputs()["level"])
        return np.array(
            [np.percentile(features.clip(i), self.parameters.percentile) for i in range(len(clips))]
        )

    def fit(self, train, run):
        self.usual = float(np.median(self._levels(train)))
        self.normal = ScoreTable(train.clips, self.score(train))

    def score(self, clips, names=None):
        return {"LEVEL": np.abs(self._levels(clips) - self.usual)}

    def normal_scores(self):
        return {self.normal.clips[0].machine: self.normal}

    def state(self):
        return {"usual": self.usual, "normal": self.normal.to_state()}

    def load_state(self, state):
        self.usual, self.normal = state["usual"], ScoreTable.from_state(state["normal"])
