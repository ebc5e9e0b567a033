"""A recording as pages show it: its spectrogram, its sound, and where a browser finds it."""

import io
import math
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from asd.audio.channels import choose_channels
from asd.audio.logmel import LogMel, LogMelParameters
from asd.audio.mel import hz_to_mel, mel_frequencies
from asd.audio.recording import read_recording
from asd.report.clip_page import AxisTick, Box, Sound
from asd.report.pictures import spectrogram_png
from asd.scores.explanation import Explanation, Part

_BANDS, _COLUMNS = 96, 320
"""Size of spectrograms."""

_TICKS_HZ = (500, 1000, 2000, 4000, 8000, 16000, 32000)


@dataclass(frozen=True)
class Heard:
    """A recording, one channel, with its spectrogram for the page.

    Parameters
    ----------
    levels_db
        Log-mel levels, shape (columns, bands).
    hop
        Samples between columns.
    """

    path: Path
    wave: NDArray[np.float32]
    rate_hz: int
    levels_db: NDArray[np.float32]
    hop: int

    @classmethod
    def read(cls, path: Path, channel: str) -> "Heard":
        """Read a recording at its own rate.

        Raises
        ------
        UserError
            It cannot be read.
        """
        recording = read_recording(path)
        wave = choose_channels(recording.wave, channel)[0]
        hop = max(256, -(-len(wave) // _COLUMNS))
        n_fft = 1024 * 2 ** max(0, math.ceil(math.log2(recording.rate_hz / 24000)))
        log_mel = LogMel(LogMelParameters(_BANDS, n_fft, hop), recording.rate_hz)
        return cls(path, wave, recording.rate_hz, log_mel(wave), hop)

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self.wave) / self.rate_hz

    @property
    def peak(self) -> float:
        """The largest sample."""
        return float(np.abs(self.wave).max())

    @property
    def loudest_db(self) -> float:
        """The level of all but the loudest thousandth of the spectrogram."""
        return float(np.quantile(self.levels_db, 0.999))

    @property
    def ticks(self) -> tuple[AxisTick, ...]:
        """Round frequencies beside the spectrogram."""
        inside = [hz for hz in _TICKS_HZ if hz < 0.95 * self.rate_hz / 2]
        return tuple(AxisTick(self._from_top(hz), frequency_text(hz)) for hz in inside)

    def overlay(self, why: Explanation) -> NDArray[np.float64]:
        """What raised the score at each point of the spectrogram, shape (columns, bands)."""
        times_s = np.arange(len(self.levels_db)) * self.hop / self.rate_hz
        centres = mel_frequencies(_BANDS + 2, 0.0, self.rate_hz / 2)[1:-1]
        return why.at(np.minimum(times_s, why.times_s[-1] - 1e-9), centres)

    def box(self, part: Part) -> Box:
        """Where a part lies on the spectrogram."""
        left = min(part.start_s / self.seconds, 1.0)
        right = min(part.end_s / self.seconds, 1.0)
        top, bottom = self._from_top(part.high_hz), self._from_top(part.low_hz)
        return Box(round(100 * left, 2), top, round(100 * (right - left), 2),
                   round(bottom - top, 2))  # fmt: skip

    def sound(self, folder: Path, loudest_db: float, gain: float, longest_s: float) -> Sound:
        """What a page in a folder shows of it.

        Parameters
        ----------
        loudest_db
            See `spectrogram_png`.
        gain
            By which the sound is raised.
        longest_s
            A longer recording is linked, not part of the page.
        """
        audio = self.flac(gain) if self.seconds <= longest_s else b""
        picture = spectrogram_png(self.levels_db, loudest_db)
        return Sound(self.path.name, round(self.seconds, 3), link_of(self.path, folder), audio,
                     "audio/flac", picture, self.ticks)  # fmt: skip

    def flac(self, gain: float) -> bytes:
        """The sound, 16 bits."""
        import soundfile

        file = io.BytesIO()
        soundfile.write(file, np.clip(self.wave * gain, -1, 1), self.rate_hz, "PCM_16",
                        format="FLAC")  # fmt: skip
        return file.getvalue()

    def _from_top(self, hz: float) -> float:
        """Place of a frequency, in percent from the top of the spectrogram."""
        highest = float(hz_to_mel(self.rate_hz / 2))
        half_band = 0.5 * highest / (_BANDS + 1)
        share = (float(hz_to_mel(hz)) - half_band) / (highest - 2 * half_band)
        return round(100 * (1 - min(1.0, max(0.0, share))), 2)


def link_of(path: Path, folder: Path) -> str:
    """A URL by which a page in a folder finds a file: relative where that is possible."""
    where = os.fsencode(path.resolve())
    try:
        relative = os.path.relpath(where, os.fsencode(folder))
    except ValueError:  # another drive
        return path.resolve().as_uri()
    return "./" + quote(relative.replace(os.fsencode(os.sep), b"/"))


def frequency_text(hz: float) -> str:
    """A frequency in few letters."""
    return f"{hz / 1000:.3g} kHz" if hz >= 1000 else f"{hz:.0f} Hz"
