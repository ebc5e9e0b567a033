"""The autoencoder's scores as a module from waveforms, for `asd export`."""

import torch
from torch import Tensor, nn

from asd.audio.logmel import LogMelParameters
from asd.systems.autoencoder.network import AutoencoderNetwork
from asd.systems.autoencoder.scoring import MAHALA, MSE, Precisions
from asd.systems.exporting import LogMelFrames, folded, windowed


class AutoencoderScore(nn.Module):
    """Waveforms of shape (n, samples) to a score of each, shape (n,).

    Parameters
    ----------
    network
        In evaluation mode; its batch normalisation is taken into the linear layers.
    precisions
        Needed for the Mahalanobis scores.
    score
        Name of the score.
    spectrogram
        Parameters of the log-mel frames.
    rate_hz
        Sampling rate of the waveforms.
    width, hop
        Frames of a window, and frames between windows.
    """

    int8_parts = ("network",)
    """What may be computed with 8 bits; the spectrogram needs more."""

    def __init__(
        self,
        network: AutoencoderNetwork,
        precisions: Precisions | None,
        score: str,
        spectrogram: LogMelParameters,
        rate_hz: int,
        width: int,
        hop: int,
    ) -> None:
        super().__init__()
        self.score, self.width, self.hop = score, width, hop
        self.frames = LogMelFrames(spectrogram, rate_hz)
        self.network = folded([*network.encoder, *network.decoder])
        if precisions is not None:
            self.register_buffer("source", precisions.source.clone())
            self.register_buffer("target", precisions.target.clone())

    def forward(self, waves: Tensor) -> Tensor:
        """Scores of waveforms."""
        frames = self.frames(waves)
        windows = windowed(frames, self.width, self.hop)
        difference = self.network(windows) - windows
        if self.score == MSE:
            error: Tensor = difference.square().mean(dim=(1, 2))
            return error
        rows = difference.reshape(difference.shape[0], -1, frames.shape[2])
        if self.score == MAHALA:
            rows = rows.mean(dim=1, keepdim=True)
        distances = [
            ((rows @ self.get_buffer(domain)) * rows).sum(dim=2).mean(dim=1)
            for domain in ("source", "target")
        ]
        return torch.minimum(*distances)
