"""Features of clips: what they are, and those of many clips end to end in one array."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from asd.audio.channels import choose_channels, plain_channel
from asd.audio.logmel import LogMel, LogMelParameters

Array = NDArray[Any]


class Feature(Protocol):
    """What a system is given of each clip; `asd.audio.store` keeps what it computes.

    The word `kind` ends the names of stored files. One with costly preparation is a
    `PreparedFeature` too, one that gains from several clips at once a `BatchFeature`.
    """

    @property
    def kind(self) -> str: ...

    def key(self) -> Mapping[str, Any]:
        """All that values depend on beside the recording, as JSON knows it."""
        ...

    def compute(self, wave: NDArray[np.float32], rate_hz: int) -> Array:
        """Values of one clip; called by several threads at a time.

        Parameters
        ----------
        wave
            All channels, shape (channels, samples), full scale 1.

        Returns
        -------
        NDArray
            Shape (frames, ...), of numbers; all but the number of frames is the same for all
            clips.

        Raises
        ------
        UserError
            The clip cannot be used; the message does not name it.
        """
        ...


@runtime_checkable
class PreparedFeature(Protocol):
    """A feature that gets ready once, for all clips: filters, weights."""

    def prepare(self, rate_hz: int) -> None:
        """Get ready for `compute` at this sampling rate.

        Raises
        ------
        UserError
            The feature's parameters do not go with the sampling rate.
        """
        ...


@runtime_checkable
class BatchFeature(Protocol):
    """A feature that computes several clips at once, such as a network's."""

    @property
    def batch_size(self) -> int:
        """Number of clips to compute at once."""
        ...

    def compute_many(self, waves: Sequence[NDArray[np.float32]], rate_hz: int) -> Sequence[Array]:
        """Values of each clip, as `compute` gives them; called by one thread only."""
        ...


@dataclass(frozen=True)
class LogMelFeature:
    """Log-mel frames in dB: (frames, mels), or (frames, channels, mels) of all channels.

    Parameters
    ----------
    parameters
        Of the spectrogram.
    channel
        "left", "right", a number from 1 ("3" is the third), "mix" (the mean of all), "all",
        "cancellation" or "subtraction"; see `asd.audio.channels.plain_channel`.
    """

    parameters: LogMelParameters = LogMelParameters()  # noqa: RUF009, it is frozen
    channel: str = "left"

    kind: ClassVar[str] = "logmel"

    def key(self) -> dict[str, Any]:
        return {"logmel": asdict(self.parameters), "channel": plain_channel(self.channel)}

    def prepare(self, rate_hz: int) -> None:
        _log_mel(self.parameters, rate_hz)

    def compute(self, wave: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
        log_mel = _log_mel(self.parameters, rate_hz)
        frames = [log_mel(samples) for samples in choose_channels(wave, self.channel)]
        return np.stack(frames, axis=1) if self.channel == "all" else frames[0]


_log_mel = lru_cache(maxsize=8)(LogMel)


@dataclass(frozen=True)
class Waveform:
    """Samples as they are: (samples,), or (samples, channels) of all channels.

    Those of 16 bits are stored in 16 bits.

    Parameters
    ----------
    channel
        "left", "right", a number from 1 ("3" is the third), "mix" (the mean of all), "all",
        "cancellation" or "subtraction"; see `asd.audio.channels.plain_channel`.
    """

    channel: str = "left"

    kind: ClassVar[str] = "waveform"

    def key(self) -> dict[str, Any]:
        return {"waveform": True, "channel": plain_channel(self.channel)}

    def compute(self, wave: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:  # noqa: ARG002
        chosen = choose_channels(wave, self.channel)
        return np.ascontiguousarray(chosen.T if self.channel == "all" else chosen[0])


@dataclass(frozen=True)
class ClipLength:
    """Number of samples of a clip, shape (1,): for what must be known before features are."""

    kind: ClassVar[str] = "length"

    def key(self) -> dict[str, Any]:
        return {"length": True}

    def compute(self, wave: NDArray[np.float32], rate_hz: int) -> NDArray[np.int64]:  # noqa: ARG002
        return np.array([wave.shape[1]], dtype=np.int64)


@dataclass(frozen=True)
class Features:
    """The frames of all clips, one clip after the other; clips may differ in length.

    Parameters
    ----------
    rows
        Values of shape (frames, ...): log-mel frames in dB of shape (frames, mels), samples of
        shape (samples,). May be memory-mapped and hold more clips than are listed here. Float32,
        or what the feature computes, or int16 where there is a `scale`.
    starts
        First frame of each clip, shape (clips,), int64.
    lengths
        Number of frames of each clip, shape (clips,), int64.
    sample_rate_hz
        Sampling rate of all clips.
    scale
        What int16 samples are to be multiplied by, in float32; None where `rows` are the values
        themselves.
    """

    rows: Array
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    sample_rate_hz: int
    scale: float | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def clip(self, index: int) -> Array:
        """The values of one clip: a view, or with a `scale` a float32 copy."""
        start = self.starts[index]
        rows = self.rows[start : start + self.lengths[index]]
        return rows if self.scale is None else rows * np.float32(self.scale)

    def select(self, indices: Sequence[int] | NDArray[np.int64]) -> "Features":
        """The same rows with only the clips at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(self, starts=self.starts[chosen], lengths=self.lengths[chosen])

    def window_starts(self, width: int, hop: int = 1) -> NDArray[np.int64]:
        """First frame of every window of `width` frames, `hop` frames apart, clip after clip.

        No window spans two clips.

        Returns
        -------
        NDArray
            Shape (windows,). Clip i has `window_counts(width, hop)[i]` of them.
        """
        counts = self.window_counts(width, hop)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        first: NDArray[np.int64] = np.repeat(self.starts, counts) + hop * within
        return first

    def window_counts(self, width: int, hop: int = 1) -> NDArray[np.int64]:
        """Number of windows of each clip, shape (clips,); 0 for a clip shorter than one."""
        return np.maximum(self.lengths - width + hop, 0) // hop
