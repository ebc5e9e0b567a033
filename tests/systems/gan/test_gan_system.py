"""BiGAN and GAN as systems: training, resuming, scores of clips, states, divergence."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.audio.features import Features
from asd.challenge.names import parse_clip
from asd.errors import UserError
from asd.evaluation.metrics import auc
from asd.systems.gan.system import GAN, BiGAN
from asd.systems.gan.vectors import frame_statistics, frame_vectors

SYSTEMS = [BiGAN, GAN]
SMALL = {
    "frames": 2,
    "network": "kdd",
    "latent_dim": 4,
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "search_steps": 20,
}


def clips_of(lengths, seed=0, mels=4):
    """Clips of noise, of the given numbers of frames."""
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


def fitted(cls, training, seed=5, resume=None, **parameters):
    epochs = []
    system = cls(**{**SMALL, **parameters})
    system.fit(
        *training, seed=seed, on_epoch=lambda e: epochs.append((e, e.snapshot())), resume=resume
    )
    return system, epochs


def reloaded(value):
    """Through a file, as checkpoints go."""
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        if isinstance(value, dict):
            assert_same(value, second[name])
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, second[name]), name
        else:
            assert value == second[name], name


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
    system = BiGAN(
        frames=1, latent_dim=2, epochs=100, batch_size=100, learning_rate=1e-3, ema_decay=0.999
    )
    system.train(table(training), seed=0, on_epoch=lambda _: None)
    scores = system.score([], table(np.concatenate([normal, outliers])))
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
        x = torch.zeros(6, 8, device=device)[trainer._order(6)]
        trainer.networks.discriminator_loss(x, trainer._latents(6), trainer.random)
        losses = trainer.networks.opponent_losses(x, trainer._latents(6), trainer.random)
        assert {loss.device.type for loss in losses.values()} == {device}
        states.append(trainer.random.get_state())
    assert torch.equal(*states)
    assert not torch.equal(states[0], epochs[0][1]["random"])


@pytest.mark.parametrize("cls", SYSTEMS)
def test_seed_decides_and_nothing_else(cls):
    training = clips_of([30, 25])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, _ = fitted(cls, training)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert_same(fitted(cls, training)[0].state(), first.state())
    other = fitted(cls, training, seed=6)[0].score(*training)
    assert not np.allclose(other["FM"], first.score(*training)["FM"])


@pytest.mark.parametrize("cls", SYSTEMS)
def test_state_round_trip(cls):
    system, _ = fitted(cls, clips_of([30, 25]))
    test = clips_of([9, 14], seed=1)
    loaded = cls(**SMALL)
    loaded.load_state(reloaded(system.state()))
    assert_same(loaded.state(), system.state())
    for name, scores in system.score(*test).items():
        assert scores.dtype == np.float64
        np.testing.assert_array_equal(loaded.score(*test)[name], scores)
        np.testing.assert_array_equal(
            loaded.threshold_samples("clip", "fan")[name],
            system.threshold_samples("clip", "fan")[name],
        )


@pytest.mark.parametrize("cls", SYSTEMS)
def test_scores_are_means_over_each_clips_own_vectors(cls):
    system, _ = fitted(cls, clips_of([30, 25]))
    clips, features = clips_of([9, 2, 14, 31], seed=1)
    scores = system.score(clips, features)
    for index in range(4):
        alone = system.score([clips[index]], features.select([index]))
        for name in system.score_names:
            assert alone[name][0] == pytest.approx(scores[name][index], rel=1e-3)
    system.score_batch_size = 5
    for name, values in system.score(clips, features).items():
        np.testing.assert_allclose(values, scores[name], rtol=1e-3)
    order = [2, 0, 3, 1]
    swapped = system.score([clips[i] for i in order], features.select(order))
    np.testing.assert_allclose(swapped["FM"], scores["FM"][order], rtol=1e-3)


def test_clip_score_against_single_vectors():
    system, _ = fitted(BiGAN, clips_of([30, 25]), score_hop_length=3)
    clips, features = clips_of([11], seed=1)
    firsts = [0, 3, 6, 9]  # of 11 frames, every third vector of 2
    single = [
        Features(features.rows[i : i + 2], np.zeros(1, int), np.array([2]), 16000) for i in firsts
    ]
    expected = np.mean([system.score(clips, vector)["FM"][0] for vector in single])
    assert system.score(clips, features)["FM"][0] == pytest.approx(expected, rel=1e-5)


def test_threshold_samples_are_the_training_clips_scores():
    training = clips_of([30, 25, 20])
    system, _ = fitted(BiGAN, training)
    samples = system.threshold_samples("clip", "fan")
    for name, scores in system.score(*training).items():
        np.testing.assert_array_equal(samples[name], scores)
    some, _ = fitted(BiGAN, training, threshold_clips=2)
    np.testing.assert_allclose(
        some.threshold_samples("clip", "fan")["FM"], samples["FM"][[0, 1]], rtol=1e-6
    )
    many, _ = fitted(BiGAN, training, threshold_clips=99)
    assert_same(many.state(), system.state())
    with pytest.raises(UserError, match="'frame': BiGAN can only use 'clip'"):
        system.threshold_samples("frame", "fan")


@pytest.mark.parametrize("cls", SYSTEMS)
def test_divergence_stops_before_the_checkpoint(cls):
    epochs = []
    training = clips_of([60, 60])
    system = cls(**{**SMALL, "learning_rate": 1e12, "epochs": 50})
    with pytest.raises(UserError, match=r"diverged in epoch \d+ of 50 .*--learning_rate \(now"):
        system.fit(*training, seed=5, on_epoch=lambda e: epochs.append(e))
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
    assert one.score(*test)["FM"] == pytest.approx(both.score(*test)["FM"])


def test_short_clips_are_refused_by_name():
    short = clips_of([30, 1])
    with pytest.raises(UserError, match=r"normal_0001\.wav: 1 frames are fewer than the 2"):
        fitted(BiGAN, short)
    with pytest.raises(UserError, match=r"normal_0001\.wav"):
        fitted(BiGAN, clips_of([30]))[0].score(*short)


def test_no_clips_to_learn_from():
    clips, features = clips_of([30])
    with pytest.raises(UserError, match="no clip to learn from"):
        fitted(BiGAN, (clips[:0], features.select([])))


def test_no_clips_to_score():
    system, _ = fitted(BiGAN, clips_of([30]))
    clips, features = clips_of([30])
    scores = system.score(clips[:0], features.select([]))
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
    assert np.isfinite(system.threshold_samples("clip", "fan")["FM"]).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"methods": ("wgan",)}, "m 'WGAN': choose CROSS-E, FM or both"),
        ({"methods": ()}, "choose CROSS-E, FM or both"),
        ({"w": 1.5}, "w 1.5: .* from 0 to 1"),
        ({"d": 0}, "d 0: .* above 0"),
        ({"network": "big"}, "choose one of frames, kdd"),
    ],
)
def test_parameters_are_checked_before_training(parameters, message):
    epochs = []
    system = BiGAN(**{**SMALL, **parameters})
    with pytest.raises(UserError, match=message):
        system.fit(*clips_of([30]), seed=0, on_epoch=epochs.append)
    assert epochs == []
