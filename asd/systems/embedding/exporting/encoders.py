"""Pretrained encoders as modules from waveforms to embeddings.

Their networks are used as they are, with LoRA taken into the layers beside it; spectrograms and
resampling are made of operations that ONNX knows.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from asd.encoders import beats, efficientat, filterbank, panns
from asd.encoders.beats import Beats
from asd.encoders.eat import Eat
from asd.encoders.efficientat import EfficientAt
from asd.encoders.encoder import check_length, load
from asd.encoders.lora import LoraLinear
from asd.encoders.network import EncoderNetwork
from asd.encoders.panns import Cnn14
from asd.encoders.pooling import POOLINGS, Pooling
from asd.errors import UserError
from asd.systems.embedding.exporting.resampling import FilterResampler, FourierResampler
from asd.systems.embedding.frontends import Frontend
from asd.systems.embedding.pretrained import AdaptedEncoder, FrozenEncoder
from asd.systems.embedding.tuned import TunedEncoder
from asd.systems.exporting import FourierTransform, PowerSpectrogram, framed

FrontendT = TypeVar("FrontendT", bound=Frontend)


class KaldiFrames(nn.Module):
    """Log-mel frames as of `asd.encoders.filterbank`: (n, samples) to (n, frames, 128)."""

    def __init__(self, window: filterbank.WindowName) -> None:
        super().__init__()
        self.transform = FourierTransform(filterbank.TRANSFORM)
        self.register_buffer("window", filterbank.frame_window(window).clone())
        self.register_buffer("filters", filterbank.band_filters().clone())

    def forward(self, waves: Tensor) -> Tensor:
        """Frames that fit whole."""
        frames = framed(waves, filterbank.FRAME, filterbank.SHIFT)
        frames = frames - frames.mean(dim=2, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
        shaped = (frames - filterbank.EMPHASIS * before) * self.get_buffer("window")
        real, imaginary = self.transform(pad(shaped, (0, filterbank.TRANSFORM - filterbank.FRAME)))
        power = real * real + imaginary * imaginary
        found: Tensor = (power @ self.get_buffer("filters")).clamp_min(filterbank.FLOOR).log()
        return found


class BeatsSpectrum(nn.Module):
    """As `Beats.features`."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = KaldiFrames("povey")

    def forward(self, waves: Tensor) -> Tensor:
        """From (n, samples) to (n, frames, 128)."""
        return Beats.normalised(self.frames(waves * beats.FULL_SCALE))


class EatSpectrum(nn.Module):
    """As `Eat.features`."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = KaldiFrames("hann")

    def forward(self, waves: Tensor) -> Tensor:
        """From (n, samples) to (n, frames, 128)."""
        return Eat.normalised(self.frames(waves - waves.mean(dim=1, keepdim=True)))


class EfficientAtSpectrum(nn.Module):
    """As `EfficientAt.features`."""

    def __init__(self, network: EfficientAt) -> None:
        super().__init__()
        self.power = PowerSpectrogram(network.get_buffer("window"), efficientat.HOP, reflects=True)
        self.register_buffer("filters", efficientat.band_filters().clone())

    def forward(self, waves: Tensor) -> Tensor:
        """From (n, samples) to (n, 128, frames)."""
        power = self.power(EfficientAt.emphasised(waves))
        return EfficientAt.normalised(power @ self.get_buffer("filters")).transpose(1, 2)


class Cnn14Spectrum(nn.Module):
    """As `Cnn14.features`."""

    def __init__(self, network: Cnn14) -> None:
        super().__init__()
        self.power = PowerSpectrogram(network.get_buffer("window"), panns.HOP, reflects=True)
        self.register_buffer("filters", panns.band_filters().clone())

    def forward(self, waves: Tensor) -> Tensor:
        """From (n, samples) to (n, frames, 64)."""
        return Cnn14.normalised(self.power(waves) @ self.get_buffer("filters"))


def spectrum_of(network: EncoderNetwork) -> nn.Module:
    """A module that gives what `features` of an encoder's network gives.

    Raises
    ------
    UserError
        There is no export of this network.
    """
    if isinstance(network, Beats):
        return BeatsSpectrum()
    if isinstance(network, Eat):
        return EatSpectrum()
    if isinstance(network, EfficientAt):
        return EfficientAtSpectrum(network)
    if isinstance(network, Cnn14):
        return Cnn14Spectrum(network)
    raise UserError(
        f"the encoder {network.kind} cannot be exported; BEATs, EAT, EfficientAT and CNN14 can"
    )


class FrozenEmbedding(nn.Module):
    """Waveforms (n, samples) to the embeddings of a frozen encoder, shape (n, dim).

    Parameters
    ----------
    frozen
        The recipe's frontend.
    samples, rate_hz
        Length of the waveforms, and their rate.

    Raises
    ------
    UserError
        There is no export of the network, the pooling or the rate, or the waveforms are too short
        or too long.
    """

    def __init__(self, frozen: FrozenEncoder, samples: int, rate_hz: int) -> None:
        super().__init__()
        encoder = load(frozen.weights)
        self.network, self.layer = encoder.network, frozen.layer
        self.takes_class = frozen.take == "class"
        self.pooling = None if self.takes_class else checked_pooling(frozen.pooling)
        self.spectrum = spectrum_of(self.network)
        self.resampler: nn.Module = nn.Identity()
        if rate_hz != encoder.rate_hz:
            self.resampler = resampler = FilterResampler(samples, rate_hz, encoder.rate_hz)
            samples = resampler.length
        try:
            check_length(self.network, encoder.name, samples)
        except UserError as error:
            raise UserError(f"the exported window (--window) {error}") from None

    def forward(self, waves: Tensor) -> Tensor:
        """Bands that were pooled apart lie side by side."""
        grid = self.network(self.spectrum(self.resampler(waves)), self.layer)
        if self.takes_class:
            assert grid.class_token is not None
            token: Tensor = grid.class_token
            return token
        assert self.pooling is not None
        return self.pooling(grid.tokens).flatten(1)


class AdaptedEmbedding(nn.Module):
    """Waveforms (n, samples) to the embeddings of an encoder that was trained or adapted.

    Parameters
    ----------
    frontend
        It is not changed.
    samples
        Length of the waveforms.

    Raises
    ------
    UserError
        There is no export of the network, the pooling or the rate.
    """

    def __init__(self, frontend: AdaptedEncoder | TunedEncoder, samples: int) -> None:
        super().__init__()
        self.frontend = copied(frontend)
        without_lora(self.frontend)
        self.spectrum = spectrum_of(self.frontend.network)
        self.resampler: nn.Module = nn.Identity()
        self.full_scale = 1.0
        if isinstance(frontend, TunedEncoder):
            self.full_scale = frontend.full_scale
            if frontend.rate_hz != frontend.network.rate_hz:
                rates = frontend.rate_hz, frontend.network.rate_hz
                self.resampler = FourierResampler(samples, *rates)
        elif frontend.score_pooling is not None:
            checked_pooling(frontend.score_pooling)

    def forward(self, waves: Tensor) -> Tensor:
        """Shape (n, dim)."""
        spectrum = self.spectrum(self.full_scale * self.resampler(waves))
        found: Tensor = self.frontend.embed([spectrum])
        return found


def checked_pooling(pooling: Pooling) -> Pooling:
    """A pooling, if it is one of the package.

    Raises
    ------
    UserError
        It is one of the user's own, which may do anything.
    """
    if type(pooling) not in POOLINGS.values():
        raise UserError(
            f"the pooling {type(pooling).__name__} cannot be exported; {', '.join(POOLINGS)} can"
        )
    return pooling


def copied(frontend: FrontendT) -> FrontendT:
    """A copy on the CPU, in evaluation mode, without the generators of training.

    These cannot be copied, and evaluation draws nothing.
    """
    drawn_from = (getattr(module, "generator", None) for module in frontend.modules())
    without = {id(each): None for each in drawn_from if each is not None}
    return copy.deepcopy(frontend, without).cpu().eval().requires_grad_(False)


def without_lora(network: nn.Module) -> None:
    """Put plain linear layers in place of those with LoRA."""
    found = [(name, m) for name, m in network.named_modules() if isinstance(m, LoraLinear)]
    for name, layer in found:
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, layer.merged())
