"""What systems on log-mel frames are given."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asd.errors import UserError
from asd.schema.parameters import parameter
from asd.schema.values import Channel, Count, NonNegative, Positive, TransformLength

if TYPE_CHECKING:
    from asd.audio.features import Feature


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
        from asd.audio.logmel import LogMelParameters

        spectrogram = LogMelParameters(
            self.n_mels,
            self.n_fft,
            self.hop_length,
            self.power,
            self.fmin,
            self.fmax,
            self.win_length,
        )
        return LogMelFeature(spectrogram, self.channel)
