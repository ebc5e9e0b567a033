"""Scores of clips against the public baseline's own form: whole matrices of distances."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asd.audio.clip_set import ClipSet
from asd.audio.features import Features
from asd.challenge.names import parse_clip
from asd.systems.autoencoder.network import AutoencoderNetwork, initialise
from asd.systems.autoencoder.parameters import AutoencoderParameters
from asd.systems.autoencoder.scoring import Precisions, score_groups
from asd.systems.autoencoder.system import Autoencoder
from asd.systems.memory_run import MemoryRun

MELS, WIDTH = 5, 3


def random_network(seed):
    network = AutoencoderNetwork(WIDTH * MELS, MELS)
    initialise(network, torch.Generator().manual_seed(seed))
    return network.eval()


def random_inverse(rng):
    factor = rng.standard_normal((MELS, 3 * MELS))
    return torch.from_numpy(np.linalg.inv(factor @ factor.T)).float()


@torch.no_grad()
def slow_scores(network, precisions, windows):
    """Scores of one clip, windows of shape (V, 15), by all pairs of its 3V rows in float64."""
    difference = (network(windows) - windows).double().numpy()
    rows = difference.reshape(-1, MELS)
    pairs = [
        rows @ inverse.double().numpy() @ rows.T
        for inverse in (precisions.source, precisions.target)
    ]  # (3V, 3V) each
    return {
        "MSE": np.mean(difference**2),
        "MAHALA": min(matrix.mean() for matrix in pairs),
        "MAHALA-FRAME": min(np.diag(matrix).mean() for matrix in pairs),
    }


def scores_of(network, precisions, clips, batch_size):
    """Scores of clips, each of shape (frames, mels), by way of one array of frames."""
    rows = torch.cat(clips)
    first = np.cumsum([0, *(len(clip) for clip in clips[:-1])])
    counts = [len(clip) - WIDTH + 1 for clip in clips]
    starts = torch.cat([torch.arange(n) + int(f) for n, f in zip(counts, first, strict=True)])
    owner = torch.repeat_interleave(torch.arange(len(clips)), torch.tensor(counts))
    batches = zip(starts.split(batch_size), owner.split(batch_size), strict=True)
    with torch.no_grad():
        return score_groups(network, precisions, rows, batches, len(clips), WIDTH)


@given(
    lengths=st.lists(st.integers(WIDTH, 12), min_size=1, max_size=6),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 2**16),
)
def test_equals_whole_matrices(lengths, batch_size, seed):
    rng = np.random.default_rng(seed)
    network = random_network(seed)
    precisions = Precisions(random_inverse(rng), random_inverse(rng))
    clips = [torch.from_numpy(rng.normal(-2, 4, (n, MELS))).float() for n in lengths]
    found = scores_of(network, precisions, clips, batch_size)
    for index, clip in enumerate(clips):
        windows = torch.stack([clip[i : i + WIDTH].ravel() for i in range(len(clip) - WIDTH + 1)])
        for name, expected in slow_scores(network, precisions, windows).items():
            assert found[name][index].item() == pytest.approx(expected, rel=1e-4), name
            assert found[name].dtype == torch.float64


def test_the_smaller_domain_counts(rng):
    network = random_network(0)
    near, far = random_inverse(rng), 100 * torch.eye(MELS)
    clips = [torch.from_numpy(rng.normal(0, 4, (8, MELS))).float()]
    both = scores_of(network, Precisions(near, far), clips, 8)
    swapped = scores_of(network, Precisions(far, near), clips, 8)
    alone = scores_of(network, Precisions(near, near), clips, 8)
    for name in ("MAHALA", "MAHALA-FRAME"):
        assert both[name].item() == swapped[name].item() == alone[name].item()
        assert alone[name] < scores_of(network, Precisions(far, far), clips, 8)[name]


def two_clips(rows, lengths):
    """A clip of each domain with the given log-mel frames."""
    clips = [
        parse_clip(Path(f"section_00_{domain}_train_normal_0000_a.wav"), "fan")
        for domain in ("source", "target")
    ]
    starts = np.cumsum(lengths) - lengths
    features = Features(rows.astype(np.float32), starts, np.array(lengths), 16000)
    return ClipSet(clips, lambda *_: features)


def new_system():
    return Autoencoder(AutoencoderParameters(frames=2, epochs=1, batch_size=8))


def test_scores_that_are_not_asked_for_may_be_left_out_and_change_nothing():
    random = np.random.default_rng(5)
    clips = two_clips(random.standard_normal((60, 4)) * 5 - 30, [30, 30])
    system = new_system()
    system.fit(clips, MemoryRun(0))
    everything = system.score(clips)
    some = system.score(clips, ["MSE", "MAHALA"])
    assert list(some) == ["MSE", "MAHALA"]
    for name, values in some.items():
        np.testing.assert_array_equal(values, everything[name])


def test_a_singular_covariance_is_told_only_where_it_counts(caplog):
    clips = two_clips(np.random.default_rng(5).normal(-30, 5, (84, 16)), [80, 4])
    fitted = new_system()
    fitted.fit(clips, MemoryRun(0))
    loaded = new_system()
    loaded.load_state(fitted.state())
    caplog.clear()
    found = loaded.score(clips, ["MSE"])
    assert not caplog.messages
    every = loaded.score(clips)
    assert [message.partition(" (")[0] for message in caplog.messages] == [
        "fan: target covariance is singular"
    ]
    np.testing.assert_array_equal(found["MSE"], every["MSE"])


def test_normal_scores_are_the_scores_of_the_training_clips():
    clips = two_clips(np.random.default_rng(5).normal(-30, 5, (60, 4)), [25, 35])
    system = new_system()
    system.fit(clips, MemoryRun(0))
    table = system.normal_scores()["fan"]
    assert table.clips == clips.clips
    for name, values in system.score(clips).items():
        np.testing.assert_array_equal(table[name], values)
        np.testing.assert_array_equal(system.gamma_samples()["fan"]["clip"][name], values)
