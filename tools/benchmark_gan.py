#!/usr/bin/env python3
"""Time the training of a BiGAN on frame vectors, beside the floor of its matrix products.

    python tools/benchmark_gan.py
    python tools/benchmark_gan.py --batch 256 --frames 5

Prints microseconds of processor time per training step (vectors of noise), the smallest of all
rounds of ten steps, and the ratio of each to the floor:

    step            all that an epoch does, per step
    products        the floor: every matrix product that a step needs, each alone, again and again
                    on the same memory (which no step can: its weights, gradients and moments
                    exceed most second-level caches), in the fastest layout of its two factors
    adam, average   a sweep over all weights for each, as a step does once
    dropout, data   drawing the factors of dropout; gathering and scaling the vectors

What is left of a step are activations, losses, sums of gradients, and the calls themselves.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product

import numpy as np
import torch
from torch import Generator, nn

from asd.memory import keep_freed_memory
from asd.systems.gan.adam import Adam
from asd.systems.gan.average import move_average
from asd.systems.gan.dropout import DropoutDraws
from asd.systems.gan.models import BiGANNetworks, Objective
from asd.systems.gan.networks import DROPOUT, Dense, PairDiscriminator, named_sizes
from asd.systems.gan.parameters import BiganParameters
from asd.systems.gan.training import Schedule, Trainer
from asd.systems.gan.vectors import FrameVectors

STEPS = 10
ROWS = ("step", "products", "adam", "average", "dropout", "data")
MELS = 128

Product = tuple[int, int, int]
"""Rows of the first factor, values summed over, columns of the second."""


def noise(frames: int, count: int) -> FrameVectors:
    """Vectors of noise, each beginning a frame after the one before."""
    rows = torch.randn(count + frames, MELS, generator=Generator().manual_seed(0))
    width = frames * MELS
    return FrameVectors(
        rows, torch.arange(count), torch.arange(count), np.array([count], dtype=np.int64), frames,
        torch.zeros(width), torch.ones(width),
    )  # fmt: skip


def products(networks: BiGANNetworks, batch: int) -> Iterator[Product]:
    """All matrix products of a step: of the discriminator, then of its opponents."""
    encoder, generator = dense(networks.encoder), dense(networks.generator)
    judge = networks.discriminator
    assert isinstance(judge, PairDiscriminator)
    data, latent, joint = dense(judge.data), dense(judge.latent), dense(judge.joint)
    last = [judge.last]
    # The discriminator learns from real and from fake pairs.
    yield from forward([*encoder, *generator], batch)
    yield from forward([*data, *latent, *joint, *last], 2 * batch)
    yield from to_weights([*data, *latent, *joint, *last], 2 * batch)
    yield from to_input([*joint, *last], 2 * batch)
    # Its opponents learn through it: G from what it made of z, E from E(x), both from G(E(x)).
    yield from forward(encoder, batch)
    yield from forward(generator, 2 * batch)
    yield from forward([*data, *latent, *joint, *last], 2 * batch)
    yield from to_input([*joint, *last], 2 * batch)
    yield from to_input([*data, *latent], batch)
    yield from to_weights(generator, 2 * batch)
    yield from to_input(generator, 2 * batch)
    yield from to_weights(encoder, batch)
    yield from to_input(encoder[1:], batch)


def dense(network: nn.Module) -> list[Dense]:
    """The layers of a network, in order."""
    return [module for module in network.modules() if isinstance(module, Dense)]


def forward(layers: Iterable[Dense], rows: int) -> Iterator[Product]:
    """The output x W^T of each layer."""
    for layer in layers:
        outputs, inputs = layer.weight.shape
        yield rows, inputs, outputs


def to_weights(layers: Iterable[Dense], rows: int) -> Iterator[Product]:
    """The gradient of W of each layer."""
    for layer in layers:
        outputs, inputs = layer.weight.shape
        yield outputs, rows, inputs


def to_input(layers: Iterable[Dense], rows: int) -> Iterator[Product]:
    """The gradient of x of each layer."""
    for layer in layers:
        outputs, inputs = layer.weight.shape
        yield rows, outputs, inputs


def layouts(rows: int, summed: int, columns: int) -> list[Callable[[], object]]:
    """A product with each factor stored by rows or by columns."""
    out = torch.empty(rows, columns)
    first = [torch.randn(rows, summed), torch.randn(summed, rows).t()]
    second = [torch.randn(summed, columns), torch.randn(columns, summed).t()]
    return [partial(torch.mm, *pair, out=out) for pair in product(first, second)]


def microseconds(work: Callable[[], object], times: int = STEPS) -> float:
    """Processor time of some work done `times` times, of one."""
    begin = time.process_time()
    for _ in range(times):
        work()
    return 1e6 * (time.process_time() - begin) / times


def parts(
    networks: BiGANNetworks, vectors: FrameVectors, batch: int
) -> dict[object, Callable[[], object]]:
    """Name -> what a step does of it."""
    values = Adam(list(networks.parameters()), 1e-9, flat=True)
    average = [value.clone() for value in values.values]
    draws = DropoutDraws(Generator().manual_seed(0))
    widths = [len(layer.bias) for layer in dense(networks.discriminator)[:-1]]
    shapes = [torch.Size((2 * batch, width)) for width in widths]
    index = torch.randperm(len(vectors))[: 2 * batch]
    return {
        "adam": values.step,
        "average": lambda: move_average(average, values.values, 0.999),
        "dropout": lambda: [draws.of_shapes(shapes, DROPOUT, index.device) for _ in range(2)],
        "data": lambda: vectors.batch(index),
    }


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Name -> microseconds per step, the smallest of all rounds."""
    sizes = named_sizes("frames")
    vectors = noise(args.frames, STEPS * args.batch)
    p = BiganParameters(batch_size=args.batch)
    schedule = Schedule(
        p.batch_size, p.learning_rate, p.ema_decay, p.ema_warm_up, Objective(p.adversary, p.cycle)
    )  # fmt: skip
    random = Generator().manual_seed(0)

    def networks() -> BiGANNetworks:
        return BiGANNetworks(args.frames * MELS, sizes, random)

    trainer = Trainer(networks(), sizes.latent, schedule, random)
    works = parts(networks().requires_grad_(False), vectors, args.batch)
    shapes = Counter(products(networks(), args.batch))
    alone = {(shape, way): work for shape in shapes for way, work in enumerate(layouts(*shape))}
    least: dict[object, float] = {}
    for _ in range(args.rounds):
        times = {name: microseconds(work) for name, work in (works | alone).items()}
        times["step"] = microseconds(lambda: trainer.epoch(vectors), times=1) / STEPS
        least = {name: min(time, least.get(name, time)) for name, time in times.items()}
    floor = sum(
        count * min(least[shape, way] for way in range(4)) for shape, count in shapes.items()
    )
    return {name: floor if name == "products" else least[name] for name in ROWS}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64, help="vectors of a step")
    parser.add_argument("--frames", type=int, default=1, help="frames of a vector")
    parser.add_argument("--threads", type=int, default=1, help="processor cores to use")
    parser.add_argument("--rounds", type=int, default=50, help="measurements of each")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    found = measure(args)
    print(f"{args.frames} frame(s), batch {args.batch}, {args.threads} thread(s)")
    print("\n| | us a step | ratio to products |\n|---|---:|---:|")
    for name, us in found.items():
        print(f"| {name} | {us:.0f} | {us / found['products']:.2f} |")


if __name__ == "__main__":
    main()
