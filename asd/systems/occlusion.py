"""Which parts of a clip a score depends on, by changing one after the other; for any system.

Source of the idea: M. Zeiler and R. Fergus, "Visualizing and understanding convolutional networks"
(ECCV 2014), section 4.2. A part is a time and a frequency band of the short-time Fourier transform.
Blanked parts would be unlike any sound that a system has learned, so a part takes the sound of a
normal clip in its place where one is given; else what stands out in it is taken down to the clip's
own floor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd.audio.clip_set import ClipSet
from asd.audio.features import Feature, Features, PreparedFeature
from asd.audio.mel import mel_frequencies
from asd.clips import Clip
from asd.scores.explanation import Explanation
from asd.systems.base import System

Wave = NDArray[np.float32]

TIMES, BANDS = 10, 8
"""Parts of a clip: 80 changed clips are scored for each."""

_N_FFT, _HOP = 1024, 256
_LOWEST_HZ = 100.0
_FLOOR_OCTAVES = 0.5


@dataclass(frozen=True)
class Occlusion:
    """Changes parts of waveforms, and scores what comes of it.

    Parameters
    ----------
    system
        Fitted.
    score
        Name of the score.
    times, bands
        Parts of a clip; bands are of equal width on the mel scale.
    """

    system: System
    score: str
    times: int = TIMES
    bands: int = BANDS

    def explain(
        self, clip: Clip, wave: Wave, rate_hz: int, normal: Wave | None = None
    ) -> Explanation:
        """What the score of a clip loses with each part: positive where the part raises it.

        Parameters
        ----------
        wave
            All channels of the clip, shape (channels, samples).
        normal
            A normal clip whose sound takes the place of the parts, of any length and at least as
            many channels; None takes the clip's own floor.
        """
        samples = wave.shape[1]
        times = min(self.times, max(1, samples // _N_FFT))
        edges_s = np.linspace(0.0, samples / rate_hz, times + 1)
        edges_hz = band_edges_hz(self.bands, rate_hz)
        spectra = _transform(wave)
        fill = _floor(spectra, rate_hz) if normal is None else _fitted(normal, wave.shape)
        (before,) = self._scores(clip, [wave], rate_hz)
        values = np.empty((times, self.bands))
        for band in range(self.bands):
            changed = [
                _replaced(spectra, fill, edges_s[t : t + 2], edges_hz[band : band + 2], rate_hz)
                for t in range(times)
            ]
            waves = [_inverse(each, samples) for each in changed]
            values[:, band] = before - self._scores(clip, waves, rate_hz)
        return Explanation(self.score, values, edges_s, edges_hz, adds_up=False)

    def _scores(self, clip: Clip, waves: Sequence[Wave], rate_hz: int) -> NDArray[np.float64]:
        clips = clips_of_waves([clip] * len(waves), waves, rate_hz)
        return self.system.score(clips, [self.score])[self.score]


def clips_of_waves(clips: Sequence[Clip], waves: Sequence[Wave], rate_hz: int) -> ClipSet:
    """Clips whose features are computed from waveforms, shape (channels, samples) each."""

    def source(_: Sequence[Clip], feature: Feature) -> Features:
        if isinstance(feature, PreparedFeature):
            feature.prepare(rate_hz)
        values = [feature.compute(wave, rate_hz) for wave in waves]
        lengths = np.array([len(one) for one in values], dtype=np.int64)
        return Features(np.concatenate(values), np.cumsum(lengths) - lengths, lengths, rate_hz)

    return ClipSet(clips, source)


def band_edges_hz(bands: int, rate_hz: int) -> NDArray[np.float64]:
    """Edges of bands of equal width on the mel scale, from 0 Hz to half the rate."""
    inner = mel_frequencies(bands + 1, _LOWEST_HZ, rate_hz / 2)[1:-1]
    return np.array([0.0, *inner, rate_hz / 2])


def _transform(wave: Wave) -> NDArray[np.complex128]:
    """Short-time Fourier transform, shape (channels, frequencies, frames)."""
    from scipy.signal import stft

    found: NDArray[np.complex128] = stft(wave.astype(np.float64), **_frames(wave.shape[1]))[2]
    return found


def _inverse(spectra: NDArray[np.complex128], samples: int) -> Wave:
    from scipy.signal import istft

    wave: NDArray[np.float64] = istft(spectra, **_frames(samples))[1][:, :samples]
    missing = samples - wave.shape[1]
    return np.pad(wave, ((0, 0), (0, missing))).astype(np.float32)


def _frames(samples: int) -> dict[str, Any]:
    width = min(_N_FFT, samples)
    return {"nperseg": width, "noverlap": width - max(1, width * _HOP // _N_FFT)}


def _replaced(
    spectra: NDArray[np.complex128],
    fill: NDArray[np.complex128],
    times_s: NDArray[np.float64],
    band_hz: NDArray[np.float64],
    rate_hz: int,
) -> NDArray[np.complex128]:
    """The spectra with those of `fill` in one part."""
    frequencies, frames = spectra.shape[1:]
    width = 2 * (frequencies - 1)
    hop = max(1, width * _HOP // _N_FFT)
    time_s = np.arange(frames) * hop / rate_hz
    hz = np.arange(frequencies) * rate_hz / width
    time = (time_s >= times_s[0]) & (time_s < times_s[1])
    time[-1] |= time[-2] if frames > 1 else False
    band = (hz >= band_hz[0]) & ((hz < band_hz[1]) | (band_hz[1] >= rate_hz / 2))
    part = np.ix_(np.arange(len(spectra)), np.flatnonzero(band), np.flatnonzero(time))
    changed = spectra.copy()
    changed[part] = fill[part]
    return changed


def _fitted(normal: Wave, shape: tuple[int, ...]) -> NDArray[np.complex128]:
    """Spectra of a normal clip of the same channels and length, repeated where it is shorter."""
    channels, samples = shape
    times = -(-samples // normal.shape[1])
    rows = [normal[min(i, len(normal) - 1)] for i in range(channels)]
    return _transform(np.tile(np.stack(rows), times)[:, :samples])


def _floor(spectra: NDArray[np.complex128], rate_hz: int) -> NDArray[np.complex128]:
    """The spectra with magnitudes of at most the floor: medians over time, then frequencies."""
    magnitudes = np.abs(spectra)
    level = np.median(magnitudes, axis=2)
    smooth = np.empty_like(level)
    hz = np.fft.rfftfreq(2 * (level.shape[1] - 1), 1 / rate_hz)
    for i, one in enumerate(hz):
        near = slice(*np.searchsorted(hz, (one * 2**-_FLOOR_OCTAVES, one * 2**_FLOOR_OCTAVES + 1)))
        smooth[:, i] = np.median(level[:, near], axis=1)
    gain = np.minimum(1.0, smooth[:, :, None] / np.maximum(magnitudes, 1e-20))
    found: NDArray[np.complex128] = spectra * gain
    return found
