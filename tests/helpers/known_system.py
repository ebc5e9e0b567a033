"""Systems whose best parameters are known: they look at the labels of the clips they score.

`quality` is the distance of anomalies from normal clips in standard deviations.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np

from asd.schema.parameters import parameter
from asd.schema.values import Count, NonNegative
from asd.scores.table import ScoreTable
from asd.systems.base import System

BEST = 0.3


@dataclass(frozen=True)
class KnownParameters:
    x: NonNegative = parameter(0.0, "best at 0.3", role="training")
    luck: Count = parameter(1, "seed of the scores, which it makes no better", role="training")


def noise(clip, luck):
    seed = crc32(f"{clip.machine} {clip.file_name} {luck}".encode())
    return np.random.default_rng(seed).standard_normal()


class Known(System):
    """Good scores near x = 0.3."""

    Parameters = KnownParameters
    scope = "machine"
    score_names = ("SCORE", "WORSE")

    def inputs(self):
        return {}

    def fit(self, train, run):  # noqa: ARG002
        end_now_and_then()
        self.normal = ScoreTable(train.clips, self.score(train))

    @property
    def quality(self):
        return 3 * np.exp(-(((self.parameters.x - BEST) / 0.2) ** 2))

    def score(self, clips, names=None):  # noqa: ARG002
        luck = self.parameters.luck
        scores = np.array([c.is_anomaly * self.quality + noise(c, luck) for c in clips])
        strange = np.array([c.path.parent.parent.name != c.machine for c in clips])
        return {"SCORE": scores + strange * self.quality, "WORSE": -scores}

    def normal_scores(self):
        return {self.normal.clips[0].machine: self.normal}

    def state(self):
        return {"normal": self.normal.to_state()}

    def load_state(self, state):
        self.normal = ScoreTable.from_state(state["normal"])


class Lucky(Known):
    """Scores at random, whatever the parameters are."""

    quality = 0.0


class Joint(Known):
    """One model for all machine types."""

    scope = "challenge"


def end_now_and_then():
    """Kill this process at the training that the variable KILL_AT names; FITS counts them."""
    count = os.environ.get("FITS")
    if count is None:
        return
    with Path(count).open("a") as file:
        file.write(".")
    if len(Path(count).read_text()) == int(os.environ["KILL_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
