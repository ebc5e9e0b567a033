"""Weights of the public toolkit's MultiResNet, under the names of `SpectralNetwork`.

The names in the toolkit's state dict (dcase-asd-toolkit), and ours:

    fft_layer.layer.conv1d_layer.{0,3,6}            clip_net.convs.{0,1,2}
    fft_layer.layer.conv1d_layer.{2,5,8}.layer1.0   clip_net.gates.{0,1,2}.squeeze (layer2: excite)
    fft_layer.layer.aggregate_layer.{1,2}           clip_net.layers.0.{0,1}
    fft_layer.layer.last_layer.{0,1}, {3,4}, ...    clip_net.layers.1.{0,1}, 2.{0,1}, ...
    fft_layer.layer.last_layer.12                   clip_net.head
    stft_layer_list.N.layer.bn_freq                 window_nets.N.norm
    stft_layer_list.N.layer.layers.0.layer.{0,1}    window_nets.N.stem, stem_norm
    stft_layer_list.N.layer.layers.S.B.             window_nets.N.blocks.<2 (S - 1) + B>.
        bn, layer.{1,2,4}                               norm1, conv1, norm2, conv2
        skip_connect.1, additional_layer.               skip.1, gate.
    stft_layer_list.N.layer.aggregate_layer.{1,2}   window_nets.N.head_norm, head

Windows (`stft.stft.window`) are constants and left out.
"""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

_BLOCK = {"bn": "norm1", "layer.1": "conv1", "layer.2": "norm2", "layer.4": "conv2"}
_BLOCK |= {"skip_connect.1": "skip.1", "additional_layer": "gate"}
_LAYERS = {"layer1.0": "squeeze", "layer2.0": "excite"}


def from_toolkit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A `SpectralNetwork` state dict from the toolkit's.

    Raises
    ------
    KeyError
        A name is not of the toolkit's MultiResNet.
    """
    return {our_name(key): value for key, value in state.items() if not key.endswith("window")}


def our_name(key: str) -> str:
    """Our name of an entry of the toolkit's state dict."""
    for pattern, rename in _RULES:
        if match := re.fullmatch(pattern, key):
            return rename(*match.groups())
    raise KeyError(f"{key}: not an entry of the toolkit's MultiResNet")


def _conv(number: str, rest: str) -> str:
    index, kind = divmod(int(number), 3)
    if kind == 0:
        return f"clip_net.convs.{index}.{rest}"
    layer, _, tensor = rest.rpartition(".")
    return f"clip_net.gates.{index}.{_LAYERS[layer]}.{tensor}"


def _last(number: str, rest: str) -> str:
    index, kind = divmod(int(number), 3)
    return f"clip_net.head.{rest}" if index == 4 else f"clip_net.layers.{index + 1}.{kind}.{rest}"


def _block(window: str, stage: str, block: str, part: str, rest: str) -> str:
    name = f"window_nets.{window}.blocks.{2 * (int(stage) - 1) + int(block)}.{_BLOCK[part]}"
    if part == "additional_layer":
        layer, _, rest = rest.rpartition(".")
        name = f"{name}.{_LAYERS[layer]}"
    return f"{name}.{rest}"


def _renamed(names: Mapping[str, str]) -> Callable[[str, str, str], str]:
    return lambda window, number, rest: f"window_nets.{window}.{names[number]}.{rest}"


_NET = r"stft_layer_list\.(\d+)\.layer\."
_RULES: list[tuple[str, Callable[..., str]]] = [
    (r"fft_layer\.layer\.conv1d_layer\.(\d)\.(.*)", _conv),
    (r"fft_layer\.layer\.aggregate_layer\.1\.(.*)", "clip_net.layers.0.0.{}".format),
    (r"fft_layer\.layer\.aggregate_layer\.2\.(.*)", "clip_net.layers.0.1.{}".format),
    (r"fft_layer\.layer\.last_layer\.(\d+)\.(.*)", _last),
    (_NET + r"bn_freq\.(.*)", "window_nets.{}.norm.{}".format),
    (_NET + r"layers\.0\.layer\.(\d)\.(.*)", _renamed({"0": "stem", "1": "stem_norm"})),
    (
        _NET + r"layers\.(\d)\.(\d)\.(bn|layer\.\d|skip_connect\.1|additional_layer)\.(.*)",
        _block,
    ),
    (_NET + r"aggregate_layer\.(\d)\.(.*)", _renamed({"1": "head_norm", "2": "head"})),
]
