"""LoRA against peft's numbers, through a block of attention that is written here."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from asd.encoders.lora import LoraLinear, add_lora

DATA = Path(__file__).parents[1] / "data" / "encoders"
HEADS = 4


class Block(nn.Module):
    def __init__(self, projections):
        super().__init__()
        self.attn = nn.ModuleDict({p: nn.Linear(16, w) for p, w in projections.items()})

    def forward(self, x):
        a = self.attn
        parts = a["qkv"](x).chunk(3, 2) if "qkv" in a else [a[f"{p}_proj"](x) for p in "qkv"]
        q, k, v = (p.reshape(2, 7, HEADS, 4).transpose(1, 2) for p in parts)
        mixed = (q @ k.transpose(2, 3) / 2).softmax(3) @ v
        return a["out_proj"](mixed.transpose(1, 2).flatten(2))


CASES = {
    "lora_q_v": (dict.fromkeys(("q_proj", "k_proj", "v_proj", "out_proj"), 16),
                 ("q_proj", "v_proj")),
    "lora_fused_qkv": ({"qkv": 48, "out_proj": 16}, ("qkv",)),
}  # fmt: skip


@pytest.fixture(params=CASES)
def golden(request):
    """Numbers, and the block with LoRA as it is at the beginning."""
    numbers = {k: torch.from_numpy(v) for k, v in np.load(DATA / f"{request.param}.npz").items()}
    projections, ends = CASES[request.param]
    block = Block(projections)
    base = {k.removeprefix("base/"): v for k, v in numbers.items() if k.startswith("base/")}
    block.load_state_dict(base)
    assert add_lora(block, ends, rank=64, alpha=8.0) == len(ends)
    return numbers, block


def lora_layers(block):
    found = block.attn.items()
    return {name: layer for name, layer in found if isinstance(layer, LoraLinear)}


def close(found, expected):
    np.testing.assert_allclose(found.detach(), expected.detach(), rtol=1e-5, atol=1e-5)


def test_at_first_nothing_changes_and_only_the_small_matrices_learn(golden):
    numbers, block = golden
    close(block(numbers["x"]), numbers["out_base"])
    learned = {name for name, value in block.named_parameters() if value.requires_grad}
    expected = {f"attn.{layer}.lora_{m}" for layer in lora_layers(block) for m in "ab"}
    assert learned == expected
    for layer in lora_layers(block).values():
        assert layer.lora_a.abs().max() <= 0.25  # 1 / sqrt(16)
        assert float(layer.lora_a.detach().std()) == pytest.approx(0.25 / 3**0.5, rel=0.1)


def test_outputs_and_gradients_equal_those_of_peft(golden):
    numbers, block = golden
    layers = lora_layers(block)
    for name, layer in layers.items():
        layer.lora_a.data.copy_(numbers[f"lora/{name}.lora_A"])
        layer.lora_b.data.copy_(numbers[f"lora/{name}.lora_B"])
    found = block(numbers["x"])
    close(found, numbers["out_lora"])
    (found * numbers["grad_of_output"]).sum().backward()
    for name, layer in layers.items():
        close(layer.lora_a.grad, numbers[f"grad/{name}.lora_A"])
        close(layer.lora_b.grad, numbers[f"grad/{name}.lora_B"])
        block.attn[name] = layer.merged()
    close(block(numbers["x"]), numbers["out_merged"])
