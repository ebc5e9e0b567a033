"""Low-rank adaptation (LoRA): a frozen linear layer and two small matrices beside it.

Source: Hu et al., "LoRA: Low-rank adaptation of large language models", ICLR 2022; initialisation
and scale as in peft, which the published systems use.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import linear

from asd.encoders.network import dropped_out
from asd.products import Linear


class LoraLinear(nn.Module):
    """W x + b + (alpha / rank) B A x, of which A and B are learned.

    A, of shape (rank, inputs), begins uniform within 1 / sqrt(inputs); B, (outputs, rank), with
    zeros: at first the layer is the frozen one.

    Parameters
    ----------
    dropout
        Probability with which, in training, A hears nothing of a value of x.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.generator: Generator | None = None
        """What dropout draws from, on the CPU; None is torch's own."""
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        self.lora_a = nn.Parameter(torch.empty(rank, base.in_features))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        heard = dropped_out(x, self.dropout if self.training else 0.0, self.generator)
        added = linear(linear(heard, self.lora_a), self.lora_b)
        return torch.add(self.base(x), added, alpha=self.scale)

    def merged(self) -> nn.Linear:
        """A plain linear layer that computes the same."""
        plain = Linear(self.base.in_features, self.base.out_features, self.base.bias is not None)
        with torch.no_grad():
            plain.weight.copy_(self.base.weight + self.scale * self.lora_b @ self.lora_a)
            if self.base.bias is not None:
                plain.bias.copy_(self.base.bias)
        return plain.to(self.base.weight)


def add_lora(
    network: nn.Module, ends: Sequence[str], rank: int, alpha: float, dropout: float = 0.0
) -> int:
    """Put LoRA beside the linear layers whose names end so; all else of the network is frozen.

    Returns
    -------
    int
        Number of layers that were adapted.
    """
    network.requires_grad_(False)
    found = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in ends
    ]
    for name, module in found:
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, LoraLinear(module, rank, alpha, dropout))
    return len(found)
