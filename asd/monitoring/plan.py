"""What to learn one's own recordings with."""

from dataclasses import dataclass
from typing import Any, Literal

from asd.systems.registry import SystemEntry

DEFAULT_MODEL = "stats"
AUTO = "auto"
"""The model that stands for trying a few."""

WINDOW_S = 10.0

SHORTEST_WINDOW_S = 0.1
"""Shorter windows hold a frame or two of a spectrogram, and nothing that changes in time."""

HoldOut = Literal["each", "third", "auto"]


@dataclass(frozen=True)
class Plan:
    """What to learn with.

    Parameters
    ----------
    entry, parameters
        The system.
    window_s
        Longer recordings are cut into windows of this length.
    hold_out
        "each": every recording in turn, a twentieth at a time, which takes 21 trainings; "third": a
        third that is never learned, which takes one; "auto": each, where a system learns without
        epochs and there are ten recordings or sessions, else a third.
    score
        The score that decides; "" takes the system's first.
    seed
        What random numbers come from.
    device
        Where to compute.
    """

    entry: SystemEntry
    parameters: Any
    window_s: float = WINDOW_S
    hold_out: HoldOut = "auto"
    score: str = ""
    seed: int = 13711
    device: str = "cpu"

    @property
    def channel(self) -> str:
        """The channel that the system hears."""
        return str(getattr(self.parameters, "channel", "all"))
