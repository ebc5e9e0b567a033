"""Scores of normal sound that decision thresholds are fitted to."""

import math
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Backend, TooFewClipsError
from asd.errors import UserError
from asd.systems.base import Scores

FOLDS = 5

_DRY_DIM = 2  # little enough that a dry fit takes no time


def check_clip_counts(
    make_backend: Callable[[], Backend], is_target: NDArray[np.bool_], section: NDArray[np.int64]
) -> None:
    """Refuse what a backend could not be fitted to, before there are embeddings to fit it to.

    It is fitted to random embeddings, to all and to those that `held_out_scores` would leave it:
    what it asks of clips is their number, not what they sound like.

    Parameters
    ----------
    make_backend
        Gives a new backend.
    is_target, section
        Of the training clips of a machine type, shape (clips,).

    Raises
    ------
    UserError
        There are too few clips, with or without those held out; the least number is told.
    """
    embeddings = np.random.default_rng(0).normal(size=(len(section), _DRY_DIM)).astype(np.float32)
    when = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what scikit-learn thinks of random numbers
            make_backend().fit(embeddings, is_target, section)
            when = "with a fifth held out for the decision threshold, "
            kept = assign_folds(is_target, section) != 0  # no fold takes more clips than the first
            make_backend().fit(embeddings[kept], is_target[kept], section[kept])
    except TooFewClipsError as few:
        total = _fewest_to_hold_out_from(few.needed)
        hint = f" ({total} before a fifth is held out for the decision threshold)"
        raise UserError(f"{when}{few}{hint if total > few.needed else ''}") from None


def _fewest_to_hold_out_from(needed: int) -> int:
    """The least number of clips of a section that leaves as many as needed beside every fold."""
    return needed if needed < FOLDS else math.ceil(needed * FOLDS / (FOLDS - 1))


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
