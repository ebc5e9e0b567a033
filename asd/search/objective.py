"""What a search maximises: which machine types are learned and scored, and the mean over them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from asd.challenge.catalog import OfficialScore
from asd.errors import UserError
from asd.evaluation.metrics import arithmetic_mean, official_mean, own_domain_mean

Kind = Literal["left_out", "published", "pseudo_auc"]
Metric = Literal["official", "own_domain"]

Machines = tuple[str, ...]
MachineMetrics = Mapping[str, Mapping[str, float]]
"""Machine type -> metric -> value."""

PUBLISHED_SPLITS, PUBLISHED_SHARE = 5, 5 / 7


@dataclass(frozen=True)
class Group:
    """Machine types that are judged together.

    Parameters
    ----------
    scored
        Those whose metrics count.
    trained
        Those that a model of several machine types learns from.
    """

    scored: Machines
    trained: Machines


@dataclass(frozen=True)
class Objective:
    """The value of a trial: the mean over groups of a mean over the machine types of each.

    Parameters
    ----------
    groups
        In the order in which they are computed: a trial may be pruned after each training.
    mean
        Machine type -> metrics, to one number.
    is_joint
        Whether one model learns all machine types of a group; otherwise each has models of its own.
    """

    groups: tuple[Group, ...]
    mean: Callable[[MachineMetrics], float]
    is_joint: bool

    @property
    def trainings(self) -> tuple[Machines, ...]:
        """The machine types of each training, none twice."""
        found = [each for group in self.groups for each in self._trainings_of(group)]
        return tuple(dict.fromkeys(found))

    def value(self, done: Mapping[Machines, MachineMetrics]) -> float:
        """The value, or as much of it as can be told from the trainings that are done.

        nan where no group has a machine type that is done, or one has no value.
        """
        found = [self.metrics(group, done) for group in self.groups]
        means = [self.mean(metrics) for metrics in found if metrics]
        return float(np.mean(means)) if means else math.nan

    def _trainings_of(self, group: Group) -> list[Machines]:
        return [group.trained] if self.is_joint else [(machine,) for machine in group.scored]

    def metrics(self, group: Group, done: Mapping[Machines, MachineMetrics]) -> MachineMetrics:
        """The metrics of a group's machine types, of the trainings that are done."""
        return {
            machine: metrics
            for training in self._trainings_of(group)
            for machine, metrics in done.get(training, {}).items()
            if machine in group.scored
        }


def official(rule: OfficialScore) -> Callable[[MachineMetrics], float]:
    """The year's official score over machine types."""
    return lambda metrics: official_mean(rule, [each["official"] for each in metrics.values()])


def own_domain(metrics: MachineMetrics) -> float:
    """Mean of each domain with its own anomalies only, see `own_domain_mean`."""
    return own_domain_mean(metrics.values())


def pseudo_auc(metrics: MachineMetrics) -> float:
    """Mean AUC of stand-ins for anomalies, see `asd.search.stand_ins`."""
    return arithmetic_mean([each["pseudo_auc"] for each in metrics.values()])


def published_splits(machines: Machines, seed: int) -> tuple[Group, ...]:
    """Different random choices of machine types, each learned and scored for itself.

    Five choices of 5 of 7, as in khoaphamanh/DCASE2024, where every trial draws its own; here they
    are the same for all. Of another number of machine types the share is the same.
    """
    size = min(max(round(PUBLISHED_SHARE * len(machines)), 1), len(machines))
    possible = list(combinations(machines, size))
    order = np.random.default_rng([seed, _SPLITS]).permutation(len(possible))
    return tuple(Group(possible[i], possible[i]) for i in order[:PUBLISHED_SPLITS])


def left_out(machines: Machines, folds: int, seed: int) -> tuple[Machines, ...]:
    """The machine types that each fold leaves out: a random partition.

    Raises
    ------
    UserError
        There are fewer machine types than folds, or one fold.
    """
    if not 2 <= folds <= len(machines):
        most = f"2 to {len(machines)}" if len(machines) > 1 else "0 with a single machine type"
        raise UserError(f"--folds: expected {most}, got {folds}")
    order = np.random.default_rng([seed, _FOLDS]).permutation(len(machines))
    parts = np.array_split(order, folds)
    return tuple(tuple(machines[i] for i in sorted(part)) for part in parts)


def without(machines: Machines, others: Sequence[str]) -> Machines:
    """The machine types that are not among others."""
    return tuple(machine for machine in machines if machine not in others)


_SPLITS, _FOLDS = 1, 2  # what tells their random numbers apart
