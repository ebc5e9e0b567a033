"""Random draws against the libraries that the public baseline draws with; losses by hand."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader

from asd.systems.autoencoder.network import AutoencoderNetwork
from asd.systems.autoencoder.training import (
    LOSSES,
    TrainingSet,
    collect_covariances,
    pool_batches,
    pool_size,
    run_epoch,
    split_windows,
    start_run,
)

MELS, WIDTH = 4, 2
CPU = torch.device("cpu")


def begin(seed=7, batch_size=8, shuffle=True):
    return start_run(
        WIDTH * MELS, MELS, seed=seed, learning_rate=0.01, batch_size=batch_size,
        shuffle=shuffle, device=CPU,
    )  # fmt: skip


def training_set(train=19, valid=5, targets=6, seed=0):
    """Windows that do not overlap, the last `targets` training windows of the target domain."""
    random = torch.Generator().manual_seed(seed)
    rows = 5 * torch.randn(WIDTH * (train + valid), MELS, generator=random)
    starts = WIDTH * torch.arange(train + valid)
    is_target = torch.arange(train) >= train - targets
    return TrainingSet(rows, starts[:train], starts[train:], is_target, WIDTH)


def windows_of(data, starts):
    return torch.stack([data.rows[s : s + WIDTH].ravel() for s in starts])


@given(st.integers(2, 3000), st.sampled_from([0.1, 0.25, 0.015, 0.5]), st.integers(0, 2**32 - 1))
def test_split_is_that_of_scikit_learn(windows, share, seed):
    np.random.seed(seed)
    train, valid = train_test_split(np.arange(windows), test_size=share)
    ours = split_windows(windows, share, seed)
    np.testing.assert_array_equal(ours[0], train)
    np.testing.assert_array_equal(ours[1], valid)


def test_initial_weights_are_those_of_pytorch():
    run = start_run(
        640, 128, seed=13711, learning_rate=0.001, batch_size=256, shuffle=True, device=CPU
    )
    torch.manual_seed(13711)
    sizes = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
    expected = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    found = [m for m in run.network.modules() if isinstance(m, nn.Linear)]
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.weight, theirs.weight)
        assert torch.equal(ours.bias, theirs.bias)
    # The generator stands where PyTorch's stands, too.
    assert run.draws.generator.get_state().equal(torch.get_rng_state())


def test_names_are_those_of_the_public_state_dict(data_folder):
    (file,) = (data_folder / "official/models/saved_model/baseline").glob("*.pth")
    theirs = torch.load(file, weights_only=True)
    ours = AutoencoderNetwork(640, 128).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize("shuffle", [True, False])
def test_order_is_that_of_a_data_loader(shuffle):
    """Epoch after epoch, with the validation loader's draw in between."""
    train = DataLoader(torch.arange(37), batch_size=5, shuffle=shuffle)
    valid = DataLoader(torch.arange(6), batch_size=5, shuffle=False)
    run = begin(shuffle=shuffle)
    torch.set_rng_state(run.draws.generator.get_state())
    for _ in range(3):
        expected = torch.cat(list(train))
        list(valid)
        assert run.draws.training_order(37).equal(expected)
        run.draws.skip_validation()


def reference_epoch(run, data):
    """The same epoch with plain PyTorch parts: copies of network and optimiser, a data loader."""
    network = AutoencoderNetwork(WIDTH * MELS, MELS)
    network.load_state_dict(run.network.state_dict())
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    torch.set_rng_state(run.draws.generator.get_state())
    loader = DataLoader(torch.arange(len(data.train)), batch_size=run.batch_size, shuffle=True)
    losses, sources, targets = [], [], []
    network.train()
    for batch in loader:
        if len(batch) == 1:
            continue
        x = windows_of(data, data.train[batch])
        per_window = ((network(x) - x) ** 2).mean(dim=1)
        optimiser.zero_grad()
        per_window.mean().backward()
        optimiser.step()
        is_target = data.train_is_target[batch]
        losses.append(per_window.mean().item())
        sources.append(per_window[~is_target].mean().item())
        targets.append(per_window[is_target].mean().item() if is_target.any() else 0.0)
    network.eval()
    with torch.no_grad():
        loader = DataLoader(data.valid, batch_size=run.batch_size)
        valid = [windows_of(data, part) for part in loader]
        val_losses = [((network(x) - x) ** 2).mean().item() for x in valid]
    batches = math.ceil(len(data.train) / run.batch_size)
    row = [sum(losses) / batches, np.mean(val_losses), sum(losses) / batches,
           sum(sources) / batches, sum(targets) / batches]  # fmt: skip
    return network, dict(zip(LOSSES, row, strict=True)), [*losses, *val_losses]


@pytest.mark.parametrize(
    ("train", "batch_size"),
    [(19, 8), (17, 8), (16, 16)],
    ids=["short last batch", "last batch of one", "one batch"],
)
def test_an_epoch_equals_one_of_plain_pytorch(train, batch_size):
    run, data = begin(batch_size=batch_size), training_set(train)
    network, row, pool = reference_epoch(run, data)
    stands_at = torch.get_rng_state()
    found = run_epoch(run, data)
    assert run.draws.generator.get_state().equal(stands_at)
    assert found == pytest.approx(row, rel=1e-5)
    np.testing.assert_allclose(run.mse_pool, pool, rtol=1e-5)
    for name, value in network.state_dict().items():
        np.testing.assert_allclose(run.network.state_dict()[name], value, rtol=1e-3, atol=1e-5)


def test_batches_of_one_domain():
    run = begin(batch_size=4)
    losses = run_epoch(run, training_set(train=8, targets=0))
    assert losses["recon_loss_target"] == 0.0
    assert losses["recon_loss_source"] == pytest.approx(losses["loss"])
    losses = run_epoch(begin(batch_size=4), training_set(train=8, targets=8))
    assert math.isnan(losses["recon_loss_source"])
    assert losses["recon_loss_target"] == pytest.approx(losses["loss"])


def covariances(data, batch_size=8):
    """Of a fresh network, by the public baseline's rule, with an independent order of batches."""
    run = begin(batch_size=batch_size)
    torch.set_rng_state(run.draws.generator.get_state())
    loader = DataLoader(torch.arange(len(data.train)), batch_size=batch_size, shuffle=True)
    run.network.eval()
    sums, counts = np.zeros((2, MELS, MELS)), [0, 0]
    for batch in loader:
        x = windows_of(data, data.train[batch])
        with torch.no_grad():
            difference = (run.network(x) - x).double().numpy()
        for domain in (0, 1):
            rows = difference[data.train_is_target[batch].numpy() == domain].reshape(-1, MELS)
            if len(batch) > 1 and len(rows):
                centred = rows - rows.mean(axis=0)
                sums[domain] += centred.T @ centred
                counts[domain] += len(rows) // WIDTH
    collect_covariances(run, data)
    assert run.draws.generator.get_state().equal(torch.get_rng_state())
    return run.network, [s / (n - 1) if n > 1 else None for s, n in zip(sums, counts, strict=True)]


@pytest.mark.parametrize("train", [19, 17])
def test_covariances_of_both_domains(train):
    network, (source, target) = covariances(training_set(train))
    np.testing.assert_allclose(network.cov_source, source, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(network.cov_target, target, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("targets", [0, 1])
def test_without_target_windows_the_source_stands_in(targets):
    network, (source, _) = covariances(training_set(targets=targets))
    np.testing.assert_allclose(network.cov_source, source, rtol=1e-4, atol=1e-4)
    assert torch.equal(network.cov_target, network.cov_source)


def test_pool_covers_every_window_once():
    """Training batches, one of a single window among them, then validation batches."""
    run, data = begin(batch_size=8), training_set(train=17, valid=9)
    torch.set_rng_state(run.draws.generator.get_state())
    order = torch.cat(list(DataLoader(torch.arange(17), batch_size=8, shuffle=True)))
    list(DataLoader(data.valid, batch_size=8))
    batches = list(pool_batches(run, data))
    assert pool_size(run, data) == len(batches) == 5
    assert [len(starts) for starts, _ in batches] == [8, 8, 1, 8, 1]
    assert [set(number.tolist()) for _, number in batches] == [{i} for i in range(5)]
    starts = torch.cat([starts for starts, _ in batches])
    assert starts[:17].equal(data.train[order])
    assert starts[17:].equal(data.valid)
    assert run.draws.generator.get_state().equal(torch.get_rng_state())


def test_a_run_goes_on_from_a_snapshot_with_the_draws_that_were_next():
    """Weights, moments and the generator: the next epoch is the same, bit for bit."""
    data, whole, resumed = training_set(), begin(), begin(seed=8)
    run_epoch(whole, data)
    snapshot = copy.deepcopy(whole.snapshot())
    expected = run_epoch(whole, data)
    resumed.load_snapshot(snapshot)
    assert resumed.draws.generator.get_state().equal(snapshot["generator"])
    assert run_epoch(resumed, data) == expected
    assert resumed.epoch == whole.epoch == 2
    assert resumed.draws.generator.get_state().equal(whole.draws.generator.get_state())
    assert resumed.mse_pool.equal(whole.mse_pool)
    for name, weights in whole.network.state_dict().items():
        assert resumed.network.state_dict()[name].equal(weights), name


def test_bfloat16_trains_to_like_losses():
    """Products in bfloat16 err by 2^-9 each; losses, which are summed in float32, by far less."""
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(400, 8, generator=random) * 10 - 40
    starts = torch.arange(396)
    data = TrainingSet(rows, starts[:350], starts[350:], starts[:350] > 300, 5)
    losses = {}
    for precision in ("float32", "bfloat16"):
        run = start_run(
            40, 8, seed=3, learning_rate=1e-3, batch_size=64, shuffle=True,
            device=torch.device("cpu"), precision=precision,
        )  # fmt: skip
        losses[precision] = [run_epoch(run, data)["loss"] for _ in range(3)]
        assert all(p.dtype == torch.float32 for p in run.network.parameters())
    assert losses["float32"] != losses["bfloat16"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=5e-3)
