"""Parameters of GAN and BiGAN, on frame vectors and on log-mel images."""

from dataclasses import dataclass
from typing import Annotated, Literal

from asd.errors import UserError
from asd.schema.parameters import parameter
from asd.schema.values import AtLeastOne, BatchSize, Count, Decay, NonNegative, Positive, Share
from asd.systems.logmel import LogMelInput

IMAGE_SIDE = 4
"""The sides of an image are multiples of this: the networks halve them twice."""


@dataclass(frozen=True)
class AdversarialParameters(LogMelInput):
    """What all have in common.

    Those of the score are fixed in training too: decisions hold for the values that the normal
    scores were made with.
    """

    frames: Count = parameter(1, "frames in a feature vector", role="features")
    frame_hop_length: Count = parameter(1, "frames between feature vectors", role="features")
    epochs: Count = parameter(
        10,
        "passes over the training data",
        role="training",
        flags=("--nb_epochs",),
        resumable=True,
    )
    batch_size: BatchSize = parameter(64, "feature vectors per training step", role="training")
    learning_rate: Positive = parameter(1e-3, "step size of Adam", role="training", flags=("-lr",))
    target_share: Decay = parameter(
        0.25,
        "share of an epoch's feature vectors that are of the target domain: those of its few "
        "clips come several times (0: every vector once, as published)",
        role="training",
    )
    w: Share = parameter(
        0.1,
        "share of the discriminator's term in the score; the rest is reconstruction",
        role="training",
    )
    d: Positive = parameter(
        1.0,
        "degree of the norms in the score: 1 sums differences, 2 is Euclidean",
        role="training",
    )
    methods: Annotated[tuple[Literal["CROSS-E", "FM"], ...], AtLeastOne()] = parameter(
        ("CROSS-E", "FM"),
        "the discriminator's term: cross-e (cross entropy), fm (feature matching) or both",
        role="training",
        flags=("--m",),
    )
    score_hop_length: Count | None = parameter(
        None, "frames between scored vectors (null: frame_hop_length)", role="training"
    )
    threshold_clips: Count | None = parameter(
        None, "training clips scored for the decision threshold (null: all)", role="training"
    )
    ema_warm_up: bool = parameter(
        True,
        "let the average forget the initial weights within the first steps (published: False, "
        "which needs several times 1 / (1 - ema_decay) steps)",
        role="training",
    )
    scaling: Literal["training", "published", "none"] = parameter(
        "training",
        "what is done to decibels first: training (mean and deviation of the training frames, "
        "for images to the generator's range), published (times two minus one), or none",
        role="training",
    )


@dataclass(frozen=True)
class VectorParameters(AdversarialParameters):
    """What BiGAN and GAN on frame vectors have in common."""

    network: Literal["frames", "kdd"] = parameter(
        "frames",
        "layer sizes: frames, or kdd (those published for KDD Cup 99)",
        role="training",
    )
    latent_dim: Count | None = parameter(
        None, "width of the latent vector (null: the network's own, 32)", role="training"
    )
    ema_decay: Decay = parameter(
        0.9999, "share that each step keeps of the weights' moving average", role="training"
    )


@dataclass(frozen=True)
class ObjectiveParameters:
    """What the encoder and the generator of a BiGAN learn from."""

    cycle: NonNegative = parameter(
        20.0,
        "weight of the reconstruction: encoder and generator also learn to give back what they "
        "are given (published: 0, which does not detect anything in machine sounds)",
        role="training",
    )
    adversary: NonNegative = parameter(
        1.0,
        "weight of what encoder and generator learn from the discriminator (published: 1); 0 "
        "leaves the reconstruction alone",
        role="training",
    )

    def check_objective(self) -> None:
        """Refuse a training without a loss.

        Raises
        ------
        UserError
            Both weights are 0.
        """
        if not (self.cycle or self.adversary):
            raise UserError(
                "--cycle 0 and --adversary 0: nothing is left to learn from; set one of them"
            )


@dataclass(frozen=True)
class SearchParameters:
    """How the GAN looks for the latent vector of what it scores."""

    search_steps: Count = parameter(
        500, "steps of the search for a latent vector when scoring", role="training"
    )


@dataclass(frozen=True)
class BiganParameters(ObjectiveParameters, VectorParameters):
    """What a BiGAN of frame vectors is made with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_objective()


@dataclass(frozen=True)
class GanParameters(SearchParameters, VectorParameters):
    """What a GAN of frame vectors is made with."""

    frames: Count = parameter(5, "frames in a feature vector", role="features")
    epochs: Count = parameter(
        50,
        "passes over the training data",
        role="training",
        flags=("--nb_epochs",),
        resumable=True,
    )
    batch_size: BatchSize = parameter(256, "feature vectors per training step", role="training")
    learning_rate: Positive = parameter(1e-4, "step size of Adam", role="training", flags=("-lr",))


@dataclass(frozen=True)
class ImageParameters(AdversarialParameters):
    """What BiGAN and GAN on log-mel images have in common."""

    frames: Count = parameter(64, "frames in an image, a multiple of 4", role="features")
    frame_hop_length: Count = parameter(8, "frames between images", role="features")
    latent_dim: Count = parameter(200, "width of the latent vector", role="training")
    batch_size: BatchSize = parameter(50, "images per training step", role="training")
    learning_rate: Positive = parameter(
        1e-4, "step size of Adam (published: 1e-5)", role="training", flags=("-lr",)
    )
    ema_decay: Decay = parameter(
        0.999, "share that each step keeps of the weights' moving average", role="training"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("frames", self.frames), ("n_mels", self.n_mels)):
            if value % IMAGE_SIDE:
                raise UserError(
                    f"--{name}: expected a multiple of {IMAGE_SIDE} for images, got {value}"
                )


@dataclass(frozen=True)
class ImageBiganParameters(ObjectiveParameters, ImageParameters):
    """What a BiGAN of log-mel images is made with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_objective()


@dataclass(frozen=True)
class ImageGanParameters(SearchParameters, ImageParameters):
    """What a GAN of log-mel images is made with."""


IMAGES_AS_PUBLISHED = {
    "learning_rate": 1e-5, "ema_warm_up": False, "scaling": "published", "cycle": 0.0,
    "target_share": 0.0,
}  # fmt: skip
"""Where the program that these networks come from differs from the defaults here."""
