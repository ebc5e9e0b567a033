"""Pooling of tokens against stored numbers, closed forms and loops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.encoders.pooling import POOLINGS, GeM, Gwrp, Max, Mean, Pooling, Rdp, RdpGeM
from asd.errors import UserError
from asd.schema.node import Node
from asd.schema.parameters import plain

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "encoders" / "pooling.npz")
"""Tokens and pooled values of tests/data/encoders/README.md."""

BY_NAME = {
    "mean": Mean(over="band"),
    "max": Max(over="band"),
    **{f"gem_p{p}": GeM(p=p, over="band") for p in (1, 3, 5)},
    **{f"gwrp_r{r}": Gwrp(r=float(r), over="band") for r in ("0", "0.5", "0.9", "1")},
    **{f"rdp_band_g{g}": Rdp(gamma=g, over="band") for g in (1, 4, 16)},
    **{f"rdp_gem_band_g{g}_p3": RdpGeM(gamma=g, p=3, over="band") for g in (1, 4, 16)},
    **{f"rdp_flat_g{g}": Rdp(gamma=g, over="frame") for g in (1, 4, 16)},
}
VARIANTS = [kind(over=over) for kind in POOLINGS.values() for over in ("tokens", "band", "frame")]


@pytest.mark.parametrize("name", BY_NAME)
def test_pooled_values_equal_those_of_the_formulas_in_numpy(name):
    tokens = torch.from_numpy(GOLDEN["tokens"])
    expected = GOLDEN[name].reshape(3, -1)
    found = BY_NAME[name](tokens.double()).flatten(1)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)
    single = BY_NAME[name](tokens).flatten(1)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, atol=1e-5)


def slow(pooling, vectors):
    """One set of vectors (n, width), value by value."""
    n, width = vectors.shape
    if isinstance(pooling, (Rdp, RdpGeM)):
        distances = [np.sqrt(sum((v - vectors.mean(axis=0)) ** 2)) for v in vectors]
        weights = np.array([(1 + d / max(distances)) ** pooling.gamma for d in distances])
    else:
        weights = np.ones(n)
    weights /= weights.sum()
    if isinstance(pooling, (GeM, RdpGeM)):
        powers = [[max(value, 0) ** pooling.p for value in row] for row in vectors]
        return (weights @ np.array(powers)) ** (1 / pooling.p)
    if isinstance(pooling, Gwrp):
        ranked = np.array([sorted(vectors[:, d], reverse=True) for d in range(width)])
        factors = np.array([pooling.r**rank for rank in range(n)])
        return ranked @ factors / factors.sum()
    return vectors.max(axis=0) if isinstance(pooling, Max) else weights @ vectors


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), pooling=st.sampled_from(VARIANTS))
def test_each_set_of_vectors_is_pooled_as_by_loops(seed, pooling):
    tokens = np.random.default_rng(seed).normal(size=(2, 5, 3, 4))
    found = pooling(torch.from_numpy(tokens)).numpy()
    for clip, pooled in zip(tokens, found, strict=True):
        sets = {
            "tokens": [clip.reshape(15, 4)],
            "band": list(clip.transpose(1, 0, 2)),
            "frame": [clip.reshape(5, 12)],
        }[pooling.over]
        assert pooled.shape == pooling.shape(bands=3, dim=4)
        np.testing.assert_allclose(pooled, [slow(pooling, z) for z in sets], rtol=1e-9)


def test_limits_of_the_parameters_are_mean_and_maximum():
    tokens = torch.rand((2, 6, 3, 4), generator=torch.Generator().manual_seed(0)).double()
    mean, largest = Mean()(tokens), Max()(tokens)
    for same in (GeM(p=1.0), Gwrp(r=1.0), Rdp(gamma=0.0), RdpGeM(gamma=0.0, p=1.0)):
        torch.testing.assert_close(same(tokens), mean)
    torch.testing.assert_close(Gwrp(r=0.0)(tokens), largest)
    torch.testing.assert_close(GeM(p=500.0)(tokens), largest, rtol=0.01, atol=0)


def test_relative_deviations_by_hand():
    z = torch.tensor([[0.0], [0.0], [0.0], [4.0]])[None, :, None]  # mean 1, distances 1, 1, 1, 3
    weights = np.array([(1 + 1 / 3) ** 2] * 3 + [2.0**2])
    assert Rdp(gamma=2.0)(z).item() == pytest.approx(4 * weights[3] / weights.sum(), rel=1e-6)


def test_tokens_that_are_all_alike_are_their_own_pooling_in_single_precision():
    token = torch.randn((4, 8), generator=torch.Generator().manual_seed(0))
    alike = token.expand(2, 31, 4, 8)
    for gamma in (16.0, 500.0):
        found = Rdp(gamma=gamma, over="band")(alike)
        torch.testing.assert_close(found, token.expand(2, 4, 8))


@pytest.mark.parametrize("pooling", VARIANTS)
@pytest.mark.parametrize("factor", [0, 1e-30, 1e15])
def test_silent_and_huge_tokens_stay_finite(pooling, factor):
    tokens = factor * torch.randn((2, 5, 3, 4), generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(pooling(tokens)).all()


def test_half_precision_is_pooled_in_single():
    tokens = torch.randn((2, 400, 3, 4), generator=torch.Generator().manual_seed(0)).bfloat16()
    found = RdpGeM()(tokens)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, RdpGeM()(tokens.float()))


def read(text):
    return Node.parse("recipe.yaml", text).read(Pooling)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mean", Mean()),
        ("{class: rdp_gem, gamma: 16, p: 3}", RdpGeM(gamma=16.0, p=3.0)),
        ("{class: rdp, gamma: 4, over: band}", Rdp(gamma=4.0, over="band")),
        ("{class: gwrp, r: 0.5}", Gwrp(r=0.5)),
    ],
)
def test_a_recipe_names_a_pooling_and_gets_it_back(text, expected):
    found = read(text)
    assert found == expected
    assert Node.of_plain(plain(found), "model.pt").read(Pooling) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rdpp", "recipe.yaml:1: 'rdpp' is unknown (did you mean rdp?); choose"),
        ("{gamma: 4}", "recipe.yaml:1: key 'class' is missing; choose from mean, max, gem"),
        ("{class: rdp, p: 4}", "recipe.yaml:1: p: unknown key; known: over, gamma"),
        ("{class: gwrp, r: 1.5}", "expected 0 to 1, got '1.5'"),
        ("{class: gem, p: 0}", "expected a number above 0, got '0'"),
        ("{class: mean, over: time}", "got 'time'"),
        ("{class: builtins:dict}", "is no subclass of asd.encoders.pooling.Pooling"),
    ],
)
def test_what_is_no_pooling_is_refused_with_file_and_line(text, message):
    with pytest.raises(UserError) as refused:
        read(text)
    assert message in str(refused.value)


def test_keys_tell_poolings_apart_and_are_as_written_here():
    """They stand in stored features: another spelling would compute all again."""
    assert RdpGeM().key() == {"class": "rdp_gem", "gamma": 16.0, "over": "tokens", "p": 3.0}
    assert list(RdpGeM().key()) == ["class", "gamma", "over", "p"]
    assert read("{class: rdp_gem, p: 3, gamma: 16}").key() == RdpGeM().key()
    keys = [str(pooling.key()) for pooling in (*VARIANTS, Rdp(gamma=5.0))]
    assert len(set(keys)) == len(keys)
