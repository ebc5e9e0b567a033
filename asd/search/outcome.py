"""What came of a search, in words."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asd.search.objective import MachineMetrics
from asd.search.plan import Search
from asd.search.study import Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Outcome:
    """What came of a search.

    Parameters
    ----------
    study
        The study over all machine types, whose best trial is the choice.
    best, value
        That trial, and its value.
    estimate
        Mean over the machine types, each scored by the choice of a study that never saw it; None
        without folds.
    estimated
        Machine type -> its metrics in that estimate.
    """

    search: Search
    study: Study
    best: "FrozenTrial"
    value: float
    estimate: float | None = None
    estimated: MachineMetrics = field(default_factory=dict)

    @property
    def measure(self) -> str:
        """What the value is."""
        return "Pseudo AUC" if self.search.by_stand_ins else _METRICS[self.search.metric]

    def lines(self) -> list[str]:
        """What came of it, in words."""
        counts = Counter(trial.state.name.lower() for trial in self.study.trials)
        told = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
        lines = [
            f"{len(self.study.trials)} trials ({told})",
            f"best: trial {self.best.number}, {self.measure} {100 * self.value:.2f} %, "
            + ("of stand-ins, not of anomalies" if self.search.by_stand_ins else
               "measured on the clips it was chosen by, and so too high"),
        ]  # fmt: skip
        if self.search.by_stand_ins and self.value > _SATURATED:
            lines.append(
                "nearly every stand-in is found, so that this value chooses little: vary what is "
                "harder, or take machine types that sound more alike"
            )
        if self.estimate is not None:
            lines.append(
                f"nested estimate: {100 * self.estimate:.2f} %, each machine type scored by a "
                "choice that never saw it; the difference is "
                f"{100 * (self.value - self.estimate):+.2f}"
            )
            mean = self.search.objective(self.search.base.machines).mean
            each = {machine: mean({machine: own}) for machine, own in self.estimated.items()}
            lines.append(", ".join(f"{name} {100 * value:.1f}" for name, value in each.items()))
        elif not self.search.by_stand_ins:
            lines.append(
                "no nested estimate (--folds 0): do not report the value above as a result"
            )
        return lines


_SATURATED = 0.995

_METRICS = {"official": "official score", "own_domain": "own-domain mean"}
