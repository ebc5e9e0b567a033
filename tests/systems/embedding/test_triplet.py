"""The triplet network: its pieces against the published program's, its training on made sounds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator

from asd.errors import UserError
from asd.systems.embedding import triplet
from asd.systems.embedding.crops import Waves
from asd.systems.embedding.triplet import (
    TripletClips,
    TripletDraws,
    TripletNetwork,
    TripletSettings,
    TripletTraining,
)

PACK = Path(__file__).resolve().parents[4] / "shared" / "golden" / "components" / "unlabelled"
DATA = Path(__file__).parents[2] / "data" / "embedding"
needs_pack = pytest.mark.skipif(not PACK.is_dir(), reason="the reference pack is not here")
CPU = torch.device("cpu")
RATE = 4000


def tensors(name):
    return {key: torch.from_numpy(value) for key, value in np.load(name).items()}


def near(found, expected):
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("power", [1, 2])
def test_mixing_equals_the_published_one(power):
    golden = tensors(DATA / "triplet.npz")
    given = (golden[f"mix_{name}"] for name in ("target", "noise", "snr"))
    near(triplet.mix_at_snr(*given, power), golden[f"mix_mixed_power{power}"])


def test_mixed_noise_has_the_wanted_level():
    generator = Generator().manual_seed(0)
    target, noise = torch.randn(2, 3, 5, 7, generator=generator)
    added = triplet.mix_at_snr(target, noise, torch.tensor([-3.0, 0.0, 6.0])) - target
    ratio = target.square().mean((1, 2)) / added.square().mean((1, 2))
    np.testing.assert_allclose(10 * ratio.log10(), [-3, 0, 6], atol=1e-4)
    silent = torch.zeros_like(noise)
    assert torch.equal(triplet.mix_at_snr(target, silent, torch.zeros(3)), target)


def test_stretching_equals_the_published_one():
    golden = tensors(DATA / "triplet.npz")
    drawn = triplet.draw_stretches(10, Generator().manual_seed(int(golden["stretch_seed"])))
    assert drawn[0].int().tolist() == golden["stretch_draw_time"].tolist()
    np.testing.assert_allclose(drawn[1], golden["stretch_draw_ratio"], rtol=1e-6)
    near(triplet.stretch(golden["stretch_input"], *drawn), golden["stretch_output"])


def test_stretched_copies_are_repeated_cut_and_filled_up():
    ramp = torch.arange(12.0).repeat(4, 1)  # rises with time
    cases = torch.stack([ramp] * 2 + [ramp[:, :4].T.repeat(3, 1)[:4, :].repeat(1, 3)] * 2)
    over_time = torch.tensor([True, True, False, False])
    found = triplet.stretch(cases, over_time, torch.tensor([0.5, 1.5, 0.5, 1.5]))
    assert torch.equal(found[0, :, :6], found[0, :, 6:])
    assert found[0, 0, 5] > 9  # the end of the ramp, before it begins again
    assert found[1].max() < 8  # two thirds of the ramp
    assert not found[2, 2:].any()
    assert found[2, :2].any()
    assert found[3].shape == (4, 12)


@needs_pack
def test_a_step_equals_the_published_one():
    golden = tensors(PACK / "triplet_step.npz")
    n = len(golden["target_spec"])

    def spread(noisy, values):
        found = torch.zeros(n)
        found[noisy.bool()] = values
        return found

    draws = TripletDraws(
        golden["anchor_noisy"].bool(),
        spread(golden["anchor_noisy"], golden["anchor_snr"]),
        golden["positive_noise_perm"],
        golden["positive_snr"],
        golden["negative_stretch_time"].bool(),
        golden["negative_stretch_ratio"],
        golden["negative_other"],
        golden["negative_noisy"].bool(),
        spread(golden["negative_noisy"], golden["negative_snr"]),
    )
    triplets = triplet.make_triplets(golden["target_spec"], golden["noise_spec"], draws)
    weight = golden["W"].requires_grad_()
    embeddings = []
    for name, spectra in zip(("anchor", "positive", "negative"), triplets, strict=True):
        near(spectra, golden[name])
        described = torch.cat([spectra.abs().mean(2), spectra.amax(2)], dim=1)
        embeddings.append(described @ weight)
        near(embeddings[-1].detach(), golden[f"{name}_emb"])
    loss = triplet.triplet_loss(*embeddings, margin=1.0)
    loss.backward()
    assert loss.item() == pytest.approx(float(golden["loss"]), rel=1e-5)
    near(weight.grad, golden["grad_W"])


def test_the_loss_of_equal_embeddings_is_the_margin_and_its_gradient_is_finite():
    same = torch.ones(3, 2, requires_grad=True)
    loss = triplet.triplet_loss(same, same.detach(), same.detach(), 1.0)
    loss.backward()
    assert loss.item() == 1.0
    assert torch.isfinite(same.grad).all()


def joined(sounds):
    lengths = torch.tensor([len(sound) for sound in sounds])
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)[:-1]])
    return Waves(torch.cat([torch.as_tensor(s, dtype=torch.float32) for s in sounds]), starts,
                 lengths)  # fmt: skip


def unit(wave):
    return wave / wave.std()


def knocks(rng, per_second):
    """A second of a machine that knocks, from anywhere in its rhythm."""
    since = (np.arange(RATE) / RATE + rng.uniform()) % (1 / per_second)
    return unit(np.exp(-40 * since) * np.sin(2 * np.pi * 1000 * since))


def hum(rng):
    """A second of stationary noise with a colour of its own."""
    spectrum = np.fft.rfft(rng.standard_normal(RATE))
    hertz = np.fft.rfftfreq(RATE, 1 / RATE)
    colour = np.exp(-(((hertz - rng.uniform(200, 1800)) / rng.uniform(100, 300)) ** 2)) + 0.02
    return unit(np.fft.irfft(spectrum * colour))


OWN, OTHER = 40, 40


@pytest.fixture(scope="module")
def clips():
    """Clips of a machine that knocks 6 times a second, or 9, in turn; then clips of noise."""
    rng = np.random.default_rng(0)
    own = [0.05 * (knocks(rng, (6, 9)[i % 2]) + 0.3 * hum(rng)) for i in range(OWN)]
    other = [0.05 * hum(rng) for _ in range(OTHER)]
    members = torch.arange(OWN + OTHER)
    return TripletClips(joined(own + other), members[:OWN], members[OWN:], int(1.2 * RATE))


def make(clips, seed=0, **settings):
    network = {"windows": (256,), "width": 32, "low_hz": 100.0, "high_hz": 2000.0}
    return TripletTraining(
        lambda: TripletNetwork(clips.width, RATE, **network),
        TripletSettings(**{"batch_size": 10, **settings}),
        seed=seed,
        device=CPU,
    )


def neighbours_alike(embeddings, count=5):
    """Share of each clip's nearest clips that are of its kind."""
    kinds = np.arange(len(embeddings)) % 2
    distance = torch.cdist(embeddings, embeddings).fill_diagonal_(np.inf)
    nearest = distance.topk(count, largest=False).indices.numpy()
    return float((kinds[nearest] == kinds[:, None]).mean())


def share_nearer(training, clips):
    """Share of clips that lie nearer to themselves with noise than to a stretched copy."""
    training.frontend.eval()
    own, noise = (
        training.frontend.features(clips.waves.first_crops(each, clips.width))[0]
        for each in torch.split(torch.arange(80), 40)
    )
    stretched = triplet.stretch(own, *triplet.draw_stretches(40, Generator().manual_seed(1)))
    noisy = triplet.mix_at_snr(own, noise, torch.zeros(40))
    with torch.no_grad():
        anchor, near, far = (training.frontend.embed([x]) for x in (own, noisy, stretched))
    return float(((anchor - near).norm(dim=1) < (anchor - far).norm(dim=1)).float().mean())


def test_training_brings_clips_near_their_noisy_copies_and_keeps_kinds_apart(clips):
    epochs = []
    training = make(clips, epochs=12, learning_rate=3e-3)
    before = share_nearer(training, clips)
    training.run(clips, lambda epoch: epochs.append(epoch.number))
    assert epochs == list(range(1, 13))
    assert share_nearer(training, clips) > max(0.6, before + 0.2)
    embeddings = training.embed(clips.waves, clips.width)
    assert embeddings.shape == (OWN + OTHER, 32)
    assert neighbours_alike(embeddings[:OWN]) > 0.9


def test_a_resumed_training_gives_equal_bits(clips):
    few = TripletClips(clips.waves, clips.machine[:20], clips.noise, clips.width)
    whole = make(few, epochs=3)
    whole.run(few, lambda _: None)
    first = make(few, epochs=1)
    first.run(few, lambda _: None)
    resumed = make(few, seed=1, epochs=3)
    resumed.load_snapshot(first.snapshot())
    resumed.run(few, lambda _: None)
    assert resumed.epoch == 3
    found, expected = (training.frontend.state_dict() for training in (resumed, whole))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_without_other_machines_its_own_other_clips_are_the_noise(clips):
    alone = TripletClips(clips.waves, clips.machine[:9], torch.empty(0, dtype=torch.int64), 4800)
    training = make(alone, epochs=1)
    order = torch.tensor([2, 0, 1])
    assert training._noise_order(alone, order).tolist() == [1, 2, 0]
    training.run(alone, lambda _: None)
    assert all(torch.isfinite(p).all() for p in training.frontend.parameters())


def test_noise_is_taken_again_only_when_all_of_it_was(clips):
    few = TripletClips(clips.waves, clips.machine, torch.tensor([50, 60, 79]), 4800)
    found = make(few)._noise_order(few, torch.arange(8)).tolist()
    assert sorted(found[:3]) == sorted(found[3:6]) == [50, 60, 79]


def test_a_single_clip_is_refused(clips):
    one = TripletClips(clips.waves, clips.machine[:1], clips.noise, 4800)
    with pytest.raises(UserError, match="there is a single one; give two or more"):
        make(one).run(one, lambda _: None)
