#!/usr/bin/env python3
"""Time pretrained encoders of their real sizes, with random weights, on noise.

    python tools/benchmark_encoders.py
    python tools/benchmark_encoders.py --encoders beats mn04 --seconds 10 --threads 1 2

For each encoder, number of threads and precision: clips per second and processor time of a clip
(the best of some rounds, from samples to tokens; on a busy machine only the latter means
something), the smallest cosine between the clips' mean tokens and those in float32,
and the peak memory of the process. "hardware" says whether the processor multiplies bfloat16
itself; where it does not, bfloat16 is slow, and `precision: auto` takes float32.

With --scoring CLIPS, also the peak memory of embedding so many clips of 1 s through the feature
that recipes use, which must not grow with their number.
"""

import argparse
import json
import os
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program does, before torch is loaded

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

import asd
from asd.encoders import load
from asd.encoders.encoder import Precision, resolved_precision
from asd.encoders.feature import EncoderFeature
from asd.encoders.pooling import Mean
from asd.memory import keep_freed_memory

_MAKERS = Path(__file__).parents[1] / "tests" / "helpers" / "tiny_encoders.py"
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def makers() -> dict[str, Callable[[], Any]]:
    """Encoder -> maker of a checkpoint of its real size."""
    made = runpy.run_path(str(_MAKERS))
    beats, eat, mn = made["beats"], made["eat"], made["efficientat"]
    cnn14, openl3 = made["panns"], made["openl3"]
    base = {"width": 768, "layers": 12, "heads": 12, "hidden": 3072, "channels": 512, "groups": 16}
    return {
        "beats": lambda: beats(**base),
        "eat_base": lambda: eat(dim=768, depth=12, heads=12),
        "eat_large": lambda: eat(dim=1024, depth=24, heads=16),
        "mn04": lambda: mn(0.4),
        "mn10": lambda: mn(1.0),
        "mn40": lambda: mn(4.0),
        "cnn14": lambda: cnn14((64, 128, 256, 512, 1024, 2048), classes=527),
        "openl3": lambda: openl3((64, 64, 128, 128, 256, 256, 512)),
    }


def measure(path: Path, seconds: float, clips: int, rounds: int, threads: int) -> dict[str, Any]:
    """Clips per second and cosine to float32, by precision; peak memory in MB."""
    torch.set_num_threads(threads)
    found: dict[str, Any] = {}
    exact: NDArray[np.float32] | None = None
    for precision in PRECISIONS:
        encoder = load(path, dtype=precision)
        noise = np.random.default_rng(0).normal(0, 0.1, (clips, int(seconds * encoder.rate_hz)))
        waves = noise.astype(np.float32)
        times = []
        for _ in range(1 + rounds):  # the first one warms up
            begin, busy = time.perf_counter(), time.process_time()
            tokens = encoder.tokens(waves, encoder.rate_hz)
            times.append((time.perf_counter() - begin, time.process_time() - busy))
        means = tokens.mean(axis=(1, 2))
        exact = means if exact is None else exact
        lengths = np.linalg.norm(means, axis=1) * np.linalg.norm(exact, axis=1)
        cosine = float(((means * exact).sum(axis=1) / lengths).min())
        elapsed, busy = (min(column) for column in zip(*times[1:], strict=True))
        found[precision] = {
            "clips_per_s": clips / elapsed, "busy_s": busy / clips, "cosine": cosine
        }  # fmt: skip
    return {**found, "peak_mb": peak_mb()}


def embed_recordings(path: Path, clips: int) -> dict[str, Any]:
    """Peak memory in MB of embedding clips of 1 s."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        wave = rng.integers(-3000, 3000, 16000, dtype=np.int16)
        files = [Path(folder) / f"{number}.wav" for number in range(clips)]
        for file in files:
            soundfile.write(file, wave, 16000)
        feature = EncoderFeature(str(path), Mean())
        before, begin = peak_mb(), time.perf_counter()
        asd.recordings(folder).features(feature)
        return {"before_mb": before, "peak_mb": peak_mb(), "s": time.perf_counter() - begin}


def peak_mb() -> float:
    """The most memory that this process has taken."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_child(work: dict[str, Any]) -> dict[str, Any]:
    """What a process of its own finds, so that peaks are those of one encoder."""
    command = [sys.executable, __file__, "--child", json.dumps(work)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_child(work: dict[str, Any]) -> dict[str, Any]:
    """See `in_child`."""
    keep_freed_memory()  # as the program does
    path = Path(work.pop("path"))
    if "scoring" in work:
        return embed_recordings(path, work["scoring"])
    return measure(path, **work)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--encoders", nargs="+", default=["beats", "eat_base", "mn04", "mn10"],
                        choices=list(makers()))  # fmt: skip
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--scoring", type=int, nargs="*", default=[], metavar="CLIPS")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(run_child(json.loads(args.child))))
        return
    hardware = resolved_precision("auto", "cpu") == "bfloat16"
    print(f"clips of {args.seconds:g} s; bfloat16 in hardware: {'yes' if hardware else 'no'}")
    titles = f"{'clips/s':>8} {'CPU s/clip':>10} {'cosine':>8} {'MB':>6}"
    print(f"{'encoder':10} {'threads':>7} {'precision':9} {titles}")
    for name in args.encoders:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.pt"
            torch.save(makers()[name](), path)
            common = {"path": str(path)}
            sizes = {"seconds": args.seconds, "clips": args.clips, "rounds": args.rounds}
            for threads in args.threads:
                found = in_child({**common, **sizes, "threads": threads})
                for precision in PRECISIONS:
                    row = found[precision]
                    print(
                        f"{name:10} {threads:7} {precision:9} {row['clips_per_s']:8.2f} "
                        f"{row['busy_s']:10.3f} {row['cosine']:8.5f} {found['peak_mb']:6.0f}",
                        flush=True,
                    )  # fmt: skip
            for clips in args.scoring:
                found = in_child({**common, "scoring": clips})
                print(
                    f"{name:10} {clips} clips of 1 s: {clips / found['s']:.1f} clips/s, from "
                    f"{found['before_mb']:.0f} to {found['peak_mb']:.0f} MB", flush=True,
                )  # fmt: skip


if __name__ == "__main__":
    main()
