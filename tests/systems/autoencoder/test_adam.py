"""One sweep over one array must make the steps that PyTorch's optimiser makes."""

import subprocess
import sys

import torch

from asd.systems.autoencoder.adam import FlatAdam


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(7, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 3)
    )


def descend(model, optimiser, steps, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimiser.zero_grad()
        model(torch.randn(9, 7, generator=generator)).square().sum().backward()
        optimiser.step()


def equal(a, b):
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_steps_and_moments_are_those_of_pytorch_to_the_last_bit():
    flat, plain = network(), network()
    ours, theirs = FlatAdam(flat, 0.01), torch.optim.Adam(plain.parameters(), lr=0.01)
    descend(flat, ours, 5)
    descend(plain, theirs, 5)
    assert equal(flat, plain)
    for mine, other in zip(flat.parameters(), plain.parameters(), strict=True):
        assert ours.state[mine].keys() == theirs.state[other].keys()
        for name, value in ours.state[mine].items():
            assert torch.equal(value, theirs.state[other][name]), name


def test_a_loaded_optimiser_goes_on_where_the_other_stood():
    straight, stopped, resumed = network(), network(), network(seed=5)
    optimiser = FlatAdam(straight, 0.01)
    descend(straight, optimiser, 3)
    descend(straight, optimiser, 3, seed=2)
    first, second = FlatAdam(stopped, 0.01), FlatAdam(resumed, 0.01)
    descend(stopped, first, 3)
    resumed.load_state_dict(stopped.state_dict())
    second.load_state_dict(first.state_dict())
    descend(resumed, second, 3, seed=2)
    assert equal(resumed, straight)


def test_no_compiler_is_imported():
    program = (
        "import sys, torch\n"
        "from asd.systems.autoencoder.adam import FlatAdam\n"
        "model = torch.nn.Linear(2, 2)\n"
        "optimiser = FlatAdam(model, 0.1)\n"
        "model(torch.ones(1, 2)).sum().backward()\n"
        "optimiser.step()\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
