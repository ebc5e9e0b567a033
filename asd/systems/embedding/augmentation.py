"""Augmentation of training batches: mixup, SpecAugment, feature and statistics exchange.

Every function takes the generator that it draws from, on the CPU, so that one seed gives one
training on every device; its draws, in order, are part of its description. Rows are drawn upon
independently: a row is changed where a uniform draw is below `probability`. Labels have shape
(N, C), one-hot or mixed.

Sources: mixup: Zhang et al., ICLR 2018; SpecAugment: Park et al., Interspeech 2019; feature
exchange: Wilkinghoff, ICASSP 2024; statistics exchange: Chen et al., ICASSP 2023.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

STATISTICS_BLOCKS = 3
"""Blocks of C columns that statistics exchange makes of a label: untouched, own, other."""


def mixup(
    waves: Tensor, labels: Tensor, probability: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Mix rows with rows of the same batch: lam * own + (1 - lam) * other.

    lam is uniform in [0, 1) and drawn per row (the paper draws one from a beta distribution per
    batch). Draws: lam (N), the permutation that gives the other rows, the decisions (N).

    Parameters
    ----------
    waves
        Shape (N, samples).

    Returns
    -------
    tuple
        Waves and labels, mixed alike.
    """
    rows = len(waves)
    lam = torch.rand(rows, generator=generator)
    other = torch.randperm(rows, generator=generator).to(waves.device)
    chosen = _decide(rows, probability, generator)
    share = torch.where(chosen, 1 - lam, 0.0).to(waves.device).unsqueeze(1)
    return _blend(waves, other, share), _blend(labels, other, share)


def add_noise(
    waves: Tensor, noise: Tensor, chosen: Tensor, snr_db: tuple[float, float], generator: Generator
) -> Tensor:
    """Add noise to some rows at signal-to-noise ratios drawn evenly between two, in dB.

    Draws: ratios (N), also of rows that are left alone.

    Parameters
    ----------
    waves, noise
        Shape (N, samples). Silent rows and silent noise change nothing.
    chosen
        Rows to change, shape (N,), bool, on the CPU.
    """
    low, high = snr_db
    ratio_db = low + (high - low) * torch.rand(len(waves), generator=generator)
    share = torch.where(chosen, 10 ** (-ratio_db / 20), 0.0).to(waves.device)
    level, own = waves.square().mean(dim=1).sqrt(), noise.square().mean(dim=1).sqrt()
    factor = share * level / own.clamp_min(torch.finfo(noise.dtype).tiny)
    return waves + torch.where(own > 0, factor, 0.0).unsqueeze(1) * noise


def spec_augment(
    spectra: Tensor,
    *,
    time_width: int,
    time_probability: float,
    frequency_width: int,
    frequency_probability: float,
    generator: Generator,
) -> Tensor:
    """Set a band of frames and a band of frequency bins to zero.

    A band's width is uniform in [0, width) and its start uniform where it fits, both rounded
    down. Draws, first for time, then for frequency: decisions (N), widths (N), starts (N).

    Parameters
    ----------
    spectra
        Real or complex, shape (N, frequencies, frames).
    """
    n, frequencies, frames = spectra.shape
    time = _bands(n, frames, time_width, time_probability, generator).to(spectra.device)
    bands = _bands(n, frequencies, frequency_width, frequency_probability, generator)
    hidden = time.unsqueeze(1) | bands.to(spectra.device).unsqueeze(2)
    return spectra.masked_fill(hidden, 0.0)


def spec_augment_waves(
    waves: Tensor,
    *,
    time_width: int = 80,
    time_probability: float = 0.5,
    frequency_width: int = 80,
    frequency_probability: float = 0.5,
    n_fft: int = 1024,
    generator: Generator,
) -> Tensor:
    """`spec_augment` for waveforms, shape (N, samples): to the spectrum, and back with its phase.

    Widths are in frames, n_fft / 4 samples apart, and in bins of the n_fft-point spectrum.
    """
    window = torch.hann_window(n_fft, device=waves.device)
    spectra = torch.stft(waves, n_fft, window=window, pad_mode="constant", return_complex=True)
    masked = spec_augment(
        spectra,
        time_width=time_width,
        time_probability=time_probability,
        frequency_width=frequency_width,
        frequency_probability=frequency_probability,
        generator=generator,
    )
    return torch.istft(masked, n_fft, window=window, length=waves.shape[1])


def feature_exchange(
    embeddings: Tensor,
    labels: Tensor,
    branches: int,
    probability: float,
    generator: Generator,
    *,
    keep_first: bool = True,
) -> tuple[Tensor, Tensor]:
    """Put embeddings together from the branches of different rows (FeatEx).

    The label gets a block of C columns for untouched rows, and one per branch for exchanged rows:
    1 / branches of the label that the branch came from. Draws: decisions (N), then a permutation
    per branch.

    Parameters
    ----------
    embeddings
        Shape (N, branches * size).
    keep_first
        The first branch stays, as in the paper; else it is exchanged as well (unlabeledasd).

    Returns
    -------
    tuple
        Embeddings of the same shape, and labels of shape (N, (branches + 1) * C).
    """
    rows = len(embeddings)
    chosen = _decide(rows, probability, generator)
    drawn = [torch.randperm(rows, generator=generator) for _ in range(branches - keep_first)]
    sources = torch.stack([torch.arange(rows)] * keep_first + drawn)
    sources = torch.where(chosen, sources, torch.arange(rows)).T.to(embeddings.device)
    apart = embeddings.view(rows, branches, -1)
    exchanged = apart[sources, torch.arange(branches, device=embeddings.device)]
    share = chosen.to(labels).view(rows, 1)
    blocks = share.unsqueeze(1) * labels[sources] / branches  # (N, branches, C)
    return exchanged.flatten(1), torch.cat([(1 - share) * labels, blocks.flatten(1)], dim=1)


def statistics_exchange(
    features: Sequence[Tensor], labels: Tensor, probability: float, generator: Generator
) -> tuple[list[Tensor], Tensor]:
    """Give spectrograms the means and deviations of another row's (StatEx).

    Along time they are taken per frequency bin, along frequency per frame; which of the two a
    row gets is drawn evenly. All spectrograms of a row get those of the same other row along the
    same axis. The label becomes three blocks of C columns: untouched, own and other, the latter
    two with half a label each. Draws: decisions (N), the permutation that gives the other rows,
    the axes (N).

    Parameters
    ----------
    features
        Spectrograms of shape (N, frequencies, frames); those of shape (N, bins), spectra of whole
        clips, have no statistics along time and stay as they are.

    Returns
    -------
    tuple
        Features of the same shapes, and labels of shape (N, 3 * C).
    """
    rows = len(labels)
    chosen = _decide(rows, probability, generator).to(labels.device)
    other = torch.randperm(rows, generator=generator).to(labels.device)
    over_time = _decide(rows, 0.5, generator).to(labels.device)

    def exchange(x: Tensor) -> Tensor:
        exchanged = transfer_statistics(x, x[other], over_time)
        return torch.where(chosen.view(-1, 1, 1), exchanged, x)

    share = chosen.to(labels).unsqueeze(1)
    blocks = [(1 - share) * labels, 0.5 * share * labels, 0.5 * share * labels[other]]
    found = [exchange(x) if x.dim() == 3 else x for x in features]
    return found, torch.cat(blocks, dim=1)


def transfer_statistics(spectra: Tensor, others: Tensor, over_time: Tensor) -> Tensor:
    """`spectra` with the means and deviations (divisor n - 1) of `others`.

    Parameters
    ----------
    spectra, others
        Shape (N, frequencies, frames).
    over_time
        Whether a row's statistics run over time rather than frequency, shape (N,), bool.
    """
    along_time = _standardise(spectra, others, axis=2)
    along_frequency = _standardise(spectra, others, axis=1)
    return torch.where(over_time.view(-1, 1, 1), along_time, along_frequency)


def _standardise(spectra: Tensor, others: Tensor, axis: int) -> Tensor:
    """`spectra` with the statistics of `others` along one axis."""
    deviation, mean = torch.std_mean(spectra, dim=axis, keepdim=True)
    new_deviation, new_mean = torch.std_mean(others, dim=axis, keepdim=True)
    return (spectra - mean) / (deviation + 1e-6) * new_deviation + new_mean


def _decide(rows: int, probability: float, generator: Generator) -> Tensor:
    return torch.rand(rows, generator=generator) < probability


def _blend(values: Tensor, other: Tensor, share: Tensor) -> Tensor:
    return torch.lerp(values, values[other], share)


def _bands(rows: int, size: int, width: int, probability: float, generator: Generator) -> Tensor:
    """Which of `size` positions each row hides, shape (rows, size)."""
    chosen = _decide(rows, probability, generator).unsqueeze(1)
    widths = torch.rand(rows, 1, generator=generator) * min(width, size)
    starts = torch.rand(rows, 1, generator=generator) * (size - widths)
    first, last = starts.floor(), starts.floor() + widths.floor()
    position = torch.arange(size)
    return chosen & (position >= first) & (position < last)
