"""Supplemental clips in training: classes of their own, and noise for clips of their machine."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator

from asd.audio.clip_set import ClipSet
from asd.audio.features import Features
from asd.clips import Clip
from asd.systems.embedding.augmentation import add_noise
from asd.systems.embedding.crops import JoinedWaves, Waves
from asd.systems.embedding.labellers import TrainingClasses
from asd.systems.embedding.recipe import parse_recipe
from asd.systems.embedding.recipe_training import SupplementalRecipe
from asd.systems.embedding.supplemental import (
    noise_of_clips,
    training_set,
    with_supplemental,
)
from asd.systems.embedding.system import EmbeddingSystem
from asd.systems.memory_run import MemoryRun

RATE, WIDTH = 8000, 2000
FANS = tuple(Clip(Path(f"fan/train/{i}.wav"), "fan", label="normal") for i in range(12))
CARS = tuple(Clip(Path(f"car/train/{i}.wav"), "car", label="normal") for i in range(12))
NOISE = tuple(Clip(Path(f"fan/supplemental/n{i}.wav"), "fan", label="noise") for i in range(3))
CLEAN = tuple(Clip(Path(f"car/supplemental/m{i}.wav"), "car", label="machine") for i in range(2))
CLIPS, EXTRA = FANS + CARS, NOISE + CLEAN
SHARE = SupplementalRecipe(classes=True, noise=0.5)
RECIPE = """\
input_s: 0.25
frontend: {class: SpectralNetwork, windows: [128], whole_clip: false, width: 16, high_hz: 4000}
losses: [{class: ArcFace}]
labels: {parts: [machine]}
training: {epochs: 1, batch_size: 8}
backends: {KNN: {class: knn}}
"""


def source(clips, _):
    """Each clip is a constant: 1, 2, ... for training clips, 101, 102, ... for others."""
    values = [1 + CLIPS.index(c) if c in CLIPS else 101 + EXTRA.index(c) for c in clips]
    lengths = np.array([WIDTH + 10 * (i % 3) for i in range(len(clips))])
    starts = np.cumsum(lengths) - lengths
    rows = np.repeat(np.array(values, dtype=np.float32), lengths)
    rows += np.random.default_rng(0).normal(0, 1e-3, len(rows)).astype(np.float32)
    return Features(rows, starts, lengths, RATE)


TRAIN = ClipSet(CLIPS, source, supplemental=EXTRA)


def classes():
    return TrainingClasses(np.repeat([0, 1], 12), 2)


def made(recipe):
    both = with_supplemental(classes(), EXTRA, recipe)
    return training_set(TRAIN, None, both, recipe, WIDTH, torch.device("cpu"))


def test_clean_and_noise_clips_are_classes_after_all_others():
    found = with_supplemental(classes(), EXTRA, SupplementalRecipe(classes=True))
    assert found.count == 4
    assert found.numbers.tolist() == [0] * 12 + [1] * 12 + [3, 3, 3] + [2, 2]  # car before fan
    for recipe in (SupplementalRecipe(), SupplementalRecipe(noise=0.5)):
        assert with_supplemental(classes(), EXTRA, recipe) is not None
        assert with_supplemental(classes(), EXTRA, recipe).count == 2


def test_their_crops_are_theirs_and_of_the_right_class():
    data = made(SupplementalRecipe(classes=True))
    order = torch.randperm(len(data.classes), generator=Generator().manual_seed(0))
    crops, labels = data.batch(order, Generator().manual_seed(0))
    expected = [i + 1 if i < 24 else 101 + i - 24 for i in order.tolist()]
    np.testing.assert_allclose(crops.mean(dim=1), expected, atol=1e-3)
    assert torch.equal(labels.argmax(dim=1), data.classes[order])


def test_numbers_through_two_sets_draw_as_one_set_does():
    every = source(CLIPS + EXTRA, None)
    whole = Waves.place(every, torch.device("cpu"))
    parts = (whole.starts[:24], whole.lengths[:24]), (whole.starts[24:], whole.lengths[24:])
    joined = JoinedWaves(*(Waves(whole.rows, *part) for part in parts))
    clips = torch.tensor([3, 28, 0, 24, 23])
    pairs = [
        waves.random_crops(clips, 1500, Generator().manual_seed(1)) for waves in (whole, joined)
    ]
    assert torch.equal(*pairs)
    assert len(joined) == len(whole)


def test_noise_goes_to_clips_of_its_machine_type_only():
    members = noise_of_clips(CLIPS, EXTRA)
    assert [each.tolist() for each in members] == [[0, 1, 2]] * 12 + [[]] * 12
    data = made(SupplementalRecipe(classes=True, noise=1.0, snr_db=(0.0, 0.0)))
    crops, _ = data.batch(torch.arange(29), Generator().manual_seed(0))
    means = crops.mean(dim=1).numpy()
    np.testing.assert_allclose(means[:12], 2 * np.arange(1, 13), rtol=1e-3)  # as loud as the clip
    np.testing.assert_allclose(means[12:24], np.arange(13, 25), rtol=1e-3)
    np.testing.assert_allclose(means[24:], np.arange(101, 106), rtol=1e-3)


def test_the_recipe_says_how_often_and_how_loud():
    waves = torch.randn(2000, 50, generator=Generator().manual_seed(0))
    noise = torch.randn(2000, 50, generator=Generator().manual_seed(1))
    chosen = torch.arange(2000) % 2 == 0
    mixed = add_noise(waves, noise, chosen, (0.0, 10.0), Generator().manual_seed(2))
    added = (mixed - waves).square().mean(dim=1)
    assert torch.equal(added > 0, chosen)
    snr_db = 10 * torch.log10(waves.square().mean(dim=1) / added)[chosen]
    assert snr_db.min() >= -1e-3
    assert snr_db.max() <= 10.001
    assert abs(snr_db.mean() - 5) < 0.3
    shares = SupplementalRecipe(noise=0.5)
    data = made(shares)
    crops, _ = data.batch(torch.zeros(400, dtype=torch.int64), Generator().manual_seed(0))
    assert 0.4 < (crops.mean(dim=1) > 1.01).float().mean() < 0.6


def test_silent_noise_and_silent_clips_change_nothing():
    loud, silent = torch.ones(2, 5), torch.zeros(2, 5)
    both = torch.tensor([True, True])
    for waves, noise in ((loud, silent), (silent, loud), (silent, silent)):
        found = add_noise(waves, noise, both, (0.0, 0.0), Generator().manual_seed(0))
        assert torch.equal(found, waves)


@pytest.mark.parametrize("rule", ["{}", "{classes: true}", "{noise: 0.5, snr_db: [-3, 3]}"])
def test_a_recipe_trains_with_them_and_they_are_no_references(rule):
    recipe = parse_recipe(f"{RECIPE}supplemental: {rule}\n", "recipe.yaml")
    system, weights = EmbeddingSystem(recipe), []
    system.fit(TRAIN, MemoryRun(0, lambda _, e: weights.append(e.snapshot()["objective"])))
    count = 2 + 2 * recipe.supplemental.classes
    assert {len(value) for value in weights[0].values() if value.dim() == 2} == {count}
    references = system.state()["backends"]["fan"]["KNN"]["all/source"]
    assert len(references) == 12


def test_recipes_draw_the_same_numbers_where_there_are_no_such_clips():
    plain = ClipSet(CLIPS, source)
    states = []
    for rule in ("{}", "{classes: true, noise: 0.9}"):
        system = EmbeddingSystem(parse_recipe(f"{RECIPE}supplemental: {rule}\n", "recipe.yaml"))
        system.fit(plain, MemoryRun(0))
        states.append(system.state()["frontend"])
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name])
