"""EAT: a Vision Transformer on patches of 16 frames by 16 mel bands, with a class token.

Post-norm blocks, fixed positions that the checkpoint brings along, no norm at the end.

Source: Chen et al., "EAT: Self-supervised pre-training with efficient audio Transformer",
IJCAI 2024.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad, scaled_dot_product_attention

from asd.encoders import filterbank
from asd.encoders.network import EncoderNetwork, TokenGrid, kept_paths
from asd.products import Linear

_MEAN, _DEVIATION = -4.268, 4.569
"""Of log-mel values; the published program divides by twice the deviation."""

_FRAMES_OF = 32
"""The number of frames is filled up to a multiple of it, with zeros before normalisation."""

_LAST_DROP = 0.1
"""Probability with which training leaves out the last block's branches; the first block's is 0."""

_HEAD_WIDTH = 64
"""Of the published networks, base and large."""


class Eat(EncoderNetwork):
    """The encoder of an EAT checkpoint, without what only pre-training or a classifier needs.

    Parameters
    ----------
    weights
        Arrays by the names that `own_names` gives.
    heads
        Number of attention heads; None where nothing tells: heads of 64 values.
    epsilon
        Of the layer norms.

    Raises
    ------
    KeyError, RuntimeError, ValueError
        The arrays are not those of such a network.
    """

    kind: ClassVar[str] = "EAT"
    rate_hz: ClassVar[int] = filterbank.RATE_HZ
    adapted: ClassVar[tuple[str, ...]] = ("qkv",)
    fixed: ClassVar[tuple[str, ...]] = ("positions",)

    def __init__(
        self, weights: Mapping[str, Tensor], heads: int | None, epsilon: float = 1e-6
    ) -> None:
        dim, _, self.patch, _ = weights["local_encoder.proj.weight"].shape
        depth = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
        super().__init__(dim, filterbank.BANDS // self.patch, depth)
        heads = heads or dim // _HEAD_WIDTH
        if not heads or dim % heads:
            raise ValueError(f"{heads} attention heads for {dim} values")
        hidden = len(weights["blocks.0.mlp.fc1.weight"])
        self.local_encoder = nn.ModuleDict({"proj": nn.Conv2d(1, dim, self.patch, self.patch)})
        self.extra_tokens = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(torch.zeros_like(weights["positions"]), requires_grad=False)
        self.pre_norm = nn.LayerNorm(dim, eps=epsilon)
        self.blocks = nn.ModuleList(_Block(dim, heads, hidden, epsilon) for _ in range(depth))
        self.load_state_dict(dict(weights))

    @property
    def shortest(self) -> int:
        return filterbank.FRAME

    @property
    def longest(self) -> int:
        frames = self.positions.shape[1] // self.bands * self.patch
        return filterbank.FRAME + frames * filterbank.SHIFT - 1

    @property
    def has_class_token(self) -> bool:
        return True

    def time_steps(self, samples: int) -> int:
        frames = filterbank.frame_count(samples)
        return (frames + -frames % _FRAMES_OF) // self.patch

    @torch.no_grad()
    def features(self, waves: Tensor) -> Tensor:
        """Normalised log-mel frames, shape (clips, frames, 128), frames a multiple of 32.

        The mean is taken off each clip as a whole first.
        """
        waves = waves - waves.mean(dim=1, keepdim=True)
        return self.normalised(filterbank.log_mel_frames(waves, "hann"))

    @staticmethod
    def normalised(frames: Tensor) -> Tensor:
        """Log-mel frames as the network is given them."""
        missing = -frames.shape[1] % _FRAMES_OF
        return (pad(frames, (0, 0, 0, missing)) - _MEAN) / (2 * _DEVIATION)

    def forward(self, features: Tensor, layer: int | None = None) -> TokenGrid:
        x = self.embedded(self.patches(features))
        for number, block in enumerate(self.blocks[: layer or self.layers]):
            drop = _LAST_DROP * number / max(1, self.layers - 1) if self.training else 0.0
            x = block(x, drop, self.generator)
        tokens = x[:, 1:].reshape(x.shape[0], -1, self.bands, self.dim)
        return TokenGrid(tokens, x[:, 0])

    def patches(self, features: Tensor) -> Tensor:
        """Patches before position and blocks, shape (clips, tokens, dim)."""
        projection = self.local_encoder["proj"]
        found: Tensor = projection(features.unsqueeze(1)).flatten(2).transpose(1, 2)
        return found

    def embedded(self, x: Tensor) -> Tensor:
        """Class token, then patches with their positions, normalised."""
        x = x + self.positions[:, : x.shape[1]]
        x = torch.cat([self.extra_tokens.expand(x.shape[0], -1, -1), x], dim=1)
        found: Tensor = self.pre_norm(x)
        return found


class _Block(nn.Module):
    """Attention and a network of two linear layers, each normalised after it was added."""

    def __init__(self, dim: int, heads: int, hidden: int, epsilon: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=epsilon)
        self.attn = _Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=epsilon)
        self.mlp = nn.ModuleDict({"fc1": Linear(dim, hidden), "fc2": Linear(hidden, dim)})

    def forward(self, x: Tensor, drop: float, generator: torch.Generator | None) -> Tensor:
        x = self.norm1(x + kept_paths(self.attn(x), drop, generator))
        added = self.mlp["fc2"](gelu(self.mlp["fc1"](x)))
        found: Tensor = self.norm2(x + kept_paths(added, drop, generator))
        return found


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(q, k, v)
        found: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return found


_RENAMED = {
    "context_encoder.norm": "pre_norm",
    "fixed_positional_encoder.positions": "positions",
    "positional_encoder.pos_embed": "positions",
    "positional_encoder.positions": "positions",
}
_PARTS = ("local_encoder.proj.", "extra_tokens", "pre_norm.", "positions", "blocks.")


def own_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The arrays that features need, by our names, from either published layout.

    fairseq's names begin with modality_encoders.IMAGE (those of blocks do not), those of the
    safetensors files with model; fine-tuned fairseq files have model before either.
    """
    found = {}
    for name, value in weights.items():
        if not isinstance(value, Tensor):  # the teacher's weights are a dict of their own
            continue
        own = name.removeprefix("model.").removeprefix("modality_encoders.IMAGE.")
        for old, new in _RENAMED.items():
            own = own.replace(old, new) if own.startswith(old) else own
        if own.startswith(_PARTS):
            found[own] = value.float()
    return found
