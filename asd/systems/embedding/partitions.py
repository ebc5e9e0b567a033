"""Ways to part embeddings into clusters. Clusters are numbered by their first embedding."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import unit_rows

Array = NDArray[np.floating]
Numbers = NDArray[np.int64]
Criterion = Literal["bic", "aic"]


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture whose number of components was chosen.

    Parameters
    ----------
    components
        The number that was chosen.
    numbers
        Component of each embedding, shape (clips,).
    scores
        Mean over the folds of minus the criterion, for 1, 2, ... components; -inf where a fold
        had fewer embeddings than components.
    """

    components: int
    numbers: Numbers
    scores: NDArray[np.float64]


def choose_mixture(
    embeddings: Array, most: int, criterion: Criterion = "bic", folds: int = 5, seed: int = 0
) -> Mixture:
    """The Gaussian mixture with the best criterion on held-out folds, fitted to all embeddings.

    Folds are contiguous, so that the order of the embeddings counts: sorted ones have whole groups
    held out together, and fewer components are chosen. The criterion is taken of the held-out
    fold, with its number of embeddings in the penalty: BIC -2 log L + p log n, AIC -2 log L + 2 p.
    Of equal scores the smallest number of components wins. Covariances are full.

    Source: the program of Fujimura et al., arXiv 2409.09332.

    Parameters
    ----------
    embeddings
        Shape (clips, dim).
    most
        Components that are tried at most; never more than there are different embeddings.
    folds
        Never more than there are embeddings.
    seed
        Of every fit.
    """
    rows = embeddings.astype(np.float64)
    most = min(most, len(np.unique(rows, axis=0)))
    parts = _contiguous_folds(len(rows), min(folds, len(rows)))
    scores = np.full(most, -np.inf)
    if len(parts) > 1:
        for tried in range(1, most + 1):
            values = [_held_out_score(rows, fold, tried, criterion, seed) for fold in parts]
            scores[tried - 1] = np.mean(values)
    components = int(np.argmax(scores)) + 1
    if components == 1:
        return Mixture(1, np.zeros(len(rows), dtype=np.int64), scores)
    found = _fitted(rows, components, seed).predict(rows)
    return Mixture(components, by_first_appearance(found), scores)


def k_means(embeddings: Array, count: int, seed: int) -> Numbers:
    """Cluster of each embedding, brought to unit length, by k-means; shape (clips,).

    Parameters
    ----------
    embeddings
        Shape (clips, dim).
    count
        Number of clusters, or that of the clips if they are fewer.
    """
    from sklearn.cluster import KMeans  # takes a second

    rows = unit_rows(embeddings.astype(np.float64))
    count = min(count, len(np.unique(rows, axis=0)))
    return by_first_appearance(KMeans(count, n_init=10, random_state=seed).fit_predict(rows))


def agglomerate(embeddings: Array, count: int) -> Numbers:
    """Cluster of each embedding, shape (clips,): the nearest two are joined until `count` are left.

    Near is what adds least to the variance within clusters (Ward, 1963).
    """
    from sklearn.cluster import AgglomerativeClustering

    rows = embeddings.astype(np.float64)
    count = min(count, len(np.unique(rows, axis=0)))
    if count < 2:
        return np.zeros(len(rows), dtype=np.int64)
    return by_first_appearance(AgglomerativeClustering(count, linkage="ward").fit_predict(rows))


def by_first_appearance(numbers: Sequence[int] | NDArray[np.integer]) -> Numbers:
    """The same partition with clusters numbered by their first embedding."""
    found = np.asarray(numbers).tolist()
    order = {cluster: number for number, cluster in enumerate(dict.fromkeys(found))}
    return np.array([order[cluster] for cluster in found], dtype=np.int64)


def _contiguous_folds(count: int, folds: int) -> list[NDArray[np.int64]]:
    return [part for part in np.array_split(np.arange(count), folds) if len(part)]


def _held_out_score(
    rows: NDArray[np.float64], fold: NDArray[np.int64], components: int, by: Criterion, seed: int
) -> float:
    """Minus the criterion of a fold under the mixture of all others; -inf if these are too few."""
    rest = np.delete(rows, fold, axis=0)
    if len(rest) < max(components, 2):
        return -np.inf
    mixture = _fitted(rest, components, seed)
    return -float(mixture.bic(rows[fold]) if by == "bic" else mixture.aic(rows[fold]))


def _fitted(rows: NDArray[np.float64], components: int, seed: int):  # type: ignore[no-untyped-def]
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too few distinct embeddings in a fold, or no convergence
        return GaussianMixture(components, random_state=seed).fit(rows)
