"""A residual block that computes again, against PyTorch's own layers in double precision."""

from copy import deepcopy

import pytest
import torch
from layer_checks import CLOSE, gradients, images

from asd.systems.embedding.networks import ResidualBlock
from asd.systems.embedding.recomputed import channels
from asd.systems.embedding.recomputed.channels import Moments


def new_block(channels: int, width: int, stride: int, *, affine: bool) -> ResidualBlock:
    block = ResidualBlock(channels, width, stride, affine)
    if affine:
        with torch.no_grad():
            for parameter in (*block.norm1.parameters(), *block.norm2.parameters()):
                parameter.uniform_(-1, 1)
    return block.to(memory_format=torch.channels_last).train()


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(("channels_", "width", "stride"), [(16, 16, 1), (16, 32, 2), (4, 4, 1)])
@pytest.mark.parametrize("sides", [(9, 8), (6, 11)])
def test_block_equals_its_layers(channels_, width, stride, affine, sides, monkeypatch):
    """Also where not all clips are computed at a time, and without a hidden unit in the gate."""
    monkeypatch.setattr(channels, "_VALUES_AT_ONCE", 2 * channels_ * sides[0] * sides[1])
    torch.manual_seed(stride)
    block = new_block(channels_, width, stride, affine=affine).double()
    plain, x = deepcopy(block), images(5, channels_, *sides).requires_grad_()
    got, expected = block(x), layer_by_layer(plain, x)
    values = [got, *gradients([got], [x, *block.parameters()]), *block.buffers()]
    wanted = [expected, *gradients([expected], [x, *plain.parameters()]), *plain.buffers()]
    for a, b in zip(values, wanted, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def test_block_takes_arrays_in_any_memory_format():
    torch.manual_seed(8)
    block, x = new_block(16, 16, 1, affine=False).double(), images(3, 16, 9, 8)
    found = []
    for given in (x.contiguous(), x):
        given.requires_grad_()
        output = block(given)
        found.append([output, *gradients([output], [given, *block.parameters()])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def test_block_tells_the_moments_of_its_output():
    torch.manual_seed(7)
    block, x = new_block(16, 32, 2, affine=False).double(), images(3, 16, 9, 8)
    output, found = block.recomputing(x, Moments.of(x))
    for a, b in zip(found, Moments.of(output), strict=True):
        torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), **CLOSE)


@pytest.mark.parametrize(("channels", "width", "stride"), [(16, 16, 1), (16, 32, 2)])
def test_residual_block_keeps_less_than_its_layers(channels, width, stride):
    """A block keeps two arrays and its output; autograd alone keeps three more."""

    def kept(block, x):
        storages = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = block(x)  # alive, so that no storage takes another's place
        return sum(storages.values()), output

    block = new_block(channels, width, stride, affine=False)
    x = images(4, channels, 41, 32).float().requires_grad_()
    ours, output = kept(block, x)
    plain, expected = kept(lambda x: layer_by_layer(block, x), x)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)
    assert ours < 0.65 * plain


def layer_by_layer(block: ResidualBlock, x: torch.Tensor) -> torch.Tensor:
    x = block.norm1(x)
    main = block.conv2(block.norm2(block.conv1(x.relu())).relu_())
    return torch.addcmul(block.skip(x), main, block.gate(main))
