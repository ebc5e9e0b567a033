"""Encoders that are trained whole: pooling against published numbers, what is learned and kept."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoders import beats
from torch import Generator

from asd.errors import UserError
from asd.systems.embedding.tuned import TokenStatistics, TunedEncoder

DATA = Path(__file__).parents[2] / "data" / "khoaphamanh"
PACK = Path(__file__).resolve().parents[4] / "shared" / "golden" / "components" / "beats"
SAMPLES = 16000


def ruled_state(module, seed):
    """Weights by the rule of the package of numbers."""
    state, number = {}, 0
    for name, value in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        drawn = np.random.RandomState(seed * 100003 + number).randint(-127, 128, size=value.shape)
        r, number = drawn / 127, number + 1
        if name.endswith("running_mean"):
            r = 0.05 * r
        elif name.endswith("running_var"):
            r = 1 + np.abs(r)
        elif r.ndim > 1:
            r = r * math.sqrt(6 / r[0].size)
        else:
            r = 1 + 0.2 * r if name.endswith("weight") else 0.1 * r
        state[name] = torch.from_numpy(r).float()
    return state


def test_pooling_over_12_s_equals_the_published_one():
    golden = np.load(DATA / "attentive_pool_12s.npz")
    pool = TokenStatistics(592)
    state = ruled_state(pool, 31)
    pool.load_state_dict(state, strict=False)
    x = torch.from_numpy(golden["x"].astype(np.float32))
    with torch.no_grad():
        np.testing.assert_allclose(pool.eval()(x), golden["eval"], atol=1e-4)
        np.testing.assert_allclose(pool.train()(x), golden["train"], atol=1e-3)


@pytest.mark.skipif(not PACK.is_dir(), reason="the package of numbers is not here")
def test_pooling_over_10_s_equals_the_published_one():
    golden = np.load(PACK / "attentive_pool_khoaphamanh.npz")
    state = {}
    for key in golden:
        if key.startswith("sd/"):
            value, name = golden[key].astype(np.float32), key.removeprefix("sd/")
            is_norm = name.endswith("running_var") or name in ("bn.weight", "attention.2.weight")
            unit = 1024 if value.ndim > 1 else 512
            value = 1 + np.abs(value) / 256 if is_norm else value / unit
            state[name] = torch.from_numpy(value)
    pool = TokenStatistics(496)
    pool.load_state_dict(state, strict=False)
    with torch.no_grad():
        found = pool.eval()(torch.from_numpy(golden["x"]))
    np.testing.assert_allclose(found, golden["eval_out"], atol=1e-4)


def waves(count=4, samples=SAMPLES):
    return 0.1 * torch.randn(count, samples, generator=Generator().manual_seed(0))


@pytest.fixture
def tuned(tiny_beats):
    def make(**options):
        torch.manual_seed(0)
        return TunedEncoder(
            SAMPLES, 16000, **{"weights": str(tiny_beats), "hidden": 8, "rank": 4, **options}
        )

    return make


def trained(frontend, seed=0):
    """The frontend after a few large steps."""
    frontend.draw_from(Generator().manual_seed(seed))
    learned = [value for value in frontend.parameters() if value.requires_grad]
    optimiser = torch.optim.SGD(learned, lr=0.1)
    frontend.train()
    for _ in range(3):
        optimiser.zero_grad()
        (frontend(waves()) - 1).square().sum().backward()
        optimiser.step()
    return frontend.eval()


KINDS = [{}, {"train": "lora"}, {"train": "lora", "width": 8, "dropout": 0.3}, {"width": 8}]


@pytest.mark.parametrize("options", KINDS)
def test_what_is_stored_gives_the_same_embeddings(tuned, options):
    frontend, other = trained(tuned(**options)), tuned(**options)
    other.load_saved(frontend.saved())
    with torch.no_grad():
        found = frontend(waves())
        assert torch.equal(other.eval()(waves()), found)
        assert not torch.allclose(tuned(**options).eval()(waves()), found)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    assert found.shape == (4, options.get("width", 2 * 6 * 8))


def test_random_numbers_come_from_the_generator(tuned):
    states = [trained(tuned(train="lora", dropout=0.5), seed).saved() for seed in (1, 1, 2)]
    equal = [all(torch.equal(states[0][k], s[k]) for k in s if k != "weights_sha256")
             for s in states[1:]]  # fmt: skip
    assert equal == [True, False]


def test_all_weights_are_learned_also_those_of_positions(tuned, tmp_path):
    torch.save(beats(encoder_layerdrop=-1.0), tmp_path / "all.pt")
    frontend = tuned(weights=str(tmp_path / "all.pt"))
    frontend.train()
    (frontend(waves()) * waves(4, 96)).sum().backward()
    still = [n for n, v in frontend.named_parameters() if v.grad is None or not v.grad.any()]
    assert not [name for name in still if not name.endswith("k_proj.bias")]  # softmax ignores it
    frontend.eval()
    with torch.no_grad():
        before = frontend(waves())
        frontend.network.encoder.bias.weight.add_(
            torch.randn(frontend.network.encoder.bias.weight.shape)
        )
        assert not torch.allclose(frontend(waves()), before)


@pytest.mark.parametrize("width", [None, 8])
def test_lora_leaves_the_pooling_random_unless_told_otherwise(tuned, width):
    for freezes, others in (("pooling", False), ("nothing", True)):
        frontend = tuned(train="lora", lora_freezes=freezes, width=width)
        learned = {name for name, value in frontend.named_parameters() if value.requires_grad}
        lora = {name for name in learned if name.endswith((".lora_a", ".lora_b"))}
        assert len(lora) == 2 * 2 * 3  # matrices, layers, projections
        assert bool(learned - lora) == others
        assert not any(n.startswith("network.") for n in learned - lora)
        stored = {name for name in frontend.saved() if name.startswith("network.")}
        assert stored == lora


def test_integers_are_heard_louder_by_a_constant(tuned):
    """BEATs multiplies by 32768 once more: 2 ln 32768 in log-mels, of deviation 2 * 6.55582."""
    unit, integers = (tuned(input_scale=scale).features(waves())[0] for scale in ("unit", "int16"))
    shift = (integers - unit).flatten()
    assert shift.median().item() == pytest.approx(2 * math.log(32768) / (2 * 6.55582), abs=1e-3)


@pytest.mark.parametrize("rate_hz", [16000, 32000])
def test_efficientat_hears_clips_of_other_rates(tiny_encoders, rate_hz):
    torch.manual_seed(0)
    frontend = TunedEncoder(
        2 * rate_hz, rate_hz, weights=str(tiny_encoders["mn"]), hidden=8, width=4
    )
    found = trained_step(frontend, waves(4, 2 * rate_hz))
    assert found.shape == (4, 4)
    learned = [v for n, v in frontend.named_parameters() if n.startswith("network.")]
    assert all(value.grad is not None for value in learned)


def trained_step(frontend, given):
    found = frontend.train()(given)
    (found - 1).square().sum().backward()
    return found


def test_eats_positions_stay_fixed(tiny_encoders):
    frontend = TunedEncoder(SAMPLES, 16000, weights=str(tiny_encoders["eat"]), hidden=8)
    fixed = [n for n, v in frontend.named_parameters() if not v.requires_grad]
    assert fixed == ["network.positions"]


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        ("mn", {"train": "lora"}, r"^lora_layers: .* \(EfficientAT\) has no layer named q_proj or"),
        ("eat", {"train": "lora"}, r"^lora_layers: .* \(EAT\) has no layer .* set train: all"),
        ("beats", {"samples": 2000}, r"^the input \(.*\) is too short for .* one patch .* 0.175 s"),
    ],
)
def test_what_cannot_be_trained(tiny_encoders, kind, options, complaint):
    given = {"samples": SAMPLES, "sample_rate_hz": 16000, **options}
    with pytest.raises(UserError, match=complaint):
        TunedEncoder(weights=str(tiny_encoders[kind]), **given)


def test_other_weights_than_in_training_are_refused(tuned):
    frontend = tuned()
    with pytest.raises(UserError, match="trained with encoder weights of SHA-256 0000"):
        frontend.load_saved({**frontend.saved(), "weights_sha256": "0" * 64})
