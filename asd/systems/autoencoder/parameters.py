"""Parameters of the official autoencoder; names and defaults are the official baseline's."""

from dataclasses import dataclass
from typing import Literal

from asd.schema.parameters import parameter
from asd.schema.values import BatchSize, Count, Fraction, Positive
from asd.systems.logmel import LogMelInput


@dataclass(frozen=True)
class AutoencoderParameters(LogMelInput):
    """What a model of the autoencoder is made with."""

    frames: Count = parameter(5, "frames in a feature vector", role="features")
    frame_hop_length: Count = parameter(1, "frames between feature vectors", role="features")
    batch_size: BatchSize = parameter(256, "feature vectors per training step", role="training")
    epochs: Count = parameter(
        100,
        "passes over the training data",
        role="training",
        flags=("--nb_epochs",),
        resumable=True,
    )
    learning_rate: Positive = parameter(0.001, "step size of Adam", role="training", flags=("-lr",))
    shuffle: bool = parameter(
        True, "draw the training vectors in a new order each epoch", role="training"
    )
    validation_split: Fraction = parameter(
        0.1, "share of feature vectors held out for val_loss", role="training"
    )
    precision: Literal["float32", "bfloat16"] = parameter(
        "float32",
        "float32, or bfloat16 for the products in training, faster in large batches on processors "
        "that have it (losses stay within the spread over seeds)",
        role="training",
    )
    threshold_fit: Literal["batch", "clip"] = parameter(
        "batch",
        "normal scores that the decision threshold is fitted to: batch (scores of training "
        "batches, as the official baseline does) or clip (scores of training clips)",
        role="scoring",
    )
    mahalanobis: Literal["mean", "frame"] = parameter(
        "mean",
        "distance in the score MAHALA: mean (of a clip's mean difference, as the official baseline "
        "does) or frame (mean over frames of each one's own, the textbook form; its results are "
        "named MAHALA-FRAME)",
        role="scoring",
    )
