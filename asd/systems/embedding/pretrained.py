"""Pretrained encoders as frontends: frozen ones, and ones adapted by LoRA."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor, nn

from asd.encoders.checkpoint import read_checkpoint, read_network
from asd.encoders.encoder import Precision, check_length
from asd.encoders.feature import EncoderFeature, Take, key_of_file
from asd.encoders.lora import add_lora
from asd.encoders.pooling import Mean, Pooling
from asd.encoders.weights import checked_weights
from asd.errors import UserError
from asd.schema.values import Count, Positive
from asd.systems.base import State
from asd.systems.embedding.frontends import Frontend

_WEIGHTS_KEY = "weights_sha256"


class FrozenEncoder:
    """A pretrained encoder as it is: an embedding is a clip's pooled tokens, which are stored.

    Parameters
    ----------
    weights
        A name that `asd weights list` shows, or a file.
    take
        "tokens", or "class": the class token (EAT).
    pooling
        How tokens become an embedding, see `asd.encoders.pooling`; not of a class token.
    layer
        Layer whose output is taken, from 1; None is the last.
    precision
        "float32", "bfloat16", or "auto": bfloat16 where the device is fast with it. A model keeps
        what it was trained with.
    """

    learns: ClassVar[bool] = False

    def __init__(
        self,
        *,
        weights: str,
        take: Take = "tokens",
        pooling: Pooling = Mean(),  # noqa: B008 - it is frozen
        layer: Count | None = None,
        precision: Precision = "auto",
    ) -> None:
        self.weights, self.take, self.pooling = weights, take, pooling
        self.layer, self.precision = layer, precision

    def feature(
        self, channel: str, seconds: float | None, device: str, precision: str = ""
    ) -> EncoderFeature:
        """The stored feature that embeddings are.

        Parameters
        ----------
        precision
            That of a trained model; "" takes this frontend's, and what "auto" stands for here.
        """
        found = EncoderFeature(
            self.weights,
            None if self.take == "class" else self.pooling,
            self.take,
            self.layer,
            channel,
            seconds,
            precision or self.precision,  # type: ignore[arg-type]
            device,
        )
        return replace(found, precision=found.resolved)


class AttentiveStatistics(nn.Module):
    """Attentive statistics pooling with a bottleneck, then a linear layer.

    Each token's channels beside their mean and deviation over all tokens (unbiased, at least 0.01)
    give the weights; weighted mean and deviation are joined, normalised and brought to as many
    values as a token has.

    Source: Okabe et al., "Attentive statistics pooling for deep speaker embedding", Interspeech
    2018; in the form of dcase-asd-toolkit (ECAPA-TDNN's, Desplanques et al., Interspeech 2020).

    Parameters
    ----------
    dim
        Width of the tokens.
    """

    def __init__(self, dim: int, squeeze: int = 16) -> None:
        super().__init__()
        hidden = max(1, dim // squeeze)
        self.attention = nn.Sequential(
            nn.Conv1d(3 * dim, hidden, 1),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Tanh(),
            nn.Conv1d(hidden, dim, 1),
        )
        self.last_layer = nn.Sequential(
            nn.BatchNorm1d(2 * dim), nn.Linear(2 * dim, dim), nn.BatchNorm1d(dim)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """From (clips, tokens, dim), at least two tokens, to (clips, dim)."""
        x = tokens.transpose(1, 2)
        mean, variance = x.mean(dim=2, keepdim=True), x.var(dim=2, keepdim=True)
        around = torch.cat([mean, variance.clamp(min=_LEAST_VARIANCE).sqrt()], dim=1)
        given = torch.cat([x, around.expand(-1, -1, x.shape[2])], dim=1)
        weights = self.attention(given).softmax(dim=2)
        mean = (weights * x).sum(dim=2)
        variance = (weights * x.square()).sum(dim=2) - mean.square()
        deviation = variance.clamp(min=_LEAST_VARIANCE).sqrt()
        found: Tensor = self.last_layer(torch.cat([mean, deviation], dim=1))
        return found


_LEAST_VARIANCE = 1e-4

_FEWEST_TOKENS = 2
"""Tokens that have a deviation."""

AdaptedPool = Literal["attentive_statistics", "band_attentive_statistics", "mean", "class"]
"""How a learned pooling makes one vector of a clip's tokens."""


class AdaptedEncoder(Frontend):
    """A pretrained encoder with LoRA, pooling and a projection, which are learned.

    Only these are stored with a model, the encoder's own weights are not.

    Parameters
    ----------
    weights
        A name that `asd weights list` shows, or a file: BEATs (LoRA on the queries' and values'
        layers) or EAT (on the layer of queries, keys and values).
    rank, alpha
        Of LoRA: inner size of its two matrices, and `alpha / rank` the factor of their product.
    pool
        "attentive_statistics" or "mean" of the tokens, "band_attentive_statistics" of each band,
        by the same layers, side by side, or "class", the class token of EAT.
    width
        Size of an embedding in training.
    score_pooling
        How tokens become the embeddings that are scored, see `asd.encoders.pooling`; None scores
        those that are learned, after the projection.
    batch_norm_statistics
        "kept": the pooling's batch norms use in scoring what they have seen in training.
        "forgotten": mean 0 and variance 1, as in dcase-asd-toolkit, whose checkpoints lack them.
    checkpoint
        Checkpoint of dcase-asd-toolkit's recipe of this kind, to begin with; with `losses: []` it
        is used as it is.
    """

    learns = None

    def __init__(
        self,
        samples: int,
        sample_rate_hz: int,
        *,
        weights: str,
        rank: Count = 64,
        alpha: Positive = 8.0,
        pool: AdaptedPool = "attentive_statistics",
        width: Count = 256,
        score_pooling: Pooling | None = None,
        batch_norm_statistics: Literal["kept", "forgotten"] = "kept",
        checkpoint: str | None = None,
    ) -> None:
        super().__init__((width,))
        network = read_network(checked_weights(weights))
        if not add_lora(network, network.adapted, rank, alpha):
            raise UserError(
                f"{weights}: {network.kind} has no layers for LoRA; choose weights of BEATs or EAT"
            )
        if pool == "class" and not network.has_class_token:
            raise UserError(f"pool: {weights} ({network.kind}) has no class token; set mean")
        _check_input(network.rate_hz, sample_rate_hz, weights)
        try:
            check_length(network, weights, samples)
        except UserError as error:
            raise UserError(f"the input (input_s, or the longest clip) {error}") from None
        self.network = network
        attends = pool.endswith("attentive_statistics")
        self.pool = AttentiveStatistics(network.dim) if attends else None
        self.pools_bands = pool == "band_attentive_statistics"
        if self.pools_bands and network.time_steps(samples) < _FEWEST_TOKENS:
            raise UserError(
                f"pool: {pool} needs {_FEWEST_TOKENS} tokens in each band; set a longer input_s, "
                "or attentive_statistics"
            )
        self.projection = nn.Linear(network.dim * (network.bands if self.pools_bands else 1), width)
        self.takes_class = pool == "class"
        self.score_pooling = score_pooling
        self.forgets = batch_norm_statistics == "forgotten"
        self.sha256 = key_of_file(weights)
        self.checkpoint = checkpoint

    @property
    def vectors(self) -> int:
        """Vectors side by side in an embedding that is scored."""
        pooling = self.score_pooling
        return 1 if pooling is None else pooling.shape(self.network.bands, self.network.dim)[0]

    def begin(self) -> None:
        """Take over the checkpoint, where one is named."""
        if self.checkpoint is not None:
            path = Path(self.checkpoint)
            _load_toolkit(self, read_checkpoint(path).get("state_dict"), path)

    def draw_from(self, generator: Generator) -> None:
        self.network.generator = generator

    def train(self, mode: bool = True) -> "AdaptedEncoder":
        super().train(mode)
        if self.forgets and not mode:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm1d):
                    module.reset_running_stats()
        return self

    @torch.no_grad()
    def features(self, waves: Tensor) -> list[Tensor]:
        """The encoder's spectrogram."""
        return [self.network.features(waves)]

    def embed(self, features: Sequence[Tensor]) -> Tensor:
        """Embeddings, shape (N, width); in evaluation those of the score's pooling, if any."""
        grid = self.network(features[0])
        if self.score_pooling is not None and not self.training:
            return self.score_pooling(grid.tokens).flatten(1)
        if self.takes_class:
            pooled = grid.class_token
        elif self.pool is None:
            pooled = grid.tokens.mean(dim=(1, 2))
        elif self.pools_bands:
            bands = grid.tokens.transpose(1, 2)  # (N, bands, time, dim)
            pooled = self.pool(bands.flatten(0, 1)).view(bands.shape[0], -1)
        else:
            pooled = self.pool(grid.tokens.flatten(1, 2))
        found: Tensor = self.projection(pooled)
        return found

    def saved(self) -> State:
        """What was learned, and which weights it goes with."""
        return saved_part(self, is_learned, self.sha256)

    def load_saved(self, state: State) -> None:
        """Take over what `saved` gave.

        Raises
        ------
        UserError
            It goes with other weights.
        """
        load_part(self, is_learned, self.sha256, state)


def saved_part(module: nn.Module, is_stored: Callable[[str], bool], sha256: str) -> State:
    """The values of a module with names to be stored, and the hash of its weights."""
    own = {name: value for name, value in module.state_dict().items() if is_stored(name)}
    return {**own, _WEIGHTS_KEY: sha256}


def load_part(
    module: nn.Module, is_stored: Callable[[str], bool], sha256: str, state: State
) -> None:
    """Take over what `saved_part` gave.

    Raises
    ------
    UserError
        It goes with other weights.
    KeyError
        Its values are not those of the module.
    """
    learned = dict(state)
    check_weights(learned.pop(_WEIGHTS_KEY), sha256)
    expected = {name for name in module.state_dict() if is_stored(name)}
    if expected != learned.keys():
        raise KeyError(*sorted(expected ^ learned.keys())[:3])
    module.load_state_dict(learned, strict=False)


def check_weights(trained: str, found: str) -> None:
    """Refuse encoder weights that a model was not trained with.

    Raises
    ------
    UserError
        The hashes differ.
    """
    if trained != found:
        raise UserError(
            f"the model was trained with encoder weights of SHA-256 {trained}, those found here "
            f"have {found}; name the right ones: asd weights add NAME FILE"
        )


def _check_input(wanted_hz: int, rate_hz: int, weights: str) -> None:
    if rate_hz != wanted_hz:
        raise UserError(
            f"frontend.weights: {weights} hears {wanted_hz} Hz, the clips are sampled at {rate_hz} "
            "Hz; resample them (in Python asd.recordings(..., rate_hz=...))"
        )


def is_learned(name: str) -> bool:
    """Whether an array is learned, or counted, here: all but the encoder's own weights."""
    return not name.startswith("network.") or name.endswith((".lora_a", ".lora_b"))


# --- checkpoints of dcase-asd-toolkit -------------------------------------------------------------

_TOOLKIT = "extractor."
_RENAMED = (
    ("model.base_model.model.", "network."),
    (".lora_A.default.weight", ".lora_a"),
    (".lora_B.default.weight", ".lora_b"),
    ("projection_net.0.", "pool."),
    ("projection_net.1.", "projection."),
    ("projection_net.", "projection."),
)


def toolkit_names(names: Sequence[str]) -> Mapping[str, str]:
    """The toolkit's name of each learned array -> ours; those of its losses are left out."""
    found = {}
    for name in names:
        if name.startswith(_TOOLKIT):
            own = name.removeprefix(_TOOLKIT)
            for old, new in _RENAMED:
                own = own.replace(old, new, 1)
            found[name] = own
    return found


def _load_toolkit(frontend: AdaptedEncoder, weights: object, path: Path) -> None:
    """Take over the learned arrays of a checkpoint of dcase-asd-toolkit.

    It holds no statistics of batch norms: those are 0 and 1 until training finds others.
    """
    arrays = weights if isinstance(weights, Mapping) else {}
    given = {own: arrays[name] for name, own in toolkit_names(list(arrays)).items()}
    wanted = {name for name, value in frontend.named_parameters() if value.requires_grad}
    if not given or not wanted <= given.keys():
        missing = ", ".join(sorted(wanted - given.keys())[:2])
        raise UserError(
            f"{path}: is no checkpoint of dcase-asd-toolkit for this frontend (it lacks "
            f"{missing}); "
            "check the path, and that encoder and pool are those of its recipe"
        )
    try:
        frontend.load_state_dict({name: given[name] for name in wanted}, strict=False)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: its sizes are not those of this frontend ({reason})") from None
