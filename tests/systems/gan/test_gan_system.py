"""BiGAN and GAN as systems: training, resuming, scores of clips, states, divergence."""

import io
import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.audio.clip_set import ClipSet
from asd.audio.features import Features
from asd.challenge.names import parse_clip
from asd.errors import UserError
from asd.evaluation.metrics import auc
from asd.systems.gan.system import GAN, BiGAN, ImageBiGAN, ImageGAN
from asd.systems.gan.vectors import (
    frame_scaling,
    frame_statistics,
    frame_vectors,
    with_target_share,
)
from asd.systems.memory_run import MemoryRun

SYSTEMS = [BiGAN, GAN, ImageBiGAN, ImageGAN]
SMALL = {"latent_dim": 4, "epochs": 3, "batch_size": 16, "learning_rate": 1e-3}
OWN = {
    BiGAN: {"frames": 2, "network": "kdd"},
    GAN: {"frames": 2, "network": "kdd", "search_steps": 20},
    ImageBiGAN: {"frames": 4, "frame_hop_length": 2},
    ImageGAN: {"frames": 4, "frame_hop_length": 2, "search_steps": 5},
}


def clip_set(clips, features):
    """Clips with features that are there."""
    number = {clip: index for index, clip in enumerate(clips)}
    return ClipSet(clips, lambda chosen, _: features.select([number[clip] for clip in chosen]))


def clips_of(lengths, seed=0, mels=4):
    """Clips of noise, of the given numbers of frames, and their features."""
    lengths = np.array(lengths, dtype=np.int64)
    rows = np.random.default_rng(seed).normal(-40, 10, size=(lengths.sum(), mels))
    names = [f"section_00_source_train_normal_{i:04}.wav" for i in range(len(lengths))]
    clips = [parse_clip(Path("train") / name, "fan") for name in names]
    starts = np.cumsum(lengths) - lengths
    return clips, Features(rows.astype(np.float32), starts, lengths, 16000)


def table(rows):
    """Rows as clips of one frame."""
    ones = np.ones(len(rows), dtype=np.int64)
    return Features(rows.astype(np.float32), np.arange(len(rows)), ones, 1)


def small(cls, **parameters):
    return cls(cls.Parameters(**{**SMALL, **OWN[cls], **parameters}))


def fitted(cls, training, seed=5, resume=None, **parameters):
    epochs = []
    system = small(cls, **parameters)
    resumed = {} if resume is None else {"training": resume}
    run = MemoryRun(seed, lambda _, e: epochs.append((e, e.snapshot())), resumed)
    system.fit(clip_set(*training), run)
    return system, epochs


def reloaded(value):
    """Through a file, as checkpoints go."""
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_same(first, second, name="state"):
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert_same(value, second[key], key)
    elif isinstance(first, list):
        for one, other in zip(first, second, strict=True):
            assert_same(one, other, name)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), name
    else:
        assert first == second, name


def test_bigan_separates_outliers_and_inverts():
    """A mixture of two Gaussians in two dimensions, and outliers that keep away from both."""
    random = np.random.default_rng(0)

    def mixture(count):
        sides = random.choice([-1, 1], count)[:, None]
        return sides * [2, 1] + 0.3 * random.normal(size=(count, 2))

    training, normal = mixture(1000), mixture(400)
    outliers = random.uniform(-5, 5, size=(800, 2))
    apart = [np.linalg.norm(outliers - side * np.array([2, 1]), axis=1) > 1.5 for side in (-1, 1)]
    outliers = outliers[apart[0] & apart[1]]
    parameters = BiGAN.Parameters(
        latent_dim=2, epochs=100, batch_size=100, ema_decay=0.999, cycle=0.0
    )
    system = BiGAN(parameters)
    system.train(table(training), MemoryRun(0), np.zeros(len(training), dtype=bool))
    scores = system.score_features(table(np.concatenate([normal, outliers])))
    is_anomaly = np.arange(len(normal) + len(outliers)) >= len(normal)
    assert all(auc(is_anomaly, values) > 0.9 for values in scores.values())
    assert set(scores) == {"CROSS-E", "FM"}

    x = frame_vectors(table(normal), 1, 1, *frame_statistics(table(training))).batch(slice(None))
    networks = system._scorer
    again = networks.generator(networks.encoder(x))
    # The variance of x is 1: a generator that ignored the encoder would be 1 off, or more.
    # Bounds from four seeds: AUCs of 0.998, errors of 0.06, correlations of 0.57 to 0.62.
    assert (again - x).square().mean().item() < 0.1
    z = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    returned = networks.encoder(networks.generator(z))
    assert np.corrcoef(z.flatten(), returned.flatten())[0, 1] > 0.5


@pytest.mark.parametrize("cls", SYSTEMS)
def test_resumed_training_equals_uninterrupted(cls):
    training = clips_of([30, 25, 20])
    whole, epochs = fitted(cls, training)
    assert [(e.number, e.total) for e, _ in epochs] == [(1, 3), (2, 3), (3, 3)]
    for done in (1, 3):
        resumed, rest = fitted(cls, training, resume=reloaded(epochs[done - 1][1]))
        assert [(e.number, e.losses) for e, _ in rest] == [
            (e.number, e.losses) for e, _ in epochs[done:]
        ]
        assert_same(resumed.state(), whole.state())
        if rest:
            assert_same(rest[-1][1], epochs[-1][1])


@pytest.mark.filterwarnings("ignore:.*no-op")  # to load weights into "meta" is one
@pytest.mark.parametrize("cls", SYSTEMS)
def test_a_cpus_checkpoint_goes_on_with_its_random_numbers_on_another_device(cls):
    """The device "meta", which computes nothing, stands for a GPU."""
    system, epochs = fitted(cls, clips_of([30, 25]), epochs=1)
    states = []
    for device in ("cpu", "meta"):
        system.device = device
        trainer = system._trainer()
        trainer.restore(reloaded(epochs[0][1]))
        x = torch.zeros(6, 8 if cls in (BiGAN, GAN) else 16, device=device)[trainer._order(6)]
        losses = trainer.step(x, x)
        assert {loss.device.type for loss in losses.values()} == {device}
        states.append((trainer.random.get_state().tolist(), trainer.draws.state()))
    before = epochs[0][1]["random"].tolist(), epochs[0][1]["dropout"]
    assert states[0] == states[1]
    assert states[0][0] != before[0]
    assert (states[0][1] != before[1]) == (cls is not ImageGAN)  # that one has no dropout


@pytest.mark.parametrize("cls", SYSTEMS)
def test_seed_decides_and_nothing_else(cls):
    training = clips_of([30, 25])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, _ = fitted(cls, training)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert_same(fitted(cls, training)[0].state(), first.state())
    other = fitted(cls, training, seed=6)[0].score(clip_set(*training))
    assert not np.allclose(other["FM"], first.score(clip_set(*training))["FM"])


@pytest.mark.parametrize("cls", SYSTEMS)
def test_state_round_trip(cls):
    system, _ = fitted(cls, clips_of([30, 25]))
    test = clips_of([9, 14], seed=1)
    loaded = small(cls)
    loaded.load_state(reloaded(system.state()))
    assert_same(loaded.state(), system.state())
    for name, scores in system.score(clip_set(*test)).items():
        assert scores.dtype == np.float64
        np.testing.assert_array_equal(loaded.score(clip_set(*test))[name], scores)
        np.testing.assert_array_equal(
            loaded.normal_scores()["fan"][name], system.normal_scores()["fan"][name]
        )


@pytest.mark.parametrize("cls", SYSTEMS)
def test_scores_are_means_over_each_clips_own_vectors(cls):
    system, _ = fitted(cls, clips_of([30, 25]))
    clips, features = clips_of([9, 4, 14, 31], seed=1)
    test = clip_set(clips, features)
    scores = system.score(test)
    for index in range(4):
        alone = system.score(test.select([index]))
        for name in system.score_names:
            assert alone[name][0] == pytest.approx(scores[name][index], rel=1e-3)
    single, counts = system.vector_scores(features)
    owner = np.repeat(np.arange(4), counts)
    for name, values in single.items():
        means = [values[owner == index].mean() for index in range(4)]
        np.testing.assert_allclose(means, scores[name], rtol=1e-6)


def test_the_number_of_vectors_scored_at_once_changes_no_score():
    system, _ = fitted(BiGAN, clips_of([30, 25]))
    test = clip_set(*clips_of([9, 4, 14, 31], seed=1))
    scores = system.score(test)
    system._at_once = 5
    np.testing.assert_allclose(system.score(test)["FM"], scores["FM"], rtol=1e-4)


def test_clip_score_against_single_vectors():
    system, _ = fitted(BiGAN, clips_of([30, 25]), score_hop_length=3)
    _, features = clips_of([11], seed=1)
    firsts = [0, 3, 6, 9]  # of 11 frames, every third vector of 2
    single = [
        Features(features.rows[i : i + 2], np.zeros(1, int), np.array([2]), 16000) for i in firsts
    ]
    expected = np.mean([system.score_features(vector)["FM"][0] for vector in single])
    assert system.score_features(features)["FM"][0] == pytest.approx(expected, rel=1e-5)


def test_normal_scores_are_those_of_the_training_clips():
    training = clips_of([30, 25, 20])
    system, _ = fitted(BiGAN, training)
    normal = system.normal_scores()["fan"]
    assert list(normal.clips) == list(training[0])
    for name, scores in system.score(clip_set(*training)).items():
        np.testing.assert_array_equal(normal[name], scores)
    some, _ = fitted(BiGAN, training, threshold_clips=2)
    np.testing.assert_allclose(some.normal_scores()["fan"]["FM"], normal["FM"][[0, 1]], rtol=1e-6)


@pytest.mark.parametrize("cls", [BiGAN, GAN])  # batch normalisation saves the others
def test_divergence_stops_before_the_checkpoint(cls):
    epochs = []
    training = clips_of([60, 60])
    system = small(cls, learning_rate=1e12, epochs=50)
    run = MemoryRun(5, lambda _, e: epochs.append(e))
    with pytest.raises(UserError, match=r"diverged in epoch \d+ of 50 .*--learning_rate \(now"):
        system.fit(clip_set(*training), run)
    assert len(epochs) < 50
    assert all(np.isfinite(list(e.losses.values())).all() for e in epochs)


def test_divergence_of_later_epochs_keeps_the_good_snapshots():
    training = clips_of([30, 25])
    _, epochs = fitted(BiGAN, training, epochs=2)
    snapshot = epochs[0][1]
    snapshot["networks"]["encoder.last.bias"][0] = float("nan")
    with pytest.raises(UserError, match="diverged in epoch 2 of 4"):
        fitted(BiGAN, training, epochs=4, resume=snapshot)


@pytest.mark.parametrize("cls", SYSTEMS)
def test_one_method_only(cls):
    both, _ = fitted(cls, clips_of([30]))
    one, _ = fitted(cls, clips_of([30]), methods=("FM",))
    test = clips_of([10], seed=2)
    assert one.score_names == ("FM",)
    assert one.score(clip_set(*test))["FM"] == pytest.approx(both.score(clip_set(*test))["FM"])


def test_short_clips_are_refused_by_name():
    short = clips_of([30, 1])
    with pytest.raises(UserError, match=r"normal_0001\.wav: 1 frames are fewer than the 2"):
        fitted(BiGAN, short)
    with pytest.raises(UserError, match=r"normal_0001\.wav"):
        fitted(BiGAN, clips_of([30]))[0].score(clip_set(*short))


def test_no_clips_to_learn_from():
    clips, features = clips_of([30])
    with pytest.raises(UserError, match="no clip to learn from"):
        fitted(BiGAN, (clips[:0], features))


def test_no_clips_to_score():
    system, _ = fitted(BiGAN, clips_of([30]))
    clips, features = clips_of([30])
    scores = system.score(clip_set(clips[:0], features))
    assert {name: values.shape for name, values in scores.items()} == {
        "CROSS-E": (0,),
        "FM": (0,),
    }


def test_statistics_and_vectors_of_listed_clips():
    _, features = clips_of([7, 5, 9], seed=3)
    features.rows[:, 2] = -50.25  # a constant band
    chosen = features.select([2, 0])
    mean, deviation = frame_statistics(chosen)
    rows = np.concatenate([chosen.clip(0), chosen.clip(1)]).astype(float)
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        deviation, np.where(np.arange(4) == 2, 1, rows.std(axis=0)), rtol=1e-6
    )
    vectors = frame_vectors(chosen, 3, 2, mean, deviation)
    assert vectors.counts.tolist() == [4, 3]
    assert vectors.within.tolist() == [0, 1, 2, 3, 0, 1, 2]
    expected = (chosen.clip(1)[2:5] - mean.numpy()) / deviation.numpy()
    np.testing.assert_allclose(
        vectors.batch(slice(5, 6))[0], expected.ravel(), rtol=1e-5, atol=1e-6
    )


def test_read_only_memory_map(tmp_path):
    clips, features = clips_of([30, 25])
    np.save(tmp_path / "rows.npy", features.rows)
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    mapped = Features(rows, features.starts, features.lengths, 16000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        system, _ = fitted(BiGAN, (clips, mapped))
    assert_same(system.state(), fitted(BiGAN, (clips, features))[0].state())


def test_fewer_vectors_than_a_batch():
    system, epochs = fitted(BiGAN, clips_of([5]), batch_size=1000)
    assert epochs[-1][1]["steps"] == 3
    assert np.isfinite(system.normal_scores()["fan"]["FM"]).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"methods": ("wgan",)}, "m 'wgan': choose CROSS-E, FM or both"),
        ({"methods": ()}, "choose CROSS-E, FM or both"),
        ({"w": 1.5}, "w 1.5: .* from 0 to 1"),
        ({"d": 0}, "d 0: .* above 0"),
        ({"network": "big"}, "choose one of frames, kdd"),
    ],
)
def test_parameters_are_checked_before_training(parameters, message):
    epochs = []
    with pytest.raises(UserError, match=message):
        small(BiGAN, **parameters).fit(
            clip_set(*clips_of([30])), MemoryRun(0, lambda _, epoch: epochs.append(epoch))
        )
    assert epochs == []


@pytest.mark.parametrize("cls", [BiGAN, ImageBiGAN])
def test_a_training_without_a_loss_is_refused(cls):
    with pytest.raises(UserError, match="--cycle 0 and --adversary 0: nothing is left"):
        small(cls, cycle=0.0, adversary=0.0)


@pytest.mark.parametrize("name", ["frames", "n_mels"])
def test_images_whose_sides_cannot_be_halved_twice_are_refused(name):
    with pytest.raises(UserError, match=f"--{name}: expected a multiple of 4 for images, got 30"):
        ImageBiGAN.Parameters(**{name: 30})


@pytest.mark.parametrize("cls", SYSTEMS)
def test_values_that_are_not_finite_are_refused(cls):
    clips, features = clips_of([30, 25])
    features.rows[12, 1] = np.nan
    with pytest.raises(UserError, match="training features: some values are not finite"):
        fitted(cls, (clips, features))


@pytest.mark.parametrize("cls", SYSTEMS)
def test_silence_and_a_single_clip_give_finite_scores(cls):
    clips, features = clips_of([30])
    features.rows[:] = -100.0
    system, epochs = fitted(cls, (clips, features))
    test = clips_of([12, 9], seed=1)
    assert all(np.isfinite(values).all() for values in system.score(clip_set(*test)).values())
    if cls in (BiGAN, ImageBiGAN):
        assert all(np.isnan(epoch.losses["reconstruction_ratio"]) for epoch, _ in epochs)


def test_scaling_brings_the_training_frames_into_the_generators_range():
    _, features = clips_of([30, 25], seed=3)
    mean, deviation = frame_scaling(features, "training", reach=4)
    scaled = (features.rows - mean.numpy()) / deviation.numpy()
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), 0.25, rtol=1e-5)
    offset, factor = frame_scaling(features, "published", reach=4)
    np.testing.assert_allclose((0.75 - offset) / factor, 2 * 0.75 - 1)
    offset, factor = frame_scaling(features, "none", reach=4)
    np.testing.assert_allclose((-40.0 - offset) / factor, -40.0)


def test_an_epoch_has_the_target_domains_share_and_every_vector_once_at_least():
    counts, is_target = np.array([5, 3, 4]), np.array([False, True, False])
    index = with_target_share(counts, is_target, 0.5)
    assert np.bincount(index, minlength=12).tolist() == [1] * 5 + [3] * 3 + [1] * 4
    for share, domains in ((0.0, is_target), (0.9, np.zeros(3, bool)), (0.9, np.ones(3, bool))):
        assert with_target_share(counts, domains, share).tolist() == list(range(12))


def test_a_reconstruction_worse_than_the_mean_is_warned_of(caplog):
    training = clips_of([30, 25])
    with caplog.at_level(logging.WARNING):
        _, epochs = fitted(BiGAN, training, cycle=0.0, learning_rate=1e-6)
    ratio = epochs[-1][0].losses["reconstruction_ratio"]
    assert ratio > 1
    message = f"epoch 3 of 3: reconstructions are {ratio:.2f} times as far off as the mean"
    assert message in caplog.text
    assert "--cycle above 0 (now 0)" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        _, epochs = fitted(BiGAN, training, cycle=10.0, epochs=60)
    assert epochs[-1][0].losses["reconstruction_ratio"] < 1
    assert "epoch 60 of 60" not in caplog.text


def test_a_checkpoint_of_an_older_version_is_refused():
    training = clips_of([30, 25])
    _, epochs = fitted(BiGAN, training, epochs=1)
    old = {key: value for key, value in epochs[0][1].items() if key != "dropout"}
    with pytest.raises(UserError, match="older version of asd; train again without --restart"):
        fitted(BiGAN, training, resume=old)


def test_the_reconstruction_alone_leaves_the_discriminator_as_it_was():
    training = clips_of([30, 25])
    first = fitted(BiGAN, training, adversary=0.0, epochs=1)[0].state()["weights"]
    later = fitted(BiGAN, training, adversary=0.0, epochs=3)[0].state()["weights"]
    for name, value in first.items():
        assert torch.equal(value, later[name]) == name.startswith("discriminator"), name


def machine_sound(count, seed, louder=0.0, tone=20):
    """Log-mel frames of a made-up machine: a broad hum that comes and goes, and a tone.

    Mel bands move together with the hum, so they can be told from each other; a fault lifts some
    bands on their own.
    """
    random = np.random.default_rng(seed)
    hum = random.normal(0, 6, (count, 40, 1)) * np.linspace(0.4, 1, 32)
    frames = -50 + hum + random.normal(0, 1, (count, 40, 32))
    frames[:, :, tone % 32] += 12
    frames[:, :, 8:12] += louder
    return frames.astype(np.float32)


def test_the_defaults_detect_faults_in_both_domains():
    """A short training on synthetic sound; a detector that learned nothing gets 0.5 or less.

    Levels vary more from clip to clip than the fault lifts them: the distance from the mean tells
    little.
    """
    source, target = machine_sound(40, 0), machine_sound(4, 1, tone=25)
    names = [f"section_00_source_train_normal_{i:04}.wav" for i in range(40)]
    names += [f"section_00_target_train_normal_{i:04}.wav" for i in range(4)]
    clips = [parse_clip(Path("train") / name, "fan") for name in names]
    training = Features(
        np.concatenate([source, target]).reshape(-1, 32), np.arange(44) * 40, np.full(44, 40), 16000
    )
    system = BiGAN(BiGAN.Parameters())
    system.fit(clip_set(clips, training), MemoryRun(1))
    tested = [
        machine_sound(25, 2 + i, louder, tone)
        for i, (louder, tone) in enumerate([(0, 20), (0, 25), (4, 20), (4, 25)])
    ]
    rows = np.concatenate(tested).reshape(-1, 32)
    scores = system.score_features(Features(rows, np.arange(100) * 40, np.full(100, 40), 16000))
    domain, is_anomaly = np.repeat([0, 1, 0, 1], 25), np.repeat([0, 0, 1, 1], 25)
    for values in scores.values():
        for number, floor in ((0, 0.9), (1, 0.65)):
            chosen = (domain == number) | (is_anomaly == 1)
            assert auc(is_anomaly[chosen], values[chosen]) > floor
    of_mean = np.abs(rows - training.rows.mean(axis=0)).reshape(100, -1).mean(axis=1)
    assert auc(is_anomaly[domain == 0], of_mean[domain == 0]) < 0.8
