"""Layers that compute again for the gradient, against PyTorch's own layers in double precision."""

import pytest
import torch
from torch import nn
from torch.nn.functional import conv1d, max_pool2d

from asd.systems.embedding.networks import ResidualBlock
from asd.systems.embedding.recomputed import Moments, norm_relu_conv, pooled_stem, strided_conv

EPS = 1e-5
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def images(*shape: int) -> torch.Tensor:
    x = torch.randn(*shape, dtype=torch.float64) + 0.5
    return x.contiguous(memory_format=torch.channels_last)


def gradients(outputs, inputs):
    """Gradients of a sum of the outputs in which every value has its own weight."""
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(y.shape, generator=generator, dtype=torch.float64) for y in outputs]
    total = sum((y * w).sum() for y, w in zip(outputs, weights, strict=True))
    return torch.autograd.grad(total, inputs, retain_graph=True)


@pytest.mark.parametrize("clips", [1, 2, 5])
def test_pooled_stem_equals_its_layers(clips):
    torch.manual_seed(clips)
    spectra = images(clips, 1, 41, 30)
    conv = nn.Conv2d(1, 4, 7, stride=2, bias=False).double()
    norm = nn.BatchNorm2d(4, affine=False).double()
    expected = max_pool2d(norm(conv(spectra)).relu(), 3, 2)
    got, found = pooled_stem(spectra, conv.weight, EPS)
    torch.testing.assert_close(got, expected, **CLOSE)
    for a, b in zip(
        gradients([got], [conv.weight]), gradients([expected], [conv.weight]), strict=True
    ):
        torch.testing.assert_close(a, b, **CLOSE)
    torch.testing.assert_close(0.1 * found.mean, norm.running_mean, **CLOSE)
    unbiased = found.variance * found.n / (found.n - 1)
    torch.testing.assert_close(0.9 + 0.1 * unbiased, norm.running_var, **CLOSE)


def test_pooled_stem_with_a_learned_scale_equals_its_layers():
    """Of either sign: a negative scale turns what was the largest value into the smallest."""
    torch.manual_seed(4)
    spectra = images(3, 1, 41, 30).requires_grad_()
    conv = nn.Conv2d(1, 4, 7, stride=2, bias=False).double()
    norm = nn.BatchNorm2d(4).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.2, -0.7, 0.3, -1.5]))
        norm.bias.copy_(torch.tensor([0.1, 0.4, -0.2, 0.0]))
    inputs = [spectra, conv.weight, norm.weight, norm.bias]
    expected = max_pool2d(norm(conv(spectra)).relu(), 3, 2)
    got, found = pooled_stem(spectra, conv.weight, EPS, norm.weight, norm.bias)
    values, wanted = [got, *gradients([got], inputs)], [expected, *gradients([expected], inputs)]
    for a, b in zip(values, wanted, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
    torch.testing.assert_close(0.1 * found.mean, norm.running_mean, **CLOSE)


@pytest.mark.parametrize("stride", [1, 2])
def test_norm_relu_conv_with_a_learned_scale_equals_its_layers(stride):
    torch.manual_seed(stride)
    x = images(3, 4, 9, 8).requires_grad_()
    conv = nn.Conv2d(4, 6, 3, stride, padding=1, bias=False).double()
    norm = nn.BatchNorm2d(4).double()
    with torch.no_grad():
        norm.weight.uniform_(-1, 1)
        norm.bias.uniform_(-1, 1)
    normed = norm(x)
    skip = normed if stride == 1 else max_pool2d(normed, 3, stride, padding=1)
    expected = [conv(normed.relu()), skip]
    got = norm_relu_conv(x, Moments.of(x), conv.weight, stride, EPS, norm.weight, norm.bias)
    inputs = [x, conv.weight, norm.weight, norm.bias]
    values = [*got, *gradients(got, inputs), *gradients(got[:1], inputs)]
    wanted = [*expected, *gradients(expected, inputs), *gradients(expected[:1], inputs)]
    for a, b in zip(values, wanted, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@pytest.mark.parametrize("stride", [1, 2])
def test_norm_relu_conv_equals_its_layers(stride):
    torch.manual_seed(stride)
    x = images(3, 4, 9, 8).requires_grad_()
    conv = nn.Conv2d(4, 6, 3, stride, padding=1, bias=False).double()
    normed = nn.BatchNorm2d(4, affine=False).double()(x)
    skip = normed if stride == 1 else max_pool2d(normed, 3, stride, padding=1)
    expected = [conv(normed.relu()), skip]
    got = norm_relu_conv(x, Moments.of(x), conv.weight, stride, EPS)
    inputs = [x, conv.weight]
    values = [*got, *gradients(got, inputs), *gradients(got[:1], inputs)]
    wanted = [*expected, *gradients(expected, inputs), *gradients(expected[:1], inputs)]
    for a, b in zip(values, wanted, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@pytest.mark.parametrize(("kernel", "stride"), [(8, 4), (7, 3), (3, 5), (16, 4)])
@pytest.mark.parametrize("positions", [16, 21, 40])
def test_strided_conv_equals_the_convolution(positions, kernel, stride):
    torch.manual_seed(positions)
    x = torch.randn(2, positions, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, kernel, dtype=torch.float64, requires_grad=True)
    expected = conv1d(x.transpose(1, 2), weight, stride=stride).transpose(1, 2)
    got = strided_conv(x, weight, stride)
    values = [got, *gradients([got], [x, weight])]
    wanted = [expected, *gradients([expected], [x, weight])]
    for a, b in zip(values, wanted, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def test_moments_are_right_far_from_zero_over_many_clips():
    """PyTorch's batch norm of such an array is off by 1e-3; single precision sums by 1e-4."""
    torch.manual_seed(3)
    x = torch.randn(16, 16, 123, 76).mul_(0.1).add_(3.0)
    x = x.contiguous(memory_format=torch.channels_last)
    mean, variance, n = Moments.of(x)
    assert n == 16 * 123 * 76
    wanted_variance, wanted_mean = torch.var_mean(x.double(), dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean.double(), wanted_mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(variance.double(), wanted_variance, rtol=1e-4, atol=0)


@pytest.mark.parametrize(("channels", "width", "stride"), [(16, 16, 1), (16, 32, 2)])
def test_residual_block_keeps_less_than_its_layers(channels, width, stride):
    """Between convolutions and batch norms lie three arrays; autograd alone keeps two more."""

    def kept(block, x):
        storages = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = block(x)  # alive, so that no storage takes another's place
        return sum(storages.values()), output

    block = ResidualBlock(channels, width, stride).to(memory_format=torch.channels_last).train()
    x = images(4, channels, 41, 32).float().requires_grad_()
    ours, output = kept(block, x)
    plain, expected = kept(lambda x: layer_by_layer(block, x), x)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)
    assert ours < 0.75 * plain


def layer_by_layer(block: ResidualBlock, x: torch.Tensor) -> torch.Tensor:
    x = block.norm1(x)
    main = block.conv2(block.norm2(block.conv1(x.relu())).relu_())
    return torch.addcmul(block.skip(x), main, block.gate(main))
