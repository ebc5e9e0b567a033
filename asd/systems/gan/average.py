"""Exponential moving average of weights."""

from collections.abc import Sequence

import torch
from torch import Tensor


def decay_at(step: int, decay: float, warm_up: bool) -> float:
    """Share of the average that update number `step` (from 1) keeps.

    With `warm_up` at most (1 + step) / (10 + step), the rule of TensorFlow's
    ExponentialMovingAverage with a step count: the average forgets the initial weights after a
    few steps instead of after some 1 / (1 - decay).
    """
    return min(decay, (1 + step) / (10 + step)) if warm_up else decay


@torch.no_grad()
def move_average(average: Sequence[Tensor], values: Sequence[Tensor], decay: float) -> None:
    """Average <- decay * average + (1 - decay) * values, array by array; 0 copies them."""
    for mean, value in zip(average, values, strict=True):
        mean.lerp_(value, 1 - decay)
