"""Parameters of GAN and BiGAN."""

from dataclasses import dataclass
from typing import Literal

from asd.schema.parameters import parameter
from asd.schema.values import BatchSize, Count, Decay, Positive, Share
from asd.systems.logmel import LogMelInput


@dataclass(frozen=True)
class GanParameters(LogMelInput):
    """What a model of GAN or BiGAN is made with.

    Those of the score are fixed in training too: decisions hold for the values that the normal
    scores were made with.
    """

    frames: Count = parameter(5, "frames in a feature vector", role="features")
    frame_hop_length: Count = parameter(1, "frames between feature vectors", role="features")
    network: Literal["frames", "kdd"] = parameter(
        "frames",
        "layer sizes: frames, or kdd (those published for KDD Cup 99)",
        role="training",
    )
    latent_dim: Count | None = parameter(
        None, "width of the latent vector (null: the network's own, 32)", role="training"
    )
    epochs: Count = parameter(
        50,
        "passes over the training data",
        role="training",
        flags=("--nb_epochs",),
        resumable=True,
    )
    batch_size: BatchSize = parameter(256, "feature vectors per training step", role="training")
    learning_rate: Positive = parameter(1e-4, "step size of Adam", role="training", flags=("-lr",))
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
    methods: tuple[Literal["CROSS-E", "FM"], ...] = parameter(
        ("CROSS-E", "FM"),
        "the discriminator's term: cross-e (cross entropy), fm (feature matching) or both",
        role="training",
        flags=("--m",),
    )
    search_steps: Count = parameter(
        500, "steps of the GAN's search for a latent vector when scoring", role="training"
    )
    score_hop_length: Count | None = parameter(
        None, "frames between scored vectors (null: frame_hop_length)", role="training"
    )
    threshold_clips: Count | None = parameter(
        None, "training clips scored for the decision threshold (null: all)", role="training"
    )
    ema_decay: Decay = parameter(
        0.9999, "share that each step keeps of the weights' moving average", role="training"
    )
    ema_warm_up: bool = parameter(
        True,
        "let the average forget the initial weights within the first steps (published: False, "
        "which needs several times 1 / (1 - ema_decay) steps)",
        role="training",
    )
    standardise: bool = parameter(
        True,
        "bring each mel band to mean 0 and deviation 1 over the training frames",
        role="training",
    )
