"""What frames and bands add to the autoencoder's scores: the terms of the sums themselves."""

import numpy as np
import pytest
import torch

import asd
from asd.audio.windows import gather_windows
from asd.challenge.catalog import load_challenge
from asd.synthetic.dataset import SyntheticCounts, synthesize
from asd.systems.autoencoder.explaining import Contributions
from asd.systems.autoencoder.network import AutoencoderNetwork
from asd.systems.autoencoder.scoring import SCORES, Precisions, score_groups


@pytest.fixture
def network():
    torch.manual_seed(0)
    return AutoencoderNetwork(3 * 4, 4).eval()


@pytest.fixture
def precisions():
    random = torch.Generator().manual_seed(1)
    roots = [torch.randn(4, 4, generator=random) for _ in range(2)]
    return Precisions(*(root @ root.T + torch.eye(4) for root in roots))


@pytest.mark.parametrize("hop", [1, 2, 5])
@pytest.mark.parametrize("score", SCORES)
def test_contributions_add_up_to_the_score(network, precisions, score, hop):
    frames = torch.randn(20, 4, generator=torch.Generator().manual_seed(2)) * 5 - 20
    starts = torch.arange(0, 18, hop)
    batches = [(starts, torch.zeros(len(starts), dtype=torch.long))]
    expected = score_groups(network, precisions, frames, batches, 1, 3)[score].item()
    found = Contributions(network, precisions, 3, hop).of_clip(frames, score)
    assert found.shape == (20, 4)
    assert found.sum() == pytest.approx(expected, rel=1e-5)


def test_each_squared_error_lies_at_its_frame_and_band(network):
    """Window by window, written out."""
    frames = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
    expected = np.zeros((6, 4))
    for start in range(4):
        x = gather_windows(frames, torch.tensor([start]), 3)
        error = (network(x) - x).detach().numpy().reshape(3, 4)
        expected[start : start + 3] += error**2 / (4 * 3 * 4)
    found = Contributions(network, None, 3, 1).of_clip(frames, "MSE")
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_visits_are_the_shares_of_rows():
    contributions = Contributions(None, None, 3, 2)
    np.testing.assert_allclose(contributions.visits(6), np.array([1, 1, 2, 1, 1, 0]) / 6)


@pytest.fixture(scope="module")
def fan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    counts = SyntheticCounts(16, 2, 3)
    synthesize(folder, load_challenge("DCASE2023T2"), "dev", ["fan"], clips=counts,
               seconds=(2.0, 2.0))  # fmt: skip
    return asd.load_challenge("DCASE2023T2", folder).dev["fan"]


@pytest.fixture(scope="module")
def model(fan):
    return asd.create("ae", epochs=30, n_mels=32, batch_size=32).fit(fan.train, progress=False)


@pytest.mark.parametrize("score", SCORES)
def test_a_detector_explains_its_scores_on_clips(model, fan, score):
    scores = model.score(fan.test, [score])[score]
    found = model.explain(fan.test, score)
    np.testing.assert_allclose([each.values.sum() for each in found], scores, rtol=1e-4)
    assert found[0].times_s[-1] == pytest.approx(2.0, abs=0.04)
    assert found[0].values.shape == (63, 32)


def test_what_is_usual_is_the_mean_of_normal_clips(model, fan):
    found = model.explain(fan.train[:32], "MSE")
    own, usual = (np.mean([part(each) for each in found], axis=0).sum(axis=0)
                  for part in (lambda e: e.values, lambda e: e.usual))  # fmt: skip
    np.testing.assert_allclose(usual, own, rtol=1e-6)


@pytest.fixture
def whistle(fan, tmp_path, write_wav):
    """A normal clip with a tone at 3,000 Hz from 0.8 s to 1.2 s."""
    from asd.audio.recording import read_recording

    path = next(clip.path for clip in fan.test if clip.label == "normal")
    wave = read_recording(path).wave[0]
    time = np.arange(len(wave)) / 16000
    tone = np.sin(2 * np.pi * 3000 * time) * ((time > 0.8) & (time < 1.2)) * wave.std()
    return write_wav(tmp_path / "whistle.wav", np.clip(wave + tone, -0.99, 0.99))


def test_a_whistle_is_found_in_time_and_frequency(model, whistle):
    (part,) = model.explain([whistle], "MSE")[0].parts(most=1)
    assert part.low_hz < 3000 < part.high_hz
    assert part.high_hz - part.low_hz < 2000
    assert (part.start_s, part.end_s) == pytest.approx((0.8, 1.2), abs=0.15)


def test_explanations_survive_a_file(model, whistle, tmp_path):
    model.save(tmp_path / "fan.asd")
    (before,), (after,) = (m.explain([whistle]) for m in (model, asd.load(tmp_path / "fan.asd")))
    np.testing.assert_array_equal(before.values, after.values)
    np.testing.assert_array_equal(before.usual, after.usual)
