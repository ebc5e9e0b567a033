"""Covariances and distances, against loops and matrices that are obviously right."""

import numpy as np
import pytest
import torch

from asd.systems.autoencoder.mahalanobis import (
    MAX_CONDITION,
    REGULARISED_CONDITION,
    CovarianceSum,
    invert_covariance,
    squared_distances,
)

MELS = 6


def covariance_with(eigenvalues, seed=0):
    """A random symmetric matrix with these eigenvalues, float32."""
    random = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(random.standard_normal((len(eigenvalues),) * 2))
    return torch.from_numpy((axes * eigenvalues) @ axes.T).float()


def slow_covariance(batches, mels):
    """As the public baseline: row by row, the mean removed per batch, divided by windows - 1."""
    total, windows = np.zeros((mels, mels)), 0
    for batch in batches:
        rows = [window[i : i + mels] for window in batch for i in range(0, len(window), mels)]
        mean = sum(rows) / len(rows)
        for row in rows:
            total += np.outer(row - mean, row - mean)
        windows += len(batch)
    return total / (windows - 1)


def test_covariance_equals_a_slow_loop(rng):
    batches = [rng.normal(3, 2, (n, 5 * MELS)) for n in (7, 1, 4)]
    found = CovarianceSum(MELS, torch.device("cpu"))
    for batch in batches:
        found.add(torch.from_numpy(batch).float())
    found.add(torch.zeros(0, 5 * MELS))  # a batch without windows of this domain
    assert found.windows == 12
    expected = slow_covariance(batches, MELS)
    np.testing.assert_allclose(found.covariance(), expected, rtol=1e-4, atol=1e-4)
    # It is neither of the textbook forms: not centred over all, not divided by rows.
    rows = np.concatenate(batches).reshape(-1, MELS)
    assert not np.allclose(found.covariance(), np.cov(rows.T), rtol=0.5)


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6])
def test_a_good_covariance_is_only_inverted(condition, caplog):
    covariance = covariance_with(np.geomspace(7, 7 / condition, MELS))
    inverse = invert_covariance(covariance, "source")
    assert torch.equal(inverse, torch.inverse(covariance))
    assert not caplog.records


def singular_covariances():
    deficient = torch.zeros(MELS, MELS)
    deficient[:2, :2] = torch.tensor([[4.0, 1.0], [1.0, 2.0]])
    return {
        "bands that never change": deficient,
        "fewer frames than bands": covariance_with([5, 2, 1, 0, 0, 0]),
        "not quite singular": covariance_with(np.geomspace(1, 0.9 / MAX_CONDITION, MELS)),
        "indefinite by rounding": covariance_with([5, 2, 1, 0.1, 0.01, -1e-6]),
        "silence": torch.zeros(MELS, MELS),
        "no window": torch.full((MELS, MELS), torch.nan),
        "one window": torch.full((MELS, MELS), torch.inf),
    }


@pytest.mark.parametrize("name", singular_covariances())
def test_a_singular_covariance_is_regularised(name, caplog, rng):
    covariance = singular_covariances()[name]
    inverse = invert_covariance(covariance, "target").double()
    eigenvalues = torch.linalg.eigvalsh((inverse + inverse.T) / 2)
    assert eigenvalues[0] > 0
    assert eigenvalues[-1] / eigenvalues[0] < 2 * REGULARISED_CONDITION
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("target covariance is singular (condition number ")
    rows = torch.from_numpy(rng.normal(0, 10, (50, MELS))).float()
    distances = squared_distances(rows, inverse.float())
    assert torch.isfinite(distances).all()
    assert (distances >= 0).all()


def test_regularising_keeps_distances_where_the_covariance_is_good():
    """Along directions in which there is variance, the ridge changes nothing to speak of."""
    covariance = torch.diag(torch.tensor([4.0, 2.0, 1.0, 0.0, 0.0, 0.0]))
    inverse = invert_covariance(covariance, "target")
    rows = torch.eye(MELS)[:3]
    np.testing.assert_allclose(squared_distances(rows, inverse), [1 / 4, 1 / 2, 1], rtol=1e-4)


def test_the_warning_gives_the_numbers(caplog):
    invert_covariance(torch.diag(torch.tensor([4.0, 1.0, 4e-9])), "source")
    assert caplog.messages == [
        "source covariance is singular (condition number 1.0e+09, eigenvalues 4.0e-09 to 4.0e+00): "
        "using a regularised inverse (4.0e-06 added to its diagonal)"
    ]


def test_too_few_frames_are_noticed(rng, caplog):
    """128 bands, 96 distinct target frames in overlapping windows: singular but for rounding."""
    frames = torch.from_numpy(rng.normal(0, 5, (96, 128))).float()
    windows = frames.unfold(0, 5, 1).permute(0, 2, 1).reshape(92, 640)
    total = CovarianceSum(128, torch.device("cpu"))
    for batch in windows[torch.randperm(92, generator=torch.Generator().manual_seed(0))].split(16):
        total.add(batch)
    inverse = invert_covariance(total.covariance(), "target")
    assert "target covariance is singular" in caplog.text
    assert (squared_distances(windows.reshape(-1, 128), inverse) >= 0).all()


def test_distances_by_hand():
    inverse = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    rows = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [-1.0, 2.0]]])
    # r^T M r: 2, 3, 2 + 2 + 3, 2 - 4 + 12
    assert squared_distances(rows, inverse).tolist() == [[2, 3], [7, 10]]
