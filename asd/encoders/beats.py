"""BEATs: a Transformer on patches of 16 frames by 16 mel bands.

Post-norm layers with deep norm, attention with a relative position bias that a gate scales for each
query. Sizes come from the checkpoint's arrays; what no array shows (distances, drop rates) from
its configuration.

Source: Chen et al., "BEATs: Audio pre-training with acoustic tokenizers", ICML 2023; gated relative
position bias: Chen et al., "WavLM", 2022, eq. 3-5; deep norm: Wang et al., "DeepNet", 2022.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from asd.encoders import filterbank
from asd.encoders.network import EncoderNetwork, TokenGrid, dropped_out
from asd.products import Linear

_MEAN, _DEVIATION = 15.41663, 6.55582
"""Of log-mel values; the published program divides by twice the deviation."""

FULL_SCALE = 2.0**15
"""What waves in [-1, 1] are multiplied by."""

_POS_CONV = "encoder.pos_conv.0"
_SHARED_BIAS = "self_attn.relative_attention_bias.weight"


@dataclass(frozen=True)
class BeatsSettings:
    """What the arrays of a checkpoint do not show; defaults are those of the published class."""

    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    encoder_layerdrop: float = 0.0
    dropout_input: float = 0.0
    max_distance: int = 1280
    deep_norm: bool = False
    layer_norm_first: bool = False
    activation_fn: str = "gelu"
    layer_wise_gradient_decay_ratio: float = 1.0


@dataclass(frozen=True)
class BeatsSizes:
    """Sizes of a network, as the shapes of its arrays tell them."""

    patch: int
    patch_channels: int
    width: int
    hidden: int
    heads: int
    layers: int
    buckets: int
    taps: int
    tap_groups: int

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> "BeatsSizes":
        """Sizes by the published names; a KeyError where an array is missing."""
        patches = weights["patch_embedding.weight"]
        width = len(weights["encoder.layer_norm.weight"])
        taps = weights[f"{_POS_CONV}.weight_v"]
        buckets, heads = weights[f"encoder.layers.0.{_SHARED_BIAS}"].shape
        numbers = {int(name.split(".")[2]) for name in weights if name.startswith("encoder.layers")}
        return cls(
            patch=patches.shape[-1],
            patch_channels=len(patches),
            width=width,
            hidden=len(weights["encoder.layers.0.fc1.weight"]),
            heads=heads,
            layers=len(numbers),
            buckets=buckets,
            taps=taps.shape[2],
            tap_groups=width // taps.shape[1],
        )


class Beats(EncoderNetwork):
    """The encoder of a BEATs checkpoint, without the head of a fine-tuned one.

    Parameters
    ----------
    weights
        Arrays by their published names.
    settings
        What they do not show.

    Raises
    ------
    KeyError, RuntimeError, ValueError
        The arrays are not those of such a network.
    """

    kind: ClassVar[str] = "BEATs"
    rate_hz: ClassVar[int] = filterbank.RATE_HZ
    adapted: ClassVar[tuple[str, ...]] = ("q_proj", "v_proj")

    def __init__(self, weights: Mapping[str, Tensor], settings: BeatsSettings) -> None:
        if settings.layer_norm_first or settings.activation_fn != "gelu":
            raise ValueError("a layer norm before each layer, or an activation other than GELU")
        sizes = BeatsSizes.of(weights)
        super().__init__(sizes.width, filterbank.BANDS // sizes.patch, sizes.layers)
        self.sizes, self.settings = sizes, settings
        self.patch_embedding = nn.Conv2d(
            1,
            sizes.patch_channels,
            sizes.patch,
            sizes.patch,
            bias="patch_embedding.bias" in weights,
        )
        self.layer_norm = nn.LayerNorm(sizes.patch_channels)
        self.post_extract_proj: nn.Module = nn.Identity()
        if "post_extract_proj.weight" in weights:
            self.post_extract_proj = Linear(sizes.patch_channels, sizes.width)
        self.encoder = _Layers(sizes, settings, "encoder.layers.0.self_attn.grep_a" in weights)
        self.load_state_dict(_own_names(weights))

    @property
    def shortest(self) -> int:
        return filterbank.FRAME + (self.sizes.patch - 1) * filterbank.SHIFT

    def time_steps(self, samples: int) -> int:
        return filterbank.frame_count(samples) // self.sizes.patch

    @torch.no_grad()
    def features(self, waves: Tensor) -> Tensor:
        """Normalised log-mel frames, shape (clips, frames, 128)."""
        return self.normalised(filterbank.log_mel_frames(waves * FULL_SCALE, "povey"))

    @staticmethod
    def normalised(frames: Tensor) -> Tensor:
        """Log-mel frames as the network is given them."""
        return (frames - _MEAN) / (2 * _DEVIATION)

    def forward(self, features: Tensor, layer: int | None = None) -> TokenGrid:
        """Tokens; frames that fill no patch are left out."""
        x = self.encoder.embedded(self.patches(features), self)
        x = self.encoder.transformed(x, layer or self.layers, self)
        return TokenGrid(x.reshape(x.shape[0], -1, self.bands, self.dim))

    def patches(self, features: Tensor) -> Tensor:
        """Patches before position and layers, shape (clips, tokens, width)."""
        x = self.patch_embedding(features.unsqueeze(1)).flatten(2).transpose(1, 2)
        found: Tensor = self.post_extract_proj(self.layer_norm(x)).to(self.layer_norm.weight)
        return dropped_out(found, self._rate(self.settings.dropout_input), self.generator)

    def _rate(self, probability: float) -> float:
        return probability if self.training else 0.0


class _Layers(nn.Module):
    """Position convolution and Transformer layers."""

    def __init__(self, sizes: BeatsSizes, settings: BeatsSettings, is_gated: bool) -> None:
        super().__init__()
        conv = nn.Conv1d(
            sizes.width, sizes.width, sizes.taps, padding=sizes.taps // 2, groups=sizes.tap_groups
        )
        self.pos_conv = nn.ModuleList([conv])
        self.layers = nn.ModuleList(_Layer(sizes, settings, is_gated) for _ in range(sizes.layers))
        self.layer_norm = nn.LayerNorm(sizes.width)
        self.bias = nn.Embedding(sizes.buckets, sizes.heads)
        self.settings = settings
        self.is_even = sizes.taps % 2 == 0
        self._table: Tensor | None
        self.register_buffer("_table", None, persistent=False)

    def embedded(self, x: Tensor, network: EncoderNetwork) -> Tensor:
        """Tokens with their positions, shape (clips, tokens, width)."""
        around = self.pos_conv[0](x.transpose(1, 2))
        if self.is_even:  # as many outputs as inputs
            around = around[:, :, :-1]
        x = self.layer_norm(x + gelu(around).transpose(1, 2))
        rate = self.settings.dropout if self.training else 0.0
        return dropped_out(x, rate, network.generator)

    def transformed(self, x: Tensor, layers: int, network: EncoderNetwork) -> Tensor:
        """The output of the layer of that number."""
        bias = self._bias(x)
        decay = self.settings.layer_wise_gradient_decay_ratio
        for layer in self.layers[:layers]:
            if self.training and decay != 1 and x.requires_grad:
                x = _ScaledGradient.apply(x, decay)  # type: ignore[no-untyped-call]
            if self.training and network.chance() <= self.settings.encoder_layerdrop:
                continue
            x = layer(x, bias, network)
        return x

    def _bias(self, x: Tensor) -> Tensor:
        """Position bias of all heads, shape (heads, tokens, tokens)."""
        if self.bias.weight.requires_grad:  # it is learned: there is nothing to keep
            return self._new_bias(x)
        count = x.shape[1]
        found = self._table
        if (
            found is None
            or found.shape[1] != count
            or found.dtype != x.dtype
            or (found.device != x.device)
        ):
            with torch.no_grad():
                found = self._new_bias(x)
            self._table = found
        return found

    def _new_bias(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[1])
        numbers = relative_buckets(
            places[None, :] - places[:, None], self.bias.num_embeddings, self.settings.max_distance
        )
        found: Tensor = self.bias(numbers.to(x.device)).permute(2, 0, 1)
        return found.contiguous().to(x.dtype)


class _Layer(nn.Module):
    """Attention and a network of two linear layers, each added to what it was given."""

    def __init__(self, sizes: BeatsSizes, settings: BeatsSettings, is_gated: bool) -> None:
        super().__init__()
        self.self_attn = _Attention(sizes, settings, is_gated)
        self.self_attn_layer_norm = nn.LayerNorm(sizes.width)
        self.fc1 = Linear(sizes.width, sizes.hidden)
        self.fc2 = Linear(sizes.hidden, sizes.width)
        self.final_layer_norm = nn.LayerNorm(sizes.width)
        self.residual = (2 * sizes.layers) ** 0.25 if settings.deep_norm else 1.0
        self.settings = settings

    def forward(self, x: Tensor, bias: Tensor, network: EncoderNetwork) -> Tensor:
        added = self._dropped(self.self_attn(x, bias, network), self.settings.dropout, network)
        x = self.self_attn_layer_norm(torch.add(added, x, alpha=self.residual))
        hidden = self._dropped(gelu(self.fc1(x)), self.settings.activation_dropout, network)
        added = self._dropped(self.fc2(hidden), self.settings.dropout, network)
        found: Tensor = self.final_layer_norm(torch.add(added, x, alpha=self.residual))
        return found

    def _dropped(self, x: Tensor, probability: float, network: EncoderNetwork) -> Tensor:
        return dropped_out(x, probability if self.training else 0.0, network.generator)


class _Attention(nn.Module):
    """Attention whose position bias is scaled for each query by a gate on the query."""

    def __init__(self, sizes: BeatsSizes, settings: BeatsSettings, is_gated: bool) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.k_proj = Linear(sizes.width, sizes.width)
        self.v_proj = Linear(sizes.width, sizes.width)
        self.q_proj = Linear(sizes.width, sizes.width)
        self.out_proj = Linear(sizes.width, sizes.width)
        self.is_gated = is_gated
        if is_gated:
            self.grep_linear = Linear(sizes.width // sizes.heads, 8)
            self.grep_a = nn.Parameter(torch.ones(1, sizes.heads, 1, 1))
        self.dropout = settings.attention_dropout

    def forward(self, x: Tensor, bias: Tensor, network: EncoderNetwork) -> Tensor:
        q, k, v = (self._heads(p(x)) for p in (self.q_proj, self.k_proj, self.v_proj))
        bias = self._gate(q) * bias if self.is_gated else bias.unsqueeze(0)
        if self.training and self.dropout:
            mixed = self._mixed_with_dropout(q, k, v, bias, network)
        else:
            mixed = scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q))
        found: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return found

    def _heads(self, x: Tensor) -> Tensor:
        """From (clips, tokens, width) to (clips, heads, tokens, width / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def _gate(self, q: Tensor) -> Tensor:
        """Factor of the position bias, shape (clips, heads, tokens, 1)."""
        found = self.grep_linear(q)
        gates = found.reshape(*found.shape[:3], 2, 4).sum(dim=4).sigmoid()
        reset, update = gates.chunk(2, dim=3)
        factor: Tensor = reset * (update * self.grep_a - 1) + 2
        return factor

    def _mixed_with_dropout(
        self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, network: EncoderNetwork
    ) -> Tensor:
        logits = q @ k.transpose(2, 3) / math.sqrt(q.shape[3]) + bias
        return dropped_out(logits.softmax(dim=3), self.dropout, network.generator) @ v


class _ScaledGradient(torch.autograd.Function):
    """Passes values on, and a share of their gradient back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float) -> Tensor:
        ctx.share = share
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.share, None


def relative_buckets(distances: Tensor, buckets: int, longest: int) -> Tensor:
    """Bucket of each relative position (key less query).

    Half of the buckets for keys after the query; of each half, half for exact distances and the
    rest for logarithmically growing ranges up to `longest`.

    Source: Raffel et al., "Exploring the limits of transfer learning", JMLR 2020 (T5).
    """
    half = buckets // 2
    exact = half // 2
    size = distances.abs()
    ratio = (size.clamp(min=1).float() / exact).log() / math.log(longest / exact)
    wide = (exact + (ratio * (half - exact)).long()).clamp(max=half - 1)
    return half * (distances > 0).long() + torch.where(size < exact, size, wide)


def _own_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrays under our names: the weight norm is folded in, the shared bias stands once."""
    found = {}
    for name, value in weights.items():
        if name.startswith("predictor.") or name.endswith(_SHARED_BIAS):
            continue
        if name.startswith(f"{_POS_CONV}.weight_"):
            continue
        found[name] = value
    gain, taps = weights[f"{_POS_CONV}.weight_g"], weights[f"{_POS_CONV}.weight_v"]
    norm = taps.float().square().sum(dim=(0, 1), keepdim=True).sqrt()
    found[f"{_POS_CONV}.weight"] = gain * taps / norm
    found["encoder.bias.weight"] = weights[f"encoder.layers.0.{_SHARED_BIAS}"]
    return found
