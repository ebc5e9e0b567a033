"""What backends need of the clips and embeddings that they are fitted to."""

import logging
from collections.abc import Mapping

from asd.audio.clip_set import ClipSet
from asd.backends.base import Backend
from asd.backends.beam import Beam
from asd.errors import UserError
from asd.systems.embedding.recipe_parts import BackendRecipe
from asd.systems.embedding.thresholds import smote_notes, too_few_clips

log = logging.getLogger(__name__)


def left_out(backends: Mapping[str, BackendRecipe], train: ClipSet) -> tuple[str, ...]:
    """Backends that there are too few clips for: told now, not after hours of training.

    Raises
    ------
    UserError
        There are too few for all.
    """
    makes = {name: backend.make for name, backend in backends.items()}
    reasons: dict[str, str] = {}
    for machine, members in train.by_machine().items():
        found = too_few_clips(makes, train.is_target[members], train.sections[members])
        for name, reason in found.items():
            reasons.setdefault(name, f"{machine}, {name}: {reason}")
    if len(reasons) == len(backends):
        raise UserError(next(iter(reasons.values())))
    for reason in reasons.values():
        log.warning("%s; it is left out, the others are trained", reason)
    return tuple(reasons)


def tell_idle_smote(backends: Mapping[str, Backend], train: ClipSet) -> None:
    """Say where a backend has too few target clips to make more of."""
    machines = {
        machine: (train.is_target[members], train.sections[members])
        for machine, members in train.by_machine().items()
    }
    for note in smote_notes(backends, machines):
        log.warning("%s", note)


def check_bands(backends: Mapping[str, Backend], vectors: int) -> None:
    """Refuse a backend that would cut embeddings of an encoder elsewhere than at its bands.

    Parameters
    ----------
    vectors
        Bands that an embedding is of.

    Raises
    ------
    UserError
        Names the backend, and how many bands there are.
    """
    hint = f"set bands: {vectors}" if vectors > 1 else "pool them with over: band"
    for name, backend in backends.items():
        for each in backend.members():
            if isinstance(each, Beam) and each.bands != vectors:
                raise UserError(
                    f"backends.{name}: bands is {each.bands}, but the frontend's embeddings are "
                    f"of {vectors}; {hint}"
                )
