"""Frontends: a batch of waveforms of one length in, a batch of embeddings out.

A frontend has two steps, so that the first runs in full precision and without gradients:
`features` (fixed) and `embed` (learned). `sizes` are the widths of the branches that lie side by
side in an embedding.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor, nn

from asd.errors import UserError
from asd.schema.values import Count, NonNegative, Positive, Width, Window
from asd.systems.base import State
from asd.systems.embedding import networks, spectra

_CLIPS_AT_ONCE = 8
"""Clips whose spectra are computed together on a CPU."""


class Frontend(nn.Module, ABC):
    """What frontends have in common.

    Parameters
    ----------
    sizes
        Width of each branch of an embedding.
    """

    learns: ClassVar[bool | None] = None
    """Whether it must learn from losses (True), cannot (False), or may."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = sizes

    @abstractmethod
    def features(self, waves: Tensor) -> list[Tensor]:
        """Fixed features of waves of shape (N, samples), one tensor per branch."""

    @abstractmethod
    def embed(self, features: Sequence[Tensor]) -> Tensor:
        """Embeddings of shape (N, sum of sizes)."""

    def begin(self) -> None:
        """Get ready for a training that begins; a stored model is loaded without it."""

    def draw_from(self, generator: Generator) -> None:
        """Draw what is random in training from this generator, which is on the CPU."""

    def saved(self) -> State:
        """What was learned, to be stored."""
        return self.state_dict()

    def load_saved(self, state: State) -> None:
        """Take over what `saved` gave."""
        self.load_state_dict(state)

    def forward(self, waves: Tensor) -> Tensor:
        """Embeddings of waves of shape (N, samples)."""
        return self.embed(self.features(waves))


class SpectralNetwork(Frontend):
    """Networks on the spectrum of the whole clip and on spectrograms of several window lengths.

    The whole-clip branch comes first in an embedding, the one on the waveform next, the others in
    the order of `windows`. Without learned scales and with zeros for padding it is the network of
    dcase-asd-toolkit; with both changed, of the paper's own program (unlabeledasd).

    Parameters
    ----------
    samples
        Length of the waveforms.
    sample_rate_hz
        Their sampling rate.
    windows
        n_fft of each spectrogram; the hop is half of it.
    whole_clip
        Whether there is a branch on the spectrum of the whole clip.
    width
        Width of each branch.
    low_hz, high_hz
        Range of the spectrograms, ends included.
    kernels
        (kernel, stride) of the three whole-clip convolutions.
    waveform
        Whether there is a branch on the waveform itself.
    affine
        Whether batch norms have a learned scale and shift.
    padding
        What the spectrograms' first and last frames see beyond the clip: "zeros", or "reflect".
    mean_free_windows
        Those of `windows` whose spectrograms get their mean over time subtracted.
    unit_length
        Whether embeddings that are scored, or clustered, are brought to unit length. (Losses by
        angles and cosine distances do so anyway.)

    Raises
    ------
    UserError
        The waveforms are too short for a branch, or its spectrogram has too few bins.
    """

    learns = True

    def __init__(
        self,
        samples: int,
        sample_rate_hz: int,
        *,
        windows: tuple[Window, ...] = (1024,),
        whole_clip: bool = True,
        width: Width = 128,
        low_hz: NonNegative = 200.0,
        high_hz: Positive = 8000.0,
        kernels: tuple[tuple[Count, Count], ...] = networks.FFT_KERNELS,
        waveform: bool = False,
        affine: bool = False,
        padding: spectra.Padding = "zeros",
        mean_free_windows: tuple[Window, ...] = (),
        unit_length: bool = False,
    ) -> None:
        super().__init__((width,) * (whole_clip + waveform + len(windows)))
        _check_mean_free(windows, mean_free_windows)
        self.padding, self.unit_length = padding, unit_length
        self.mean_free = [n_fft in mean_free_windows for n_fft in windows]
        self.clip_net: networks.SpectrumNet | None = None
        if whole_clip:
            _check_spectrum(samples, kernels, sample_rate_hz)
            self.clip_net = networks.SpectrumNet(samples // 2 + 1, width, kernels, affine)
        self.wave_net: networks.SpectrumNet | None = None
        if waveform:
            _check_length(
                samples, _shortest(networks.WAVE_KERNELS), sample_rate_hz, "its waveform branch"
            )
            self.wave_net = networks.SpectrumNet(samples, width, networks.WAVE_KERNELS, affine)
        self.bins = [spectra.bin_range(n, low_hz, high_hz, sample_rate_hz) for n in windows]
        self.window_nets = nn.ModuleList()
        for number, (n_fft, (first, end)) in enumerate(zip(windows, self.bins, strict=True)):
            _check_bins(end - first, n_fft, low_hz, high_hz)
            _check_frames(samples, n_fft, sample_rate_hz)
            self.window_nets.append(networks.SpectrogramNet(end - first, width, affine))
            window = spectra.spectrogram_window(n_fft)
            self.register_buffer(f"window{number}", window, persistent=False)

    @torch.no_grad()
    def features(self, waves: Tensor) -> list[Tensor]:
        """Spectrum of the whole clip, shape (N, bins), and spectrograms (N, bins, frames).

        The waveform, shape (N, samples), stands between them where it has a branch.
        """
        found = [] if self.clip_net is None else [_in_parts(spectra.clip_spectrum, waves)]
        found += [] if self.wave_net is None else [waves]
        for number, (first, end) in enumerate(self.bins):
            window = self.get_buffer(f"window{number}")
            magnitudes = partial(_spectrogram, window, self.padding, first, end)
            found.append(_in_parts(magnitudes, waves))
            if self.mean_free[number]:
                found[-1] = found[-1] - found[-1].mean(dim=2, keepdim=True)
        return found

    def embed(self, features: Sequence[Tensor]) -> Tensor:
        """Embeddings, shape (N, branches * width).

        Branches on spectrograms come first, as their gradients, which need the most memory, are
        then found last, when the other branches' arrays are freed.
        """
        whole = [net for net in (self.clip_net, self.wave_net) if net is not None]
        pairs = list(zip([*whole, *self.window_nets], features, strict=True))
        parts = [net(x) for net, x in reversed(pairs)]
        found = torch.cat(parts[::-1], dim=1)
        if self.unit_length and not self.training:
            found = found / found.square().sum(dim=1, keepdim=True).sqrt().clamp_min(1e-30)
        return found


class PooledSpectrogram(Frontend):
    """Mel spectrogram pooled over time or frequency; nothing is learned.

    Magnitudes on HTK mel triangles from 0 Hz to `high_hz`, without logarithm.

    Parameters
    ----------
    pool
        "time_mean", "time_max", "frequency_mean" or "frequency_max": over which axis, and how.
    """

    learns = False

    def __init__(
        self,
        samples: int,
        sample_rate_hz: int,
        *,
        n_fft: Window = 1024,
        mels: Count = 128,
        high_hz: Positive = 8000.0,
        pool: Literal["time_mean", "time_max", "frequency_mean", "frequency_max"] = "time_mean",
    ) -> None:
        self.axis, self.how = pool.split("_")
        by_time = self.axis == "time"
        super().__init__((mels if by_time else spectra.frame_count(samples, n_fft),))
        filters = spectra.mel_filters(n_fft, mels, high_hz, sample_rate_hz)
        self.register_buffer("window", spectra.spectrogram_window(n_fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    @torch.no_grad()
    def features(self, waves: Tensor) -> list[Tensor]:
        """Mel magnitudes, shape (N, frames, mels)."""
        frames = spectra.spectrogram(waves, self.get_buffer("window")).transpose(1, 2)
        return [frames @ self.get_buffer("filters")]

    def embed(self, features: Sequence[Tensor]) -> Tensor:
        """Pooled magnitudes, shape (N, mels) or (N, frames)."""
        axis = 1 if self.axis == "time" else 2
        return features[0].mean(dim=axis) if self.how == "mean" else features[0].amax(dim=axis)


def _spectrogram(
    window: Tensor, padding: spectra.Padding, first: int, end: int, waves: Tensor
) -> Tensor:
    """Bins `first` to `end` of spectrograms."""
    return spectra.spectrogram(waves, window, padding)[:, first:end]


def _in_parts(feature: Callable[[Tensor], Tensor], waves: Tensor) -> Tensor:
    """A feature of waves; on a CPU of a few at a time, for the memory of Fourier transforms."""
    size = _CLIPS_AT_ONCE if waves.device.type == "cpu" else len(waves)
    return torch.cat([feature(part) for part in torch.split(waves, size)])


def _check_spectrum(samples: int, kernels: Sequence[tuple[int, int]], sample_rate_hz: int) -> None:
    shortest = 2 * (_shortest(kernels) - 1)
    _check_length(samples, shortest, sample_rate_hz, "its whole-clip branch")


def _shortest(kernels: Sequence[tuple[int, int]]) -> int:
    """The least number of positions that convolutions leave one of."""
    shortest = 1
    for kernel, stride in reversed(kernels):
        shortest = (shortest - 1) * stride + kernel
    return shortest


def _check_mean_free(windows: Sequence[int], mean_free: Sequence[int]) -> None:
    if unknown := [n_fft for n_fft in mean_free if n_fft not in windows]:
        raise UserError(
            f"the frontend's mean_free_windows names {unknown[0]}, which is none of its windows "
            f"({', '.join(map(str, windows))}); name one of these"
        )


def _check_bins(bins: int, n_fft: int, low_hz: float, high_hz: float) -> None:
    if bins < networks.SHORTEST_AXIS:
        raise UserError(
            f"the frontend's window {n_fft} has {max(bins, 0)} frequency bins from {low_hz:g} to "
            f"{high_hz:g} Hz, and its branch needs {networks.SHORTEST_AXIS}; set a longer window "
            "in windows, a lower low_hz or a higher high_hz"
        )


def _check_frames(samples: int, n_fft: int, sample_rate_hz: int) -> None:
    shortest = (networks.SHORTEST_AXIS - 1) * (n_fft // 2)
    _check_length(samples, shortest, sample_rate_hz, f"its branch with window {n_fft}")


def _check_length(samples: int, shortest: int, sample_rate_hz: int, branch: str) -> None:
    if samples < shortest:
        raise UserError(
            f"input length {samples / sample_rate_hz:g} s is too short for the frontend: {branch} "
            f"needs {shortest / sample_rate_hz:g} s; set a longer input_s, or leave the branch out"
        )
