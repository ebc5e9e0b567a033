#!/usr/bin/env python3
"""Time this program, phase by phase, and beside it the public baseline when a checkout is given.

    python tools/benchmark.py
    python tools/benchmark.py --peer ~/dcase2023_task2_baseline_ae --json benchmark.json

Both run as whole processes on the same synthetic data, in turn, `--repeat` times; the table shows
medians, and the ratio of the medians. Phases are differences between whole runs, taken in the same
way for both programs:

    features        training for one epoch without stored features, less the same with them
    epoch           training for 1 + N epochs less training for one, over N
    start           training for one epoch with stored features, less the epoch
    test            scoring all test clips with stored features, start-up included
    whole           features, training and both tests, from nothing

The peer (https://github.com/nttcslab/dcase2023_task2_baseline_ae, v5.1.1) is copied to the working
folder and run there as its scripts run it; it needs pandas, and matplotlib below 3.11, so it may
want a Python environment of its own (--peer_python).
"""

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "librosa")
MACHINES = ("fan", "ToyCar")
MORE_EPOCHS = 4


@dataclass(frozen=True)
class Sizes:
    """How much there is to do."""

    machines: tuple[str, ...]
    clips: int
    seconds: float
    epochs: int


class Program(ABC):
    """A program under test: how to train, to test, and to forget stored features."""

    def __init__(self, name: str, folder: Path, sizes: Sizes) -> None:
        self.name = name
        self.folder = folder
        self.sizes = sizes

    @abstractmethod
    def train(self, epochs: int) -> float:
        """Seconds to train all models."""

    @abstractmethod
    def test(self, score: str) -> float:
        """Seconds to score all test clips."""

    def forget_features(self) -> None:
        """Remove stored features."""
        for folder in self.folder.glob("data/*/*/processed"):
            shutil.rmtree(folder)


class Ours(Program):
    """The program of this repository."""

    def train(self, epochs: int) -> float:
        return self._run("train", "--epochs", str(epochs))

    def test(self, score: str) -> float:
        return self._run("test", "--score", score)

    def _run(self, *words: str) -> float:
        flags = ["--config", os.devnull, "--machine_types", *self.sizes.machines]
        flags += ["--dataset_directory", "data", "--result_directory", "results"]
        return timed([sys.executable, "-m", "asd", *words, "-d", *flags], self.folder)


class Peer(Program):
    """The public baseline, run as its train_ae.sh and test_ae.sh run it."""

    def __init__(self, folder: Path, sizes: Sizes, python: str) -> None:
        super().__init__("public baseline", folder, sizes)
        self.python = python

    def train(self, epochs: int) -> float:
        return self._run("--train_only", "--epochs", str(epochs))

    def test(self, score: str) -> float:
        return self._run("--test_only", "--score", score)

    def _run(self, *words: str) -> float:
        return sum(
            timed(
                [self.python, "train.py", f"--dataset=DCASE2023T2{machine}", "-d",
                 "-tag=id(0_)", "--use_ids", "0", "--mono=True", *words],
                self.folder,
            )
            for machine in self.sizes.machines
        )  # fmt: skip


def timed(command: Sequence[str], folder: Path) -> float:
    """Seconds that a command takes; its output is shown only if it fails."""
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return seconds


def measure(program: Program) -> dict[str, float]:
    """One round of all phases, in seconds."""
    epochs = program.sizes.epochs
    program.forget_features()
    cold = program.train(1)
    one = program.train(1)
    more = program.train(1 + MORE_EPOCHS)
    epoch = (more - one) / MORE_EPOCHS
    program.test("MSE")  # stores the test clips' features
    tests = {f"test {score}": program.test(score) for score in ("MSE", "MAHALA")}
    program.forget_features()
    whole = program.train(epochs) + sum(program.test(score) for score in ("MSE", "MAHALA"))
    return {
        "features": cold - one,
        "epoch": epoch,
        "start": one - epoch,
        **tests,
        f"whole, {epochs} epochs": whole,
    }


def medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Median of each phase."""
    return {phase: statistics.median(r[phase] for r in rounds) for phase in rounds[0]}


def make_data(folder: Path, sizes: Sizes) -> None:
    """Synthesise the data set that all programs read."""
    source = max(sizes.clips - 10, 1)
    command = [sys.executable, "-m", "asd", "synthesize", "-d", "--config", os.devnull]
    command += ["--machine_types", *sizes.machines, "--dataset_directory", str(folder / "data")]
    command += ["--train_source", str(source), "--train_target", str(sizes.clips - source)]
    command += ["--test", str(max(sizes.clips // 20, 2)), "--seconds", str(sizes.seconds)]
    timed(command, folder)


def prepare_peer(checkout: Path, data: Path, folder: Path) -> Path:
    """A copy of the peer with the same data, as hard links."""
    copy = folder / "peer"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".git", "data"))
    shutil.copytree(data, copy / "data", copy_function=os.link)
    return copy


def growth(folder: Path, sizes: Sizes) -> dict[str, float]:
    """Exponents b of cost ~ size^b, fitted to 1, 2 and 4 times the clips and the epochs."""

    def clips(factor: int) -> float:
        place = folder / f"clips{factor}"
        place.mkdir()
        grown = Sizes(sizes.machines[:1], sizes.clips * factor, sizes.seconds, sizes.epochs)
        make_data(place, grown)
        return Ours("asd", place, grown).train(sizes.epochs)

    def epochs(factor: int) -> float:
        return Ours("asd", folder / "clips1", Sizes(sizes.machines[:1], 0, 0, 0)).train(
            sizes.epochs * factor
        )

    return {"clips": exponent(clips), "epochs": exponent(epochs)}


def exponent(cost: Callable[[int], float]) -> float:
    """Least-squares slope of log cost over log size, at sizes 1, 2, 4."""
    x = [0.0, 1.0, 2.0]
    y = [math.log2(cost(2 ** int(step))) for step in x]
    mean = sum(y) / 3
    return sum((a - 1.0) * (b - mean) for a, b in zip(x, y, strict=True)) / 2


def markdown(results: dict[str, dict[str, float]]) -> str:
    """A table: a row per phase, a column per program, and the ratio to the last of them."""
    names = list(results)
    header = ["phase", *(f"{name} (s)" for name in names)]
    if len(names) > 1:
        header.append("ratio")
    lines = [header, ["---"] + ["---:"] * (len(header) - 1)]
    for phase, ours in results[names[0]].items():
        row = [phase, *(f"{results[name][phase]:.2f}" for name in names)]
        if len(names) > 1:
            row.append(f"{results[names[1]][phase] / max(ours, 1e-3):.1f}")
        lines.append(row)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def hardware() -> str:
    """Processor and number of cores, in words."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", type=Path, help="checkout of the public baseline")
    parser.add_argument("--peer_python", default=sys.executable, help="Python to run the peer with")
    parser.add_argument("--machines", type=int, default=2, choices=(1, 2), help="machine types")
    parser.add_argument("--clips", type=int, default=100, help="training clips per machine type")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of the whole run")
    parser.add_argument("--repeat", type=int, default=3, help="rounds")
    parser.add_argument("--growth", action="store_true", help="also fit how cost grows")
    parser.add_argument("--json", type=Path, help="write all figures there, too")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    args = parse_arguments()
    sizes = Sizes(MACHINES[: args.machines], args.clips, args.seconds, args.epochs)
    with tempfile.TemporaryDirectory(prefix="asd-benchmark-") as name:
        folder = Path(name)
        make_data(folder, sizes)
        programs: list[Program] = [Ours("asd", folder, sizes)]
        if args.peer:
            peer = prepare_peer(args.peer, folder / "data", folder)
            programs.append(Peer(peer, sizes, args.peer_python))
        rounds: dict[str, list[dict[str, float]]] = {p.name: [] for p in programs}
        for _ in range(args.repeat):
            for program in programs:
                rounds[program.name].append(measure(program))
        results = {name: medians(found) for name, found in rounds.items()}
        grown = growth(folder, sizes) if args.growth else {}
    versions = {name: version(name) for name in PACKAGES}
    told = f"{sizes.clips} clips of {sizes.seconds:g} s, {len(sizes.machines)} machine type(s)"
    print(f"\n{told}; median of {args.repeat}\n\n{markdown(results)}\n")
    print(f"{hardware()}; Python {platform.python_version()}, " + ", ".join(
        f"{name} {number}" for name, number in versions.items()))  # fmt: skip
    for what, value in grown.items():
        print(f"cost of training grows as {what}^{value:.2f}")
    if args.json:
        content = {"sizes": asdict(sizes), "hardware": hardware(), "versions": versions,
                   "rounds": rounds, "medians": results, "growth": grown}  # fmt: skip
        args.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
