"""Convolutional networks for spectra: what is learned in a spectral frontend.

Source: Fujimura et al., "Improvements of discriminative feature space training for anomalous
sound detection in unlabeled conditions", ICASSP 2025; squeeze and excitation: Hu et al., CVPR
2018. No layer has a bias. Batch norms (eps 1e-5, momentum 0.1) have a learned scale and shift with
`affine`, as in the paper's program (unlabeledasd), and none without, as in dcase-asd-toolkit.
"""

import warnings
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, relu

from asd.products import Linear
from asd.systems.embedding.recomputed.block import BlockWeights, residual_block
from asd.systems.embedding.recomputed.channels import Moments
from asd.systems.embedding.recomputed.stem import Bins, pooled_stem
from asd.systems.embedding.recomputed.strided import strided_conv

FFT_KERNELS = ((256, 64), (64, 32), (16, 4))
"""(kernel, stride) of the three convolutions over a whole-clip spectrum."""

WAVE_KERNELS = ((512, 128), (64, 32), (16, 4))
"""The same over the waveform itself."""

_SQUEEZE = 16  # channels per hidden unit of squeeze and excitation


class SqueezeExcite(nn.Module):
    """A factor in (0, 1) for each channel, from the channels' means.

    With fewer than 16 channels there is no hidden unit, and every factor is 0.5.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // _SQUEEZE
        self.squeeze = _linear(channels, hidden)
        self.excite = _linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Factors for x of shape (N, C, ...), shape (N, C, 1, ...)."""
        factors: Tensor = self.excite(relu(self.squeeze(_channel_means(x)))).sigmoid()
        return factors.view(*factors.shape, *[1] * (x.dim() - 2))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """A layer without bias; an empty one has nothing to initialise, which torch would warn of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        return nn.Linear(inputs, outputs, bias=False)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip path; both start from the batch-normalised input.

    With stride 2 the skip path is a max pooling and a 1x1 convolution.
    """

    def __init__(self, channels: int, width: int, stride: int, affine: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels, affine=affine)
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width, affine=affine)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.gate = SqueezeExcite(width)
        self.skip: nn.Module = nn.Identity()
        if stride > 1:
            conv = nn.Conv2d(channels, width, 1, bias=False)
            self.skip = nn.Sequential(nn.MaxPool2d(3, stride, padding=1), conv)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, C, frequency, time) to (N, width, frequency / stride, time / stride)."""
        if self.training and x.device.type == "cpu":
            return self.recomputing(x, Moments.of(x))[0]
        x = self.norm1(x)
        main = self.norm2(self.conv1(relu(x)))
        main = self.conv2(main.relu_())
        return torch.addcmul(self.skip(x), main, self.gate(main))

    def recomputing(self, x: Tensor, found: Moments) -> tuple[Tensor, Moments]:
        """The same in training on a CPU, keeping little for the gradient.

        From an array and its moments to the output and its moments.
        """
        weights = BlockWeights(
            self.conv1.weight,
            self.conv2.weight,
            self.gate.squeeze.weight,
            self.gate.excite.weight,
            self.skip.get_parameter("1.weight") if isinstance(self.skip, nn.Sequential) else None,
            self.norm1.weight,
            self.norm1.bias,
            self.norm2.weight,
            self.norm2.bias,
        )
        stride = self.conv1.stride[0]
        x, middle, last = residual_block(x, found, weights, stride, self.norm1.eps)
        _track(self.norm1, found)
        _track(self.norm2, middle)
        return x, last


class SpectrogramNet(nn.Module):
    """Embeds a spectrogram: batch norm per frequency bin, residual network, maximum over time.

    Parameters
    ----------
    bins
        Frequency bins of the spectrograms.
    width
        Size of the embedding; the first stage has an eighth of it as channels.
    affine
        Whether batch norms have a learned scale and shift.
    """

    def __init__(self, bins: int, width: int, affine: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(bins, affine=affine)
        self.stem = nn.Conv2d(1, width // 8, 7, stride=2, bias=False)
        self.stem_norm = nn.BatchNorm2d(width // 8, affine=affine)
        self.pool = nn.MaxPool2d(3, stride=2)
        widths = [width // 8, width // 8, width // 4, width // 2, width]
        blocks = []
        for number, (before, after) in enumerate(pairwise(widths)):
            blocks += [ResidualBlock(before, after, 1 if number == 0 else 2, affine)]
            blocks += [ResidualBlock(after, after, 1, affine)]
        self.blocks = nn.Sequential(*blocks)
        features = width * _rows_left(bins)
        self.head_norm = nn.BatchNorm1d(features, affine=affine)
        self.head = Linear(features, width, bias=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast

    def forward(self, spectra: Tensor) -> Tensor:
        """From (N, bins, frames) to (N, width)."""
        if self.training and spectra.device.type == "cpu":
            x = self._recomputing(spectra)
        else:
            x = self.norm(spectra).unsqueeze(1)
            x = self.blocks(self.pool(self.stem_norm(self.stem(x))).relu_())
        embeddings: Tensor = self.head(self.head_norm(x.amax(dim=3).flatten(1)))
        return embeddings

    def _recomputing(self, spectra: Tensor) -> Tensor:
        """What norm, stem and blocks make of spectra, keeping little for the gradient."""
        found, norm = Moments.of_bins(spectra), self.stem_norm
        _track(self.norm, found)
        if self.norm.affine:
            values = found.mean, found.variance, self.norm.weight, self.norm.bias
            spectra, bins = batch_norm(spectra, *values, eps=self.norm.eps), None
        else:
            bins = Bins.normalising(found, self.norm.eps)
        x, found = pooled_stem(
            spectra.unsqueeze(1), self.stem.weight, norm.eps, norm.weight, norm.bias, bins
        )
        _track(norm, found)
        found = Moments.of(x)
        for block in self.blocks:
            assert isinstance(block, ResidualBlock)
            x, found = block.recomputing(x, found)
        return x


class SpectrumNet(nn.Module):
    """Embeds the spectrum of a whole clip: three wide convolutions, then a multi-layer perceptron.

    Parameters
    ----------
    bins
        Length of the spectra.
    width
        Channels of every layer and size of the embedding.
    kernels
        (kernel, stride) of the convolutions.
    affine
        Whether batch norms have a learned scale and shift.
    """

    def __init__(
        self,
        bins: int,
        width: int,
        kernels: Sequence[tuple[int, int]] = FFT_KERNELS,
        affine: bool = False,
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        self.gates = nn.ModuleList()
        channels, positions = 1, bins
        for kernel, stride in kernels:
            self.convs.append(nn.Conv1d(channels, width, kernel, stride, bias=False))
            self.gates.append(SqueezeExcite(width))
            channels, positions = width, (positions - kernel) // stride + 1
        if positions < 1:
            raise ValueError(f"{bins} bins are too few for kernels and strides {list(kernels)}")
        sizes = [width * positions] + [width] * 5
        self.layers = nn.ModuleList(
            nn.Sequential(Linear(size, width, bias=False), nn.BatchNorm1d(width, affine=affine))
            for size in sizes[:5]
        )
        self.head = Linear(width, width, bias=False)

    def forward(self, spectra: Tensor) -> Tensor:
        """From (N, bins) to (N, width)."""
        x = spectra.unsqueeze(2)  # (N, positions, channels)
        factors = x.new_ones(1, 1)  # an exported network takes any number of clips
        for conv, gate in zip(self.convs, self.gates, strict=True):
            x = _convolved(x, factors, conv).relu_()
            factors = gate(x.transpose(1, 2)).squeeze(2)
        x = (x * factors.unsqueeze(1)).transpose(1, 2).flatten(1)
        for layer in self.layers:
            x = layer(x).relu_()
        embeddings: Tensor = self.head(x)
        return embeddings


def _convolved(x: Tensor, factors: Tensor, conv: nn.Module) -> Tensor:
    """conv(x * factors), from and to (N, positions, channels); factors are (N, channels)."""
    assert isinstance(conv, nn.Conv1d)
    if x.device.type == "cpu" and not torch.onnx.is_in_onnx_export():
        return strided_conv(x, conv.weight, conv.stride[0], factors.expand(len(x), -1))
    found: Tensor = conv((x * factors.unsqueeze(1)).transpose(1, 2))
    return found.transpose(1, 2)


@torch.no_grad()
def _track(norm: nn.BatchNorm1d | nn.BatchNorm2d, found: Moments) -> None:
    """Let a batch's moments into the running statistics, as batch norm itself does."""
    variance = found.variance * (found.n / (found.n - 1))
    for name, value in (("running_mean", found.mean), ("running_var", variance)):
        norm.get_buffer(name).lerp_(value, norm.momentum or 0.0)
    norm.get_buffer("num_batches_tracked").add_(1)


def _channel_means(x: Tensor) -> Tensor:
    """Mean over all positions, from (N, C, ...) to (N, C).

    As a product with a constant vector, because the gradient of `mean` comes channels first and
    everything after it would be copied to and fro (half the time of this backward pass).
    """
    positions = x.flatten(2).transpose(1, 2)  # (N, P, C)
    n, p, _ = positions.shape
    return torch.bmm(positions.new_full((1, 1, 1), 1 / p).expand(n, 1, p), positions).squeeze(1)


SHORTEST_AXIS = 11
"""Bins or frames from which on `SpectrogramNet` has a row left after its stem."""


def _rows_left(size: int) -> int:
    """What the stem, its pooling and three stages of stride 2 leave of a spectrogram's axis."""
    size = (size - 7) // 2 + 1
    size = (size - 3) // 2 + 1
    for _ in range(3):
        size = (size - 1) // 2 + 1
    return size
