"""Stacked training against training one by one.

In float64 rounding is far below Adam's epsilon, so every weight must agree after whole epochs. In
float32 it is not: a bias before a batch normalisation has no gradient but rounding noise, which
Adam turns into steps of full size. There the yardstick is float64: stacked training may be as far
from it as training one by one is, parameter by parameter.
"""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from asd.systems.autoencoder.network import AutoencoderNetwork, initialise
from asd.systems.autoencoder.stacked_batches import share_rows
from asd.systems.autoencoder.stacked_network import StackedNetwork, ordered_parameters, stack_flat
from asd.systems.autoencoder.stacked_training import StackedTraining
from asd.systems.autoencoder.training import LOSSES, TrainingSet, run_epoch, start_run

MELS, WIDTH, BATCH = 6, 2, 16
CPU = torch.device("cpu")

# Training and validation windows: a partial last batch, a last batch of one (which is skipped),
# whole batches only, less than a batch. (A batch of two would be normalised to +-1, which
# amplifies rounding.)
SIZES = [(53, 20), (33, 17), (64, 32), (9, 3)]


def make_set(train, valid, seed, dtype=torch.float64, targets=0.1):
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(train + valid + WIDTH, MELS, generator=draw, dtype=dtype) * 4 - 20
    starts = torch.randperm(train + valid, generator=draw)
    is_target = torch.rand(train, generator=draw) < targets
    return TrainingSet(rows, starts[:train], starts[train:], is_target, WIDTH)


def make_run(seed, dtype=torch.float64, shuffle=True):
    run = start_run(
        WIDTH * MELS,
        MELS,
        seed=seed,
        learning_rate=0.001,
        batch_size=BATCH,
        shuffle=shuffle,
        device=CPU,
        dtype=dtype,
    )
    return run


def train_alone(sets, epochs=2, dtype=torch.float64, **options):
    runs = [make_run(seed, dtype, **options) for seed in range(len(sets))]
    losses = [
        [run_epoch(run, data) for _ in range(epochs)] for run, data in zip(runs, sets, strict=True)
    ]
    return runs, losses


def train_stacked(sets, epochs=2, dtype=torch.float64, seeds=None, use_graphs=None, **options):
    seeds = range(len(sets)) if seeds is None else seeds
    runs = [make_run(seed, dtype, **options) for seed in seeds]
    training = StackedTraining(runs, share_rows(sets, CPU), use_graphs=use_graphs)
    losses = list(zip(*(training.run_epoch() for _ in range(epochs)), strict=True))
    for model in range(len(runs)):
        training.write_back(model)
    return runs, losses


def assert_same(found, expected, rtol):
    """Compare snapshots, or other nests of tensors and numbers."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(found[key], value, rtol)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other, rtol)
    elif isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol, equal_nan=True)
    elif isinstance(expected, float):
        np.testing.assert_allclose(found, expected, rtol=rtol)
    else:
        assert found == expected


def assert_same_runs(found, expected, rtol=1e-6):
    for one, other in zip(found, expected, strict=True):
        assert_same(one.snapshot(), other.snapshot(), rtol)


def test_float64_equals_one_by_one_after_two_epochs():
    sets = [make_set(*size, seed) for seed, size in enumerate(SIZES)]
    runs, losses = train_stacked(sets)
    expected_runs, expected_losses = train_alone(sets)
    assert_same(losses, [tuple(rows) for rows in expected_losses], rtol=1e-9)
    assert_same_runs(runs, expected_runs)  # weights, statistics, moments, steps, draws, pool


def test_batches_of_one_domain():
    sets = [make_set(40, 10, 0, targets=0), make_set(40, 10, 1, targets=1)]
    _, losses = train_stacked(sets)
    _, expected = train_alone(sets)
    assert_same(losses, [tuple(rows) for rows in expected], rtol=1e-9)
    assert losses[0][0]["recon_loss_target"] == 0
    assert np.isnan(losses[1][0]["recon_loss_source"])


def test_without_shuffling():
    sets = [make_set(*size, seed) for seed, size in enumerate(SIZES[:2])]
    runs, _ = train_stacked(sets, shuffle=False)
    assert_same_runs(runs, train_alone(sets, shuffle=False)[0])


@settings(max_examples=15)
@given(st.lists(st.integers(2, 70), min_size=1, max_size=4))
def test_losses_for_any_sizes(windows):
    sets = [make_set(n, -(-n // 9), seed) for seed, n in enumerate(windows)]
    runs, losses = train_stacked(sets, epochs=1)
    expected_runs, expected = train_alone(sets, epochs=1)
    assert_same(losses, [tuple(rows) for rows in expected], rtol=1e-4)
    for run, other in zip(runs, expected_runs, strict=True):
        assert_same(run.mse_pool, other.mse_pool, rtol=1e-4)
        assert torch.equal(run.draws.generator.get_state(), other.draws.generator.get_state())


def test_order_of_models_does_not_matter():
    sets = [make_set(*size, seed) for seed, size in enumerate(SIZES)]
    runs, losses = train_stacked(sets)
    turned, turned_losses = train_stacked(sets[::-1], seeds=range(len(sets))[::-1])
    assert_same_runs(turned[::-1], runs, rtol=1e-12)
    assert_same(turned_losses[::-1], losses, rtol=1e-12)


def test_seeds_share_one_array_of_rows():
    data = make_set(53, 20, 0)
    shared = share_rows([data, make_set(33, 17, 1), data], CPU)
    assert shared[0].rows is shared[2].rows
    assert len(shared[0].rows) == len(data.rows) + 33 + 17 + WIDTH
    runs, _ = train_stacked([data] * 3, seeds=[5, 6, 5])
    assert_same(runs[0].snapshot(), runs[2].snapshot(), rtol=1e-12)
    assert not torch.equal(runs[0].mse_pool, runs[1].mse_pool)


def in_float64(data):
    return TrainingSet(data.rows.double(), data.train, data.valid, data.train_is_target, data.width)


def test_float32_losses_of_an_epoch():
    sets = [make_set(*size, seed, torch.float32) for seed, size in enumerate([(200, 40), (170, 9)])]
    _, losses = train_stacked(sets, epochs=1, dtype=torch.float32)
    _, expected = train_alone(sets, epochs=1, dtype=torch.float32)
    for ours, theirs in zip(losses, expected, strict=True):
        for name in LOSSES:
            # The running means that validation uses trail behind the drifting biases.
            rtol = 1e-3 if name == "val_loss" else 1e-4
            np.testing.assert_allclose(ours[0][name], theirs[0][name], rtol=rtol, err_msg=name)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_float32_weights_after_the_first_steps(steps):
    sets = [make_set(steps * BATCH, 5, seed, torch.float32) for seed in range(2)]
    runs, _ = train_stacked(sets, epochs=1, dtype=torch.float32)
    alone, _ = train_alone(sets, epochs=1, dtype=torch.float32)
    exact, _ = train_alone([in_float64(data) for data in sets], epochs=1)
    for ours, theirs, wanted in zip(runs, alone, exact, strict=True):
        for name, value in wanted.network.state_dict().items():
            errors = [
                (run.network.state_dict()[name] - value).double().norm() for run in (ours, theirs)
            ]
            assert errors[0] <= 4 * errors[1] + 1e-6 * value.double().norm(), name


def make_stack(models):
    networks = []
    for seed in range(models):
        network = AutoencoderNetwork(WIDTH * MELS, MELS)
        initialise(network, torch.Generator().manual_seed(seed))
        networks.append(network.double())
    return networks, StackedNetwork(networks)


def share_of(sizes):
    """Shares and corrections of batches of the given numbers of windows."""
    share = torch.zeros(len(sizes), BATCH, 1, dtype=torch.float64)
    for i, size in enumerate(sizes):
        share[i, :size] = 1 / size
    return share, torch.tensor([[size / (size - 1)] for size in sizes]).double()


def draw_windows(models):
    draw = torch.Generator().manual_seed(0)
    shape = models, BATCH, WIDTH * MELS
    return torch.randn(shape, generator=draw, dtype=torch.float64) * 4 - 20


def test_gradients_equal_autograd():
    networks, stack = make_stack(3)
    sizes = [16, 7, 5]
    x = draw_windows(3)
    expected = []
    for network, windows, size in zip(networks, x, sizes, strict=True):
        (network(windows[:size]) - windows[:size]).square().mean().backward()
        expected.append([parameter.grad for parameter in ordered_parameters(network)])
    stack.train_step(x, *share_of(sizes))
    difference = stack.gradients - stack_flat(expected)
    assert (difference.norm(dim=1) < 1e-11 * stack_flat(expected).norm(dim=1)).all()


def test_padding_has_no_influence():
    x = draw_windows(2)
    other = x.clone()
    other[0, 5:] = 1e6
    results = []
    for windows in (x, other):
        _, stack = make_stack(2)
        stack.train_step(windows, *share_of([5, BATCH]))
        results.append((stack.gradients, stack.running))
    assert_same(results[1], results[0], rtol=1e-12)


def test_models_beyond_the_first_k_are_untouched():
    _, stack = make_stack(3)
    before = [array.clone() for array in (stack.parameters, stack.gradients, stack.running)]
    stack.train_step(draw_windows(2), *share_of([BATCH, 4]))
    for old, new in zip(before, (stack.parameters, stack.gradients, stack.running), strict=True):
        assert torch.equal(old[2], new[2])
    assert not torch.equal(before[2][:2], stack.running[:2])


def test_rows_must_be_shared():
    with pytest.raises(ValueError, match="share_rows"):
        StackedTraining([make_run(0), make_run(1)], [make_set(9, 3, 0), make_set(9, 3, 1)])


class CpuGraph(TorchDispatchMode):
    """Does on the CPU what a CUDA graph does: the same operations on the same memory again.

    Unlike a CUDA graph it executes what it captures, so the first replay does nothing.
    """

    def __init__(self):
        super().__init__()
        self.calls, self.replays = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        # Reading a number, or an array whose size depends on values, would wait for the device.
        assert function not in (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
        )
        result = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, result))
        return result

    def pool(self):
        return None

    def replay(self):
        self.replays += 1
        if self.replays > 1:
            for function, args, kwargs, result in self.calls:
                again = function(*args, **kwargs)
                if isinstance(result, torch.Tensor) and again is not result:
                    result.copy_(again)


def test_steps_can_be_replayed_as_graphs(monkeypatch):
    """Nothing in a step may come from the host: a replay sees the same memory and no Python."""
    made = []

    def new_graph():
        made.append(CpuGraph())
        return made[-1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", new_graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, **_: graph)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    sets = [make_set(*size, seed) for seed, size in enumerate(SIZES)]
    runs, losses = train_stacked(sets, epochs=3, use_graphs=True)
    expected_runs, expected_losses = train_alone(sets, epochs=3)
    assert_same(losses, [tuple(rows) for rows in expected_losses], rtol=1e-9)
    assert_same_runs(runs, expected_runs)
    assert len(made) > 2
    assert any(graph.replays > 3 for graph in made)


def test_trains_on_when_graphs_cannot_be_captured(monkeypatch, caplog):
    def refuse():
        raise RuntimeError("capture is not permitted\nand more lines")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", refuse)
    sets = [make_set(*size, seed) for seed, size in enumerate(SIZES[:3])]
    runs, _ = train_stacked(sets, use_graphs=True)
    assert_same_runs(runs, train_alone(sets)[0])
    assert [record.message for record in caplog.records] == [
        "CUDA graphs cannot be used, training is slower: capture is not permitted"
    ]
