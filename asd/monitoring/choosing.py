"""Choose a detector without faults: by how well it tells stand-ins from held-out recordings.

A guess, and said to be one. Other machines and other conditions are the stand-ins that have been
found to choose well; noise and mixtures are useless, and stand-ins that every detector finds choose
nothing (K. Wilkinghoff, Z.-H. Tan, on choosing detectors by pseudo-anomalies; over 174 tasks the
choice lost 3.8 points of AUC to the best of 208 candidates, one fixed by labelled data 4.3, a
random one 7.9).
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from asd.audio.pieces import Pieces, cut_recordings
from asd.audio.recording import read_recording
from asd.clips import NO_ATTRIBUTE
from asd.detector import Detector
from asd.errors import UserError
from asd.evaluation.metrics import auc
from asd.monitoring.changes import CHANGES
from asd.monitoring.holding_out import THIRD, assign_parts
from asd.monitoring.plan import Plan
from asd.monitoring.survey import Survey
from asd.systems.registry import find_system

log = logging.getLogger(__name__)

CANDIDATES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("stats", ()),
    ("stats", ("n_mels=64",)),
    ("stats", ("n_fft=2048", "hop_length=1024")),
    ("raw_spec", ()),
    ("ae", ("epochs=20",)),
)
"""System or recipe, and what --set says."""

_MOST_OTHERS = 60
"""Recordings of other machines that are listened to."""


@dataclass(frozen=True)
class Trial:
    """A candidate, one of its scores, and how well that does.

    Parameters
    ----------
    model, set_values
        The system, and what --set says.
    score
        The score.
    aucs
        Kind of stand-in -> AUC of these against held-out normal recordings.
    """

    model: str
    set_values: tuple[str, ...]
    score: str
    aucs: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Mean over the kinds."""
        return float(np.mean(list(self.aucs.values())))

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return " ".join([self.model, *self.set_values, self.score])


@dataclass(frozen=True)
class Choice:
    """What was tried, the best first, and what to learn with."""

    trials: tuple[Trial, ...]
    plan: Plan

    def table(self) -> list[str]:
        """Lines of the figures."""
        kinds = list(self.trials[0].aucs)
        width = max(len(trial.name) for trial in self.trials)
        lines = ["  ".join([f"{'tried':{width}}", "  mean", *(f"{kind:>9}" for kind in kinds)])]
        for trial in self.trials:
            figures = [f"{trial.aucs[kind]:9.3f}" for kind in kinds]
            lines.append("  ".join([f"{trial.name:{width}}", f"{trial.mean:6.3f}", *figures]))
        lines.append(
            f"chosen: {self.trials[0].name}. This is a guess: the figures are AUCs of stand-ins "
            "for faults ("
            + ", ".join(kinds)
            + ") against held-out normal recordings, not of faults."
        )
        return lines


def choose(
    found: Survey, plan: Plan, others: Survey | None = None, *, progress: bool = True
) -> Choice:
    """Try the candidates on two thirds of the recordings.

    Parameters
    ----------
    found
        Normal recordings.
    plan
        How to learn otherwise: window, channel, seed.
    others
        Recordings of other machines.
    progress
        Show a bar.

    Raises
    ------
    UserError
        There are too few recordings, or no candidate can learn from them.
    """
    domains = [clip.domain for clip in found.clips]
    part = assign_parts(domains, found.sessions, THIRD, plan.seed)
    normal = np.flatnonzero(part == 0)
    learned = np.flatnonzero(part != 0)
    stand_ins = dict(_stand_ins(found, plan, normal, others))
    for kind, members in _other_groups(found, learned):
        stand_ins[kind] = _pieces(found, plan, members)
        learned = np.setdiff1d(learned, members)
    train, held_out = _pieces(found, plan, learned), _pieces(found, plan, normal)
    trials: list[Trial] = []
    for model, set_values in tqdm(CANDIDATES, desc="choosing", unit="fit", disable=not progress):
        try:
            candidate = candidate_plan(plan, model, set_values)
            detector = Detector.create(candidate.entry, candidate.parameters, plan.device)
            detector.fit(train.clips, seed=plan.seed, progress=False, normal_scores=False)
            trials += _trials(detector, model, set_values, held_out, stand_ins)
        except UserError as error:
            log.warning("%s: cannot learn from these recordings: %s", model, error)
    if not trials:
        raise UserError("--model auto: no candidate can learn from these recordings; name a model")
    trials.sort(key=lambda trial: -trial.mean)
    best = trials[0]
    chosen = candidate_plan(plan, best.model, best.set_values)
    return Choice(tuple(trials), replace(chosen, score=best.score))


def candidate_plan(plan: Plan, model: str, set_values: Sequence[str] = ()) -> Plan:
    """The plan with another system, which hears the same channel."""
    entry = find_system(model)
    parameters = replace(entry.defaults(set_values), channel=plan.channel)
    return replace(plan, entry=entry, parameters=parameters)


def _trials(
    detector: Detector,
    model: str,
    set_values: tuple[str, ...],
    held_out: Pieces,
    stand_ins: Mapping[str, Pieces],
) -> Iterator[Trial]:
    usual = detector.score(held_out.clips)
    strange = {kind: detector.score(pieces.clips) for kind, pieces in stand_ins.items()}
    for name in detector.system.score_names:
        normal = held_out.means(usual[name])
        aucs = {}
        for kind, pieces in stand_ins.items():
            others = pieces.means(strange[kind][name])
            truth = np.repeat([False, True], [len(normal), len(others)])
            aucs[kind] = float(auc(truth, np.concatenate([normal, others])))
        yield Trial(model, set_values, name, aucs)


def _stand_ins(
    found: Survey, plan: Plan, normal: NDArray[np.intp], others: Survey | None
) -> Iterator[tuple[str, Pieces]]:
    """Recordings of other machines, and changed ones of held-out recordings."""
    if others is not None:
        step = max(len(others.clips) // _MOST_OTHERS, 1)
        members = np.arange(0, len(others.clips), step)
        rate_hz, paths = found.rate_hz, [clip.path for clip in others.clips]
        yield "others", _pieces(
            replace(others, clips=tuple(found.clips[0] for _ in others.clips)), plan, members,
            rate_hz, lambda i: read_recording(paths[i], rate_hz=rate_hz).wave,
        )  # fmt: skip
    for number, (kind, change) in enumerate(CHANGES.items()):

        def read(i: int, change: Callable[..., NDArray[np.float32]] = change,
                 number: int = number) -> NDArray[np.float32]:  # fmt: skip
            random = np.random.default_rng([plan.seed, number, i])
            return change(found.read(i), found.rate_hz, random)

        yield kind, _pieces(found, plan, normal, found.rate_hz, read)


def _other_groups(
    found: Survey, learned: NDArray[np.intp]
) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """The rarest condition and session that can be spared: stand-ins that are not learned."""
    spare = len(learned) // 3
    for kind, values, unknown in (
        ("condition", [clip.attributes for clip in found.clips], NO_ATTRIBUTE),
        ("session", list(found.sessions), ""),
    ):
        groups: dict[str, list[int]] = {}
        for i in learned:
            groups.setdefault(values[int(i)], []).append(int(i))
        groups.pop(unknown, None)
        fit = [members for members in groups.values() if 2 <= len(members) <= spare]
        if len(groups) > 1 and fit:
            members = np.array(min(fit, key=len))
            spare -= len(members)
            learned = np.setdiff1d(learned, members)
            yield kind, members


def _pieces(
    found: Survey,
    plan: Plan,
    members: NDArray[np.intp],
    rate_hz: int = 0,
    read: Callable[[int], NDArray[np.float32]] | None = None,
) -> Pieces:
    """The windows of some recordings, read or made by `read`."""
    chosen = [int(i) for i in members]
    from_number = read or found.read
    return cut_recordings(
        [found.clips[i] for i in chosen],
        [found.durations_s[i] for i in chosen],
        plan.window_s,
        rate_hz or found.rate_hz,
        lambda number: from_number(chosen[number]),
    )
