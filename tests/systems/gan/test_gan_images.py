"""The convolutional networks: published layers and sizes, batch normalisation, "same" padding."""

import numpy as np
import pytest
import torch
from torch import Generator
from torch.nn.functional import conv2d

from asd.systems.gan.dropout import DropoutDraws
from asd.systems.gan.image_networks import (
    BatchNorm,
    ImageDiscriminator,
    ImageEncoder,
    ImageGenerator,
    ImagePairDiscriminator,
    ImageSize,
    initialise_images,
    let_statistics_move,
)
from asd.systems.gan.models import ImageBiGANNetworks, ImageGANNetworks, Objective

SMALL = ImageSize(8, 12)


def shapes(network):
    return {name: tuple(p.shape) for name, p in network.named_parameters() if p.dim() > 1}


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def on_paper(cls, *arguments):
    """A network whose weights take no memory: only its shapes are looked at."""
    with torch.device("meta"):
        return cls(*arguments)


def test_networks_of_64_by_128_are_the_published_ones():
    """Layers as in the program of the 64 x 128 images; counts added up by hand from them."""
    size = ImageSize(64, 128)
    encoder = on_paper(ImageEncoder, size, 200)
    assert shapes(encoder) == {
        "conv1.weight": (32, 1, 3, 3),
        "conv2.weight": (64, 32, 3, 3),
        "conv3.weight": (128, 64, 3, 3),
        "last.weight": (200, 16 * 32 * 128),
    }
    # 320 + 18,496 + 128 + 73,856 + 256 + 13,107,400
    assert count(encoder) == 13_200_456
    generator = on_paper(ImageGenerator, size, 200)
    assert shapes(generator) == {
        "dense1.weight": (1024, 200),
        "dense2.weight": (65536, 1024),
        "conv3.weight": (128, 64, 4, 4),
        "conv4.weight": (64, 1, 4, 4),
    }
    # 205,824 + 2,048 + 67,174,400 + 131,072 + 131,136 + 128 + 1,025
    assert count(generator) == 67_645_633
    pairs = on_paper(ImagePairDiscriminator, size, 200)
    assert shapes(pairs) == {
        "conv1.weight": (64, 1, 4, 4),
        "conv2.weight": (64, 64, 4, 4),
        "latent.weight": (512, 200),
        "joint.weight": (1024, 32768 + 512),
        "last.weight": (1, 1024),
    }
    # 1,088 + 65,600 + 128 + 102,912 + 34,079,744 + 1,025
    assert count(pairs) == 34_250_497
    plain = on_paper(ImageDiscriminator, size)
    # 1,088 + 65,600 + 128 + 33,555,456 + 2,048 + 1,025
    assert count(plain) == 33_625_345


@pytest.mark.parametrize("size", [(28, 28), (64, 128), (128, 400), (32, 100)])
def test_images_of_other_sizes_come_out_as_they_went_in(size):
    height, width = size
    networks = [
        on_paper(ImageEncoder, ImageSize(*size), 200),
        on_paper(ImageGenerator, ImageSize(*size), 200),
        on_paper(ImagePairDiscriminator, ImageSize(*size), 200),
    ]
    for network in networks:
        network.eval()
    x = torch.empty(2, height * width, device="meta")
    z = networks[0](x)
    assert z.shape == (2, 200)
    assert networks[1](z).shape == x.shape
    logit, features = networks[2](x, z)
    assert logit.shape == (2,)
    assert features.shape == (2, 1024)


def test_sides_that_cannot_be_halved_twice_are_refused():
    with pytest.raises(ValueError, match="64, 126: not multiples of 4"):
        ImageSize(64, 126)


def test_stride_two_pads_as_tensorflow_does():
    """Of an even side TensorFlow's "same" convolution 3 x 3 of stride 2 begins at the edge."""
    encoder = ImageEncoder(SMALL, 3).double().eval()
    initialise_images(encoder, Generator().manual_seed(0))
    x = torch.randn(2, 96, generator=Generator().manual_seed(1)).double()
    first = torch.nn.functional.leaky_relu(encoder.conv1(x.view(2, 1, 8, 12)), 0.1)
    slow = torch.zeros(2, 64, 4, 6).double()
    padded = torch.zeros(2, 32, 9, 13).double()
    padded[:, :, :8, :12] = first
    for row in range(4):
        for column in range(6):
            window = padded[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            slow[:, :, row, column] = conv2d(window, encoder.conv2.weight)[:, :, 0, 0]
    found = []
    encoder.norm2.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    encoder(x)
    torch.testing.assert_close(found[0], slow)


def test_generated_values_are_those_of_tanh():
    generator = ImageGenerator(SMALL, 3).eval()
    initialise_images(generator, Generator().manual_seed(0))
    generator.conv4.weight.data.mul_(1e6)
    made = generator(torch.randn(5, 3, generator=Generator().manual_seed(1)))
    assert made.abs().max() == 1


def test_initial_weights_are_normal_with_the_published_deviation():
    network = ImagePairDiscriminator(SMALL, 40)
    initialise_images(network, Generator().manual_seed(0))
    assert network.joint.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert network.joint.weight.abs().max() > 0.06  # not uniform
    assert (network.joint.bias == 0).all()
    assert (network.norm2.weight == 1).all()


def test_batch_normalisation_against_numpy():
    norm = BatchNorm(3)
    norm.weight.data, norm.bias.data = torch.tensor([1.0, 2, 3]), torch.tensor([0.0, 1, -1])
    x = torch.randn(6, 3, 4, generator=Generator().manual_seed(0)) * 2 + 1
    mean, variance = x.numpy().mean((0, 2)), x.numpy().var((0, 2))
    expected = (x.numpy() - mean[:, None]) / np.sqrt(variance[:, None] + 1e-3)
    expected = expected * np.array([1, 2, 3])[:, None] + np.array([0, 1, -1])[:, None]
    np.testing.assert_allclose(norm(x).detach(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.running_mean, 0.01 * mean, rtol=1e-5)
    unbiased = variance * 24 / 23
    np.testing.assert_allclose(norm.running_var, 0.99 + 0.01 * unbiased, rtol=1e-5)
    before = norm.running_mean.clone()
    let_statistics_move(norm, False)
    np.testing.assert_allclose(norm(x).detach(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(norm.running_mean, before)
    scored = norm.eval()(x).detach()
    expected = (x.numpy() - 0.01 * mean[:, None]) / np.sqrt(0.99 + 0.01 * unbiased[:, None] + 1e-3)
    np.testing.assert_allclose(scored[:, 0], expected[:, 0], rtol=1e-4, atol=1e-5)


def statistics(networks):
    return {name: value.clone() for name, value in networks.named_buffers()}


@pytest.mark.parametrize("cls", [ImageBiGANNetworks, ImageGANNetworks])
def test_only_the_statistics_of_those_who_learn_move(cls):
    networks = cls(SMALL, 4, Generator().manual_seed(0)).train()
    x, z = (torch.randn(5, n, generator=Generator().manual_seed(n)) for n in (96, 4))
    random = DropoutDraws(Generator().manual_seed(1))
    for learn in ("discriminator", "opponents"):
        before = statistics(networks)
        if learn == "discriminator":
            networks.discriminator_gradients(x, z, random)
        else:
            networks.opponent_gradients(x, z, random, Objective())
        for name, value in statistics(networks).items():
            moved = name.startswith("discriminator") == (learn == "discriminator")
            assert torch.equal(value, before[name]) != moved, name


def test_real_and_fake_images_are_normalised_apart():
    """What is beside them in a batch must not tell real from fake images."""
    networks = ImageBiGANNetworks(SMALL, 4, Generator().manual_seed(0)).train()
    x, z = (torch.randn(5, n, generator=Generator().manual_seed(n)) for n in (96, 4))
    found = networks.discriminator_loss(x, z, None)
    with torch.no_grad():
        real, _ = networks.discriminator(x, networks.encoder(x))
        fake, _ = networks.discriminator(networks.generator(z), z)
    expected = torch.log1p(torch.exp(-real)).mean() + torch.log1p(torch.exp(fake)).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
