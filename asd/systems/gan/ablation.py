"""What the adversary and the reconstruction each do for a BiGAN's detection."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from asd.audio.features import Features
from asd.systems.base import Epoch, Scores
from asd.systems.gan.system import BiGAN, ImageBiGAN
from asd.systems.memory_run import MemoryRun

VARIANTS: Mapping[str, tuple[bool, bool]] = {
    "adversary alone": (True, False),
    "cycle alone": (False, True),
    "both": (True, True),
    "neither": (False, False),
}
"""Name -> whether the adversary, and whether the reconstruction, is learned from."""


def score_variant(
    system: BiGAN | ImageBiGAN,
    variant: str,
    train: Features,
    is_target: NDArray[np.bool_],
    test: Features,
    seed: int,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> tuple[Scores, float]:
    """Train a system as a variant has it, and score clips.

    Parameters
    ----------
    system
        Its parameters hold for all variants, but for the weights that a variant sets to 0. The
        system itself is left alone. "neither" has the initial weights.
    variant
        A key of `VARIANTS`.
    is_target
        Of each training clip.

    Returns
    -------
    tuple
        Score name -> shape (test clips,); and the reconstruction's error relative to the mean's
        after the last epoch (`reconstruction_ratio`), NaN for "neither".
    """
    adversary, cycle = VARIANTS[variant]
    ratios = [float("nan")]

    def report(_: str, epoch: Epoch) -> None:
        ratios.append(epoch.losses["reconstruction_ratio"])
        on_epoch(epoch)

    chosen = type(system)(system.parameters, system.device)
    if adversary or cycle:
        chosen.parameters = replace(
            system.parameters,
            adversary=(system.parameters.adversary or type(system.parameters).adversary)
            if adversary
            else 0.0,
            cycle=(system.parameters.cycle or type(system.parameters).cycle) if cycle else 0.0,
        )
    else:
        chosen.parameters = replace(system.parameters, adversary=1.0, epochs=0)
    chosen.train(train, MemoryRun(seed, report), is_target)
    return chosen.score_features(test), ratios[-1]
