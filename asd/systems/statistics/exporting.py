"""The statistics' score as a module from waveforms, for `asd export`."""

import torch
from torch import Tensor, nn

from asd.audio.logmel import LogMelParameters
from asd.systems.exporting import LogMelFrames


class StatisticsScore(nn.Module):
    """Waveforms of shape (n, samples) to scores of shape (n,).

    Parameters
    ----------
    spectrogram, rate_hz
        Of the log-mel frames.
    mean, spread
        What statistics are scaled by, shape (statistics,).
    distance
        From scaled statistics (n, statistics) to scores.
    """

    def __init__(
        self,
        spectrogram: LogMelParameters,
        rate_hz: int,
        mean: Tensor,
        spread: Tensor,
        distance: nn.Module,
    ) -> None:
        super().__init__()
        self.frames = LogMelFrames(spectrogram, rate_hz)
        self.register_buffer("mean", mean.float())
        self.register_buffer("spread", spread.float())
        self.distance = distance

    def forward(self, waves: Tensor) -> Tensor:
        """Scores of waveforms, see `band_statistics`."""
        frames = self.frames(waves)
        means = frames.mean(dim=1, keepdim=True)
        deviations = (frames - means).square().mean(dim=1).sqrt()
        level = means.mean(dim=2)
        statistics = torch.cat([level, means.squeeze(1) - level, deviations], dim=1)
        scaled = (statistics - self.get_buffer("mean")) / self.get_buffer("spread")
        scores: Tensor = self.distance(scaled)
        return scores
