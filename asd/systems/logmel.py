"""What systems on log-mel frames are given."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asd.errors import UserError
from asd.schema.parameters import parameter
from asd.schema.values import Channel, Count, NonNegative, Positive, TransformLength

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from asd.audio.features import Feature
    from asd.audio.logmel import LogMelParameters


@dataclass(frozen=True)
class ChannelInput:
    """Which channel of a recording a system hears."""

    channel: Channel = parameter(
        "left",
        "channel of files with several: left, right, mix (their mean), or its number from 1; of a "
        "near (left) and a far channel: cancellation (near without what a filter makes of far), "
        "subtraction (of magnitudes); a system hears one, so for two run twice, with other "
        "--export_dir",
        role="features",
    )


@dataclass(frozen=True)
class LogMelInput(ChannelInput):
    """Log-mel frames; names and defaults are the official baseline's."""

    n_mels: Count = parameter(128, "number of mel bands", role="features")
    n_fft: TransformLength = parameter(
        1024, "length of the Fourier transform", role="features", unit="samples"
    )
    hop_length: Count = parameter(512, "step between frames", role="features", unit="samples")
    power: Positive = parameter(
        2.0, "exponent of the magnitudes: 1 amplitude, 2 power", role="features"
    )
    fmin: NonNegative = parameter(0.0, "lowest frequency", role="features", unit="Hz")
    fmax: Positive | None = parameter(
        None, "highest frequency (null: half the sampling rate)", role="features", unit="Hz"
    )
    win_length: Count | None = parameter(
        None, "length of the window (null: n_fft)", role="features", unit="samples"
    )

    def __post_init__(self) -> None:
        if self.win_length is not None and self.win_length > self.n_fft:
            raise UserError(
                f"--win_length: expected at most --n_fft ({self.n_fft}), got {self.win_length}"
            )
        if self.fmax is not None and self.fmax <= self.fmin:
            raise UserError(
                f"--fmax: expected more than --fmin ({self.fmin:g} Hz), got {self.fmax:g}"
            )

    def feature(self) -> "Feature":
        """The feature with these parameters."""
        from asd.audio.features import LogMelFeature

        return LogMelFeature(self.spectrogram(), self.channel)

    def spectrogram(self) -> "LogMelParameters":
        """The parameters of the spectrogram."""
        from asd.audio.logmel import LogMelParameters

        return LogMelParameters(
            self.n_mels,
            self.n_fft,
            self.hop_length,
            self.power,
            self.fmin,
            self.fmax,
            self.win_length,
        )

    def frame_edges_s(self, frames: int, rate_hz: int) -> "NDArray[np.float64]":
        """Times between which frames lie, shape (frames + 1,): each about its own middle."""
        import numpy as np

        edges = np.maximum(np.arange(frames + 1, dtype=np.float64) - 0.5, 0.0)
        return edges * (self.hop_length / rate_hz)

    def band_edges_hz(self, rate_hz: int) -> "NDArray[np.float64]":
        """Frequencies between which mel bands lie, shape (mels + 1,).

        Triangles overlap: a band ends halfway, on the mel scale, to the next one's centre.
        """
        import numpy as np

        from asd.audio.mel import mel_frequencies

        highest = rate_hz / 2 if self.fmax is None else self.fmax
        return np.ascontiguousarray(mel_frequencies(2 * self.n_mels + 3, self.fmin, highest)[1::2])
