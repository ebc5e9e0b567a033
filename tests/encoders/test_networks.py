"""The networks against the numbers of the programs that they were published with."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoders import openl3

from asd.encoders import load
from asd.encoders.beats import relative_buckets

DATA = Path(__file__).parents[1] / "data" / "encoders"
PACK = Path(__file__).resolve().parents[3] / "shared" / "golden" / "components"
needs_pack = pytest.mark.skipif(not PACK.is_dir(), reason="the reference pack is not here")

FBANK = 2e-3
"""Logarithms of small energies by a Fourier transform in single precision."""


def waves(int16):
    return np.atleast_2d(int16).astype(np.float32) / 32768


@pytest.fixture(scope="module")
def beats():
    return load(DATA / "beats_tiny.pt")


@pytest.fixture(scope="module")
def eat():
    return load(DATA / "eat_tiny.pt")


def test_beats_equals_the_published_program(beats):
    golden = np.load(DATA / "beats.npz")
    wave = waves(golden["wave_int16"])
    frames = beats.network.features(torch.from_numpy(wave))[0, ::11].numpy()
    np.testing.assert_allclose(frames, golden["fbank"], rtol=0, atol=FBANK)
    tokens = beats.tokens(wave, 16000)
    assert tokens.shape == (1, 12, 8, 48)
    assert tokens.dtype == np.float32
    np.testing.assert_allclose(tokens.reshape(96, 48), golden["features"], rtol=0, atol=1e-3)


def test_beats_positions_equal_the_published_ones(beats):
    golden = np.load(DATA / "beats.npz")
    found = relative_buckets(torch.arange(-1000, 1001), 320, 800)
    assert found.tolist() == golden["rel_bucket"].tolist()
    bias = beats.network.encoder._bias(torch.zeros(1, 96, 48))
    np.testing.assert_allclose(bias[:, 0].numpy(), golden["position_bias_first_row"], atol=1e-6)


@needs_pack
def test_every_layer_of_beats_equals_the_published_one(beats):
    golden = np.load(PACK / "beats" / "beats_expected.npz")
    fbank, network = torch.from_numpy(golden["fbank"]), beats.network
    with torch.no_grad():
        patches = network.patches(fbank)
        found = {
            "tokens_projected": patches,
            "encoder_input": network.encoder.embedded(patches, network),
            **{f"layer{i}": network(fbank, i + 1).tokens.flatten(1, 2) for i in range(3)},
        }
    for name, values in found.items():
        np.testing.assert_allclose(values.numpy(), golden[name], rtol=0, atol=1e-4, err_msg=name)
    tokens = beats.tokens(waves(golden["waveform_int16"]), 16000)
    np.testing.assert_allclose(tokens.mean((1, 2)), golden["features_mean"], rtol=0, atol=1e-3)


def test_eat_equals_the_published_program(eat):
    golden = np.load(DATA / "eat.npz")
    wave = waves(golden["wave_int16"])
    frames = eat.network.features(torch.from_numpy(wave))
    assert frames.shape[1] % 32 == 0
    np.testing.assert_allclose(frames[0, ::11].numpy(), golden["fbank"], rtol=0, atol=FBANK)
    tokens, class_tokens = eat.tokens(wave, 16000), eat.class_tokens(wave, 16000)
    assert tokens.shape == (1, 14, 8, 48)
    np.testing.assert_allclose(tokens.reshape(112, 48), golden["features"][1:], rtol=0, atol=1e-3)
    np.testing.assert_allclose(class_tokens[0], golden["features"][0], rtol=0, atol=1e-3)


@needs_pack
def test_every_block_of_eat_equals_the_published_one():
    """The whole checkpoint: with a teacher's weights, a decoder and NumPy's numbers around."""
    golden = np.load(PACK / "eat" / "eat_expected.npz")
    eat = load(PACK / "eat" / "EAT-base_tiny.pt")
    fbank = torch.from_numpy(golden["fbank"][:, 0])
    for i in range(3):
        with torch.no_grad():
            grid = eat.network(fbank, i + 1)
        found = torch.cat([grid.class_token[:, None], grid.tokens.flatten(1, 2)], dim=1).numpy()
        np.testing.assert_allclose(found, golden[f"block{i}"], rtol=0, atol=1e-4)
    wave = waves(golden["waveform_int16"])
    found = eat.class_tokens(wave, 16000)
    np.testing.assert_allclose(found, golden["embedding_cls"], rtol=0, atol=1e-3)
    found = eat.tokens(wave, 16000).mean((1, 2))
    np.testing.assert_allclose(found, golden["embedding_seq"], rtol=0, atol=1e-3)


def test_efficientat_hears_as_published(tiny_encoders):
    golden = np.load(DATA / "efficientat.npz")
    network = load(tiny_encoders["mn"]).network
    found = network.features(torch.from_numpy(waves(golden["wave_int16"])))[0, :, ::5].numpy()
    np.testing.assert_allclose(found, golden["logmel"], rtol=0, atol=5e-4)


@needs_pack
def test_efficientat_with_real_weights_equals_the_published_program():
    golden = np.load(PACK / "efficientat" / "clips.npz")
    encoder = load(PACK / "efficientat" / "mn04_as_mAP_432.pt")
    assert (encoder.rate_hz, encoder.dim, encoder.bands) == (32000, 384, 4)
    for clip in range(3):
        tokens = encoder.tokens(waves(golden[f"wave{clip}_int16"]), 32000)
        expected = golden[f"wave{clip}_fmax15000_embedding"]
        np.testing.assert_allclose(tokens.mean((1, 2))[0], expected, rtol=0, atol=1e-3)
    for layer in range(17):
        tokens = encoder.tokens(waves(golden["wave1_int16"]), 32000, layer + 1)
        expected = golden[f"wave1_fmax15000_map{layer:02}"].transpose(2, 1, 0)
        np.testing.assert_allclose(tokens[0], expected, rtol=0, atol=1e-3)


def test_cnn14_equals_the_published_program(tiny_encoders):
    golden = np.load(DATA / "panns.npz")
    encoder = load(tiny_encoders["panns"])
    wave = waves(golden["wave_int16"])
    frames = encoder.network.features(torch.from_numpy(wave))[0, ::5].numpy()
    np.testing.assert_allclose(frames, golden["logmel"], rtol=0, atol=5e-3)
    found = encoder.class_tokens(wave, 32000)[0]
    np.testing.assert_allclose(found, golden["embedding"], rtol=0, atol=1e-4)
    assert encoder.tokens(wave, 32000).shape == (1, 2, 2, 16)


def test_openl3_equals_the_published_program(tmp_path):
    golden = np.load(DATA / "openl3.npz")
    torch.save(openl3((64, 64, 128, 128, 256, 256, 512)), tmp_path / "openl3.pt")
    encoder = load(tmp_path / "openl3.pt")
    wave = waves(golden["wave_int16"])
    frames = encoder.network.features(torch.from_numpy(wave))[0, :, ::4, ::11].numpy()
    np.testing.assert_allclose(frames, golden["logmel"], rtol=0, atol=5e-3)
    tokens = encoder.tokens(wave, 48000)
    assert tokens.shape == (1, 3, 1, 512)
    largest = np.abs(golden["embedding_mean"]).max()
    found = tokens.mean((1, 2))[0]
    np.testing.assert_allclose(found, golden["embedding_mean"], rtol=0, atol=1e-4 * largest)
