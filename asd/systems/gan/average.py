"""Exponential moving average of weights."""

import torch
from torch import nn


def decay_at(step: int, decay: float, warm_up: bool) -> float:
    """Share of the average that update number `step` (from 1) keeps.

    With `warm_up` at most (1 + step) / (10 + step), the rule of TensorFlow's
    ExponentialMovingAverage with a step count: the average forgets the initial weights after a
    few steps instead of after some 1 / (1 - decay).
    """
    return min(decay, (1 + step) / (10 + step)) if warm_up else decay


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Average <- decay * average + (1 - decay) * network, for each weight; 0 copies them."""
    for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(weight, 1 - decay)
