#!/usr/bin/env python3
"""Check stacked training on a GPU against float64 on the CPU, and time it against its floor.

Needs torch and numpy only. Windows are random; nothing is read or downloaded.
"""

import argparse
import copy
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # runs installed or not

from asd.audio.windows import gather_windows
from asd.files import write_json
from asd.systems.autoencoder.stacked_batches import share_rows
from asd.systems.autoencoder.stacked_network import (
    StackedNetwork,
    ordered_parameters,
    stack_flat,
)
from asd.systems.autoencoder.stacked_training import StackedTraining
from asd.systems.autoencoder.training import (
    TrainingRun,
    TrainingSet,
    run_epoch,
    split_windows,
    start_run,
)

MELS, WIDTH = 128, 5
FRAMES_PER_S = 31.3  # 16 kHz, hop 512: 313 frames, 309 windows in ten seconds
LIMITS = {"gradients": 1e-4, "train": 1e-3, "valid": 1e-3, "replayed": 2e-2}
"""float32 stays a tenth below; one product in TF32 alone is off by 3e-4, and errors grow."""


@dataclass(frozen=True)
class Size:
    """How much to train on, and the sizes of the two products that rates are measured with."""

    models: int
    batch_size: int
    clips: int = 0
    seconds: float = 0
    copy_bytes: int = 0
    matrix: int = 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Check stacked training against float64 on the CPU, then time an epoch of it "
        "against training one model after the other, and against the least time that the device "
        "could need. Ends with status 1 if the check fails. The table says for each way of "
        "training how long a step takes, in which every model trains on one batch.",
        epilog="examples: python tools/gpu_check.py --json gpu.json; "
        "without a GPU, in seconds: python tools/gpu_check.py --device cpu --small",
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu ... (%(default)s)")
    for name, default, text in (
        ("models", 7, "models that are trained"),
        ("clips", 1000, "clips for each model"),
        ("seconds", 10, "length of a clip"),
        ("batch_size", 256, "windows in a batch"),
        ("epochs", 3, "epochs to time, after one more"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} ({default})")
    parser.add_argument(
        "--seed",
        type=int,
        default=time.time_ns() % 2**31,
        help="of the check's windows (another one every time)",
    )
    parser.add_argument(
        "--small", action="store_true", help="two models of six clips: whether it runs at all"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there, too")
    return parser


def main() -> int:
    """Run the check and the timing; the exit status is 1 if results differ."""
    flags = _parser().parse_args()
    device = torch.device(flags.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here; try --device cpu", file=sys.stderr)
        return 2
    gpu, threads = device.type == "cuda", torch.get_num_threads()
    if flags.small:
        size = Size(2, 32, clips=6, seconds=1, copy_bytes=2**22, matrix=256)
    else:
        large = (2**30, 8192) if gpu else (2**26, 1024)
        size = Size(flags.models, flags.batch_size, flags.clips, flags.seconds, *large)
    errors = check(device, flags.seed)
    if gpu:
        errors["stacked, graphs"]["replayed"] = check_replays(device, flags.seed)
    result = {
        "device": torch.cuda.get_device_name(device) if gpu else f"CPU, {threads} thread(s)",
        "torch": torch.__version__,
        "size": vars(size),
        "seed": flags.seed,
        "errors": errors,
        "correct": all(row[key] < LIMITS[key] for row in errors.values() for key in row),
        "floor": measure_floor(device, size),
        "epoch_s": time_epochs(device, size, flags.epochs),
    }
    if flags.json:
        write_json(flags.json, result)
    print(report(result))
    return 0 if result["correct"] else 1


def make_runs(
    size: Size, device: torch.device, dtype: torch.dtype = torch.float32
) -> list[TrainingRun]:
    """Fresh runs with seeds 0, 1, ..."""
    batch, values = size.batch_size, WIDTH * MELS
    start = partial(start_run, values, MELS, learning_rate=0.001, batch_size=batch, shuffle=True)
    return [start(seed=seed, device=device, dtype=dtype) for seed in range(size.models)]


def make_sets(counts: Sequence[int], seed: int) -> list[TrainingSet]:
    """Training sets on the CPU of the given numbers of windows; frames look like log-mels."""
    draw = torch.Generator().manual_seed(seed)
    sets = []
    for model, count in enumerate(counts):
        rows = torch.randn(count + WIDTH - 1, MELS, generator=draw) * 6 - 30
        train, valid = split_windows(count, 0.1, seed + model)
        is_target = torch.rand(len(train), generator=draw) < 0.01
        train, valid = torch.from_numpy(train), torch.from_numpy(valid)
        sets.append(TrainingSet(rows, train, valid, is_target, WIDTH))
    return sets


def check(device: torch.device, seed: int) -> dict[str, dict[str, float]]:
    """Relative errors of each way of training against float64 on the CPU.

    Returns
    -------
    dict
        Way of training -> what is compared -> error. "gradients": ||g - g64|| / ||g64|| of the
        first step, the median of the models, since in one of three or so an activation lies so
        near to 0 that ReLU passes it in one precision only. "train" and "valid": the batches'
        losses in an epoch of five steps, the largest error of all. Weights are not compared: Adam
        turns the rounding of gradients that are 0 (biases before a batch normalisation) into
        steps of full size, in any precision.
    """
    counts = [1400, 1400, 1400, 1300, 1150, 1000, 850, 600, 300]  # most end in a short batch
    size = Size(models=len(counts), batch_size=256)
    sets = make_sets(counts, seed)
    exact = [replace(data, rows=data.rows.double()) for data in sets]
    reference = make_runs(size, torch.device("cpu"), torch.float64)
    gradients = _gradients_one_by_one(reference, exact)
    for run, data in zip(reference, exact, strict=True):
        run_epoch(run, data)
    ours = share_rows(sets, device)
    results = {
        "one by one": {"gradients": _gradient_error(_gradients_one_by_one, ours, size, gradients)},
        "stacked": {"gradients": _gradient_error(_gradients_stacked, ours, size, gradients)},
    }
    for name, (runs, train) in ways_of_training(size, ours).items():
        train()
        errors = [
            (run.mse_pool.double() / wanted.mse_pool - 1).abs()
            for run, wanted in zip(runs, reference, strict=True)
        ]
        batches = [math.ceil(len(data.train) / size.batch_size) for data in sets]
        parts = [
            (e[:n].max().item(), e[n:].max().item()) for e, n in zip(errors, batches, strict=True)
        ]
        train_error, valid_error = map(max, zip(*parts, strict=True))
        results.setdefault(name, {}).update(train=train_error, valid=valid_error)
    return results


def check_replays(device: torch.device, seed: int) -> float:
    """Largest relative error of three epochs' last losses when steps are replayed as CUDA graphs.

    Against the same steps run as they are. Models end their epochs at different steps, and every
    graph is replayed many times. Infinite if graphs could not be used.
    """
    sets = share_rows(make_sets([1400, 1100, 700], seed), device)
    losses = []
    for use_graphs in (False, True):
        runs = make_runs(Size(models=len(sets), batch_size=64), device)
        training = StackedTraining(runs, sets, use_graphs=use_graphs)
        for _ in range(3):
            training.run_epoch()
        losses.append(torch.cat([run.mse_pool for run in runs]))
    plain, replayed = losses
    error = (replayed / plain - 1).abs().max().item()
    return error if training.uses_graphs else math.inf


def ways_of_training(
    size: Size, data: Sequence[TrainingSet]
) -> dict[str, tuple[list[TrainingRun], Callable[[], Any]]]:
    """For each way fresh runs, and what trains them for one epoch."""
    device = data[0].rows.device
    alone = make_runs(size, device)

    def one_by_one() -> None:
        for run, own in zip(alone, data, strict=True):
            run_epoch(run, own)

    ways: dict[str, tuple[list[TrainingRun], Callable[[], Any]]] = {
        "one by one": (alone, one_by_one)
    }
    for name, graphs in (("stacked", False), ("stacked, graphs", True)):
        if not graphs or device.type == "cuda":
            runs = make_runs(size, device)
            ways[name] = runs, StackedTraining(runs, data, use_graphs=graphs).run_epoch
    return ways


def _gradient_error(
    gradients: Callable[[Sequence[TrainingRun], Sequence[TrainingSet]], Tensor],
    data: Sequence[TrainingSet],
    size: Size,
    wanted: Tensor,
) -> float:
    difference = gradients(make_runs(size, data[0].rows.device), data).double().cpu() - wanted
    return float((difference.norm(dim=1) / wanted.norm(dim=1)).median())


def _first_batches(runs: Sequence[TrainingRun], data: Sequence[TrainingSet]) -> list[Tensor]:
    """The first windows of each set, at most a batch, shape (windows, values) each."""
    return [
        gather_windows(own.rows, own.train[: run.batch_size - 1], own.width)
        for run, own in zip(runs, data, strict=True)
    ]


def _gradients_one_by_one(runs: Sequence[TrainingRun], data: Sequence[TrainingSet]) -> Tensor:
    rows = []
    for run, x in zip(runs, _first_batches(runs, data), strict=True):
        network = copy.deepcopy(run.network)
        loss = (network(x) - x).square().mean()
        rows.append(torch.autograd.grad(loss, ordered_parameters(network)))
    return stack_flat(rows)


def _gradients_stacked(runs: Sequence[TrainingRun], data: Sequence[TrainingSet]) -> Tensor:
    batches = torch.stack(_first_batches(runs, data))
    n = batches.shape[1]
    x = torch.nn.functional.pad(batches, (0, 0, 0, 1), value=1.0)  # one window of padding
    share = x.new_full((len(runs), n + 1, 1), 1 / n)
    share[:, -1] = 0
    stack = StackedNetwork([run.network for run in runs])
    with torch.no_grad():
        stack.train_step(x, share, x.new_full((len(runs), 1), n / (n - 1)))
    return stack.gradients


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that compute something: on a GPU, one launch each or more."""

    launches = 0

    def __torch_dispatch__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.launches += not getattr(function, "is_view", False)
        return function(*args, **(kwargs or {}))


def measure_floor(device: torch.device, size: Size) -> dict[str, float]:
    """Least time of a training step by each of three ceilings, in seconds, and those ceilings."""
    operations, moved = _work(size)
    floor: dict[str, float] = {
        "operations": operations,
        "bytes": moved,
        "launches": _launches(device),
        "operations_per_s": _rate(device, size),
        "bytes_per_s": _bandwidth(device, size),
        "launch_s": _launch_s(device),
    }
    floor["operations_s"] = operations / floor["operations_per_s"]
    floor["bytes_s"] = moved / floor["bytes_per_s"]
    floor["launches_s"] = floor["launches"] * floor["launch_s"]
    return floor


def _work(size: Size) -> tuple[int, int]:
    """Operations and bytes that a step cannot do without.

    Two operations for each weight and window forward, four backward, less the gradient by the
    windows. Windows are read once; parameters and both moments are read and written once.
    """
    (run,) = make_runs(Size(models=1, batch_size=2), torch.device("cpu"))
    parameters = list(run.network.parameters())
    weights = sum(p.numel() for p in parameters if p.ndim == 2)
    operations = size.batch_size * (6 * weights - 2 * parameters[0].numel())
    numbers = 6 * sum(p.numel() for p in parameters) + size.batch_size * WIDTH * MELS
    return size.models * operations, size.models * 4 * numbers


def _bandwidth(device: torch.device, size: Size) -> float:
    """Of a large copy on the device, bytes read and written a second."""
    source = torch.rand(size.copy_bytes // 4, device=device)
    target = torch.empty_like(source)
    return 2 * size.copy_bytes / _median_s(lambda: target.copy_(source), device)


def _rate(device: torch.device, size: Size) -> float:
    """Of a large float32 matrix product, operations a second."""
    a, b = (torch.randn(size.matrix, size.matrix, device=device) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * size.matrix**3 / _median_s(lambda: torch.mm(a, b, out=out), device)


def _launch_s(device: torch.device) -> float:
    """Of one tiny operation among many, in a CUDA graph where there are graphs."""
    tiny, many = torch.rand(16, device=device), 200

    def work() -> None:
        for _ in range(many):
            tiny.mul_(0.999)

    work()
    if device.type != "cuda":
        return _median_s(work, device) / many
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return _median_s(graph.replay, device) / many


def _launches(device: torch.device) -> int:
    """Operations in a training step: those of an epoch of two batches less one of one batch."""
    counts: list[int] = []
    for batches in (1, 2):
        runs = make_runs(Size(models=2, batch_size=8), device)
        sets = make_sets([8 * batches + 1] * 2, seed=0)  # split 0.1: one or two for validation
        training = StackedTraining(runs, share_rows(sets, device), use_graphs=False)
        with _Counter() as counter:  # type: ignore[no-untyped-call]
            training.run_epoch()
        counts.append(counter.launches)
    return counts[1] - counts[0]


def _median_s(work: Callable[[], Any], device: torch.device, repeats: int = 15) -> float:
    """Median of the seconds that `work` takes, after a first time."""
    work()
    return statistics.median(_seconds(work, device) for _ in range(repeats))


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def time_epochs(device: torch.device, size: Size, epochs: int) -> dict[str, list[float]]:
    """Seconds of each epoch by way of training, in turns; the first of each is not counted."""
    per_clip = int(size.seconds * FRAMES_PER_S) - WIDTH + 1
    sets = share_rows(make_sets([size.clips * per_clip] * size.models, seed=1), device)
    ways = ways_of_training(size, sets)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(epochs + 1):
        for name, (_, train) in ways.items():
            seconds[name].append(_seconds(train, device))
    return {name: taken[1:] for name, taken in seconds.items()}


def report(result: dict[str, Any]) -> str:
    """The numbers as Markdown; tables last."""
    size, floor = result["size"], result["floor"]
    per_clip = int(size["seconds"] * FRAMES_PER_S) - WIDTH + 1
    windows = size["clips"] * per_clip
    steps = -(-(windows - -(-windows // 10)) // size["batch_size"])
    baseline = statistics.median(result["epoch_s"]["one by one"])
    least = max(floor["operations_s"], floor["bytes_s"])
    lines = [
        f"{result['device']}, torch {result['torch']}: "
        f"{size['models']} models, {windows} windows each, {steps} steps an epoch",
        f"{floor['bytes_per_s'] / 1e9:.0f} GB/s, {floor['operations_per_s'] / 1e12:.2f} TFLOP/s, "
        f"{floor['launch_s'] * 1e6:.2f} us a launch. Floor of a step: operations "
        f"{floor['operations_s'] * 1e6:.0f} us, bytes {floor['bytes_s'] * 1e6:.0f} us, "
        f"{floor['launches']} launches {floor['launches_s'] * 1e6:.0f} us",
        "",
        "| relative error | gradients | training losses | validation losses | three epochs |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in result["errors"].items():
        cells = [f"{row[key]:.1e}" if key in row else "" for key in LIMITS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "all small enough" if result["correct"] else f"TOO LARGE, allowed: {LIMITS}",
        "",
        "| training | s/epoch | us/step | spread | times one by one | times the floor |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, seconds in result["epoch_s"].items():
        s = statistics.median(seconds)
        spread = (max(seconds) - min(seconds)) / s
        lines.append(
            f"| {name} | {s:.3f} | {s / steps * 1e6:.0f} | {spread:.0%} | {baseline / s:.2f} "
            f"| {s / steps / least:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
