"""What networks on spectrograms are given, as modules from waveforms of shape (n, samples)."""

import torch
from torch import Tensor, nn

from asd.errors import UserError
from asd.systems.embedding.frontends import PooledSpectrogram, SpectralNetwork
from asd.systems.exporting import FourierTransform, PowerSpectrogram

_LARGEST_FACTOR = 4096
"""A Fourier transform of a length without a factor near its root would need a huge matrix."""


def clip_transform(samples: int) -> FourierTransform:
    """The Fourier transform of whole clips.

    Raises
    ------
    UserError
        The length has no factor near its root.
    """
    found = FourierTransform(samples)
    if found.rows > _LARGEST_FACTOR:
        raise UserError(
            f"an input of {samples} samples cannot be exported, as the number has no factor "
            "near its root; train with an input_s of whole seconds"
        )
    return found


class ClipSpectrum(nn.Module):
    """Magnitudes of the Fourier transform of whole clips."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.transform = clip_transform(samples)

    def forward(self, waves: Tensor) -> Tensor:
        """From (n, samples) to (n, samples // 2 + 1)."""
        real, imaginary = self.transform(waves)
        magnitudes: Tensor = (real * real + imaginary * imaginary).sqrt()
        return magnitudes


class BranchSpectra(nn.Module):
    """What the branches of a `SpectralNetwork` are given."""

    def __init__(self, frontend: SpectralNetwork, samples: int) -> None:
        super().__init__()
        self.whole = None if frontend.clip_net is None else ClipSpectrum(samples)
        windows = [frontend.get_buffer(f"window{i}") for i in range(len(frontend.bins))]
        self.has_wave = frontend.wave_net is not None
        self.bins, self.mean_free = list(frontend.bins), list(frontend.mean_free)
        reflects = frontend.padding == "reflect"
        self.spectrograms = nn.ModuleList(
            PowerSpectrogram(w, len(w) // 2, reflects) for w in windows
        )

    def forward(self, waves: Tensor) -> list[Tensor]:
        """As `SpectralNetwork.features`."""
        found = [] if self.whole is None else [self.whole(waves)]
        found += [waves] if self.has_wave else []
        for spectrogram, (first, end), is_free in zip(
            self.spectrograms, self.bins, self.mean_free, strict=True
        ):
            x = spectrogram(waves)[:, :, first:end].sqrt().transpose(1, 2)
            found.append(x - x.mean(dim=2, keepdim=True) if is_free else x)
        return found


class MelMagnitudes(nn.Module):
    """What a `PooledSpectrogram` pools."""

    def __init__(self, frontend: PooledSpectrogram) -> None:
        super().__init__()
        window = frontend.get_buffer("window")
        self.spectrogram = PowerSpectrogram(window, len(window) // 2)
        self.register_buffer("filters", frontend.get_buffer("filters").clone())

    def forward(self, waves: Tensor) -> list[Tensor]:
        """Mel magnitudes, shape (n, frames, mels)."""
        return [self.spectrogram(waves).sqrt() @ self.get_buffer("filters")]


def add_scales(network: nn.Module) -> None:
    """Give batch normalisation that has none a scale of 1 and a shift of 0.

    The ONNX exporter takes the number of channels from them.
    """
    for layer in network.modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) and not layer.affine:
            layer.affine = True
            layer.weight = nn.Parameter(torch.ones(layer.num_features))
            layer.bias = nn.Parameter(torch.zeros(layer.num_features))
