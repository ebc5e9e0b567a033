"""Losses, gradients, scores and averages against plain numpy and autograd; dropout, search."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator

from asd.errors import UserError
from asd.systems.gan import losses
from asd.systems.gan.adam import Adam
from asd.systems.gan.average import decay_at, move_average
from asd.systems.gan.dense_gradients import gradients_by_hand
from asd.systems.gan.dropout import DropoutDraws, dropout
from asd.systems.gan.models import BiGANNetworks, GANNetworks, Objective
from asd.systems.gan.networks import DROPOUT, Mapping, Sizes, initialise, named_sizes
from asd.systems.gan.reconstruction import reconstruction_ratio
from asd.systems.gan.scoring import (
    CROSS_E,
    FM,
    Rule,
    bigan_scores,
    first_latents,
    gan_scores,
    search_rate,
)
from asd.systems.gan.training import Schedule, Trainer
from asd.systems.gan.vectors import FrameVectors

TINY = Sizes(
    latent=3,
    encoder=(6, 5),
    generator=(5, 6),
    pair_data=(6,),
    pair_latent=(4,),
    pair_joint=(5,),
    plain=(7, 5),
)
WIDTH = 8


def bigan(seed: int = 0) -> BiGANNetworks:
    return BiGANNetworks(WIDTH, TINY, Generator().manual_seed(seed)).requires_grad_(False)


def gan(seed: int = 0) -> GANNetworks:
    return GANNetworks(WIDTH, TINY, Generator().manual_seed(seed)).requires_grad_(False)


# The networks once more, in numpy, from their weights by name.


def leaky(values, slope):
    return np.where(values > 0, values, slope * values)


class Numpy:
    def __init__(self, networks):
        self.weights = {k: v.double().numpy() for k, v in networks.state_dict().items()}

    def dense(self, name, values):
        return values @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def stack(self, name, values, depth, slope=0.1):
        for layer in range(depth):
            values = leaky(self.dense(f"{name}.layers.{layer}", values), slope)
        return values

    def encode(self, x):
        return self.dense("encoder.last", self.stack("encoder.stack", x, 2))

    def generate(self, z):
        return self.dense("generator.last", self.stack("generator.stack", z, 2, slope=0.0))

    def judge_pair(self, x, z):
        x = self.stack("discriminator.data", x, 1)
        z = self.stack("discriminator.latent", z, 1)
        features = self.stack("discriminator.joint", np.hstack([x, z]), 1)
        return self.dense("discriminator.last", features)[:, 0], features

    def judge(self, x):
        features = self.stack("discriminator.stack", x, 2)
        return self.dense("discriminator.last", features)[:, 0], features


def cross_entropy(logit, target):
    probability = 1 / (1 + np.exp(-logit))
    return -(target * np.log(probability) + (1 - target) * np.log(1 - probability))


def norm(difference, degree):
    return (np.abs(difference) ** degree).sum(axis=1) ** (1 / degree)


def draws(*shape, seed=1):
    return torch.randn(*shape, generator=Generator().manual_seed(seed))


def test_bigan_losses():
    networks, plain = bigan(), Numpy(bigan())
    x, z = draws(9, WIDTH), draws(9, 3, seed=2)
    real, _ = plain.judge_pair(x.numpy(), plain.encode(x.numpy()))
    fake, _ = plain.judge_pair(plain.generate(z.numpy()), z.numpy())
    opponents = networks.opponent_losses(x, z, None)
    expected = cross_entropy(real, 1).mean() + cross_entropy(fake, 0).mean()
    assert networks.discriminator_loss(x, z, None).item() == pytest.approx(expected, rel=1e-5)
    expected = cross_entropy(fake, 1).mean()
    assert opponents["generator_loss"].item() == pytest.approx(expected, rel=1e-5)
    expected = cross_entropy(real, 0).mean()
    assert opponents["encoder_loss"].item() == pytest.approx(expected, rel=1e-5)


def test_gan_losses():
    networks, plain = gan(), Numpy(gan())
    x, z = draws(9, WIDTH), draws(9, 3, seed=2)
    real, _ = plain.judge(x.numpy())
    fake, _ = plain.judge(plain.generate(z.numpy()))
    expected = cross_entropy(real, 1).mean() + cross_entropy(fake, 0).mean()
    assert networks.discriminator_loss(x, z, None).item() == pytest.approx(expected, rel=1e-5)
    generator = networks.opponent_losses(x, z, None)["generator_loss"].item()
    assert generator == pytest.approx(cross_entropy(fake, 1).mean(), rel=1e-5)


def test_losses_of_sure_logits_are_finite():
    # log(1 + exp(1000)) is 1000, though exp(1000) overflows.
    sure = torch.tensor([1000.0])
    assert losses.encoder_loss(sure).item() == 1000
    assert losses.generator_loss(-sure).item() == 1000
    assert losses.discriminator_loss(sure, -sure).item() == 0


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_bigan_scores(degree):
    networks, plain = bigan(), Numpy(bigan())
    x = draws(7, WIDTH).numpy()
    z = plain.encode(x)
    again = plain.generate(z)
    logit, features_again = plain.judge_pair(again, z)
    _, features = plain.judge_pair(x, z)
    rule = Rule((CROSS_E, FM), weight=0.3, degree=degree)
    scores = bigan_scores(networks, torch.from_numpy(x), rule)
    reconstruction = 0.7 * norm(x - again, degree)
    expected = [
        reconstruction + 0.3 * cross_entropy(logit, 1),
        reconstruction + 0.3 * norm(features - features_again, degree),
    ]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_gan_scores_without_search():
    # Of no steps, the search leaves the latents where they start.
    networks, plain = gan(), Numpy(gan())
    x, z = draws(7, WIDTH).numpy(), draws(7, 3, seed=2).numpy()
    generated = plain.generate(z)
    logit, features = plain.judge(generated)
    rule = Rule((CROSS_E, FM), weight=0.3, degree=2)
    scores = gan_scores(networks, torch.from_numpy(x), torch.from_numpy(z), rule, steps=0)
    reconstruction = 0.7 * norm(x - generated, 2)
    expected = [
        reconstruction + 0.3 * cross_entropy(logit, 1),
        reconstruction + 0.3 * norm(plain.judge(x)[1] - features, 2),
    ]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_search_steps_are_adams():
    """Three steps of the search, with Adam and a numerical gradient in float64."""
    networks, plain = gan(), Numpy(gan())
    x, z = draws(4, WIDTH).numpy().astype(float), draws(4, 3, seed=2).numpy().astype(float)

    def score(z):
        generated = plain.generate(z)
        logit, _ = plain.judge(generated)
        return 0.8 * norm(x - generated, 2) + 0.2 * cross_entropy(logit, 1)

    start, first, second = z.copy(), np.zeros_like(z), np.zeros_like(z)
    for step in range(1, 4):
        gradient = np.empty_like(z)
        for column in range(z.shape[1]):
            shift = np.zeros(z.shape[1])
            shift[column] = 1e-6
            gradient[:, column] = (score(z + shift) - score(z - shift)) / 2e-6
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        slope = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        z = z - (0.01, 0.01, 0.001)[step - 1] * slope  # 2 / 3 of the way: beyond 0.6
    rule = Rule((CROSS_E,), weight=0.2, degree=2)
    arguments = [torch.from_numpy(value).float() for value in (x, start)]
    found = gan_scores(networks, *arguments, rule, steps=3)
    np.testing.assert_allclose(found[0], score(z), rtol=1e-5)


def test_search_lowers_scores_whatever_the_batch():
    networks = gan()
    x, z = draws(40, WIDTH), draws(40, 3, seed=2)
    rule = Rule((CROSS_E, FM), weight=0.1, degree=1)
    start = gan_scores(networks, x, z, rule, steps=0)
    found = gan_scores(networks, x, z, rule, steps=60)
    assert (found < start).all()
    parts = [gan_scores(networks, x[i : i + 7], z[i : i + 7], rule, 60) for i in range(0, 40, 7)]
    torch.testing.assert_close(torch.cat(parts, dim=1), found, rtol=1e-3, atol=1e-3)


def test_search_rate_is_published():
    rates = [search_rate(step, 500) for step in range(500)]
    assert rates == [0.01] * 300 + [0.001] * 100 + [0.0005] * 100


def test_first_latents_are_a_truncated_normal():
    latents = first_latents(2000, 8, seed=3)
    assert latents.abs().max() <= 2
    # Deviation of a standard normal cut at 2: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)) = 0.8796.
    assert latents.std().item() == pytest.approx(0.8796, abs=0.01)
    assert torch.equal(first_latents(5, 8, seed=3), latents[:5])
    assert not torch.equal(first_latents(5, 8, seed=4), latents[:5])


@given(
    decay=st.floats(0, 1),
    values=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=6),
)
@settings(max_examples=30, deadline=None)
def test_average_follows_weights(decay, values):
    weights = [torch.tensor([1.0, -2.0]), torch.tensor([[3.0]])]
    averages = [weight.clone() for weight in weights]
    expected = [weight.double().numpy() for weight in weights]
    for value in values:
        for weight in weights:
            weight.fill_(value)
        move_average(averages, weights, decay)
        expected = [decay * mean + (1 - decay) * value for mean in expected]
    for average, mean in zip(averages, expected, strict=True):
        np.testing.assert_allclose(average, mean, rtol=1e-4, atol=1e-3)


def test_decay_warms_up():
    assert decay_at(1, 0.9999, warm_up=False) == 0.9999
    assert decay_at(1, 0.9999, warm_up=True) == 2 / 11
    assert decay_at(10**6, 0.9999, warm_up=True) == 0.9999


def test_dropout_drops_its_share_and_keeps_the_mean():
    ones = torch.ones(401, 501)  # not a multiple of four values
    dropped = dropout(ones, DropoutDraws(Generator().manual_seed(0)), DROPOUT)
    # 200 901 draws: the standard error of the share is 0.0009.
    assert (dropped == 0).float().mean().item() == pytest.approx(DROPOUT, abs=0.004)
    assert dropped.max().item() == pytest.approx(1 / (1 - DROPOUT))
    assert dropped.mean().item() == pytest.approx(1, abs=0.005)
    neighbours = (dropped[:, 1:] == 0) & (dropped[:, :-1] == 0)
    assert neighbours.float().mean().item() == pytest.approx(DROPOUT**2, abs=0.003)
    assert dropout(ones, None, DROPOUT) is ones


def test_dropout_goes_on_from_its_state():
    draws = DropoutDraws(Generator().manual_seed(0))
    draws.factors(torch.ones(5, 7), 0.5)
    state, later = draws.state(), DropoutDraws(Generator().manual_seed(9))
    expected = draws.factors(torch.ones(40), 0.5)
    later.restore(state)
    assert torch.equal(later.factors(torch.ones(40), 0.5), expected)
    assert not torch.equal(draws.factors(torch.ones(40), 0.5), expected)


@pytest.mark.parametrize(
    ("cls", "objective"),
    [
        (BiGANNetworks, Objective()),
        (BiGANNetworks, Objective(1, 10)),
        (BiGANNetworks, Objective(0.5, 2)),
        (BiGANNetworks, Objective(0, 3)),
        (GANNetworks, Objective()),
    ],
)
def test_gradients_by_hand_are_those_of_autograd(cls, objective):
    # Widths and batch are multiples of 4, so that both ways draw the same dropout.
    networks = cls(8, Sizes(4, (8, 4), (4, 8), (8, 4), (4,), (8,), (8, 4)), Generator()).double()
    x, z = draws(12, 8).double(), draws(12, 4, seed=2).double()
    optimisers = [
        Adam(list(networks.discriminator.parameters()), 1e-3, flat=True),
        Adam(networks.opponent_parameters(), 1e-3, flat=True),
    ]
    found = []
    for way in (networks, gradients_by_hand(networks)):
        random = DropoutDraws(Generator().manual_seed(1))
        losses = way.discriminator_gradients(x, z, random)
        losses |= way.opponent_gradients(x, z, random, objective)
        found.append((losses, [[g.clone() for g in adam._gradients()] for adam in optimisers]))
    assert found[0][0].keys() == found[1][0].keys()
    for name, loss in found[0][0].items():
        assert found[1][0][name].item() == pytest.approx(loss.item(), rel=1e-12), name
    for expected, by_hand in zip(found[0][1], found[1][1], strict=True):
        assert expected[0].abs().max() > 1e-3
        torch.testing.assert_close(by_hand[0], expected[0], rtol=1e-9, atol=1e-13)


def test_without_an_adversary_nothing_is_generated_from_noise():
    networks = BiGANNetworks(8, Sizes(4, (8,), (8,), (8,), (4,), (8,), (8,)), Generator())
    Adam(networks.opponent_parameters(), 1e-3, flat=True)
    Adam(list(networks.discriminator.parameters()), 1e-3, flat=True)
    x, nowhere = draws(12, 8), torch.full((12, 4), torch.nan)
    random = DropoutDraws(Generator())
    gradients_by_hand(networks).opponent_gradients(x, nowhere, random, Objective(0, 3))
    for parameter in networks.opponent_parameters():
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize(
    ("cls", "objective"),
    [
        (BiGANNetworks, Objective(1, 10)),
        (BiGANNetworks, Objective(1, 0)),
        (BiGANNetworks, Objective(0, 3)),
        (GANNetworks, Objective()),
    ],
)
def test_training_is_that_of_autograd_and_torchs_adam(cls, objective, monkeypatch):
    """Weights and averages after two epochs of three steps, with the same random numbers."""
    monkeypatch.setattr(torch, "randn", partial(torch.randn, dtype=torch.float64))
    sizes = Sizes(4, (8, 4), (4, 8), (8, 4), (4,), (8,), (8, 4))
    rows = draws(26, 8).double()  # two are left over by batches of eight
    count = np.array([26], dtype=np.int64)
    every = torch.arange(26)
    mean, deviation = draws(8, seed=2).double(), draws(8, seed=3).double().abs() + 1
    vectors = FrameVectors(rows, every, every, count, 1, mean, deviation)
    networks = cls(8, sizes, Generator().manual_seed(0)).double()
    plain = copy.deepcopy(networks)
    schedule = Schedule(8, 1e-2, 0.9, ema_warm_up=False, objective=objective)
    trainer = Trainer(networks, 4, schedule, Generator().manual_seed(1))
    for _ in range(2):
        trainer.epoch(vectors)

    averages = [p.detach().clone() for p in plain.parameters()]
    sides = [list(plain.discriminator.parameters()), plain.opponent_parameters()]
    optimisers = [torch.optim.Adam(side, lr=1e-2, betas=(0.5, 0.999)) for side in sides]
    random = Generator().manual_seed(1)
    dropped = DropoutDraws(random)
    for _ in range(2):
        orders = [torch.randperm(26, generator=random) for _ in range(2)]
        for step in range(3):
            for side, order in enumerate(orders):
                if side == 0 and not objective.adversary:
                    continue
                x = (rows[order[8 * step : 8 * step + 8]] - mean) / deviation
                z = torch.randn(8, 4, generator=random)
                if side == 0:
                    loss = plain.discriminator_loss(x, z, dropped)
                else:
                    losses = plain.opponent_losses(x, z, dropped, objective)
                    loss = sum(
                        loss * (objective.cycle if name == "cycle_loss" else objective.adversary)
                        for name, loss in losses.items()
                    )
                plain.zero_grad()
                loss.backward()
                optimisers[side].step()
            for average, parameter in zip(averages, plain.parameters(), strict=True):
                average.mul_(0.9).add_(parameter.detach(), alpha=0.1)
    for found, expected in zip(networks.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
    for name, found, expected in zip(
        networks.state_dict(), trainer.average.parameters(), averages, strict=True
    ):
        if name.split(".")[0] in networks.averaged:
            torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("flat", [True, False])
def test_adam_takes_the_steps_of_torchs(flat):
    parameters = [torch.nn.Parameter(draws(3, 2)), torch.nn.Parameter(draws(4, seed=2))]
    copies = [torch.nn.Parameter(p.detach().clone()) for p in parameters]
    ours = Adam(parameters, 0.1, flat)
    theirs = torch.optim.Adam(copies, lr=0.1, betas=(0.5, 0.999))
    for step in range(4):
        for index, (parameter, twin) in enumerate(zip(parameters, copies, strict=True)):
            gradient = draws(*parameter.shape, seed=10 * step + index)
            twin.grad = gradient.clone()
            if flat:
                parameter.grad.copy_(gradient)
            else:
                parameter.grad = gradient
        ours.step()
        theirs.step()
    for parameter, twin in zip(parameters, copies, strict=True):
        torch.testing.assert_close(parameter, twin, rtol=1e-5, atol=1e-6)


def test_cycle_loss_is_the_mean_absolute_difference_of_the_reconstruction():
    networks, plain = bigan(), Numpy(bigan())
    x = draws(9, WIDTH)
    found = networks.opponent_losses(x, draws(9, 3, seed=2), None, Objective(0, 1))
    assert set(found) == {"cycle_loss"}
    expected = np.abs(x.numpy() - plain.generate(plain.encode(x.numpy()))).mean()
    assert found["cycle_loss"].item() == pytest.approx(expected, rel=1e-5)


def test_reconstruction_ratio_is_relative_to_the_error_of_the_mean():
    class Halves(torch.nn.Module):
        encoder = torch.nn.Identity()

        def generator(self, z):
            return z / 2

    x = torch.tensor([[1.0, 4.0], [3.0, 4.0]]).repeat(150, 1)  # more than are taken at once
    # |x - x / 2| has mean 1.5, |x - mean| has mean 0.5.
    assert reconstruction_ratio(Halves(), x) == pytest.approx(3.0)
    assert np.isnan(reconstruction_ratio(Halves(), x[:1]))


def test_initial_weights_are_glorot_uniform():
    network = Mapping(300, (200,), 10, leak=0.1)
    initialise(network, Generator().manual_seed(0))
    first = network.stack.layers[0]
    limit = (6 / (300 + 200)) ** 0.5
    assert limit * 0.99 < first.weight.abs().max().item() <= limit
    assert first.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.02)
    assert (first.bias == 0).all()


def test_kdd_networks_are_the_published_ones():
    networks = BiGANNetworks(121, named_sizes("kdd"), Generator().manual_seed(0))
    shapes = {k: tuple(v.shape) for k, v in networks.state_dict().items() if "weight" in k}
    assert shapes == {
        "encoder.stack.layers.0.weight": (64, 121),
        "encoder.last.weight": (32, 64),
        "generator.stack.layers.0.weight": (64, 32),
        "generator.stack.layers.1.weight": (128, 64),
        "generator.last.weight": (121, 128),
        "discriminator.data.layers.0.weight": (128, 121),
        "discriminator.latent.layers.0.weight": (128, 32),
        "discriminator.joint.layers.0.weight": (128, 256),
        "discriminator.last.weight": (1, 128),
    }


def test_unknown_network():
    with pytest.raises(UserError, match="'big' is not known; choose one of frames, kdd"):
        named_sizes("big")


def test_global_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    networks = bigan()
    networks.discriminator_loss(draws(4, WIDTH), draws(4, 3), DropoutDraws(Generator()))
    assert torch.equal(torch.get_rng_state(), before)
