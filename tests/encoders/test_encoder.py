"""What holds for every encoder, and what is said of files that are none."""

import doctest
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_encoders import beats, eat, efficientat, openl3, panns

from asd.encoders import encoder as encoder_module
from asd.encoders import load
from asd.encoders.checkpoint import read_network
from asd.encoders.weights import add_weights
from asd.errors import UserError

KINDS = ("beats", "eat", "mn", "panns", "openl3")


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).normal(0, 0.1, (3, 16000)).astype(np.float32)


@pytest.fixture(params=KINDS)
def encoder(request, tiny_encoders):
    return load(tiny_encoders[request.param])


def test_many_clips_equal_one_by_one(encoder, noise):
    rate_hz = encoder.rate_hz
    together = encoder.tokens(noise, rate_hz)
    assert together.shape[0] == 3
    assert together.shape[2:] == (encoder.bands, encoder.dim)
    for clip, tokens in zip(noise, together, strict=True):
        np.testing.assert_allclose(encoder.tokens(clip[None], rate_hz)[0], tokens, atol=1e-5)


def test_the_last_layer_is_the_default(encoder, noise):
    last = encoder.tokens(noise, 16000, encoder.layers)
    np.testing.assert_array_equal(encoder.tokens(noise, 16000), last)
    with pytest.raises(UserError, match=f"has layers 1 to {encoder.layers}, got 99"):
        encoder.tokens(noise, 16000, 99)


def test_other_rates_are_resampled(encoder):
    """A tone of 440 Hz sounds alike at every rate."""

    def tone(rate_hz):
        t = np.arange(rate_hz) / rate_hz
        return 0.3 * np.sin(2 * np.pi * 440 * t)[None].astype(np.float32)

    found = [encoder.tokens(tone(rate), rate).mean((0, 1, 2)) for rate in (16000, 32000, 44100)]
    spread = np.abs(np.array(found) - found[0]).max()
    assert spread < 0.05 * np.abs(found[0]).max()


def test_bfloat16_points_the_same_way(encoder, noise, tiny_encoders):
    kind = next(k for k in KINDS if tiny_encoders[k].name == encoder.name)
    rough = load(tiny_encoders[kind], dtype="bfloat16")
    assert rough.precision == "bfloat16"
    a, b = (each.tokens(noise, 16000).mean((1, 2)) for each in (encoder, rough))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > 0.999


def test_a_clip_shorter_than_a_patch_is_refused(encoder):
    network = encoder.network
    shortest = network.shortest
    assert encoder.tokens(np.zeros((1, shortest), np.float32), encoder.rate_hz).shape[1] >= 1
    with pytest.raises(UserError, match=r"is too short for tiny_.*one patch of it takes"):
        encoder.tokens(np.zeros((1, shortest - 1), np.float32), encoder.rate_hz)


def test_eat_has_a_class_token_and_an_end_and_beats_neither(tiny_encoders, noise):
    eat_encoder = load(tiny_encoders["eat"])
    assert eat_encoder.class_tokens(noise, 16000).shape == (3, 16)
    with pytest.raises(UserError, match="is too long for tiny_eat"):
        eat_encoder.tokens(np.zeros((1, 480000), np.float32), 16000)
    with pytest.raises(UserError, match="BEATs has no class token; pool its tokens"):
        load(tiny_encoders["beats"]).class_tokens(noise, 16000)


def test_the_class_token_of_cnn14_is_that_of_its_last_layer(tiny_encoders, noise):
    encoder = load(tiny_encoders["panns"])
    found = encoder.class_tokens(noise, 16000)
    assert found.shape == (3, 16)
    np.testing.assert_array_equal(found, encoder.class_tokens(noise, 16000, 6))
    with pytest.raises(UserError, match="has a class token after its last layer alone, 6, not 5"):
        encoder.class_tokens(noise, 16000, 5)


def test_a_short_clip_gives_openl3_one_window_and_a_longer_one_a_window_each_tenth(tiny_encoders):
    encoder = load(tiny_encoders["openl3"])
    for samples, windows in ((1, 1), (24000, 1), (24001, 2), (48000, 6), (96000, 16)):
        tokens = encoder.tokens(np.full((1, samples), 0.1, np.float32), 48000)
        assert tokens.shape == (1, windows, 1, 16)


def test_eat_is_the_same_from_safetensors(tmp_path, tiny_encoders, noise, monkeypatch):
    content = eat()["model"]
    names = {"context_encoder.norm": "pre_norm"}
    weights = {}
    for name, values in content.items():
        if isinstance(values, torch.Tensor) and "decoder" not in name:
            own = name.removeprefix("modality_encoders.IMAGE.")
            for old, new in names.items():
                own = own.replace(old, new)
            weights[f"model.{own}"] = values
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"num_heads": 2}')
    found = load(tmp_path / "model.safetensors").tokens(noise, 16000)
    expected = load(tiny_encoders["eat"]).tokens(noise, 16000)
    np.testing.assert_array_equal(found, expected)
    monkeypatch.setenv("ASD_WEIGHTS", str(tmp_path / "weights"))
    add_weights("my_eat", tmp_path / "model.safetensors", read_network)  # config.json goes along
    np.testing.assert_array_equal(load("my_eat").tokens(noise, 16000), expected)
    add_weights("my_eat", tiny_encoders["eat"], read_network)
    kept = {path.name for path in (tmp_path / "weights").iterdir()} - {".my_eat.lock"}
    assert kept == {"my_eat.pt"}


def test_a_fine_tuned_head_changes_nothing(tmp_path, tiny_encoders, noise):
    content = beats(finetuned_model=True, predictor_class=527)
    content["model"]["predictor.weight"] = torch.ones(527, 16)
    content["model"]["predictor.bias"] = torch.ones(527)
    content["label_dict"] = {0: "/m/09x0r"}
    torch.save(content, tmp_path / "finetuned.pt")
    found = load(tmp_path / "finetuned.pt").tokens(noise, 16000)
    np.testing.assert_array_equal(found, load(tiny_encoders["beats"]).tokens(noise, 16000))


def test_numpy_numbers_beside_the_weights_are_read(tmp_path):
    content = {**eat(), "extra_state": {"loss": np.float64(0.5), "step": np.int64(3)}}
    torch.save(content, tmp_path / "EAT.pt")
    assert load(tmp_path / "EAT.pt").dim == 16


class Payload:
    def __reduce__(self):
        return exec, ("raise SystemExit('the file was run')",)


def without(content, name):
    weights = content.get("model", content)
    del weights[name]
    return content


def with_value(content, name, value):
    content["model"][name] = value
    return content


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"model": {"linear.weight": torch.zeros(2)}}, "is no checkpoint of BEATs, EAT, Effi"),
        ({"model": Payload()}, "holds something else than tensors and numbers"),
        ([1, 2], "holds no arrays by name"),
        (without(beats(), "encoder.layers.1.fc1.bias"), "arrays do not fit together"),
        (without(efficientat(), "features.3.block.1.0.weight"), "arrays do not fit together"),
        (without(panns(), "conv_block3.bn1.bias"), "arrays do not fit together"),
        (with_value(panns(), "logmel_extractor.melW", torch.zeros(257, 64)), "CNN14 for 32 kHz"),
        (without(openl3(), "conv2d_5.bias"), "arrays do not fit together"),
        ({**openl3(), "speclayer.mel_basis": torch.zeros(256, 1025)}, "only networks on 128 bands"),
        (beats(layer_norm_first=True), "a layer norm before each layer"),
        (with_value(beats(), "layer_norm.bias", torch.full((8,), torch.nan)), "are not finite"),
        (with_value(beats(), "quantize.embedding", torch.zeros(1)), "is a tokenizer of BEATs"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_encoder(tmp_path, content, complaint):
    path = tmp_path / "some.pt"
    torch.save(content, path)
    with pytest.raises(UserError, match=complaint) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_plain_pickle_is_refused_without_a_warning(tmp_path, recwarn):
    (tmp_path / "some.pt").write_bytes(pickle.dumps({"model": Payload()}))
    with pytest.raises(UserError, match=r"some\.pt: "):
        load(tmp_path / "some.pt")
    assert not recwarn.list


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04" + 99 * b"x"])
@pytest.mark.parametrize("name", ["some.pt", "some.safetensors"])
def test_a_damaged_file(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"some\.\w+: is damaged or no file"):
        load(path)


def test_half_a_file(tmp_path, tiny_beats):
    path = tmp_path / "half.pt"
    path.write_bytes(tiny_beats.read_bytes()[:20000])
    with pytest.raises(UserError, match="is damaged or no file of weights"):
        load(path)


def test_examples(request):
    finder = doctest.DocTestFinder()
    runner = doctest.DocTestRunner()
    for case in finder.find(
        encoder_module.Encoder, "Encoder", globs={"getfixture": request.getfixturevalue}
    ):
        assert runner.run(case).failed == 0
