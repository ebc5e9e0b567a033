"""Stand-ins for anomalies, so that detectors can be compared where there are none.

Pseudo AUC is the AUC of held-out normal clips against stand-ins: normal clips of other machine
types, and of an attribute that was kept out of training. Source: K. Wilkinghoff and Z.-H. Tan on
choosing detectors by pseudo-anomalies, whose "diverse" set this is but for two parts: clips of the
other domain, which a detector under domain shift must accept, and mixtures of embeddings, which
only some systems have. Over 174 tasks the choice by it lost 3.8 points of AUC to the best of 208
candidates, one fixed by labelled data 4.3, a random one 7.9. Against it: arXiv 2606.19269, where
stand-ins saturate: a search by Pseudo AUC near 1 chooses little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from asd.audio.clip_set import ClipSet
from asd.clips import NO_ATTRIBUTE, Clip
from asd.errors import UserError
from asd.evaluation.metrics import auc

HELD_OUT = 5
"""One of so many normal clips of each section and domain is held out."""

MOST_OTHERS = 60
"""Clips of other machine types that stand in at one machine type."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """Training clips of one machine type, taken apart: indices into them.

    Parameters
    ----------
    learned
        What a detector learns from.
    normal
        Held-out normal clips.
    attribute
        Clips of the attribute that is kept out; none where none can be spared.
    """

    learned: Indices
    normal: Indices
    attribute: Indices


def take_apart(clips: Sequence[Clip], seed: int) -> Parts:
    """Hold out an attribute of the source domain, then a fifth of each section and domain.

    The attribute is the rarest that has two clips or more and no more than a third.

    Raises
    ------
    UserError
        There are fewer than five clips.
    """
    if len(clips) < HELD_OUT:
        raise UserError(
            f"{clips[0].machine}: {len(clips)} training clips are too few to hold some out, "
            f"{HELD_OUT} are needed"
        )
    attribute = _spare_attribute(clips)
    groups: dict[tuple[str, str], list[int]] = {}
    for i, clip in enumerate(clips):
        if i not in attribute:
            groups.setdefault((clip.section, clip.domain), []).append(i)
    random = np.random.default_rng(seed)
    normal: list[int] = []
    for members in groups.values():
        normal += random.permutation(members)[: len(members) // HELD_OUT].tolist()
    kept = {*attribute, *normal}
    learned = [i for i in range(len(clips)) if i not in kept]
    return Parts(*(np.array(sorted(part), dtype=np.int64) for part in (learned, normal, attribute)))


def check_stand_ins(clips: Sequence[Clip], seed: int, *, others: bool) -> None:
    """Refuse training clips of a machine type that cannot be judged by stand-ins.

    Parameters
    ----------
    others
        Whether there are clips of other machine types.

    Raises
    ------
    UserError
        There are too few clips, or nothing stands in for anomalies.
    """
    if not len(take_apart(clips, seed).attribute) and not others:
        raise nothing_stands_in(clips[0].machine)


def nothing_stands_in(machine: str) -> UserError:
    """The error to raise where there is no stand-in."""
    return UserError(
        f"{machine}: there is nothing to stand in for anomalies, neither another machine type nor "
        "an attribute to spare; name more --machine_types"
    )


def stand_in(clips: ClipSet, like: Clip) -> ClipSet:
    """Clips as if they were of the machine type and section of another clip."""
    renamed = [replace(c, machine=like.machine, section=like.section) for c in clips]
    return ClipSet(renamed, lambda _clips, feature: clips.features(feature), year=clips.year)


def evenly(count: int, most: int) -> Indices:
    """Up to `most` indices, spread over all."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def pseudo_metrics(
    normal: NDArray[np.float64], stand_ins: Mapping[str, NDArray[np.float64]]
) -> dict[str, float]:
    """AUC of all stand-ins against normal clips, and of each kind."""
    found = {"pseudo_auc": _auc(normal, np.concatenate(list(stand_ins.values())))}
    return found | {f"pseudo_auc_{kind}": _auc(normal, v) for kind, v in stand_ins.items()}


def _auc(normal: NDArray[np.float64], strange: NDArray[np.float64]) -> float:
    truth = np.repeat([False, True], [len(normal), len(strange)])
    return float(auc(truth, np.concatenate([normal, strange])))


def _spare_attribute(clips: Sequence[Clip]) -> set[int]:
    groups: dict[str, list[int]] = {}
    for i, clip in enumerate(clips):
        if not clip.is_target and clip.attributes not in (NO_ATTRIBUTE, ""):
            groups.setdefault(f"{clip.section} {clip.attributes}", []).append(i)
    fit = [members for members in groups.values() if 2 <= len(members) <= len(clips) // 3]
    if len(groups) < 2 or not fit:
        return set()
    return set(sorted(fit, key=len)[0])
