"""Classes for clips whose names tell nothing: clusters of embeddings (pseudo labels).

Source: Fujimura, Kuroyanagi and Toda, "Improvements of discriminative feature space training for
anomalous sound detection in unlabeled conditions", ICASSP 2025 (arXiv 2409.09332), and its program.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from asd.audio.clip_set import ClipSet
from asd.backends.base import unit_rows
from asd.clips import Clip
from asd.encoders.feature import EncoderFeature
from asd.encoders.pooling import Mean, Pooling
from asd.errors import UserError
from asd.schema.values import Channel, Count, Positive, WholeNumber
from asd.systems.base import Epoch, Run, Table, resume_stage
from asd.systems.embedding import partitions
from asd.systems.embedding.clip_labels import read_clip_labels
from asd.systems.embedding.cluster_tables import (
    AGREEMENT,
    CLUSTERS,
    Clusters,
    agreement_lines,
    agreement_table,
    group_of,
)
from asd.systems.embedding.labellers import (
    Embed,
    Labeller,
    NameLabeller,
    Trainers,
    TrainingClasses,
    numbered,
)
from asd.systems.embedding.labels import ALL_PARTS, OneClassError, Part, has_attributes
from asd.systems.embedding.maps import check_umap, principal_map, umap_map
from asd.systems.embedding.sources import encoder_embeddings, spectrum_embeddings

log = logging.getLogger(__name__)

Source = Literal["network", "triplet", "encoder", "spectrum"]
_EPOCHS = {"network": 14, "triplet": 6}
"""Epochs of the published trainings."""

_UMAP_HINT = "or set labels.dimensions to null"

Method = Literal["mixtures", "k_means", "agglomerative"]


class ClusterLabeller(Labeller):
    """Classes from names where they tell attributes, else from clusters of embeddings.

    A machine type of which any training clip has attributes gets a class for each combination of
    section, domain and attributes. Another's clips are clustered, each domain of a section for
    itself; each cluster is a class.

    Mixtures are chosen by contiguous folds, so that the order of clips counts (see
    `partitions.choose_mixture`). The published program takes the order in which the disk lists the
    files, which differs from machine to machine; here each group is shuffled by the seed, and the
    order is written into the table of clusters.

    Parameters
    ----------
    source
        What is clustered. "network": embeddings of the recipe's own network, trained first with
        the classes that names give (the paper's "class"). "encoder": a pretrained encoder's.
        "spectrum": mean and spread over time of each mel band, which needs no training; it also
        stands in for "network" where names give one class only.
    weights
        Of the encoder: a name that `asd weights list` shows, or a file.
    pooling
        How its tokens become an embedding.
    channel
        What encoder and spectrum hear of a clip; null in a recipe is what the recipe hears, else
        "left".
    seconds
        Length that clips are brought to for the encoder: shorter ones are repeated, longer ones
        cut; null leaves each as it is.
    epochs
        Of the training of "network" or "triplet"; null is 14 and 6, as published.
    refine_epochs
        Of the network's training in each refinement.
    machines
        "unlabelled": machine types whose names tell no attributes are clustered; "all": every one,
        as in the published runs of 2023. Attributes are not looked at then.
    dimensions
        Embeddings are brought to so many dimensions by UMAP, each machine type for itself; null
        clusters them as they are.
    map_test_clips
        Whether test clips that are there take part in UMAP, without their labels, as published.
    method
        "mixtures": Gaussian mixtures, as many components as `criterion` chooses. "k_means", or
        "agglomerative" (Ward).
    source_clusters, target_clusters
        Clusters of a section's source and target clips: mixtures have so many at most, the others
        exactly; no more than there are clips.
    criterion, folds
        See `partitions.choose_mixture`.
    unit_length
        Whether embeddings are brought to unit length first.
    refine
        How often the network is trained with the clusters, and its embeddings clustered again.
    seed
        Of UMAP, of the order of clips and of the clusters; null is the seed of the run. With a
        number, embeddings that do not depend on the run's seed get the same clusters in all runs.
    true_labels
        A file as `FileLabeller` reads it: classes to compare the clusters with. Nothing is learned
        from it.
    """

    def __init__(
        self,
        *,
        source: Source = "network",
        weights: str | None = None,
        pooling: Pooling = Mean(),  # noqa: B008 - it is frozen
        channel: Channel | None = None,
        seconds: Positive | None = None,
        epochs: Count | None = None,
        machines: Literal["unlabelled", "all"] = "unlabelled",
        dimensions: Count | None = 2,
        map_test_clips: bool = False,
        method: Method = "mixtures",
        source_clusters: Count = 16,
        target_clusters: Count = 2,
        criterion: partitions.Criterion = "bic",
        folds: Count = 5,
        unit_length: bool = False,
        refine: WholeNumber = 0,
        refine_epochs: Count = 14,
        seed: WholeNumber | None = None,
        true_labels: str | None = None,
    ) -> None:
        self.source, self.channel = source, "left" if channel is None else channel
        self.feature = self._feature(weights, pooling, seconds)
        self.epochs = _EPOCHS.get(source, 0) if epochs is None else epochs
        self.refine_epochs, self.machines = refine_epochs, machines
        self.dimensions, self.map_test_clips = dimensions, map_test_clips
        self.method, self.criterion, self.folds = method, criterion, folds
        self.most = {"source": source_clusters, "target": target_clusters}
        self.unit_length, self.refine, self.seed = unit_length, refine, seed
        self.true_labels = true_labels
        self._tables: dict[str, Table] = {}

    stage = "labels"
    """The stage that finds clusters."""

    def classes(self, train: ClipSet, run: Run) -> TrainingClasses:
        """Classes, numbered in the order of their names and cluster numbers.

        Raises
        ------
        UserError
            There is nothing to tell the clips apart by.
        """
        truth = self._truth(train)
        clustered = self._clustered(train)
        found = Clusters.none(len(train))
        if clustered:
            if self.dimensions is not None:  # else it would be missed after the network's training
                check_umap(_UMAP_HINT)
            embed = self._embed(train, run, list(clustered))
            found = self._stage(train, run, self.stage, clustered, embed)
            for number in range(1, self.refine + 1):
                classes = numbered(self._names(train, found))
                embed = self._trained(
                    train, run, classes, f"refinement{number}", self.refine_epochs
                )
                found = self._stage(train, run, f"labels{number}", clustered, embed)
        if clustered:
            self._tell(train, found, truth)
        classes = numbered(self._names(train, found))
        if classes.count < 2:
            raise _one_cluster()
        return classes

    def tables(self) -> Mapping[str, Table]:
        """The clusters, and how they agree with true classes where these are known."""
        return self._tables

    def _feature(
        self, weights: str | None, pooling: Pooling, seconds: float | None
    ) -> EncoderFeature | None:
        if (weights is None) == (self.source == "encoder"):
            raise UserError(
                "labels: source: encoder needs weights (asd weights list shows names), and no "
                "other source has any"
            )
        if weights is None:
            return None
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return EncoderFeature(
            weights, pooling, channel=self.channel, seconds=seconds, device=device
        )

    def _truth(self, train: ClipSet) -> list[str | None]:
        """The true class of each clip, where it is known."""
        if self.true_labels is not None:
            return read_clip_labels(Path(self.true_labels), train.clips, train.label_only_clips)
        return [clip.attributes if has_attributes(clip) else None for clip in train]

    def _clustered(self, train: ClipSet) -> dict[str, list[int]]:
        """Machine type -> its clips, of those that are clustered."""
        return {
            machine: members
            for machine, members in train.by_machine().items()
            if self.machines == "all" or not any(has_attributes(train[i]) for i in members)
        }

    def _embed(self, train: ClipSet, run: Run, machines: Sequence[str]) -> Embed:
        """The function that gives embeddings; a network is trained for it."""
        if self.feature is not None:
            return encoder_embeddings(self.feature)
        if self.source == "spectrum":
            return spectrum_embeddings(self.channel)
        if self.source == "triplet":
            _check_pairs(train, machines)
            log.info("labels: triplet networks of %s are trained first", ", ".join(machines))
            trainers = self._lent()
            by_machine = {
                machine: trainers.triplet(train, machine, run, f"triplet_{machine}", self.epochs)
                for machine in machines
            }
            return lambda clips: _of_each_machine(by_machine, clips)
        parts: tuple[Part, ...] = ("machine", "section", "domain")
        if self.machines == "unlabelled":
            parts = ALL_PARTS
        try:
            classes = NameLabeller(parts=parts).classes(train, run)
        except OneClassError:
            log.warning(
                "labels: names give one class only, which a network cannot learn from; clusters "
                "are of mean spectra (source: spectrum)"
            )
            return spectrum_embeddings(self.channel)
        log.info(
            "labels: the network is trained with %d classes of names first, %d epochs, and its "
            "embeddings are clustered",
            classes.count, self.epochs,
        )  # fmt: skip
        return self._trained(train, run, classes, "names", self.epochs)

    def _trained(
        self, train: ClipSet, run: Run, classes: TrainingClasses, stage: str, epochs: int
    ) -> Embed:
        if classes.count < 2:
            raise _one_cluster()
        return self._lent().network(train, classes, run, stage, epochs)

    def _lent(self) -> Trainers:
        if self.trainers is None:
            raise RuntimeError("the labeller was lent nothing to train")
        return self.trainers

    def _stage(
        self, train: ClipSet, run: Run, name: str, clustered: Mapping[str, list[int]], embed: Embed
    ) -> Clusters:
        """Clusters found in a stage of its own, or what it stored."""
        stage = run.stage(name, 1)
        stored: list[Clusters] = []
        resume_stage(stage, lambda state: stored.append(Clusters.from_state(state)))
        if stored:
            return stored[0]
        seed = run.seed if self.seed is None else self.seed
        found = self._cluster(train, clustered, embed, seed)
        stage.report(Epoch(1, 1, {}, found.state))
        return found

    def _cluster(
        self, train: ClipSet, clustered: Mapping[str, list[int]], embed: Embed, seed: int
    ) -> Clusters:
        found = Clusters.none(len(train))
        chosen = [i for members in clustered.values() for i in members]
        embeddings = self._scaled(embed(train.select(chosen)))
        by_clip = dict(zip(chosen, embeddings, strict=True))
        tests = self._test_clips(train, list(clustered))
        test_embeddings = self._scaled(embed(tests)) if len(tests) else embeddings[:0]
        for machine, members in clustered.items():
            own = np.stack([by_clip[i] for i in members])
            extra = test_embeddings[[i for i, c in enumerate(tests) if c.machine == machine]]
            rows = self._mapped(own, extra, seed)
            is_flat = rows.shape[1] == 2
            found.places[members] = rows if is_flat else principal_map(rows, 2)
            places = {i: n for n, i in enumerate(members)}
            for group, own_clips in _by_group(train.clips, members).items():
                points = rows[[places[i] for i in own_clips]]
                numbers, order = self._parted(points, group, seed)
                found.numbers[own_clips], found.order[own_clips] = numbers, order
        return found

    def _scaled(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self.unit_length:
            return embeddings
        return unit_rows(embeddings.astype(np.float64)).astype(np.float32)

    def _test_clips(self, train: ClipSet, machines: Sequence[str]) -> ClipSet:
        tests = train.label_only()
        wanted = self.map_test_clips and self.dimensions is not None
        return tests.select([i for i, c in enumerate(tests) if wanted and c.machine in machines])

    def _mapped(
        self, own: NDArray[np.float32], tests: NDArray[np.float32], seed: int
    ) -> NDArray[np.floating]:
        """What is clustered of a machine type's training clips, shape (clips, dim)."""
        if self.dimensions is None:
            return own
        together = np.concatenate([own, tests])
        return umap_map(together, seed, dimensions=self.dimensions, hint=_UMAP_HINT)[: len(own)]

    def _parted(
        self, rows: NDArray[np.floating], group: tuple[str, str, str], seed: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cluster of each embedding of a group, and its place in the order they were taken in."""
        most = self.most["target" if group[2] == "target" else "source"]
        places = np.arange(len(rows))
        if self.method == "k_means":
            return partitions.k_means(rows, most, seed), places
        if self.method == "agglomerative":
            return partitions.agglomerate(rows, most), places
        shuffled = np.random.default_rng([seed, crc32("/".join(group).encode())]).permutation(
            places
        )
        numbers, order = np.empty_like(places), np.empty_like(places)
        chosen = partitions.choose_mixture(rows[shuffled], most, self.criterion, self.folds, seed)
        numbers[shuffled], order[shuffled] = chosen.numbers, places
        return partitions.by_first_appearance(numbers), order

    def _names(self, train: ClipSet, found: Clusters) -> list[tuple[str, ...]]:
        """The name of each clip's class."""
        return [
            (*group_of(clip), clip.attributes if cluster < 0 else f"cluster {cluster:04d}")
            for clip, cluster in zip(train, found.numbers.tolist(), strict=True)
        ]

    def _tell(self, train: ClipSet, found: Clusters, truth: Sequence[str | None]) -> None:
        """Keep the tables, and say how clusters agree with known classes."""
        table = found.table(train.clips, truth)
        agreement = agreement_table(table)
        self._tables = {CLUSTERS: table}
        if agreement.rows:
            self._tables[AGREEMENT] = agreement
        for line in agreement_lines(agreement):
            log.info("%s", line)


class KMeansLabeller(ClusterLabeller):
    """k-means clusters of a frozen encoder's embeddings, as they are; see `ClusterLabeller`.

    Source of 7 source clusters and 1 target cluster: the system of kasahart for the DCASE 2026
    Challenge.

    Parameters
    ----------
    weights
        Of the encoder: a name that `asd weights list` shows, or a file.
    pooling
        How its tokens become an embedding, which is brought to unit length.
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
        super().__init__(
            source="encoder",
            weights=weights,
            pooling=pooling,
            channel=channel,
            dimensions=None,
            method="k_means",
            source_clusters=source_clusters,
            target_clusters=target_clusters,
        )


def spectrum_labeller(channel: str) -> ClusterLabeller:
    """Classes for clips of which nothing is known, as many as in `KMeansLabeller`.

    A mixture may find one component only, which would not do.
    """
    found = ClusterLabeller(
        source="spectrum",
        channel=channel,
        dimensions=None,
        method="agglomerative",
        source_clusters=7,
        target_clusters=1,
    )
    found.stage = "spectrum_labels"
    return found


def _check_pairs(train: ClipSet, machines: Sequence[str]) -> None:
    """Refuse a machine type of one clip, before networks of others are trained."""
    for machine in machines:
        if len(train.by_machine()[machine]) < 2:
            raise UserError(
                f"labels: {machine} has a single training clip, and a triplet network learns from "
                "what clips have in common; add clips, or set another labels.source"
            )


def _one_cluster() -> OneClassError:
    return OneClassError(
        "labels: all training clips are alike to what is clustered, and form one class, but a "
        "frontend learns by telling classes apart; add clips, or another labels.source"
    )


def _of_each_machine(by_machine: Mapping[str, Embed], clips: ClipSet) -> NDArray[np.float32]:
    """Embeddings of clips, those of each machine type by a function of its own."""
    members = clips.by_machine()
    found: NDArray[np.float32] | None = None
    for machine, own in members.items():
        rows = by_machine[machine](clips.select(own))
        found = np.empty((len(clips), rows.shape[1]), dtype=np.float32) if found is None else found
        found[own] = rows
    assert found is not None
    return found


def _by_group(
    clips: Sequence[Clip], members: Sequence[int]
) -> dict[tuple[str, str, str], list[int]]:
    found: dict[tuple[str, str, str], list[int]] = {}
    for i in members:
        found.setdefault(group_of(clips[i]), []).append(i)
    return found
