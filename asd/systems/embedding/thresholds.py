"""Scores of normal sound that decision thresholds are fitted to."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Backend
from asd.systems.base import Scores

FOLDS = 5


def held_out_scores(
    make_backends: Callable[[], dict[str, Backend]],
    embeddings: NDArray[np.float32],
    is_target: NDArray[np.bool_],
    section: NDArray[np.int64],
) -> Scores:
    """Scores of training clips by backends that were fitted without them.

    A training clip has distance 0 to itself, so its own score says nothing about normal test
    clips. The clips are dealt into five folds, each section and domain evenly, and each fold is
    scored by backends fitted to the others. Where a section's domain has fewer than five clips,
    they always stay references and give no score.

    The embeddings themselves were trained on all these clips: scores of unseen normal clips tend
    to be somewhat higher.

    Returns
    -------
    Scores
        Score name -> shape (clips that were held out,).
    """
    fold = assign_folds(is_target, section)
    scores: dict[str, list[NDArray[np.float64]]] = {name: [] for name in make_backends()}
    for number in range(FOLDS):
        out = fold == number
        for name, backend in make_backends().items():
            if out.any():
                backend.fit(embeddings[~out], is_target[~out], section[~out])
                scores[name].append(backend.score(embeddings[out], section[out]))
    return {name: np.concatenate([np.empty(0), *parts]) for name, parts in scores.items()}


def assign_folds(is_target: NDArray[np.bool_], section: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fold of each clip, -1 for those that are never held out; shape (clips,)."""
    fold = np.full(len(section), -1)
    for group in np.unique(2 * section + is_target):
        members = np.flatnonzero(2 * section + is_target == group)
        if len(members) >= FOLDS:
            fold[members] = np.arange(len(members)) % FOLDS
    return fold
