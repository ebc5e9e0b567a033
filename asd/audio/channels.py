"""Which channels of a recording to use."""

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from asd.audio.two_channels import SHORTEST, cancel, subtract
from asd.errors import UserError

NOISE_REMOVAL: dict[str, Callable[..., NDArray[np.float64]]] = {
    "cancellation": cancel,
    "subtraction": subtract,
}
"""Choices that make one channel of the first two, near and far: see `asd.audio.two_channels`."""

_NAMES = {"left": 1, "right": 2}
_NUMBER = re.compile(r"[1-9][0-9]{0,3}")


def plain_channel(channel: str) -> str:
    """The one spelling of a choice of channels: "1" is "left", "2" is "right".

    Parameters
    ----------
    channel
        "left" (the first, or the only one), "right" (the second), a number from 1 ("3" is the
        third), "mix" (the mean of all), "all" (all, side by side), "cancellation" or "subtraction"
        (the first, near, without what the second, far, hears too; see `asd.audio.two_channels`).

    Raises
    ------
    UserError
        It is none of these.
    """
    if channel in ("mix", "all", *NOISE_REMOVAL, *_NAMES):
        return channel
    if _NUMBER.fullmatch(channel):
        return {"1": "left", "2": "right"}.get(channel, channel)
    raise UserError(
        "--channel: expected left, right, mix, all, cancellation, subtraction or a number from 1, "
        f"got {channel!r}"
    )


def choose_channels(wave: NDArray[np.float32], channel: str) -> NDArray[np.float32]:
    """The chosen channels of a waveform.

    Parameters
    ----------
    wave
        Shape (channels, samples).
    channel
        See `plain_channel`.

    Returns
    -------
    NDArray
        Shape (channels, samples) with "all", else (1, samples).

    Raises
    ------
    UserError
        There is no such channel, or the clip is too short.
    """
    channel = plain_channel(channel)
    if channel == "all":
        return wave
    if channel == "mix":
        mixed: NDArray[np.float32] = wave.mean(axis=0, keepdims=True)
        return mixed
    if channel in NOISE_REMOVAL:
        if len(wave) < 2:
            raise UserError(
                f"has 1 channel, but --channel {channel} needs a near and a far one; set --channel "
                "left"
            )
        if wave.shape[1] < SHORTEST:
            raise UserError(
                f"has {wave.shape[1]} samples, but --channel {channel} needs {SHORTEST} or more; "
                "remove it, or set --channel left"
            )
        left = NOISE_REMOVAL[channel](wave[0], wave[1])
        return left.astype(np.float32)[None]
    number = _NAMES.get(channel) or int(channel)
    if number > len(wave):
        others = "left" if len(wave) == 1 else f"a number up to {len(wave)}, or mix"
        raise UserError(
            f"has {len(wave)} channel(s), so there is no channel {channel}; set --channel {others}"
        )
    return wave[number - 1 : number]
