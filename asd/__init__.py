"""Anomalous sound detection: learn a machine's normal sound, then score new clips.

import asd

fan = asd.load_challenge("DCASE2023T2", "data").dev["fan"]
model = asd.create("ae", epochs=30).fit(fan.train)
scores = model.score(fan.test)
print(asd.evaluate(scores))
model.save("fan.asd")
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from asd.api import (
        ChallengeData,
        Evaluation,
        MachineData,
        create,
        evaluate,
        learn,
        load,
        load_challenge,
    )
    from asd.audio.clip_set import ClipSet
    from asd.audio.recordings import recordings
    from asd.clips import Clip
    from asd.detector import Detector
    from asd.errors import UserError
    from asd.scores.explanation import Explanation
    from asd.scores.table import ScoreTable

_PUBLIC = {
    "ChallengeData": "asd.api",
    "Clip": "asd.clips",
    "ClipSet": "asd.audio.clip_set",
    "Detector": "asd.detector",
    "Evaluation": "asd.api",
    "Explanation": "asd.scores.explanation",
    "MachineData": "asd.api",
    "ScoreTable": "asd.scores.table",
    "UserError": "asd.errors",
    "create": "asd.api",
    "evaluate": "asd.api",
    "learn": "asd.api",
    "load": "asd.api",
    "load_challenge": "asd.api",
    "recordings": "asd.audio.recordings",
}
"""Public name -> its module, which is imported when the name is used."""

__all__ = [
    "ChallengeData",
    "Clip",
    "ClipSet",
    "Detector",
    "Evaluation",
    "Explanation",
    "MachineData",
    "ScoreTable",
    "UserError",
    "create",
    "evaluate",
    "learn",
    "load",
    "load_challenge",
    "recordings",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'asd' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
