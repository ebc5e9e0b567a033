"""TEMP."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asd.clips import Clip


@dataclass(frozen=True)
class ScoreTable:
    clips: tuple
    columns: dict

    def __getitem__(self, n):
        return self.columns[n]

    def __len__(self):
        return len(self.clips)

    def select(self, i):
        return ScoreTable(
            tuple(self.clips[int(k)] for k in i),
            {n: v[np.asarray(i, dtype=int)] for n, v in self.columns.items()},
        )

    def rounded(self):
        return ScoreTable(
            self.clips,
            {n: v.astype(np.float32).astype(np.float64) for n, v in self.columns.items()},
        )

    def to_state(self) -> Any:
        import torch

        return {
            "clips": [
                [str(c.path), c.machine, c.section, c.domain, c.label, c.attributes]
                for c in self.clips
            ],
            "columns": {n: torch.from_numpy(np.array(v)) for n, v in self.columns.items()},
        }

    @classmethod
    def from_state(cls, s):
        return cls(
            tuple(Clip(Path(a[0]), *a[1:]) for a in s["clips"]),
            {n: v.numpy() for n, v in s["columns"].items()},
        )
