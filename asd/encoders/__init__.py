"""Pretrained audio encoders: waves in, tokens out.

import asd.encoders
encoder = asd.encoders.load("mn04_as")          # or a file of weights
tokens = encoder.tokens(waves, 16000)           # (clips, time, bands, dim)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asd.encoders.encoder import Encoder, load

__all__ = ["Encoder", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'asd.encoders' has no attribute {name!r}")
    from asd.encoders import encoder  # loads torch

    return getattr(encoder, name)
