"""The convolutional networks of log-mel images, and of digits.

The networks that Zenati et al. (arXiv 1802.06222) published for MNIST, and that a later program
(bagusadhi, "Tugas Akhir", folder bigan_dcase) made larger for log-mel images of 64 frames and 128
mel bands. All convolutions pad as TensorFlow's "same" does; batch normalisation has TensorFlow's
momentum and eps.

An image comes and goes as a vector of height * width values, row after row: (batch, values).
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import batch_norm, leaky_relu, pad, relu

from asd.systems.gan.dropout import DropoutDraws, dropout
from asd.systems.gan.networks import Dense
from asd.systems.gan.parameters import IMAGE_SIDE

LEAK = 0.1
"""Slope of the leaky ReLU below zero (published)."""
DROPOUT = 0.5
"""Share of values dropped in the discriminator of pairs (published)."""
DEVIATION = 0.02
"""Standard deviation of initial weights (published)."""


@dataclass(frozen=True)
class ImageSize:
    """Height and width of an image, multiples of 4: of a log-mel image its frames and mels."""

    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height % IMAGE_SIDE or self.width % IMAGE_SIDE:
            raise ValueError(f"image sides {self.height}, {self.width}: not multiples of 4")

    @property
    def small(self) -> tuple[int, int]:
        """Height and width where they are smallest."""
        return self.height // IMAGE_SIDE, self.width // IMAGE_SIDE

    @property
    def small_values(self) -> int:
        """Height times width there."""
        return self.small[0] * self.small[1]


class BatchNorm(nn.Module):
    """Batch normalisation over all but the second axis.

    Attributes
    ----------
    moving
        Whether training moves the running statistics that scoring uses: networks that only help
        another one to learn must not.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.moving = True

    def forward(self, values: Tensor) -> Tensor:
        """(batch, channels, ...) -> the same shape."""
        keep = self.moving or not self.training
        return batch_norm(
            values,
            self.running_mean if keep else None,
            self.running_var if keep else None,
            self.weight,
            self.bias,
            training=self.training,
            momentum=0.01,
            eps=1e-3,
        )


def let_statistics_move(network: nn.Module, moving: bool) -> None:
    """Set `moving` of every batch normalisation in a network."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.moving = moving


class ImageEncoder(nn.Module):
    """E: image -> latent vector."""

    def __init__(self, size: ImageSize, latent: int) -> None:
        super().__init__()
        self.size = size
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, stride=2)
        self.norm2 = BatchNorm(64)
        self.conv3 = nn.Conv2d(64, 128, 3, stride=2)
        self.norm3 = BatchNorm(128)
        self.last = Dense(128 * size.small_values, latent)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, values) -> (batch, latent)."""
        values = leaky_relu(self.conv1(_as_image(x, self.size)), LEAK)
        values = leaky_relu(self.norm2(self.conv2(_pad_as_tensorflow(values))), LEAK)
        values = leaky_relu(self.norm3(self.conv3(_pad_as_tensorflow(values))), LEAK)
        encoded: Tensor = self.last(values.flatten(1))
        return encoded


class ImageGenerator(nn.Module):
    """G: latent vector -> image of values between -1 and 1."""

    def __init__(self, size: ImageSize, latent: int) -> None:
        super().__init__()
        self.size = size
        self.dense1 = Dense(latent, 1024)
        self.norm1 = BatchNorm(1024)
        self.dense2 = Dense(1024, 128 * size.small_values)
        self.norm2 = BatchNorm(128 * size.small_values)
        self.conv3 = nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1)
        self.norm3 = BatchNorm(64)
        self.conv4 = nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """(batch, latent) -> (batch, values)."""
        values = relu(self.norm1(self.dense1(z)))
        values = relu(self.norm2(self.dense2(values)))
        values = values.view(len(z), 128, *self.size.small)
        values = relu(self.norm3(self.conv3(values)))
        return torch.tanh(self.conv4(values)).flatten(1)


class ImagePairDiscriminator(nn.Module):
    """D(x, z), the BiGAN's: whether a pair is (x, E(x)) of real data, high, or (G(z), z), low."""

    def __init__(self, size: ImageSize, latent: int) -> None:
        super().__init__()
        self.size = size
        self.conv1 = nn.Conv2d(1, 64, 4, stride=2, padding=1)
        self.conv2 = nn.Conv2d(64, 64, 4, stride=2, padding=1)
        self.norm2 = BatchNorm(64)
        self.latent = Dense(latent, 512)
        self.joint = Dense(64 * size.small_values + 512, 1024)
        self.last = Dense(1024, 1)

    def forward(
        self, x: Tensor, z: Tensor, draws: DropoutDraws | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logit, shape (batch,), high for real; and the last hidden layer, the features."""
        data = leaky_relu(self.conv1(_as_image(x, self.size)), LEAK)
        data = dropout(data, draws, DROPOUT)
        data = leaky_relu(self.norm2(self.conv2(data)), LEAK)
        data = dropout(data, draws, DROPOUT).flatten(1)
        latent = dropout(leaky_relu(self.latent(z), LEAK), draws, DROPOUT)
        features = leaky_relu(self.joint(torch.cat([data, latent], dim=1)), LEAK)
        features = dropout(features, draws, DROPOUT)
        return self.last(features).squeeze(1), features


class ImageDiscriminator(nn.Module):
    """D(x), the GAN's: how real an image looks. It has no dropout (published)."""

    def __init__(self, size: ImageSize) -> None:
        super().__init__()
        self.size = size
        self.conv1 = nn.Conv2d(1, 64, 4, stride=2, padding=1)
        self.conv2 = nn.Conv2d(64, 64, 4, stride=2, padding=1)
        self.norm2 = BatchNorm(64)
        self.joint = Dense(64 * size.small_values, 1024)
        self.norm3 = BatchNorm(1024)
        self.last = Dense(1024, 1)

    def forward(
        self,
        x: Tensor,
        draws: DropoutDraws | None = None,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """Logit, shape (batch,), high for real; and the last hidden layer, the features."""
        data = leaky_relu(self.conv1(_as_image(x, self.size)), LEAK)
        data = leaky_relu(self.norm2(self.conv2(data)), LEAK).flatten(1)
        features = leaky_relu(self.norm3(self.joint(data)), LEAK)
        return self.last(features).squeeze(1), features


def initialise_images(network: nn.Module, random: Generator) -> None:
    """Normal weights of deviation 0.02 and zero biases (published), drawn from `random`."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, Dense)):
            nn.init.normal_(module.weight, std=DEVIATION, generator=random)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _as_image(x: Tensor, size: ImageSize) -> Tensor:
    return x.view(len(x), 1, size.height, size.width)


def _pad_as_tensorflow(values: Tensor) -> Tensor:
    """For a 3 x 3 convolution of stride 2: TensorFlow's "same" adds zeros at the end only."""
    return pad(values, (0, 1, 0, 1))
