"""The official network: a fully connected autoencoder over windows of log-mel frames.

Source: Harada et al., "First-shot anomaly detection for machine condition monitoring: a domain
generalization baseline" (EUSIPCO 2023), and the public baseline v5.1.1.
"""

import math
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

HIDDEN = 128
CODE = 8


class AutoencoderNetwork(nn.Module):
    """Encoder n-128-128-128-128-8 and decoder 8-128-128-128-128-n.

    Every linear layer but the last is followed by batch normalisation and ReLU, the code too.
    Names of parameters are the public baseline's, so its state dicts fit. Layers are PyTorch's own,
    not those of `asd.products`, so that a training has the public one's bits.

    Parameters
    ----------
    input_dim
        Values in a window: frames * mels.
    block_size
        Mel bands: the size of the covariances, which are stored with the weights.
    """

    cov_source: Tensor
    cov_target: Tensor

    def __init__(self, input_dim: int, block_size: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*_blocks([input_dim, *[HIDDEN] * 4, CODE]))
        self.decoder = nn.Sequential(*_blocks([CODE, *[HIDDEN] * 4]), nn.Linear(HIDDEN, input_dim))
        self.register_buffer("cov_source", torch.zeros(block_size, block_size))
        self.register_buffer("cov_target", torch.zeros(block_size, block_size))

    def forward(self, windows: Tensor) -> Tensor:
        """Reconstruct windows of shape (n, input_dim)."""
        reconstruction: Tensor = self.decoder(self.encoder(windows))
        return reconstruction


def initialise(network: AutoencoderNetwork, generator: Generator) -> None:
    """Draw initial weights as PyTorch does by default, in the public order, from `generator`.

    Weights and biases of a linear layer are uniform within 1 / sqrt(inputs).
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.in_features)
            for parameter in (layer.weight, layer.bias):
                with torch.no_grad():
                    parameter.uniform_(-bound, bound, generator=generator)


def _blocks(sizes: list[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [
            nn.Linear(inputs, outputs),
            nn.BatchNorm1d(outputs, momentum=0.01, eps=1e-3),
            nn.ReLU(),
        ]
    return layers
