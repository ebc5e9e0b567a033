"""Classes from attributes where names tell them, else from clusters."""

from pathlib import Path

import numpy as np
import pytest

from asd.audio.clip_set import ClipSet
from asd.audio.features import Features
from asd.clips import Clip
from asd.systems.embedding.clusters import KMeansLabeller
from asd.systems.embedding.partitions import k_means
from asd.systems.embedding.recipe import parse_recipe
from asd.systems.memory_run import MemoryRun
from asd.systems.registry import find_system


def clips():
    """Ten cars with two attributes; twelve source and four target fans without any."""
    cars = [
        Clip(Path(f"car{i}.wav"), "car", attributes="spd_A" if i < 5 else "spd_B")
        for i in range(10)
    ]
    fans = [
        Clip(Path(f"fan{i}.wav"), "fan", domain="source" if i < 12 else "target") for i in range(16)
    ]
    return cars + fans


def embeddings():
    """The source fans lie about three directions, four clips each."""
    rng = np.random.default_rng(0)
    centres = np.eye(5)[np.r_[np.zeros(10, int), np.arange(12) % 3, np.full(4, 4)]]
    level = rng.uniform(0.1, 10, size=(26, 1))  # which must play no part
    return (level * (centres + 0.01 * rng.normal(size=(26, 5)))).astype(np.float32)


def source(chosen, _):
    index = [clips().index(clip) for clip in chosen]
    rows = embeddings()[index]
    return Features(rows, np.arange(len(rows)), np.ones(len(rows), np.int64), 16000)


def test_names_tell_what_they_can_and_clusters_the_rest():
    labeller = KMeansLabeller(weights="any.pt", source_clusters=3, target_clusters=1)
    found = labeller.classes(ClipSet(clips(), source), MemoryRun(0))
    assert found.count == 2 + 3 + 1
    numbers = found.numbers.tolist()
    assert numbers[:10] == [0] * 5 + [1] * 5
    assert [numbers[10 + i] - 2 for i in range(12)] == [0, 1, 2] * 4
    assert numbers[22:] == [5] * 4


def test_encoders_are_not_asked_where_all_names_tell_attributes():
    cars = clips()[:10]

    def never(*_):
        raise AssertionError

    assert KMeansLabeller(weights="any.pt").classes(ClipSet(cars, never), MemoryRun(0)).count == 2


@pytest.mark.parametrize("count", [1, 3, 12, 40])
def test_there_are_no_more_clusters_than_clips_and_a_seed_gives_the_same(count):
    rows = embeddings()[10:22]
    found = k_means(rows, count, seed=1)
    assert len(set(found.tolist())) == min(count, 12)
    assert found.tolist() == k_means(rows, count, seed=1).tolist()
    assert k_means(np.ones((5, 3)), count, 0).tolist() == [0] * 5


def test_a_recipe_names_it_and_its_weights_are_looked_for_beside_the_recipe(tmp_path):
    text = """\
frontend: {class: PooledSpectrogram}
labels: {class: KMeansLabeller, weights: mine.pt, pooling: {class: rdp}, channel: cancellation}
backends: {KNN: {class: knn}}
"""
    (tmp_path / "mine.pt").touch()
    recipe = parse_recipe(text, str(tmp_path / "recipe.yaml"))
    feature = recipe.labels.make("left").feature
    assert feature.weights == str(tmp_path / "mine.pt")
    assert feature.channel == "cancellation"


def test_clusters_are_of_what_the_recipe_hears_unless_it_names_another_channel():
    recipe = find_system("dis_beats_2026").defaults()
    for channel in ("left", "subtraction"):
        assert recipe.labels.make(channel).feature.channel == channel
