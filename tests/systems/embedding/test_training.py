"""A training step against the same step written out row by row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from asd.systems.embedding.frontends import Frontend
from asd.systems.embedding.recipe_parts import LossRecipe
from asd.systems.embedding.recipe_training import AugmentationRecipe, TrainingRecipe
from asd.systems.embedding.training import Training

ROWS, BINS, FRAMES, CLASSES, SEED = 8, 3, 5, 4, 3
HALF = BINS * FRAMES
CPU = torch.device("cpu")
FIXED = {"dynamic": False}


class Bare(Frontend):
    """Half of a clip as it is, and half as a spectrogram."""

    def __init__(self) -> None:
        super().__init__((HALF, HALF))

    def features(self, waves: Tensor) -> list[Tensor]:
        return [waves[:, :HALF], waves[:, HALF:].view(-1, BINS, FRAMES)]

    def embed(self, features: Sequence[Tensor]) -> Tensor:
        return torch.cat([x.flatten(1) for x in features], dim=1)


@dataclass
class Clips:
    waves: Tensor
    classes: Tensor

    def order(self, generator: Generator) -> Tensor:
        return torch.randperm(len(self.classes), generator=generator)

    def batch(self, clips: Tensor, _: Generator) -> tuple[Tensor, Tensor]:
        return self.waves[clips], one_hot(self.classes[clips], CLASSES).float()


def make_clips() -> Clips:
    waves = torch.rand(ROWS, 2 * HALF, generator=Generator().manual_seed(7))
    return Clips(waves, torch.arange(ROWS) % CLASSES)


def make_training(*losses: LossRecipe) -> Training:
    options = TrainingRecipe(epochs=1, batch_size=ROWS), AugmentationRecipe()
    return Training(Bare, losses, CLASSES, *options, seed=SEED, device=CPU)


def exchanged(own: np.ndarray, other: np.ndarray, over_time: bool) -> np.ndarray:
    found = own.copy() if over_time else own.T.copy()
    source = other if over_time else other.T
    for row, given in zip(found, source, strict=True):
        row[:] = (row - row.mean()) / (row.std(ddof=1) + 1e-6) * given.std(ddof=1) + given.mean()
    return found if over_time else found.T


def cross_entropy(embedding: np.ndarray, centres: np.ndarray, label: np.ndarray) -> float:
    cosines = centres @ embedding / np.linalg.norm(centres, axis=1) / np.linalg.norm(embedding)
    logits = np.sqrt(2) * np.log(len(centres) - 1) * cosines
    return float(label @ (np.log(np.exp(logits).sum()) - logits))


def expected_loss(clips: Clips, centres: list[np.ndarray], weight: float) -> float:
    """0.4 is the probability; draws: the order of the clips, decisions, other rows, axes."""
    generator = Generator().manual_seed(SEED)
    order = torch.randperm(ROWS, generator=generator).numpy()
    chosen = torch.rand(ROWS, generator=generator).numpy() < 0.4
    other = torch.randperm(ROWS, generator=generator).numpy()
    over_time = torch.rand(ROWS, generator=generator).numpy() < 0.5
    assert len(set(zip(chosen, over_time, strict=True))) == 4  # every case occurs
    waves, classes = clips.waves.numpy().astype(float)[order], clips.classes.numpy()[order]
    spectra = waves[:, HALF:].reshape(ROWS, BINS, FRAMES)
    total = 0.0
    for row in range(ROWS):
        own, blocks = np.eye(CLASSES)[classes[row]], np.zeros(3 * CLASSES)
        spectrum = spectra[row]
        if chosen[row]:
            spectrum = exchanged(spectrum, spectra[other[row]], over_time[row])
            blocks[CLASSES + classes[row]] += 0.5
            blocks[2 * CLASSES + classes[other[row]]] += 0.5
        else:
            blocks[classes[row]] = 1.0
        embedding = np.concatenate([waves[row, :HALF], spectrum.ravel()])
        total += cross_entropy(embedding, centres[0], own)
        total += weight * cross_entropy(embedding, centres[1], blocks)
    return total / ROWS


def test_statistics_exchange_reaches_networks_and_losses():
    training = make_training(
        LossRecipe("embedding", "AdaCos", FIXED),
        LossRecipe("statistics_exchange", "AdaCos", FIXED, weight=0.7, probability=0.4),
    )
    centres = [loss.loss.centres.detach().numpy().copy() for loss in training.objective.losses]
    assert [len(found) for found in centres] == [CLASSES, 3 * CLASSES]
    clips = make_clips()
    expected = expected_loss(clips, centres, 0.7)
    np.testing.assert_allclose(training.run_epoch(clips), expected, rtol=1e-5)


def test_feature_exchange_multiplies_the_classes_of_statistics_exchange():
    training = make_training(
        LossRecipe("feature_exchange", "AdaCos", FIXED),
        LossRecipe("branches", "AdaCos", FIXED),
        LossRecipe("statistics_exchange", "AdaCos", FIXED),
    )
    exchange, branches, statistics = training.objective.losses
    assert len(exchange.loss.centres) == 3 * (1 + 2) * CLASSES
    assert [len(loss.centres) for loss in branches.losses] == [CLASSES, CLASSES]
    assert len(statistics.loss.centres) == 3 * CLASSES
    assert np.isfinite(training.run_epoch(make_clips()))
