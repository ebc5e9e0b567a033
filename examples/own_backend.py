"""A backend of your own: the distance to the mean of normal embeddings, in a recipe.

frontend: {class: PooledSpectrogram}
backends:
  MEAN: {class: examples/own_backend.py:MeanDistance, power: 2}

asd run -d --machine_types fan --model my_recipe.yaml
"""

from dataclasses import dataclass

import numpy as np

from asd.backends import Backend
from asd.schema.values import Positive


@dataclass(kw_only=True)
class MeanDistance(Backend):
    """Distance to the mean embedding of the domain that is nearer, to a power.

    The fields are the keys of the recipe; their types are checked.
    """

    power: Positive = 1.0

    def learn(self, rows, is_target):
        means = [rows[domain].mean(axis=0) for domain in (is_target, ~is_target) if domain.any()]
        return {"means": np.stack(means)}

    def scorer(self, arrays):
        def score(rows):
            apart = np.linalg.norm(rows[:, None] - arrays["means"], axis=2)
            return apart.min(axis=1) ** self.power

        return score
