"""Scores of held-out normal clips, and which backends the training clips are enough for."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Backend, TooFewClipsError
from asd.backends.knn import Knn
from asd.clips import Clip
from asd.scores.table import ScoreTable
from asd.systems.base import Scores

FOLDS = 5

_DRY_DIM = 2  # little enough that a dry fit takes no time


def too_few_clips(
    make_backends: Mapping[str, Callable[[], Backend]],
    is_target: NDArray[np.bool_],
    section: NDArray[np.int64],
) -> dict[str, str]:
    """Score name -> why its backend has too few clips, for those that have; see below."""
    reasons = {}
    for name, make in make_backends.items():
        try:
            check_clip_counts(make, is_target, section)
        except TooFewClipsError as few:
            reasons[name] = str(few)
    return reasons


def check_clip_counts(
    make_backend: Callable[[], Backend], is_target: NDArray[np.bool_], section: NDArray[np.int64]
) -> None:
    """Refuse what a backend could not be fitted to, before there are embeddings to fit it to.

    It is fitted to random embeddings, to all and to those that `held_out_table` would leave it:
    what it asks of clips is their number, not what they sound like.

    Parameters
    ----------
    make_backend
        Gives a new backend.
    is_target, section
        Of the training clips of a machine type, shape (clips,).

    Raises
    ------
    TooFewClipsError
        There are too few clips, with or without those held out; the least number is told.
    """
    dim = _DRY_DIM * make_backend().smallest_dim
    embeddings = np.random.default_rng(0).normal(size=(len(section), dim)).astype(np.float32)
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
        before = f" ({total} before a fifth is held out for the decision threshold)"
        hint = before if total > few.needed else ""
        raise TooFewClipsError(f"{when}{few}{hint}", few.needed) from None


def _fewest_to_hold_out_from(needed: int) -> int:
    """The least number of clips of a section that leaves as many as needed beside every fold."""
    return needed if needed < FOLDS else math.ceil(needed * FOLDS / (FOLDS - 1))


def held_out_table(
    make_backends: Callable[[], dict[str, Backend]],
    clips: Sequence[Clip],
    embeddings: NDArray[np.float32],
) -> ScoreTable:
    """Scores of training clips of a machine type by backends that were fitted without them.

    A training clip has distance 0 to itself, so its own score says nothing about normal test
    clips. The clips are dealt into five folds, each section and domain evenly, and each fold is
    scored by backends fitted to the others. Where a section's domain has fewer than five clips,
    they always stay references and give no score.

    The embeddings themselves were trained on all these clips: scores of unseen normal clips tend
    to be somewhat higher.

    Returns
    -------
    ScoreTable
        Of the clips that were held out, in their order, with a column per backend.
    """
    is_target = np.array([clip.is_target for clip in clips], dtype=bool)
    section = np.array([int(clip.section) for clip in clips], dtype=np.int64)
    held_out, scores = _held_out(make_backends, embeddings, is_target, section)
    return ScoreTable(tuple(clips[i] for i in held_out), scores)


def _held_out(
    make_backends: Callable[[], dict[str, Backend]],
    embeddings: NDArray[np.float32],
    is_target: NDArray[np.bool_],
    section: NDArray[np.int64],
) -> tuple[NDArray[np.intp], Scores]:
    """Indices of the clips that were held out, ascending, and their scores."""
    fold = assign_folds(is_target, section)
    scores = {name: np.empty(len(fold)) for name in make_backends()}
    for number in range(FOLDS):
        out = fold == number
        if out.any():
            for name, backend in make_backends().items():
                backend.fit(embeddings[~out], is_target[~out], section[~out])
                scores[name][out] = backend.score(embeddings[out], section[out])
    held_out = np.flatnonzero(fold >= 0)
    return held_out, {name: values[held_out] for name, values in scores.items()}


def smote_notes(
    backends: Mapping[str, Backend],
    machines: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.int64]]],
) -> list[str]:
    """What to say of backends for which SMOTE is asked for and adds no clip.

    Parameters
    ----------
    backends
        Score name -> backend, not fitted.
    machines
        Machine type -> which training clips are of the target domain, and their sections, shape
        (clips,) each.

    Returns
    -------
    A line for each backend that is concerned, which names the machine types.
    """
    notes = []
    for name, backend in backends.items():
        if isinstance(backend, Knn) and backend.smote_ratio:
            idle = [
                machine
                for machine, (is_target, section) in machines.items()
                if not _smote_adds(backend, is_target, section)
            ]
            if idle:
                notes.append(_smote_note(name, backend, backends, idle))
    return notes


def _smote_adds(backend: Knn, is_target: NDArray[np.bool_], section: NDArray[np.int64]) -> bool:
    if not backend.per_section:
        return backend.adds_synthetic(is_target)
    return any(backend.adds_synthetic(is_target[section == one]) for one in np.unique(section))


def _smote_note(
    name: str, backend: Knn, backends: Mapping[str, Backend], machines: Sequence[str]
) -> str:
    plain = replace(backend, smote_ratio=0.0, smote_neighbours=Knn.smote_neighbours)
    same = [other for other, known in backends.items() if known == plain]
    return (
        f"{name} equals {same[0] if same else 'kNN without SMOTE'} here, for "
        f"{', '.join(machines)}: SMOTE adds no clip, as the target domain has none or "
        f"{backend.smote_ratio:g} of the number of source clips and more"
    )


def assign_folds(is_target: NDArray[np.bool_], section: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fold of each clip, -1 for those that are never held out; shape (clips,)."""
    fold = np.full(len(section), -1)
    for group in np.unique(2 * section + is_target):
        members = np.flatnonzero(2 * section + is_target == group)
        if len(members) >= FOLDS:
            fold[members] = np.arange(len(members)) % FOLDS
    return fold
