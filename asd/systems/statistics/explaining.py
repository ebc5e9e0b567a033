"""What each time and mel band adds to the distance of band statistics.

The squared Mahalanobis distance is a sum of (x - c) h over the statistics x of a clip, with c those
of the nearer domain's mean and h = C^-1 (x - c) in the statistics' units. A clip's mean level is a
mean over frames, and a band's spread s is the mean over frames of (level - mean)^2 / s; so every
term can be put where it comes from.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def contributions(log_mel: Array, statistics: Array, centre: Array, weights: Array) -> Array:
    """Contributions of shape (frames, mels); their sum is that of (statistics - centre) · weights.

    Parameters
    ----------
    log_mel
        Shape (frames, mels), in dB.
    statistics
        See `band_statistics`: level, bands against it, spreads; shape (1 + 2 * mels,).
    centre
        Statistics of the mean of normal clips.
    weights
        What differences are multiplied by.
    """
    frames, mels = log_mel.shape
    bands, spreads = slice(1, mels + 1), slice(mels + 1, None)
    # The level is the mean over bands, and bands are taken against it: a linear map of the means.
    of_mean = weights[bands] + (weights[0] - weights[bands].sum()) / mels
    means = (log_mel - (centre[bands] + centre[0])) * of_mean
    spread = statistics[spreads]
    apart = np.square(log_mel - log_mel.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    found: Array = (means + (apart - centre[spreads]) * weights[spreads]) / frames
    return found
