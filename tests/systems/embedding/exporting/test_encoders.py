"""Encoders as modules of matrix products against the encoders themselves."""

import numpy as np
import pytest
import torch
from torch import Generator

from asd.encoders.checkpoint import read_network
from asd.encoders.lora import LoraLinear
from asd.encoders.pooling import GeM, Gwrp, Max, Mean, Rdp, RdpGeM
from asd.errors import UserError
from asd.systems.embedding.exporting.encoders import (
    AdaptedEmbedding,
    FrozenEmbedding,
    spectrum_of,
)
from asd.systems.embedding.exporting.score import embedding_module
from asd.systems.embedding.pretrained import AdaptedEncoder, FrozenEncoder
from asd.systems.embedding.tuned import TunedEncoder


@pytest.fixture
def waves(rng):
    """A tone that grows in noise, and noise of which a part is silence."""
    time = np.arange(16000) / 16000
    found = rng.normal(0, 0.05, (2, 16000))
    found[0] += 0.3 * time * np.sin(2 * np.pi * 440 * time)
    found[1, 3000:6000] = 0
    return found.astype(np.float32)


@pytest.mark.parametrize("kind", ["beats", "eat", "mn", "panns"])
def test_spectrograms_are_those_of_the_networks(tiny_encoders, waves, kind):
    network = read_network(tiny_encoders[kind])
    with torch.no_grad():
        expected = network.features(torch.from_numpy(waves))
        found = spectrum_of(network)(torch.from_numpy(waves))
    assert found.shape == expected.shape
    tolerance = 2e-3 if kind == "panns" else 2e-4  # in dB; in units of two deviations
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


POOLINGS = [Mean(), Max(over="band"), GeM(over="frame"), Gwrp(r=0.7), Gwrp(r=0.7, over="band"),
            Rdp(over="band"), RdpGeM()]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *(("mn", {"pooling": pooling}) for pooling in POOLINGS),
        ("beats", {"pooling": Rdp(over="band")}),
        ("beats", {"layer": 1}),
        ("eat", {"take": "class"}),
        ("eat", {"pooling": RdpGeM(over="band")}),
        ("panns", {"take": "class"}),
    ],
)
def test_frozen_encoders_embed_as_their_stored_feature_does(tiny_encoders, waves, kind, options):
    """At 16 kHz: EfficientAT and CNN14 hear 32 kHz."""
    frozen = FrozenEncoder(weights=str(tiny_encoders[kind]), precision="float32", **options)
    feature = frozen.feature("left", None, "cpu")
    expected = np.stack([feature.compute(wave[None], 16000).ravel() for wave in waves])
    with torch.no_grad():
        found = FrozenEmbedding(frozen, 16000, 16000)(torch.from_numpy(waves)).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


def trained(frontend):
    """The frontend with LoRA that does something, and generators that cannot be copied."""
    for name, value in frontend.named_parameters():
        if name.endswith("lora_b"):
            torch.nn.init.normal_(value, std=0.3)
    frontend.draw_from(Generator())
    return frontend.eval()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("beats", {}),
        ("beats", {"pool": "band_attentive_statistics"}),
        ("beats", {"score_pooling": Rdp(over="band")}),
        ("beats", {"batch_norm_statistics": "forgotten"}),
        ("eat", {"pool": "class"}),
        ("eat", {"pool": "mean"}),
    ],
)
def test_adapted_encoders_embed_as_before(tiny_encoders, waves, kind, options):
    torch.manual_seed(0)
    frontend = trained(
        AdaptedEncoder(16000, 16000, weights=str(tiny_encoders[kind]), rank=4, width=8, **options)
    )
    check_same(frontend, waves)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("beats", {}),
        ("beats", {"train": "lora", "width": 8, "input_scale": "int16"}),
        ("eat", {"train": "lora", "lora_layers": ("qkv", "proj")}),
        ("mn", {}),
    ],
)
def test_tuned_encoders_embed_as_before(tiny_encoders, waves, kind, options):
    torch.manual_seed(0)
    weights = str(tiny_encoders[kind])
    check_same(trained(TunedEncoder(16000, 16000, weights=weights, hidden=8, **options)), waves)


def check_same(frontend, waves):
    module = AdaptedEmbedding(frontend, 16000)
    with torch.no_grad():
        expected = frontend(torch.from_numpy(waves))
        found = module(torch.from_numpy(waves))
    scale = expected.abs().max().item()
    torch.testing.assert_close(found, expected, atol=2e-4 * scale, rtol=0)
    assert not [each for each in module.modules() if isinstance(each, LoraLinear)]
    assert frontend.network.generator is not None  # the detector's own is as it was


def test_the_position_bias_of_beats_is_stored_once(tiny_encoders):
    """What is no part of the state the exporter stores in every layer: 140 MB of a real BEATs."""
    module = embedding_module(FrozenEncoder(weights=str(tiny_encoders["beats"])), 16000, 16000)
    stored = module.state_dict(keep_vars=True)
    assert {id(values) for values in module.buffers()} <= {id(v) for v in stored.values()}
    assert (2, 48, 48) in [tuple(values.shape) for values in stored.values()]


def test_what_there_is_no_export_of_is_named(tiny_encoders):
    class Own(Mean):
        pass

    mn, openl3 = str(tiny_encoders["mn"]), str(tiny_encoders["openl3"])
    with pytest.raises(UserError, match=r"^the encoder OpenL3 cannot be exported; BEATs, EAT, "):
        FrozenEmbedding(FrozenEncoder(weights=openl3), 48000, 48000)
    with pytest.raises(UserError, match=r"^the pooling Own cannot be exported; mean, max, gem"):
        FrozenEmbedding(FrozenEncoder(weights=mn, pooling=Own()), 16000, 16000)
    with pytest.raises(UserError, match=r"^the exported window \(--window\) is too short for tiny"):
        FrozenEmbedding(FrozenEncoder(weights=mn), 200, 16000)
