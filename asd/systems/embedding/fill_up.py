"""Changed copies of clips for classes that have few."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from asd.errors import UserError

Augment = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Samples of a clip to samples of a changed copy, shape (samples,)."""


def changing(rate_hz: int, full_scale: float = 1.0) -> Augment:
    """Noise, stretching in time, another pitch and a shift, each with probability 0.5.

    Those of audiomentations with its own settings, as in khoaphamanh/DCASE2024; a copy in 16
    stays as it was.

    Parameters
    ----------
    rate_hz
        Sampling rate.
    full_scale
        What samples in [-1, 1] are multiplied by before: noise is 0.001 to 0.015 high, whatever
        the clip's scale, so next to 16-bit integers there is none.

    Raises
    ------
    UserError
        audiomentations is not installed.
    """
    try:
        from audiomentations import AddGaussianNoise, Compose, PitchShift, Shift, TimeStretch
    except ImportError:
        raise UserError(
            "oversampling: classes of few clips are filled up by audiomentations, which is not "
            "installed; run: pip install 'asd[smote]', or set a smaller oversampling.neighbours"
        ) from None
    change = Compose([AddGaussianNoise(), TimeStretch(), PitchShift(), Shift()])

    def augment(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        found = change(samples=samples * np.float32(full_scale), sample_rate=rate_hz)
        return np.asarray(found, dtype=np.float32) / np.float32(full_scale)

    return augment


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The random numbers of `random` and NumPy, which audiomentations draws from, by a seed."""
    state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
