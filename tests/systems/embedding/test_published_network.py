"""The network with learned scales and reflecting padding against the paper's own program."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.errors import UserError
from asd.systems.embedding.exporting.spectra import BranchSpectra
from asd.systems.embedding.frontends import SpectralNetwork

PACK = Path(__file__).resolve().parents[4] / "shared" / "golden" / "components" / "unlabelled"
RATE = 16000
CASES = {
    "r4096_0256": (10, {"windows": (4096, 256)}),
    "r1024_time": (11, {"windows": (1024,), "waveform": True}),
}

BLOCK = {
    "bn": "norm1",
    "layer.1": "conv1",
    "layer.2": "norm2",
    "layer.4": "conv2",
    "se.layer1.0": "gate.squeeze",
    "se.layer2.0": "gate.excite",
    "skip_connect.1": "skip.1",
}


@pytest.fixture(scope="module")
def folder():
    if not PACK.is_dir():
        pytest.skip("the numbers of the public program are not here")
    return PACK


def our_name(key: str) -> str | None:
    """Our name of an array of the public network; None for a window."""
    branch, number, *rest = key.split(".")
    if branch == "stft_layer_list":
        kind = rest.pop(0)
        if kind == "0":
            return None
        head = f"window_nets.{number}."
        if rest[0] != "layers":
            name, value = rest
            return (
                head + {"bn_freq": "norm", "bn": "head_norm", "linear": "head"}[name] + f".{value}"
            )
        if rest[1] == "0":
            return head + {"0": "stem", "1": "stem_norm"}[rest[3]] + f".{rest[4]}"
        block = 2 * (int(rest[1]) - 1) + int(rest[2])
        return f"{head}blocks.{block}.{BLOCK['.'.join(rest[3:-1])]}.{rest[-1]}"
    head = {"fft_layer": "clip_net.", "time_layer": "wave_net."}[branch]
    words = key.rpartition(".layer.layer." if ".layer.layer." in key else ".layer.")[2].split(".")
    place = int(words[0])
    if place < 9:
        kind = "convs" if place % 3 == 0 else "gates"
        middle = {"layer1": ".squeeze", "layer2": ".excite"}.get(words[1], "")
        return f"{head}{kind}.{place // 3}{middle}.{words[-1]}"
    layer, part = divmod(place - 10, 3)
    if layer == 5:
        return f"{head}head.{words[-1]}"
    return f"{head}layers.{layer}.{part}.{words[-1]}"


def by_the_rule(shapes: dict[str, list[int]], seed: int) -> dict[str, torch.Tensor]:
    """Weights that the golden outputs were made with, under our names: a rule, not stored."""
    weights: dict[str, torch.Tensor] = {}
    for key, shape in shapes.items():
        if key.endswith(("num_batches_tracked", "window")):
            continue
        random = np.random.RandomState(seed * 100003 + len(weights))
        r = random.randint(-127, 128, size=tuple(shape)) / 127
        if key.endswith("running_mean"):
            value = 0.05 * r
        elif key.endswith("running_var"):
            value = 1 + np.abs(r)
        elif len(shape) == 1:
            value = 0.1 * r if key.endswith("bias") else 1 + 0.2 * r
        else:
            value = r * np.sqrt(6 / max(1, int(np.prod(shape[1:]))))
        weights[our_name(key) or ""] = torch.from_numpy(value.astype(np.float32))
    return weights


@pytest.fixture(params=CASES, scope="module")
def case(request, folder):
    seed, options = CASES[request.param]
    shapes = json.loads((folder / f"multires_{request.param}_keys.json").read_text())
    frontend = SpectralNetwork(
        5 * RATE, RATE, width=16, affine=True, padding="reflect", unit_length=True, **options
    )
    missing, unexpected = frontend.load_state_dict(by_the_rule(shapes, seed), strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    arrays = np.load(folder / "multires.npz")
    own = {
        key.removeprefix(request.param)[1:]: torch.from_numpy(arrays[key])
        for key in arrays.files
        if key.startswith(request.param)
    }
    return frontend, torch.from_numpy(arrays["wave_int8"].astype(np.float32) / 128), own


def close(got: torch.Tensor, expected: torch.Tensor) -> None:
    scale = expected.abs().max().item()
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * scale)


def test_embeddings_equal_the_published_networks(case):
    frontend, waves, golden = case
    with torch.inference_mode():
        close(frontend.eval()(waves), golden["eval_unit"])
        first = next(x for x in frontend.features(waves) if x.dim() == 3)
    close(first[0, :, :6], golden["spec0_head"])


def test_training_mode_equals_the_published_networks(case):
    frontend, waves, golden = case
    before = {name: value.clone() for name, value in frontend.state_dict().items()}
    close(frontend.train()(waves).detach(), golden["train"])
    for key, expected in golden.items():
        if key.startswith("after/"):
            close(frontend.state_dict()[our_name(key.removeprefix("after/"))], expected)
    frontend.load_state_dict(before)


def test_gradients_equal_those_of_plain_layers(case, monkeypatch):
    """Layers that compute again against PyTorch's own, in double precision."""
    frontend, waves, _ = case
    before = {name: value.clone() for name, value in frontend.state_dict().items()}
    net, x = frontend.window_nets[0].double().train(), frontend.features(waves)[-1].double()
    if len(x[0]) != net.norm.num_features:
        x = next(
            x for x in frontend.features(waves) if x.shape[1] == net.norm.num_features
        ).double()
    weights = list(net.parameters())
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(3, 16, generator=generator, dtype=torch.float64)
    ours = torch.autograd.grad((net(x) * mix).sum(), weights)

    def plain_block(block, x):
        x = block.norm1(x)
        main = block.conv2(block.norm2(block.conv1(x.relu())).relu())
        return block.skip(x) + main * block.gate(main)

    def plain_stem_and_blocks(net, spectra):
        x = net.stem_norm(net.stem(net.norm(spectra).unsqueeze(1)))
        return net.blocks(net.pool(x).relu())

    monkeypatch.setattr(type(net.blocks[0]), "forward", plain_block)
    monkeypatch.setattr(type(net), "_recomputing", plain_stem_and_blocks)
    plain = torch.autograd.grad((net(x) * mix).sum(), weights)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
    net.float()
    frontend.load_state_dict(before)


def test_a_mean_free_window_has_its_mean_over_time_subtracted():
    waves = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    options = {"windows": (256, 512), "whole_clip": False, "width": 16}
    plain = SpectralNetwork(16000, RATE, **options).features(waves)
    free = SpectralNetwork(16000, RATE, mean_free_windows=(512,), **options)
    low, high = free.features(waves)
    assert torch.equal(low, plain[0])
    torch.testing.assert_close(high, plain[1] - plain[1].mean(dim=2, keepdim=True))
    for ours, theirs in zip(BranchSpectra(free, 16000)(waves), (low, high), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_exported_spectra_are_padded_like_the_networks():
    waves = torch.randn(2, 72000, generator=torch.Generator().manual_seed(0))
    net = SpectralNetwork(
        72000, RATE, windows=(256,), whole_clip=False, waveform=True, width=16, padding="reflect"
    )
    for ours, theirs in zip(BranchSpectra(net, 72000)(waves), net.features(waves), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_mean_free_window_must_be_one_of_the_windows():
    with pytest.raises(UserError, match="mean_free_windows names 512"):
        SpectralNetwork(16000, RATE, windows=(256,), whole_clip=False, mean_free_windows=(512,))
