#!/usr/bin/env python3
"""Time `asd watch` on samples from a pipe, as whole processes on one core.

    python tools/benchmark_watch.py
    python tools/benchmark_watch.py --model stats ae --seconds 1000

Learns a detector of a tone in noise with each model, then watches the same sound twice: its first
20 seconds, which is mostly the start, and all of it. Prints processor time, the smallest of all
rounds, and what the sound beyond the first 20 seconds took, for each 1,000 seconds.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16000
START_S = 20


def sound(seconds: float, seed: int) -> np.ndarray:
    """A tone in noise, 16-bit samples."""
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    wave = 0.05 * np.sin(2 * np.pi * 120 * time)
    wave += np.random.default_rng(seed).normal(0, 0.02, len(time))
    return np.round(32767 * wave).astype("<i2")


def asd(*words: str | Path, source: bytes = b"") -> float:
    """Run a command line on one core; seconds of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "asd", *map(str, words)]
    done = subprocess.run(command, input=source, env=environment, check=False, capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(model: str, seconds: int, rounds: int, folder: Path) -> tuple[float, float]:
    """Processor time for the first seconds, and for all."""
    detector = folder / "detector.asd"
    asd("learn", folder / "normal", "--out", detector, "--model", model)
    pcm = sound(seconds, seed=1).tobytes()
    watch = ("watch", detector, "-", "--rate", str(RATE_HZ))
    lengths = (START_S, seconds)
    found = [
        [asd(*watch, source=pcm[: 2 * RATE_HZ * length]) for length in lengths]
        for _ in range(rounds)
    ]
    start, whole = (min(times) for times in zip(*found, strict=True))
    return start, whole


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", default=["stats", "ae"], help="systems")
    parser.add_argument("--seconds", type=int, default=1000, help="length of the sound")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    args = parser.parse_args()
    if args.seconds <= START_S:
        parser.error(f"--seconds: expected more than {START_S}, got {args.seconds}")
    print(f"| | first {START_S} s | {args.seconds} s | beyond, for 1000 s |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="asd-benchmark-") as name:
        folder = Path(name)
        (folder / "normal").mkdir()
        for i in range(20):
            soundfile.write(folder / "normal" / f"{i}.wav", sound(10, seed=10 + i), RATE_HZ)
        for model in args.model:
            start, whole = measure(model, args.seconds, args.rounds, folder)
            rest = 1000 * (whole - start) / (args.seconds - START_S)
            print(f"| {model} | {start:.2f} | {whole:.2f} | {rest:.2f} |")


if __name__ == "__main__":
    main()
