"""A pretrained encoder that is trained whole, or by LoRA, with pooling over its tokens.

Source: khoaphamanh/DCASE2024 (no paper), a system for the DCASE Challenge 2024.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import normalize, relu

from asd.encoders.checkpoint import read_network
from asd.encoders.encoder import check_length
from asd.encoders.feature import key_of_file
from asd.encoders.lora import LoraLinear, add_lora
from asd.encoders.resampling import resampled, resampled_length
from asd.encoders.weights import checked_weights
from asd.errors import UserError
from asd.schema.values import Count, Decay, Positive
from asd.systems.base import State
from asd.systems.embedding.frontends import Frontend
from asd.systems.embedding.pretrained import is_learned, load_part, saved_part

FULL_SCALE = {"unit": 1.0, "int16": 32768.0}
"""What samples of a wave in [-1, 1] are multiplied by."""

_LEAST_VARIANCE = 1e-4


class TokenStatistics(nn.Module):
    """Attentive statistics over the values of each token.

    Okabe et al., "Attentive statistics pooling for deep speaker embedding", Interspeech 2018, with
    a bottleneck, and with the axes the other way round: the tokens are the channels of the
    convolutions, and softmax and sums run over the values of a token. So there is a mean and a
    deviation (at least 0.01) for each token, and a clip's length is fixed.

    Parameters
    ----------
    tokens
        Tokens of a clip.
    hidden
        Channels of the bottleneck.
    """

    def __init__(self, tokens: int, hidden: int = 256) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.Conv1d(tokens, hidden, 1),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Tanh(),
            nn.Conv1d(hidden, tokens, 1),
        )
        self.bn = nn.BatchNorm1d(2 * tokens)

    def forward(self, x: Tensor) -> Tensor:
        """From (clips, tokens, dim) to (clips, 2 * tokens)."""
        weights = self.attention(x).softmax(dim=2)
        mean = (weights * x).sum(dim=2)
        variance = (weights * x.square()).sum(dim=2) - mean.square()
        deviation = variance.clamp(min=_LEAST_VARIANCE).sqrt()
        found: Tensor = self.bn(torch.cat([mean, deviation], dim=1))
        return found


class TunedEncoder(Frontend):
    """A pretrained encoder of which all weights are trained, or LoRA matrices.

    Attentive statistics over the tokens (`TokenStatistics`), where `width` says so ReLU and a
    linear layer, and unit length. Waves of another rate than the encoder's are resampled.

    With `train: all` a model stores the encoder's weights, too; the file that they began with is
    still needed, as it says what the network looks like.

    Parameters
    ----------
    weights
        A name that `asd weights list` shows, or a file, of BEATs, EAT or EfficientAT.
    train
        "all" weights, or "lora" beside some layers.
    rank, alpha, dropout
        Of LoRA: inner size of its two matrices, `alpha / rank` the factor of their product, and
        the probability with which a value of their input is left out in training.
    lora_layers
        Names of the layers that have it; those of EAT are qkv and proj.
    lora_freezes
        "pooling": with LoRA, pooling and output layer keep their random first values, and only
        the statistics of batch norms follow; so it is in the published program, though not meant
        there, and scores depend on it. "nothing": they are learned.
    hidden
        Channels of the pooling's bottleneck.
    width
        Size of an embedding; None leaves two values for each token, without an output layer.
    input_scale
        "unit": waves in [-1, 1], as encoders are pretrained with. "int16": their 16-bit integers,
        as in the published program, where BEATs hears them 90 dB louder.

    Raises
    ------
    UserError
        The weights cannot be used, the clips are too short or too long, or no layer has a name of
        `lora_layers`.
    """

    learns = True

    def __init__(
        self,
        samples: int,
        sample_rate_hz: int,
        *,
        weights: str,
        train: Literal["all", "lora"] = "all",
        rank: Count = 8,
        alpha: Positive = 8.0,
        dropout: Decay = 0.0,
        lora_layers: tuple[str, ...] = ("q_proj", "v_proj", "out_proj"),
        lora_freezes: Literal["pooling", "nothing"] = "pooling",
        hidden: Count = 256,
        width: Count | None = None,
        input_scale: Literal["unit", "int16"] = "unit",
    ) -> None:
        network = read_network(checked_weights(weights))
        heard = resampled_length(samples, sample_rate_hz, network.rate_hz)
        try:
            check_length(network, weights, heard)
        except UserError as error:
            raise UserError(f"the input (input_s, or the longest clip) {error}") from None
        tokens = network.time_steps(heard) * network.bands
        super().__init__((width or 2 * tokens,))
        self.network = network
        self.pool = TokenStatistics(tokens, hidden)
        has_output = width is not None and width != 2 * tokens
        self.output = nn.Linear(2 * tokens, self.sizes[0]) if has_output else None
        self.rate_hz = sample_rate_hz
        self.full_scale = FULL_SCALE[input_scale]
        self.sha256 = key_of_file(weights)
        self.trains_all = train == "all"
        if self.trains_all:
            for name, value in network.named_parameters():
                value.requires_grad_(name not in network.fixed)
            return
        if not add_lora(network, lora_layers, rank, alpha, dropout):
            raise UserError(
                f"lora_layers: {weights} ({network.kind}) has no layer named "
                f"{' or '.join(lora_layers)}; name others, or set train: all"
            )
        if lora_freezes == "pooling":
            self.pool.requires_grad_(False)
            if self.output is not None:
                self.output.requires_grad_(False)

    def draw_from(self, generator: Generator) -> None:
        self.network.generator = generator
        for module in self.modules():
            if isinstance(module, LoraLinear):
                module.generator = generator

    @torch.no_grad()
    def features(self, waves: Tensor) -> list[Tensor]:
        """The encoder's spectrogram."""
        heard = resampled(waves, self.rate_hz, self.network.rate_hz)
        return [self.network.features(self.full_scale * heard)]

    def embed(self, features: Sequence[Tensor]) -> Tensor:
        """Embeddings of unit length, shape (N, width)."""
        pooled = self.pool(self.network(features[0]).tokens.flatten(1, 2))
        found = pooled if self.output is None else self.output(relu(pooled))
        return normalize(found.float(), dim=1)

    def saved(self) -> State:
        """What was learned, and which weights it began with."""
        return saved_part(self, self._is_stored, self.sha256)

    def load_saved(self, state: State) -> None:
        """Take over what `saved` gave.

        Raises
        ------
        UserError
            It goes with other weights.
        """
        load_part(self, self._is_stored, self.sha256, state)

    def _is_stored(self, name: str) -> bool:
        return self.trains_all or is_learned(name)
