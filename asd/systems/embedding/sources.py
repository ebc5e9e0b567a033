"""Embeddings that clips are clustered by, of what needs no training on them."""

import numpy as np
from numpy.typing import NDArray

from asd.audio.clip_set import ClipSet
from asd.audio.features import Feature, LogMelFeature
from asd.systems.embedding.labellers import Embed
from asd.systems.statistics.system import band_statistics


def encoder_embeddings(feature: Feature) -> Embed:
    """A frozen encoder's pooled tokens, which are stored."""

    def embed(clips: ClipSet) -> NDArray[np.float32]:
        features = clips.features(feature)
        found = np.asarray(features.rows[features.starts], dtype=np.float32)
        return found.reshape(len(clips), -1)

    return embed


def spectrum_embeddings(channel: str) -> Embed:
    """Mean and spread over time of each mel band in dB, less the clip's level.

    How loud a recording is says little about a machine's state.
    """
    feature = LogMelFeature(channel=channel)

    def embed(clips: ClipSet) -> NDArray[np.float32]:
        features = clips.features(feature)
        found = [band_statistics(features.clip(i))[1:] for i in range(len(clips))]
        return np.asarray(found, dtype=np.float32)

    return embed
