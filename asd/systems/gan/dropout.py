"""Dropout, with random numbers that are quick to draw and can be kept in a checkpoint."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor


class DropoutDraws:
    """Random numbers for dropout, drawn on the CPU.

    Four 16-bit draws come from each 64-bit word. A dense network on a CPU would else spend a third
    of its training in `torch.nn.functional.dropout`, which cannot be given a generator either.

    Parameters
    ----------
    random
        Draws the first state.
    """

    def __init__(self, random: Generator) -> None:
        seed = torch.randint(2**62, (), generator=random)
        self._words = np.random.SFC64(int(seed))

    def factors(self, like: Tensor, share: float) -> Tensor:
        """0 for a share of the values of `like`, 1 / (1 - share) for the others; of its shape."""
        return self.of_shapes([like.shape], share, like.device)[0]

    def of_shapes(
        self, shapes: Sequence[torch.Size], share: float, device: torch.device
    ) -> list[Tensor]:
        """Such factors for several layers: one draw costs less than many."""
        counts = [shape.numel() for shape in shapes]
        words = self._words.random_raw(-(-sum(counts) // 4)).view(np.int16)
        kept = words[: sum(counts)] >= round(share * 2**16) - 2**15
        factors = np.multiply(kept, np.float32(1 / (1 - share)), dtype=np.float32)
        parts = torch.split(torch.from_numpy(factors).to(device, non_blocking=True), counts)
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def state(self) -> list[int]:
        """The state as whole numbers."""
        state = self._words.state
        words = [int(word) for word in state["state"]["state"]]
        return [*words, state["has_uint32"], state["uinteger"]]

    def restore(self, state: list[int]) -> None:
        """Go on from what `state` gave."""
        *words, has_uint32, uinteger = state
        self._words.state = {
            "bit_generator": "SFC64",
            "state": {"state": np.array(words, dtype=np.uint64)},
            "has_uint32": has_uint32,
            "uinteger": uinteger,
        }


def dropout(values: Tensor, draws: DropoutDraws | None, share: float) -> Tensor:
    """Drop a share of the values and scale up the others; nothing without `draws`."""
    return values if draws is None else values * draws.factors(values, share)
