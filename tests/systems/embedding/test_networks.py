"""Networks against plain versions of the same computation."""

import pytest
import torch
from torch import nn

from asd.systems.embedding.networks import ResidualBlock, SpectrogramNet, SqueezeExcite


def test_training_tracks_statistics_for_evaluation():
    """With momentum 1 the running statistics are those of the last batch."""
    torch.manual_seed(0)
    net = SpectrogramNet(60, 16)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    spectra = torch.rand(64, 60, 50)
    trained = net.train()(spectra)
    torch.testing.assert_close(net.eval()(spectra), trained, rtol=0.1, atol=0.02)
    assert net.stem_norm.num_batches_tracked == 1


def test_squeeze_and_excitation():
    torch.manual_seed(0)
    gate = SqueezeExcite(32)
    x = torch.randn(3, 32, 5, 7)
    hidden = torch.relu(x.mean(dim=(2, 3)) @ gate.squeeze.weight.T)
    expected = torch.sigmoid(hidden @ gate.excite.weight.T)
    torch.testing.assert_close(gate(x), expected[:, :, None, None])
    assert gate(torch.randn(3, 32, 9)).shape == (3, 32, 1)


@pytest.mark.filterwarnings("error")
def test_few_channels_leave_empty_weights_without_a_warning():
    shapes = {name: tuple(w.shape) for name, w in SqueezeExcite(8).state_dict().items()}
    assert shapes == {"squeeze.weight": (0, 8), "excite.weight": (8, 0)}


@pytest.mark.parametrize(("stride", "shape"), [(1, (2, 8, 9, 6)), (2, (2, 8, 5, 3))])
def test_residual_block_of_few_channels(stride, shape):
    """Fewer than 16 channels have no hidden unit: each factor is 0.5."""
    torch.manual_seed(0)
    block = ResidualBlock(8, 8, stride).eval()
    x = torch.randn(2, 8, 9, 6)
    b = x / (1 + 1e-5) ** 0.5
    main = block.conv2(torch.relu(block.norm2(block.conv1(torch.relu(b)))))
    torch.testing.assert_close(block(x), block.skip(b) + 0.5 * main)
    assert block(x).shape == shape
