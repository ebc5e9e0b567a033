"""Embedding systems end to end, on tones whose pitch is the class."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.audio.clip_set import ClipSet
from asd.audio.features import Features
from asd.backends import make_backend
from asd.challenge.names import parse_clip
from asd.errors import UserError
from asd.systems.base import MAIN_STAGE, Epoch, State
from asd.systems.embedding.recipe import Recipe, parse_recipe
from asd.systems.embedding.system import EmbeddingSystem
from asd.systems.embedding.thresholds import assign_folds, check_clip_counts
from asd.systems.embedding.training import batches
from asd.systems.memory_run import MemoryRun
from asd.systems.registry import find_system, recipe_names

RATE = 8000
TINY = """\
input_s: 0.5
frontend: {class: SpectralNetwork, windows: [128], whole_clip: false, width: 16, high_hz: 4000}
losses:
  - {class: SubclusterAdaCos, subclusters: 2, dynamic: true}
augmentation: {mixup: 0.5}
training: {epochs: 3, batch_size: 16, learning_rate: 0.005}
backends:
  KNN: {class: knn}
  KMEANS: {class: kmeans, n_clusters: 2}
"""
FOUR = """\
  KNN-SMOTE: {class: knn, smote_ratio: 0.5, smote_neighbours: 2}
  KNN-RESCALE: {class: rescaled_knn, metric: half_chord}
"""
PITCH_HZ = {"A": 500.0, "B": 900.0, "anomaly": 2500.0}


def tone(rng: np.random.Generator, hz: float, seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    phase = rng.uniform(0, 2 * np.pi)
    return (0.3 * np.sin(2 * np.pi * hz * time + phase) + rng.normal(0, 0.05, len(time))).astype(
        "f4"
    )


def make_clips(seed: int, split: str, label: str = "normal") -> ClipSet:
    """Clips of two machine types, with attributes; "ToyB" lies an octave higher."""
    rng = np.random.default_rng(seed)
    clips, waves = [], []
    for octave, machine in enumerate(["ToyA", "ToyB"]):
        for number in range(24):
            domain = "target" if number % 4 == 3 else "source"
            attribute = "AB"[number // 12]
            name = f"section_00_{domain}_{split}_{label}_{number:04d}_pitch_{attribute}.wav"
            clips.append(parse_clip(Path(machine) / name, machine))
            hz = PITCH_HZ[attribute if label == "normal" else "anomaly"] * 1.3**octave
            waves.append(tone(rng, hz, rng.uniform(0.3, 0.8)))  # shorter and longer than the input
    lengths = np.array([len(wave) for wave in waves])
    starts = np.cumsum(lengths) - lengths
    return clip_set(clips, Features(np.concatenate(waves), starts, lengths, RATE))


def clip_set(clips, features: Features, **options) -> ClipSet:
    return ClipSet(clips, lambda *_: features, **options)


def features_of(clips: ClipSet) -> Features:
    return clips.features(EmbeddingSystem(tiny()).inputs()["waveform"])


TRAIN = make_clips(1, "train")


def tiny(text: str = TINY) -> Recipe:
    return parse_recipe(text, "tiny.yaml")


def new_system(recipe: Recipe | None = None) -> EmbeddingSystem:
    return EmbeddingSystem(recipe or tiny())


def fit(
    system: EmbeddingSystem, seed: int = 0, resume: State | None = None, train: ClipSet = TRAIN
) -> list[Epoch]:
    epochs: list[Epoch] = []
    snapshots = {} if resume is None else {MAIN_STAGE: resume}
    system.fit(train, MemoryRun(seed, lambda _, epoch: epochs.append(epoch), snapshots))
    return epochs


@pytest.fixture(scope="module")
def fitted() -> EmbeddingSystem:
    system = new_system(tiny(TINY.replace("epochs: 3", "epochs: 10")))
    epochs = fit(system)
    assert [epoch.number for epoch in epochs] == list(range(1, 11))
    assert epochs[-1].losses["loss"] < 0.7 * epochs[0].losses["loss"]
    return system


def test_anomalies_score_higher_than_unseen_normal_clips(fitted):
    normal = fitted.score(make_clips(2, "test"))
    anomalous = fitted.score(make_clips(3, "test", "anomaly"))
    assert set(normal) == set(fitted.score_names) == {"KNN", "KMEANS"}
    for name in fitted.score_names:
        for machine in (slice(0, 24), slice(24, 48)):
            above = anomalous[name][machine, None] > normal[name][None, machine]
            assert above.mean() > 0.9, name


def test_embeddings_of_a_class_lie_together(fitted):
    embeddings = fitted.embed(make_clips(2, "test"))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosine = unit @ unit.T - 2 * np.eye(48)
    group = np.arange(48) // 12
    assert (group[cosine.argmax(axis=1)] == group).mean() > 0.9


def test_scores_do_not_depend_on_company(fitted):
    clips = make_clips(2, "test")
    together = fitted.score(clips)
    chosen = [47, 3, 30]
    alone = fitted.score(clips.select(chosen))
    for name in fitted.score_names:
        np.testing.assert_allclose(alone[name], together[name][chosen], rtol=1e-3, atol=1e-6)


def test_state_gives_the_same_scores(fitted, tmp_path):
    torch.save(fitted.state(), tmp_path / "model.pt")
    again = new_system(fitted.parameters)
    again.load_state(torch.load(tmp_path / "model.pt", weights_only=True))
    test = make_clips(2, "test")
    for name, scores in fitted.score(test).items():
        np.testing.assert_array_equal(again.score(test)[name], scores)
        samples = fitted.normal_scores()["ToyB"][name]
        np.testing.assert_array_equal(again.normal_scores()["ToyB"][name], samples)


def test_normal_scores_are_of_clips_held_out(fitted):
    table = fitted.normal_scores()["ToyA"]
    assert table["KNN"].shape == (24,)
    assert set(table.clips) == {clip for clip in TRAIN if clip.machine == "ToyA"}
    assert table["KNN"].min() > 1e-9  # a clip among its own references would score 0


def test_a_normal_score_is_that_of_its_clip_by_a_backend_without_the_fold(fitted):
    """The table's clips stand in the order of their scores, fold by fold."""
    clips = TRAIN.select(TRAIN.by_machine()["ToyB"])
    embeddings, table = fitted.embed(clips), fitted.normal_scores()["ToyB"]
    fold = assign_folds(clips.is_target, clips.sections)
    for number in np.unique(fold):
        kept, held_out = fold != number, np.flatnonzero(fold == number)
        backend = make_backend("knn", {})
        backend.fit(embeddings[kept], clips.is_target[kept])
        expected = backend.score(embeddings[held_out])
        found = [table["KNN"][table.clips.index(clips[int(i)])] for i in held_out]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_folds_are_even_and_leave_small_groups_alone():
    is_target = np.array([False] * 12 + [True] * 4)
    fold = assign_folds(is_target, np.zeros(16, dtype=np.int64))
    assert fold[is_target].tolist() == [-1] * 4
    assert np.bincount(fold[~is_target]).tolist() == [3, 3, 2, 2, 2]


def same_weights(one: EmbeddingSystem, other: EmbeddingSystem) -> bool:
    a, b = one.state()["frontend"], other.state()["frontend"]
    return all(torch.equal(a[key], b[key]) for key in a)


def test_the_seed_decides():
    one, same, other = (new_system() for _ in range(3))
    torch.manual_seed(123)  # the global state does not matter
    fit(one, seed=5)
    fit(same, seed=5)
    fit(other, seed=6)
    assert same_weights(one, same)
    assert not same_weights(one, other)


LEARNING = [n for n in recipe_names() if find_system(n).defaults().learns]
"""Of the many recipes on unlabelled conditions those that learn in other ways are enough."""


@pytest.mark.parametrize(
    "name", [n for n in LEARNING if not n.startswith(("unlabelled_na", "unlabelled_pattr"))]
)
def test_every_recipe_trains_and_resumes_to_the_same_weights(name, tmp_path):
    recipe = replace(
        find_system(name).defaults(),
        input_s=0.5,
        frontend=tiny(TINY.replace("[128]", "[128, 64]")).frontend,
        training=tiny(TINY.replace("epochs: 3", "epochs: 2")).training,
        backends=tiny(TINY + FOUR).backends,
    )
    whole = new_system(recipe)
    paths = [tmp_path / f"{number}.pt" for number in (1, 2)]

    def save(_, epoch: Epoch) -> None:
        torch.save(epoch.snapshot(), paths[epoch.number - 1])

    whole.fit(TRAIN, MemoryRun(3, save))
    resumed = new_system(recipe)
    epochs = fit(resumed, seed=3, resume=torch.load(paths[0], weights_only=True))
    assert [epoch.number for epoch in epochs] == [2]
    assert same_weights(whole, resumed)
    assert set(whole.score(TRAIN)) == {"KNN", "KMEANS", "KNN-SMOTE", "KNN-RESCALE"}


def test_raw_spectra_need_no_training():
    text = TINY[TINY.index("backends:") :]
    frontend = "frontend: {class: PooledSpectrogram, n_fft: 256, mels: 16, high_hz: 4000}\n"
    system = new_system(tiny(frontend + text))
    assert fit(system) == []
    normal = system.score(make_clips(2, "test"))["KNN"]
    anomalous = system.score(make_clips(3, "test", "anomaly"))["KNN"]
    assert np.median(anomalous) > np.max(normal)


def test_test_names_count_as_classes_where_the_recipe_says():
    extra = parse_clip(Path("ToyA/section_00_source_test_normal_0000_pitch_C.wav"), "ToyA")
    counted = tiny(TINY + "labels: {count_test_names: true}\n")

    def scale_of(recipe: Recipe) -> float:
        system = new_system(replace(recipe, losses=tiny_fixed().losses))
        train = clip_set(TRAIN.clips, features_of(TRAIN), label_only_clips=[extra])
        epochs = fit(system, train=train)
        return float(epochs[0].snapshot()["objective"]["losses.0.loss.scale"])

    def tiny_fixed() -> Recipe:
        return tiny(TINY.replace("dynamic: true", "dynamic: false"))

    assert scale_of(tiny()) == pytest.approx(np.sqrt(2) * np.log(8 * 2 - 1))
    assert scale_of(counted) == pytest.approx(np.sqrt(2) * np.log(9 * 2 - 1))


def test_gradient_clipping_and_spec_augment_are_used():
    text = TINY.replace("mixup: 0.5", "spec_augment: {time_width: 20, frequency_width: 20}")
    plain, augmented, clipped = (
        new_system(tiny(TINY.replace("0.5}", "0.0}"))),
        new_system(tiny(text)),
        new_system(tiny(text.replace("batch_size", "clip_gradient: 0.001, batch_size"))),
    )
    for system in (plain, augmented, clipped):
        fit(system)
    assert not same_weights(plain, augmented)
    assert not same_weights(augmented, clipped)


def test_a_single_clip_left_over_joins_the_batch_before():
    assert [len(b) for b in batches(torch.arange(9), 4)] == [4, 5]
    assert [len(b) for b in batches(torch.arange(10), 4)] == [4, 4, 2]
    assert torch.cat(list(batches(torch.arange(9), 4))).tolist() == list(range(9))


def test_what_cannot_work_is_said_in_one_line(fitted):
    one_class = [i for i in range(24) if i < 12 and i % 4 != 3]
    with pytest.raises(UserError, match=r"of one class \(ToyA, 00, pitch_A, source\)"):
        fit(new_system(), train=TRAIN.select(one_class))
    only = TINY.replace("n_clusters: 2", "n_clusters: 50").replace("  KNN: {class: knn}\n", "")
    with pytest.raises(UserError, match=r"ToyA, KMEANS: .*n_clusters"):
        fit(new_system(tiny(only)))
    features = features_of(TRAIN)
    broken = replace(features, rows=np.full_like(features.rows, np.nan))
    with pytest.raises(UserError, match="diverged: the loss of epoch 1 is nan"):
        fit(new_system(), train=clip_set(TRAIN.clips, broken))
    stranger = clip_set([replace(TRAIN[0], machine="ToyC")], features.select([0]))
    with pytest.raises(
        UserError, match=r"ToyC: .* trained on ToyA, ToyB; .* with ToyC, .*es ToyA ToyB"
    ):
        fitted.score(stranger)
    with pytest.raises(UserError, match="sampling rate 16000 Hz, the model was trained at 8000"):
        fitted.score(clip_set(TRAIN.clips, replace(features, sample_rate_hz=16000)))


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        (
            "{class: kmeans, n_clusters: 19}",
            "18 source clips, but n_clusters needs 19 or more; add training clips or change the "
            "backend's parameters (24 before a fifth is held out for the decision threshold)",
        ),
        (
            "{class: kmeans, n_clusters: 15}",
            "with a fifth held out for the decision threshold, 14 source clips, but n_clusters "
            "needs 15 or more; add training clips or change the backend's parameters "
            "(19 before a fifth is held out for the decision threshold)",
        ),
        ("{class: kmeans, n_clusters: 14}", ""),
        ("{class: knn, smote_ratio: 0.5, smote_neighbours: 3}", ""),
        (
            "{class: knn, per_section: true, smote_ratio: 0.9, smote_neighbours: 4}",
            "with a fifth held out for the decision threshold, section 00: 4 target clips, but "
            "smote_neighbours needs 5 or more; add training clips or change the backend's "
            "parameters (7 before a fifth is held out for the decision threshold)",
        ),
    ],
)
def test_a_backend_with_too_few_clips_is_left_out_before_training(backend, message, caplog):
    system = new_system(tiny(TINY + f"  LAST: {backend}\n"))
    told = []
    system.fit(TRAIN, MemoryRun(0, lambda *_: told.append(caplog.messages.copy())))
    assert len(told) == 3
    if not message:
        assert told[0] == []
        assert set(system.score(TRAIN)) == {"KNN", "KMEANS", "LAST"}
        return
    assert told[0] == [f"ToyA, LAST: {message}; it is left out, the others are trained"]
    assert set(system.score(TRAIN)) == {"KNN", "KMEANS"}
    again = new_system(system.parameters)
    again.load_state(system.state())
    assert (
        set(again.score(TRAIN)) == set(again.normal_scores()["ToyA"].columns) == {"KNN", "KMEANS"}
    )


def test_too_few_clips_for_all_backends_are_refused_before_training():
    recipe = tiny(
        TINY[: TINY.index("  KNN:")] + "  A: {class: kmeans, n_clusters: 19}\n"
        "  B: {class: kmeans, n_clusters: 99}\n"
    )
    with pytest.raises(UserError) as error:
        new_system(recipe).fit(TRAIN, MemoryRun(0, lambda *_: pytest.fail("was trained")))
    assert str(error.value) == (
        "ToyA, A: 18 source clips, but n_clusters needs 19 or more; add training clips or change "
        "the backend's parameters (24 before a fifth is held out for the decision threshold)"
    )


@pytest.mark.parametrize("needed", [3, 4, 5, 6, 16])
def test_the_least_number_that_is_told_is_enough_and_no_more(needed):
    def check(clips: int) -> None:
        make = partial(make_backend, "kmeans", {"n_clusters": needed})
        check_clip_counts(make, np.zeros(clips, dtype=bool), np.zeros(clips, dtype=np.int64))

    with pytest.raises(UserError, match="source clips, but") as error:
        check(1)
    told = int(max(re.findall(r"\d+(?= or more| before)", str(error.value)), key=int))
    check(told)
    with pytest.raises(UserError, match="source clips, but"):
        check(told - 1)


def test_no_target_clips_is_no_obstacle():
    source = TRAIN.select(np.flatnonzero(~TRAIN.is_target))
    system = new_system(tiny(TINY + FOUR))
    fit(system, train=source)
    assert all(np.isfinite(scores).all() for scores in system.score(source).values())


def test_an_input_of_the_year_is_as_long_as_its_longest_clip():
    recipe = replace(
        find_system("raw_spec").defaults(["frontend.mels=16"]), backends=tiny().backends
    )
    years = {2020: 11.0, None: features_of(TRAIN).lengths.max() / RATE}
    for year, seconds in years.items():
        system = new_system(recipe)
        fit(system, train=clip_set(TRAIN.clips, features_of(TRAIN), year=year))
        assert system.state()["input_s"] == pytest.approx(seconds)


def test_the_far_channels_embedding_is_taken_off_by_its_share():
    text = """\
input_s: 0.5
frontend: {class: PooledSpectrogram, n_fft: 256, mels: 16, high_hz: 4000}
backends: {KNN: {class: knn}}
"""

    def of_channel(share, channel):
        recipe = replace(tiny(text), far_share=share, channel=channel)
        system = new_system(recipe)
        system.fit(two_channels, MemoryRun(0))
        return system.embed(two_channels)

    far = make_clips(7, "train")
    heard = {"left": features_of(TRAIN), "right": features_of(far)}
    two_channels = ClipSet(TRAIN.clips, lambda _, feature: heard[feature.channel])
    near_alone, far_alone = of_channel(0.0, "left"), of_channel(0.0, "right")
    expected = near_alone - np.float32(0.5) * far_alone
    np.testing.assert_allclose(of_channel(0.5, "left"), expected, rtol=1e-6)
    inputs = new_system(replace(tiny(text), far_share=0.5)).inputs()
    assert list(inputs) == ["waveform left", "waveform right"]
