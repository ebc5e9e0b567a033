#!/usr/bin/env python3
"""Time the training of an embedding, beside the floor of its convolutions.

    python tools/benchmark_embedding.py
    python tools/benchmark_embedding.py --model dis_multispec_scac_trainable --seconds 18
    python tools/benchmark_embedding.py --peer my_peer.py

Prints milliseconds of processor time and page faults per clip of a training step (noise as clips,
whole batches, batch after batch, programs in turn), the smallest of all rounds:

    asd             all that a step does, from the crops to the optimiser
    peer            a step of another program, in a process as Python starts it
    peer, freed memory kept
                    the same where freed memory is kept for reuse, as this program keeps it
    convolutions    forward and backward passes of the network's convolutions alone, each in the
                    fastest way known here (PyTorch's memory formats, products of matrices)

each in a process of its own, and the peak memory of one that trains for an epoch. The file of a
peer has a function `make_step(seconds, classes)`, which returns a function that takes waves of
shape (clips, samples) and one-hot labels of shape (clips, classes) and does one step.
"""

import argparse
import multiprocessing
import resource
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from asd.memory import keep_freed_memory
from asd.systems.embedding.crops import Waves
from asd.systems.embedding.frontends import SpectralNetwork
from asd.systems.embedding.recomputed.strided import strided_conv
from asd.systems.embedding.training import Training, TrainingSet
from asd.systems.registry import find_system

RATE_HZ = 16000
CLASSES = 100
CPU = torch.device("cpu")


def noise(clips: int, seconds: float) -> TrainingSet:
    """Clips of noise in 16 bits, as they are stored, and classes in turn."""
    samples = int(seconds * RATE_HZ)
    generator = torch.Generator().manual_seed(0)
    rows = torch.empty(clips * samples, dtype=torch.int16)
    rows.random_(-(2**14), 2**14, generator=generator)
    waves = Waves(rows, torch.arange(clips) * samples, torch.full((clips,), samples), scale=2**-15)
    return TrainingSet(waves, torch.arange(clips) % CLASSES, CLASSES, samples)


def new_training(model: str, seconds: float, batch: int) -> Training:
    """A training of a recipe that has not begun."""
    recipe = find_system(model).defaults()
    options = replace(recipe.training, epochs=1, batch_size=batch)

    def frontend() -> SpectralNetwork:
        return SpectralNetwork(int(seconds * RATE_HZ), RATE_HZ, **recipe.frontend.parameters)

    return Training(
        frontend, recipe.losses, CLASSES, options, recipe.augmentation, seed=0, device=CPU
    )


class Floor:
    """The convolutions of a frontend, each with an input of the size that it gets."""

    def __init__(self, frontend: SpectralNetwork, waves: Tensor) -> None:
        self.shapes: dict[nn.Module, torch.Size] = {}
        layers = [m for m in frontend.modules() if isinstance(m, nn.Conv2d)]
        hooks = [m.register_forward_hook(self._note) for m in layers]
        with torch.no_grad():
            frontend.eval()(waves[:2])  # in training it goes around its modules
        for hook in hooks:
            hook.remove()
        assert set(self.shapes) == set(layers)
        x = torch.zeros(1, 1, waves.shape[1] // 2 + 1)
        for layer in frontend.clip_net.convs if frontend.clip_net is not None else ():
            self.shapes[layer] = x.shape[1:]
            x = layer(x)

    def _note(self, layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        self.shapes[layer] = inputs[0].shape[1:]

    def milliseconds(self, clips: int) -> float:
        """Per clip, forward and backward passes of a batch."""
        total = 0.0
        for layer, shape in self.shapes.items():
            x = torch.randn(clips, *shape)
            total += min(self._images(layer, x) if x.dim() == 4 else self._lines(layer, x))
        return total / clips

    def _images(self, layer: nn.Module, x: Tensor) -> list[float]:
        formats = (torch.contiguous_format, torch.channels_last)
        return [self._pair(layer, x.contiguous(memory_format=way)) for way in formats]

    def _lines(self, layer: nn.Module, x: Tensor) -> list[float]:
        assert isinstance(layer, nn.Conv1d)
        swapped = x.transpose(1, 2).contiguous()
        product = partial(
            strided_conv,
            weight=layer.weight,
            stride=layer.stride[0],
            factors=torch.ones(x.shape[:2]),
        )
        learns = x.shape[1] > 1
        return [self._pair(layer, x), self._pair(product, swapped, learns)]

    @staticmethod
    def _pair(layer: Callable[[Tensor], Tensor], x: Tensor, learns: bool | None = None) -> float:
        x.requires_grad_(x.shape[1] > 1 if learns is None else learns)  # spectra get no gradient
        with torch.no_grad():
            g = torch.ones_like(layer(x))
        return milliseconds(lambda: torch.autograd.backward(layer(x), g))


def milliseconds(work: Callable[[], object]) -> float:
    """Processor time that some work takes, in user and system mode."""
    begin = time.process_time()
    work()
    return 1000 * (time.process_time() - begin)


def page_faults() -> int:
    """Pages that the operating system has given to this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def asd_step(args: argparse.Namespace) -> Callable[[], object]:
    """A step of this program."""
    training = new_training(args.model, args.seconds, args.batch)
    data = noise(args.batch, args.seconds)
    return lambda: training.run_epoch(data)


def peer_step(args: argparse.Namespace) -> Callable[[], object]:
    """A step of the other program."""
    waves, labels = batch_of_noise(args)
    step = runpy.run_path(str(args.peer))["make_step"](args.seconds, CLASSES)
    return lambda: step(waves, labels)


def batch_of_noise(args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Waves of shape (clips, samples), and one-hot labels of shape (clips, classes)."""
    data = noise(args.batch, args.seconds)
    assert isinstance(data.waves, Waves)
    waves = data.waves.first_crops(torch.arange(args.batch), data.width)
    return waves, one_hot(data.classes, CLASSES).float()


def floor_ms(args: argparse.Namespace) -> Callable[[], float]:
    """Milliseconds that a batch's convolutions take alone."""
    frontend = new_training(args.model, args.seconds, args.batch).frontend
    assert isinstance(frontend, SpectralNetwork)
    floor = Floor(frontend, batch_of_noise(args)[0])
    return lambda: args.batch * floor.milliseconds(args.batch)


def serve(name: str, args: argparse.Namespace, calls: Connection) -> None:
    """A process of its own for a program: answers every call with milliseconds and page faults."""
    torch.set_num_threads(args.threads)
    if name != "peer" and not args.give_back:
        keep_freed_memory()
    if name == "convolutions":
        alone = floor_ms(args)
        while calls.recv():
            calls.send((alone(), 0))
        return
    step = asd_step(args) if name == "asd" else peer_step(args)
    while calls.recv():
        before = page_faults()
        calls.send((milliseconds(step), page_faults() - before))


def measure(args: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Name -> milliseconds and page faults per clip, the smallest of all rounds."""
    names = ["asd", *(["peer", "peer, freed memory kept"] if args.peer else []), "convolutions"]
    context = multiprocessing.get_context("spawn")
    ends = {}
    for name in names:
        ends[name], theirs = context.Pipe()
        context.Process(target=serve, args=(name, args, theirs), daemon=True).start()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(args.rounds + 2):
        for name, calls in ends.items():
            calls.send(True)
            ms, pages = calls.recv()
            if number > 1:  # the first ones warm up
                found[name].append((ms / args.batch, pages / args.batch))
    for calls in ends.values():
        calls.send(False)
    return {name: min(values) for name, values in found.items()}


def peak_mb(args: argparse.Namespace) -> float:
    """Peak memory of a process that trains for an epoch on `--clips` clips."""
    words = [sys.executable, __file__, "--only_train", "--model", args.model]
    words += ["--seconds", str(args.seconds), "--batch", str(args.batch)]
    words += ["--clips", str(args.clips), "--threads", str(args.threads)]
    words += ["--give_back"] if args.give_back else []
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(done.stdout)


def train_only(args: argparse.Namespace) -> None:
    """Train for an epoch, and print this process's peak memory in MB."""
    torch.set_num_threads(args.threads)
    if not args.give_back:
        keep_freed_memory()
    training = new_training(args.model, args.seconds, args.batch)
    training.run_epoch(noise(args.clips, args.seconds))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak / (2**20 if sys.platform == "darwin" else 2**10))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="dis_spec_scac_trainable", help="recipe")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip")
    parser.add_argument("--batch", type=int, default=64, help="clips of a batch")
    parser.add_argument("--clips", type=int, default=200, help="clips when memory is measured")
    parser.add_argument("--threads", type=int, default=1, help="processor cores to use")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each")
    parser.add_argument("--peer", type=Path, help="Python file with another program's step")
    parser.add_argument("--give_back", action="store_true", help="do not keep freed memory")
    parser.add_argument("--only_train", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    args = parse_arguments()
    if args.only_train:
        train_only(args)
        return
    peak = peak_mb(args)  # first: a process counts its parent's memory before it as its own
    found = measure(args)
    own = found["asd"][0]
    print(
        f"{args.model}, clips of {args.seconds:g} s, batch {args.batch}, {args.threads} thread(s)"
    )
    print("\n| | ms a clip | page faults a clip | ratio to asd |\n|---|---:|---:|---:|")
    for name, (ms, pages) in found.items():
        print(f"| {name} | {ms:.1f} | {pages:.0f} | {ms / own:.2f} |")
    print(f"\npeak memory of a training with {args.clips} clips: {peak:.0f} MB")


if __name__ == "__main__":
    main()
