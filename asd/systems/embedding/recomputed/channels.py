"""Batch norm of images that lie channels last in memory: statistics, values, gradients.

An image of shape (C, H, W) is seen as H lines of W * C values, as rows of few channels take far
longer.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_VALUES_AT_ONCE = 2**19
"""Numbers of an array that are computed at a time: a few such arrays fit into a cache."""


class Moments(NamedTuple):
    """Mean and variance (divisor n) of each channel, shape (C,), and n; without a gradient."""

    mean: Tensor
    variance: Tensor
    n: int

    @classmethod
    def of(cls, x: Tensor) -> "Moments":
        """Moments of an array of shape (N, C, H, W), channels last in memory."""
        sums = ChannelSums()
        for (part,) in in_step(x.detach()):
            sums.add(part)
        return sums.moments()

    @classmethod
    def of_bins(cls, spectra: Tensor) -> "Moments":
        """Moments of each bin of spectra of shape (N, bins, frames)."""
        total, n = torch.zeros(()), len(spectra) * spectra.shape[2]
        for (part,) in in_step(spectra.detach()):
            sums = torch.stack([part.sum(dim=2), part.square().sum(dim=2)])
            total = total + sums.double().sum(dim=1)
        return _moments(total, n, spectra.dtype)


class ChannelSums:
    """Sums and sums of squares of channels, added up array by array in double precision."""

    def __init__(self) -> None:
        self._total = torch.zeros(())
        self._dtype = torch.float32
        self.n = 0

    def add(self, x: Tensor) -> None:
        """Add an array of shape (N, C, H, W)."""
        self._dtype = x.dtype
        self._total = self._total + torch.stack([channel_sums(x), channel_sums(x.square())])
        self.n += x.numel() // x.shape[1]

    def moments(self) -> Moments:
        """Moments of all values so far."""
        return _moments(self._total, self.n, self._dtype)


class GradientSums:
    """Sums of a gradient by a batch norm's output, and of its products with the plain output."""

    def __init__(self) -> None:
        self.gradient = torch.zeros(())
        self.product = torch.zeros(())

    def add(self, gradient: Tensor, plain: Tensor) -> None:
        """Add arrays of shape (N, C, H, W); `plain` is the output before scale and shift."""
        self.gradient = self.gradient + channel_sums(gradient)
        self.product = self.product + channel_sums(gradient * plain)


class Norm:
    """Batch norm with given moments of its input.

    Parameters
    ----------
    found
        The moments.
    eps
        Added to the variances.
    scale, shift
        What is learned, shape (C,); None for 1 and 0.
    """

    def __init__(
        self, found: Moments, eps: float, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> None:
        self._mean, self._n = found.mean, found.n
        self._inverse = (found.variance + eps).rsqrt()
        self._scale = scale
        self._factor = self._inverse if scale is None else self._inverse * scale
        self._offset = (0 if shift is None else shift) - self._mean * self._factor

    def __call__(self, x: Tensor) -> Tensor:
        """From (N, C, H, W) to the same shape."""
        return _affine(x, self._factor, self._offset)

    def plain(self, x: Tensor, normed: Tensor) -> Tensor:
        """The output before scale and shift, where x made `normed`."""
        if self._scale is None:
            return normed
        return _affine(x, self._inverse, -self._mean * self._inverse)

    def gradient(
        self, gradient: Tensor, x: Tensor, sums: GradientSums, out: Tensor | None = None
    ) -> Tensor:
        """Of x, from that of the output; the moments are functions of x.

        factor * (g - mean(g) - y * mean(g * y)) for a plain output of y, where the means are over
        the whole batch.

        Parameters
        ----------
        sums
            Of the whole batch.
        out
            Where to put it, which may be the output's gradient.
        """
        means = (torch.stack([sums.gradient, sums.product]) / self._n).to(self._mean.dtype)
        slope = -self._factor * self._inverse * means[1]
        rest = _affine(x, slope, -self._factor * means[0] - slope * self._mean)
        out = rest if out is None else out
        torch.addcmul(lines(rest), lines(gradient), _line(self._factor, x), out=lines(out))
        return out

    def learned(self, sums: GradientSums) -> tuple[Tensor | None, Tensor | None]:
        """Gradients by scale and shift."""
        if self._scale is None:
            return None, None
        return sums.product.to(self._scale.dtype), sums.gradient.to(self._scale.dtype)


def in_step(*arrays: Tensor, clips: int = 0) -> Iterator[tuple[Tensor, ...]]:
    """Parts of arrays of as many clips, so many at a time; 0 takes what the first array allows."""
    clips = clips or max(_VALUES_AT_ONCE // max(arrays[0][:1].numel(), 1), 1)
    return zip(*(torch.split(array, clips) for array in arrays), strict=True)


def channels_last(x: Tensor) -> Tensor:
    """The same array with its channels last in memory."""
    return x.contiguous(memory_format=torch.channels_last)


def lines(x: Tensor) -> Tensor:
    """A view of shape (N * H, W * C) of an array of shape (N, C, H, W), channels last."""
    n, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).reshape(n * height, width * channels)


def images(values: Tensor, like: Tensor) -> Tensor:
    """A view of shape (N, channels, H, W) of lines, or positions, of as many images as `like`."""
    n, _, height, width = like.shape
    return values.view(n, height, width, -1).permute(0, 3, 1, 2)


def channel_sums(x: Tensor) -> Tensor:
    """Sum of each channel, shape (C,), float64. Single precision adds up one image's columns."""
    n, channels, height, width = x.shape
    images = x.permute(0, 2, 3, 1).reshape(n, height, width * channels)
    columns = torch.bmm(x.new_ones(1, 1, 1).expand(n, 1, height), images)
    return columns.double().sum(dim=(0, 1)).view(width, channels).sum(dim=0)


def clip_sums(x: Tensor) -> Tensor:
    """Sum over all positions of each clip and channel, from (N, C, H, W) to (N, C)."""
    n, channels, height, width = x.shape
    positions = x.permute(0, 2, 3, 1).reshape(n, height * width, channels)
    return torch.bmm(x.new_ones(1, 1, 1).expand(n, 1, height * width), positions).squeeze(1)


def _moments(sums: Tensor, n: int, dtype: torch.dtype) -> Moments:
    """From sums of n values and of their squares, shape (2, C)."""
    mean, squares = sums / n
    variance = (squares - mean.square()).clamp_min(0)
    return Moments(mean.to(dtype), variance.to(dtype), n)


def _affine(x: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    """Find x * factor + offset for each channel, channels last."""
    return images(torch.addcmul(_line(offset, x), lines(x), _line(factor, x)), x)


def _line(values: Tensor, x: Tensor) -> Tensor:
    """A number for each channel, for every value of a line of x."""
    return values.repeat(x.shape[3])
