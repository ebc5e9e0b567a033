"""What frozen encoders make of clips, as a feature that the store keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from asd.audio.channels import choose_channels, plain_channel
from asd.encoders.checkpoint import network_class
from asd.encoders.encoder import Encoder, Precision, load, resolved_precision
from asd.encoders.pooling import Pooling
from asd.encoders.weights import find_weights, sha256_of

Take = Literal["tokens", "class"]
"""All tokens, or the one that stands for the clip (EAT, CNN14)."""


@dataclass(frozen=True)
class EncoderFeature:
    """Tokens of a frozen encoder, pooled or as they are.

    Pooled: one row for each clip, of shape (1, vectors, width), see `Pooling.shape`. A class token:
    (1, dim). Not pooled: (time, bands, dim).

    Parameters
    ----------
    weights
        Name or file of the weights.
    pooling
        How the tokens of a clip become few vectors; None keeps the tokens, or the class token.
    take
        "tokens", or "class": the class token, which needs no pooling.
    layer
        1 for the first layer's output; None is the last.
    channel
        As of `LogMelFeature`; one channel.
    seconds
        Length that all clips are brought to: shorter ones are repeated, longer ones cut. None
        leaves each as it is.
    precision
        "float32", "bfloat16", or "auto": bfloat16 where the device is fast with it.
    device
        Where to compute; values do not depend on it but for rounding.
    """

    weights: str
    pooling: Pooling | None = None
    take: Take = "tokens"
    layer: int | None = None
    channel: str = "left"
    seconds: float | None = None
    precision: Precision = "auto"
    device: str = field(default="cpu", compare=False)

    kind: ClassVar[str] = "encoder"

    def key(self) -> Mapping[str, Any]:
        return {
            "encoder": sha256_of(find_weights(self.weights)),
            "pooling": None if self.pooling is None else self.pooling.key(),
            "take": self.take,
            "layer": self.layer,
            "channel": plain_channel(self.channel),
            "seconds": self.seconds,
            "precision": self.resolved,
            "layout": "vectors, width",
        }

    @property
    def batch_size(self) -> int:
        """Clips that are computed together."""
        return self._encoder.clips_at_once

    def prepare(self, rate_hz: int) -> None:  # noqa: ARG002 - any rate will do
        """Load the weights.

        Raises
        ------
        UserError
            They cannot be used, or have no such layer or token.
        """
        self._encoder.check_layer(self.layer)
        if self.take == "class":
            self._encoder.check_class_token(self.layer)

    def compute(self, wave: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
        return self.compute_many([wave], rate_hz)[0]

    def compute_many(
        self, waves: Sequence[NDArray[np.float32]], rate_hz: int
    ) -> list[NDArray[np.float32]]:
        """Values of each clip; those of one length go through the network together."""
        chosen = [self._input(wave, rate_hz) for wave in waves]
        by_length: dict[int, list[int]] = {}
        for number, samples in enumerate(chosen):
            by_length.setdefault(len(samples), []).append(number)
        found: dict[int, NDArray[np.float32]] = {}
        for numbers in by_length.values():
            values = self._values(np.stack([chosen[number] for number in numbers]), rate_hz)
            found.update(zip(numbers, values, strict=True))
        return [found[number] for number in range(len(waves))]

    @property
    def resolved(self) -> Precision:
        """The precision that "auto" stands for; its network need not be loaded to know."""
        found = resolved_precision(self.precision, self.device)
        if self.precision != "auto" or found == "float32":
            return found
        gains = _gains_from_bfloat16(self.weights, key_of_file(self.weights))
        return found if gains else "float32"

    @property
    def _encoder(self) -> Encoder:
        return _loaded(self.weights, key_of_file(self.weights), self.device, self.precision)

    def _input(self, wave: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
        """The samples of a clip that the network hears, shape (samples,)."""
        samples: NDArray[np.float32] = choose_channels(wave, self.channel)[0]
        if self.seconds is None:
            return samples
        wanted = int(self.seconds * rate_hz)
        repeats = -(-wanted // len(samples))
        return np.tile(samples, repeats)[:wanted] if repeats > 1 else samples[:wanted]

    def _values(self, waves: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
        if self.take == "class":
            return self._encoder.class_tokens(waves, rate_hz, self.layer)[:, None]
        tokens = self._encoder.tokens(waves, rate_hz, self.layer)
        if self.pooling is None:
            return tokens
        pooled: NDArray[np.float32] = self.pooling(torch.from_numpy(tokens)).numpy()
        return pooled[:, None]


def key_of_file(weights: str) -> str:
    """The SHA-256 of the weights of a name or file."""
    return sha256_of(find_weights(weights))


@lru_cache(maxsize=8)
def _gains_from_bfloat16(weights: str, _sha256: str) -> bool:
    return network_class(find_weights(weights)).gains_from_bfloat16


@lru_cache(maxsize=2)
def _loaded(weights: str, _sha256: str, device: str, precision: Precision) -> Encoder:
    return load(weights, device, precision)
