"""What every system promises, asked of each one in the registry."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.audio.features import Features
from asd.challenge.names import parse_clip
from asd.errors import UserError
from asd.systems import REGISTRY, create_system, system_class
from asd.systems.base import Fit

MELS, RATE = 8, 16000
QUICK = {
    "DCASE2023T2-AE": {"frames": 3, "batch_size": 16},
    "BiGAN": {"frames": 3, "batch_size": 16},
    "GAN": {"frames": 3, "batch_size": 16, "search_steps": 3},
}
"""Parameters for quick trainings, beside `epochs`."""


def make_clips(*groups):
    """Clips of one machine and their features; a group is (name with {}, lengths, loudness).

    Lengths are frames; as a waveform, a frame is a thousandth of a second.
    """
    random = np.random.default_rng(8)
    clips, parts = [], []
    for name, lengths, decibels in groups:
        for i, length in enumerate(lengths):
            clips.append(parse_clip(Path("train") / name.format(f"{i:04}"), "fan"))
            parts.append(decibels + random.standard_normal((length, MELS)).astype(np.float32))
    return clips, parts


def as_features(parts, kind):
    if kind == "waveform":
        parts = [np.repeat(10 ** (part[:, 0] / 20 - 4), RATE // 1000) for part in parts]
    lengths = np.array([len(part) for part in parts])
    rows = np.concatenate(parts).astype(np.float32)
    return Features(rows, np.cumsum(lengths) - lengths, lengths, RATE)


def train_clips(kind):
    clips, parts = make_clips(
        ("section_00_source_train_normal_{}_a_1.wav", [12, 9, 12, 15, 12, 11, 12, 12], -20),
        ("section_00_target_train_normal_{}_a_2.wav", [12, 10, 13], -18),
    )
    return clips, as_features(parts, kind)


def test_clips(kind):
    clips, parts = make_clips(
        ("section_00_source_test_normal_{}_a_1.wav", [12, 14, 8], -20),
        ("section_00_source_test_anomaly_{}_a_1.wav", [9, 13, 10], -60),
    )
    return clips, as_features(parts, kind)


test_clips.__test__ = False


def new_system(name, epochs=2):
    return create_system(name, {**QUICK.get(name, {}), "epochs": epochs, "device": "cpu"})


def through_a_file(state):
    """A state as it comes back from disk; fails for all but tensors and plain values."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def same(first, second):
    """Whether two states are equal bit for bit."""
    if isinstance(first, torch.Tensor):
        # NaN equals NaN here
        return first.dtype == second.dtype and torch.equal(first.nan_to_num(), second.nan_to_num())
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


class Trained:
    """A system after two epochs, what it reported, and what it was trained on."""

    def __init__(self, name):
        self.name = name
        self.kind = system_class(name).feature_kind
        self.system = new_system(name)
        self.epochs, self.snapshots = [], []
        self.system.fit(*train_clips(self.kind), seed=3, on_epoch=self.record)

    def record(self, epoch):
        self.epochs.append(epoch)
        self.snapshots.append(through_a_file(epoch.snapshot()))

    def test(self):
        return test_clips(self.kind)


@pytest.fixture(scope="module", params=REGISTRY)
def trained(request):
    return Trained(request.param)


def test_describes_itself(trained):
    cls = system_class(trained.name)
    assert cls.scope in ("section", "machine", "challenge")
    assert cls.feature_kind in ("logmel", "waveform")
    assert cls.threshold_kinds
    assert trained.system.score_names
    assert len(set(trained.system.score_names)) == len(trained.system.score_names)


def test_a_finite_score_per_clip(trained):
    clips, features = trained.test()
    scores = trained.system.score(clips, features)
    assert tuple(scores) == tuple(trained.system.score_names)
    for values in scores.values():
        assert values.shape == (len(clips),)
        assert values.dtype == np.float64
        assert np.isfinite(values).all()


def test_forty_decibels_off_is_more_anomalous(trained):
    clips, features = trained.test()
    is_anomaly = np.array([clip.is_anomaly for clip in clips])
    for name, values in trained.system.score(clips, features).items():
        assert values[is_anomaly].min() > values[~is_anomaly].max(), name


def test_clips_do_not_know_each_other(trained):
    """Neither the order of clips nor what is scored beside them changes a score."""
    clips, features = trained.test()
    together = trained.system.score(clips, features)
    order = [4, 0, 5, 2, 1, 3]
    shuffled = trained.system.score([clips[i] for i in order], features.select(order))
    for name, values in together.items():
        np.testing.assert_allclose(shuffled[name], values[order], rtol=1e-4)
        for i, clip in enumerate(clips):
            alone = trained.system.score([clip], features.select([i]))
            np.testing.assert_allclose(alone[name], values[i : i + 1], rtol=1e-4)


def test_scoring_twice_gives_the_same(trained):
    first, second = (trained.system.score(*trained.test()) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_threshold_samples_are_normal_scores(trained):
    for kind in trained.system.threshold_kinds:
        samples = trained.system.threshold_samples(kind, "fan")
        assert samples.keys() == set(trained.system.score_names)
        for values in samples.values():
            assert values.ndim == 1
            assert len(values)
            assert np.isfinite(values).all()


def test_reports_every_epoch(trained):
    assert [(epoch.number, epoch.total) for epoch in trained.epochs] == [(1, 2), (2, 2)]
    columns = {tuple(epoch.losses) for epoch in trained.epochs}
    assert len(columns) == 1
    assert all(type(value) is float for epoch in trained.epochs for value in epoch.losses.values())


def test_state_survives_a_file(trained):
    state = through_a_file(trained.system.state())
    loaded = new_system(trained.name)
    loaded.load_state(state)
    assert same(through_a_file(loaded.state()), state)
    expected = trained.system.score(*trained.test())
    for name, values in loaded.score(*trained.test()).items():
        np.testing.assert_array_equal(values, expected[name])
    for kind in loaded.threshold_kinds:
        samples = trained.system.threshold_samples(kind, "fan")
        for name, values in loaded.threshold_samples(kind, "fan").items():
            np.testing.assert_array_equal(values, samples[name])


def test_same_seed_same_model(trained):
    torch.rand(3)  # draws of others must not matter
    np.random.rand(3)
    again, other = new_system(trained.name), new_system(trained.name)
    again.fit(*train_clips(trained.kind), seed=3, on_epoch=lambda _: None)
    other.fit(*train_clips(trained.kind), seed=4, on_epoch=lambda _: None)
    assert same(again.state(), trained.system.state())
    assert not same(other.state(), trained.system.state())


@pytest.mark.parametrize("done", [1, 2])
def test_resuming_equals_going_through(trained, done):
    resumed = new_system(trained.name)
    reported = []
    resumed.fit(
        *train_clips(trained.kind), seed=3, on_epoch=reported.append,
        resume=trained.snapshots[done - 1],
    )  # fmt: skip
    assert same(resumed.state(), trained.system.state())
    assert [dict(e.losses) for e in reported] == [dict(e.losses) for e in trained.epochs[done:]]


def test_a_clip_shorter_than_a_window_is_named(trained):
    if trained.kind != "logmel":
        pytest.skip("takes waveforms of any length")
    clips, parts = make_clips(("section_00_source_train_normal_{}_a_1.wav", [9, 12, 2], -20))
    features = as_features(parts, trained.kind)
    with pytest.raises(UserError, match=r"train/section_00_source_train_normal_0002_a_1\.wav"):
        new_system(trained.name).fit(clips, features, seed=3, on_epoch=lambda _: None)
    with pytest.raises(UserError, match=r"0002_a_1\.wav"):
        trained.system.score(clips, features)


def test_fitting_many_is_fitting_each(trained):
    """Up to rounding; and one that fails, or whose report fails, does not stop the others."""
    clips, features = train_clips(trained.kind)

    def stop(epoch):
        raise UserError(f"stopped in epoch {epoch.number}")

    fits = [
        Fit(new_system(trained.name), clips, features, seed, on_epoch)
        for seed, on_epoch in ((3, lambda _: None), (3, stop), (4, lambda _: None))
    ]
    errors = system_class(trained.name).fit_many(fits)
    assert [str(error) for error in errors] == ["None", "stopped in epoch 1", "None"]
    other = new_system(trained.name)
    other.fit(clips, features, seed=4, on_epoch=lambda _: None)
    for fit, alone in ((fits[0], trained.system), (fits[2], other)):
        expected = alone.score(*trained.test())
        for name, values in fit.system.score(*trained.test()).items():
            np.testing.assert_allclose(values, expected[name], rtol=0.05)
