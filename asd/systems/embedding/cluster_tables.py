"""Clusters of training clips as tables, and how well they meet known attributes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asd.clips import Clip
from asd.systems.base import State, Table

CLUSTERS = "clusters"
AGREEMENT = "cluster_agreement"

_ALL = "all"


@dataclass(frozen=True)
class Clusters:
    """Clusters of clips; each machine type, section and domain has its own numbers, from 0.

    Parameters
    ----------
    numbers
        Cluster of each clip, shape (clips,); -1 for clips that were not clustered.
    order
        Place of each clip in the order in which its group was clustered, shape (clips,).
    places
        Each clip on the map, shape (clips, 2).
    """

    numbers: NDArray[np.int64]
    order: NDArray[np.int64]
    places: NDArray[np.float64]

    @classmethod
    def none(cls, clips: int) -> "Clusters":
        """Of clips that are not clustered yet."""
        numbers = np.full(clips, -1, dtype=np.int64)
        return cls(numbers, numbers.copy(), np.zeros((clips, 2)))

    def state(self) -> State:
        """The clusters as tensors."""
        import torch

        return {name: torch.from_numpy(array) for name, array in vars(self).items()}

    @classmethod
    def from_state(cls, state: State) -> "Clusters":
        """Take over what `state` gave."""
        return cls(**{name: tensor.numpy() for name, tensor in state.items()})

    def table(self, clips: Sequence[Clip], truth: Sequence[str | None]) -> Table:
        """A row for each clip that was clustered; `FileLabeller` reads it again."""
        rows = [
            (
                clip.file_name,
                *group_of(clip),
                int(self.numbers[i]),
                int(self.order[i]),
                round(float(self.places[i, 0]), 4),
                round(float(self.places[i, 1]), 4),
                truth[i] or "",
            )
            for i, clip in enumerate(clips)
            if self.numbers[i] >= 0
        ]
        columns = ("clip", "machine", "section", "domain", "cluster", "order", "x", "y", "truth")
        return Table(columns, tuple(rows))


def group_of(clip: Clip) -> tuple[str, str, str]:
    """What is clustered together: clips of a machine type, section and domain."""
    return clip.machine, clip.section, clip.domain


@dataclass(frozen=True)
class Agreement:
    """How well clusters meet known classes.

    Parameters
    ----------
    purity
        Share of clips whose class is the most frequent one of their cluster.
    nmi, ari
        Normalised mutual information (arithmetic mean) and adjusted Rand index.
    """

    purity: float
    nmi: float
    ari: float

    @classmethod
    def of(cls, clusters: Sequence[object], classes: Sequence[object]) -> "Agreement":
        """Of the cluster and the class of each clip."""
        from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

        own = np.unique([str(each) for each in clusters], return_inverse=True)[1]
        true = np.unique([str(each) for each in classes], return_inverse=True)[1]
        counts = np.zeros((own.max() + 1, true.max() + 1), dtype=np.int64)
        np.add.at(counts, (own, true), 1)
        return cls(
            float(counts.max(axis=1).sum() / len(own)),
            float(normalized_mutual_info_score(true, own)),
            float(adjusted_rand_score(true, own)),
        )


def agreement_table(table: Table) -> Table:
    """Rows of machine types, and of their groups, of a table of clusters whose truth is known."""
    groups: dict[tuple[str, str, str], list[tuple[object, object]]] = {}
    for _, machine, section, domain, cluster, _, _, _, truth in table.rows:
        key = str(machine), str(section), str(domain)
        pair = (section, domain, cluster), (section, domain, truth)
        groups.setdefault((key[0], _ALL, _ALL), []).append(pair if truth else ("", ""))
        groups.setdefault(key, []).append(pair if truth else ("", ""))
    rows: list[tuple[str | int | float, ...]] = []
    for key in sorted(groups):
        pairs = groups[key]
        if ("", "") in pairs:
            continue
        clusters, classes = zip(*pairs, strict=True)
        found = Agreement.of(clusters, classes)
        values = (round(value, 4) for value in (found.purity, found.nmi, found.ari))
        rows.append((*key, len(pairs), len(set(clusters)), len(set(classes)), *values))
    columns = (
        "machine", "section", "domain", "clips", "clusters", "classes", "purity", "nmi", "ari",
    )  # fmt: skip
    return Table(columns, tuple(rows))


def agreement_lines(table: Table) -> list[str]:
    """A line for each machine type of an `agreement_table`."""
    return [
        f"{machine}: {clusters} clusters of {clips} clips with {classes} true classes: purity "
        f"{purity:.2f}, NMI {nmi:.2f}, ARI {ari:.2f}"
        for machine, section, _, clips, clusters, classes, purity, nmi, ari in table.rows
        if section == _ALL
    ]
