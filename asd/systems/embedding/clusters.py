"""Classes for clips whose names tell nothing: clusters of a frozen encoder's embeddings."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from asd.audio.clip_set import ClipSet
from asd.clips import NO_ATTRIBUTE, Clip
from asd.encoders.feature import EncoderFeature
from asd.encoders.pooling import Mean, Pooling
from asd.schema.values import Channel, Count
from asd.systems.base import Run
from asd.systems.embedding.labellers import Labeller, TrainingClasses


class KMeansLabeller(Labeller):
    """Classes from names where they tell attributes, else from k-means clusters.

    A machine type of which any training clip has attributes gets a class for each combination of
    section, domain and attributes. Another's clips are clustered, each domain of a section for
    itself, by embeddings of a frozen encoder brought to unit length; each cluster is a class.
    Source of 7 source clusters and 1 target cluster: the system of kasahart for the DCASE 2026
    Challenge.

    Parameters
    ----------
    weights
        Of the encoder: a name that `asd weights list` shows, or a file.
    pooling
        How its tokens become an embedding.
    channel
        What it hears of a clip; null in a recipe is what the recipe hears, else "left".
    source_clusters, target_clusters
        Clusters of a section's source and target clips; no more than there are clips.
    """

    def __init__(
        self,
        *,
        weights: str,
        pooling: Pooling = Mean(),  # noqa: B008 - it is frozen
        channel: Channel | None = None,
        source_clusters: Count = 7,
        target_clusters: Count = 1,
    ) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        heard = "left" if channel is None else channel
        self.feature = EncoderFeature(weights, pooling, channel=heard, device=device)
        self.clusters = {"source": source_clusters, "target": target_clusters}

    def classes(self, train: ClipSet, run: Run) -> TrainingClasses:
        """Classes, numbered in the order of their names and cluster numbers."""
        names: list[tuple[str, ...]] = [()] * len(train)
        embeddings: NDArray[np.float32] | None = None
        for members in train.by_machine().values():
            own = [train[i] for i in members]
            if any(clip.attributes not in (NO_ATTRIBUTE, "") for clip in own):
                for i in members:
                    names[i] = (*_group(train[i]), train[i].attributes)
                continue
            if embeddings is None:
                features = train.features(self.feature)
                found = np.asarray(features.rows[features.starts], dtype=np.float32)
                embeddings = found.reshape(len(train), -1)
            for group, chosen in _by_group(train.clips, members).items():
                count = self.clusters["target" if group[2] == "target" else "source"]
                clusters = k_means(embeddings[chosen], count, run.seed)
                for i, cluster in zip(chosen, clusters, strict=True):
                    names[i] = (*group, f"cluster {cluster:04d}")
        known = {name: number for number, name in enumerate(sorted(set(names)))}
        return TrainingClasses(np.array([known[n] for n in names], dtype=np.int64), len(known))


def k_means(embeddings: NDArray[np.floating], count: int, seed: int) -> NDArray[np.int64]:
    """Cluster of each embedding, shape (clips,), numbered by first appearance.

    Parameters
    ----------
    embeddings
        Shape (clips, dim); brought to unit length.
    count
        Number of clusters, or that of the clips if they are fewer.
    """
    from sklearn.cluster import KMeans  # takes a second

    rows = embeddings.astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    count = min(count, len(np.unique(rows, axis=0)))
    found = KMeans(count, n_init=10, random_state=seed).fit_predict(rows)
    order = {cluster: number for number, cluster in enumerate(dict.fromkeys(found.tolist()))}
    return np.array([order[cluster] for cluster in found.tolist()], dtype=np.int64)


def _group(clip: Clip) -> tuple[str, str, str]:
    return clip.machine, clip.section, clip.domain


def _by_group(
    clips: Sequence[Clip], members: Sequence[int]
) -> dict[tuple[str, str, str], list[int]]:
    found: dict[tuple[str, str, str], list[int]] = {}
    for i in members:
        found.setdefault(_group(clips[i]), []).append(i)
    return found
