"""Which channels of a recording to use."""

import re

import numpy as np
from numpy.typing import NDArray

from asd.errors import UserError

_NAMES = {"left": 1, "right": 2}
_NUMBER = re.compile(r"[1-9][0-9]{0,3}")


def plain_channel(channel: str) -> str:
    """The one spelling of a choice of channels: "1" is "left", "2" is "right".

    Parameters
    ----------
    channel
        "left" (the first, or the only one), "right" (the second), a number from 1 ("3" is the
        third), "mix" (the mean of all), or "all" (all, side by side).

    Raises
    ------
    UserError
        It is none of these.
    """
    if channel in ("mix", "all", *_NAMES):
        return channel
    if _NUMBER.fullmatch(channel):
        return {"1": "left", "2": "right"}.get(channel, channel)
    raise UserError(
        f"--channel: expected left, right, mix, all or a number from 1, got {channel!r}"
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
        There is no such channel.
    """
    channel = plain_channel(channel)
    if channel == "all":
        return wave
    if channel == "mix":
        mixed: NDArray[np.float32] = wave.mean(axis=0, keepdims=True)
        return mixed
    number = _NAMES.get(channel) or int(channel)
    if number > len(wave):
        others = "left" if len(wave) == 1 else f"a number up to {len(wave)}, or mix"
        raise UserError(
            f"has {len(wave)} channel(s), so there is no channel {channel}; set --channel {others}"
        )
    return wave[number - 1 : number]
