"""A pretrained encoder: waves in, tokens out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asd.audio.recording import resample
from asd.encoders.checkpoint import read_network
from asd.encoders.network import EncoderNetwork, TokenGrid
from asd.encoders.weights import checked_weights, sha256_of
from asd.errors import UserError

Precision = Literal["auto", "float32", "bfloat16"]
"""What networks compute in; "auto" is bfloat16 where the device does that in hardware."""

_CLIPS_AT_ONCE = {"cpu": 4, "cuda": 32}


@dataclass(frozen=True, eq=False)
class Encoder:
    """A pretrained encoder.

    Parameters
    ----------
    name
        What it was asked for by.
    sha256
        Of the file that it was read from.
    network
        In evaluation mode, on the device, its products in the precision to compute in.
    precision
        "float32" or "bfloat16".

    Examples
    --------
    >>> import numpy as np
    >>> from asd.encoders import load
    >>> encoder = load(getfixture("tiny_beats"))
    >>> encoder.rate_hz, encoder.dim, encoder.bands
    (16000, 16, 8)
    >>> encoder.tokens(np.zeros((2, 16000), dtype=np.float32), 16000).shape
    (2, 6, 8, 16)
    """

    name: str
    sha256: str
    network: EncoderNetwork
    precision: Precision

    @property
    def rate_hz(self) -> int:
        """Sampling rate that the network hears; other waves are resampled."""
        return self.network.rate_hz

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self.network.dim

    @property
    def bands(self) -> int:
        """Tokens side by side along frequency."""
        return self.network.bands

    @property
    def layers(self) -> int:
        """Layers whose output can be had."""
        return self.network.layers

    @property
    def clips_at_once(self) -> int:
        """Clips that are computed together: on a CPU as few as leave all in its cache."""
        return _CLIPS_AT_ONCE[self._device.type]

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def tokens(
        self, waves: NDArray[np.float32], rate_hz: int, layer: int | None = None
    ) -> NDArray[np.float32]:
        """Tokens of clips of one length.

        Parameters
        ----------
        waves
            Shape (clips, samples), full scale 1.
        rate_hz
            Their sampling rate; other than the encoder's own, they are resampled.
        layer
            1 for the first layer's output; None is the last.

        Returns
        -------
        NDArray
            Shape (clips, time, bands, dim), without a class token.

        Raises
        ------
        UserError
            The clips are too short or too long for the network, or there is no such layer.
        """
        grids = self._grids(waves, rate_hz, layer)
        return np.concatenate([_array(grid.tokens) for grid in grids])

    def class_tokens(
        self, waves: NDArray[np.float32], rate_hz: int, layer: int | None = None
    ) -> NDArray[np.float32]:
        """The token that stands for each clip, shape (clips, dim); parameters as of `tokens`.

        Raises
        ------
        UserError
            As `tokens`, or the network has no such token.
        """
        self.check_class_token(layer)
        found = []
        for grid in self._grids(waves, rate_hz, layer):
            assert grid.class_token is not None
            found.append(_array(grid.class_token))
        return np.concatenate(found)

    def check_class_token(self, layer: int | None = None) -> None:
        """Refuse a network without a class token, or a layer without one.

        Raises
        ------
        UserError
            It has none.
        """
        if not self.network.has_class_token:
            raise UserError(
                f"{self.name}: {self.network.kind} has no class token; pool its tokens (mean)"
            )
        is_inner = layer is not None and layer != self.layers
        if is_inner and not self.network.has_inner_class_tokens:
            raise UserError(
                f"layer: {self.name} has a class token after its last layer alone, "
                f"{self.layers}, not {layer}; leave layer out, or pool tokens"
            )

    def check_layer(self, layer: int | None) -> None:
        """Refuse the number of a layer that the network does not have.

        Raises
        ------
        UserError
            Says how many there are.
        """
        if layer is not None and not 1 <= layer <= self.layers:
            raise UserError(f"layer: {self.name} has layers 1 to {self.layers}, got {layer}")

    @torch.inference_mode()
    def _grids(
        self, waves: NDArray[np.float32], rate_hz: int, layer: int | None
    ) -> list[TokenGrid]:
        if waves.ndim != 2 or len(waves) == 0:
            raise ValueError(f"waves: expected shape (clips, samples), got {waves.shape}")
        self.check_layer(layer)
        if rate_hz != self.rate_hz:
            waves = resample(waves, rate_hz, self.rate_hz)
        self._check_length(waves.shape[1])
        found = []
        for first in range(0, len(waves), self.clips_at_once):
            part = np.ascontiguousarray(waves[first : first + self.clips_at_once], dtype=np.float32)
            features = self.network.features(torch.from_numpy(part).to(self._device))
            found.append(self.network(features, layer))
        return found

    def _check_length(self, samples: int) -> None:
        check_length(self.network, self.name, samples)


def check_length(network: EncoderNetwork, name: str, samples: int) -> None:
    """Refuse clips that a network has no token for, or no position.

    Raises
    ------
    UserError
        Says how long a clip must be.
    """
    seconds = samples / network.rate_hz
    if samples < network.shortest:
        raise UserError(
            f"is too short for {name}: {seconds:.3g} s, and one patch of it takes "
            f"{network.shortest / network.rate_hz:.3g} s; remove it, or set a longer input_s, for "
            "which clips are repeated"
        )
    if network.longest is not None and samples > network.longest:
        raise UserError(
            f"is too long for {name}: {seconds:.3g} s, and it has positions for "
            f"{network.longest / network.rate_hz:.3g} s; cut it, or set a shorter input_s"
        )


def load(
    path_or_name: str | Path,
    device: str = "cpu",
    dtype: Precision | torch.dtype = "float32",
) -> Encoder:
    """A pretrained encoder.

    Parameters
    ----------
    path_or_name
        A file of weights, or a name that `asd weights list` shows.
    device
        Where to compute: "cpu", "cuda:0".
    dtype
        "float32", "bfloat16", or "auto": bfloat16 where the device computes with it in hardware.

    Raises
    ------
    UserError
        There are no such weights, or the file is not what it should be.
    """
    path = checked_weights(str(path_or_name))
    name = path.name if Path(path_or_name).suffix else str(path_or_name)
    network = read_network(path)
    precision: Any = dtype if isinstance(dtype, str) else str(dtype).removeprefix("torch.")
    if precision == "auto":
        gains = network.gains_from_bfloat16
        precision = resolved_precision("auto", device) if gains else "float32"
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"dtype: expected float32, bfloat16 or auto, got {dtype}")
    if precision == "bfloat16":
        _multiply_in_bfloat16(network)
    return Encoder(name, sha256_of(path), network.to(torch.device(device)), precision)


def _multiply_in_bfloat16(network: EncoderNetwork) -> None:
    """Let linear layers and convolutions compute in bfloat16, all else in what it gets.

    Sums along the layers, and norms, stay in float32: that costs little, and halves the error.
    """
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            module.to(torch.bfloat16)
            module.register_forward_pre_hook(_to_its_precision)


def _to_its_precision(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return (inputs[0].to(weight.dtype),)


def resolved_precision(precision: Precision, device: str) -> Precision:
    """What "auto" means on a device: bfloat16 where that is fast, else float32."""
    if precision != "auto":
        return precision
    if torch.device(device).type == "cuda":
        fast = torch.cuda.get_device_capability(torch.device(device)) >= (8, 0)
    else:
        fast = _cpu_has_bfloat16()
    return "bfloat16" if fast else "float32"


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies matrices of bfloat16 (AVX-512 BF16, AMX)."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


def _array(values: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = values.float().cpu().numpy()
    return found
