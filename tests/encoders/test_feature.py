"""Features of frozen encoders: in the store, of recordings, and by themselves."""

import numpy as np
import pytest

import asd
from asd.audio import store
from asd.audio.store import load_features
from asd.encoders import encoder as encoders
from asd.encoders import feature as encoder_feature
from asd.encoders import load
from asd.encoders.feature import EncoderFeature
from asd.encoders.pooling import Mean, Rdp
from asd.errors import UserError


@pytest.fixture
def feature(tiny_beats):
    return EncoderFeature(str(tiny_beats), Mean(), precision="float32")


def test_pooled_values_are_those_of_the_encoder(feature, make_clips, tmp_path, tiny_beats):
    clips = make_clips(8000, 16000, 8000)
    found = load_features(clips, feature, tmp_path / "features", 1)
    encoder = load(tiny_beats)
    assert found.rows.shape == (3, 1, 16)
    for number, clip in enumerate(clips):
        wave = store.decode_recording(clip.path.read_bytes(), clip.path).wave
        expected = encoder.tokens(wave[:1], 16000).mean((0, 1, 2))
        np.testing.assert_allclose(found.clip(number)[0, 0], expected, atol=1e-5)


def test_values_are_computed_once(feature, make_clips, tmp_path, monkeypatch):
    clips, folder = make_clips(8000, 8000), tmp_path / "features"
    first = load_features(clips, feature, folder, 1)

    def refuse(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(store, "_compute", refuse)
    np.testing.assert_array_equal(load_features(clips, feature, folder, 1).rows, first.rows)


def test_the_key_tells_apart_all_that_values_depend_on(tiny_encoders):
    beats, eat = (str(tiny_encoders[kind]) for kind in ("beats", "eat"))
    variants = [
        EncoderFeature(beats, Mean(), precision="float32"),
        EncoderFeature(eat, Mean(), precision="float32"),
        EncoderFeature(beats, None, precision="float32"),
        EncoderFeature(beats, Rdp(gamma=4), precision="float32"),
        EncoderFeature(beats, Rdp(gamma=8), precision="float32"),
        EncoderFeature(beats, Mean(over="band"), precision="float32"),
        EncoderFeature(eat, take="class", precision="float32"),
        EncoderFeature(beats, Mean(), layer=1, precision="float32"),
        EncoderFeature(beats, Mean(), channel="mix", precision="float32"),
        EncoderFeature(beats, Mean(), seconds=2.0, precision="float32"),
        EncoderFeature(beats, Mean(), precision="bfloat16"),
    ]
    keys = {str(variant.key()) for variant in variants}
    assert len(keys) == len(variants)


def test_the_key_knows_the_weights_not_their_name(tmp_path, tiny_beats):
    other = tmp_path / "other.pt"
    other.write_bytes(tiny_beats.read_bytes())
    assert EncoderFeature(str(other)).key() == EncoderFeature(str(tiny_beats)).key()


def test_tokens_and_bands_have_their_shapes(make_clips, tmp_path, tiny_encoders):
    clips = make_clips(16000, 8000)
    tokens = EncoderFeature(str(tiny_encoders["beats"]), precision="float32")
    found = load_features(clips, tokens, tmp_path, 1)
    assert found.lengths.tolist() == [6, 3]
    assert found.clip(0).shape == (6, 8, 16)
    bands = EncoderFeature(str(tiny_encoders["mn"]), Rdp(over="band"), precision="float32")
    assert load_features(clips, bands, tmp_path, 1).clip(1).shape == (1, 4, 48)
    one = EncoderFeature(str(tiny_encoders["eat"]), take="class", precision="float32")
    assert load_features(clips, one, tmp_path, 1).clip(1).shape == (1, 16)


def test_short_clips_are_repeated_and_long_ones_cut(tiny_beats, rng):
    feature = EncoderFeature(str(tiny_beats), Mean(), seconds=1.0, precision="float32")
    long = rng.uniform(-0.5, 0.5, (1, 20000)).astype(np.float32)
    short = long[:, :7000]
    whole = EncoderFeature(str(tiny_beats), Mean(), precision="float32")
    repeated = np.tile(short, 3)[:, :16000]
    found = feature.compute_many([long, short], 16000)
    np.testing.assert_allclose(found[0], whole.compute(long[:, :16000], 16000), atol=1e-6)
    np.testing.assert_allclose(found[1], whole.compute(repeated, 16000), atol=1e-6)


def test_recordings_give_the_same_values(feature, make_clips, tmp_path):
    clips = make_clips(*[8000] * 11)  # more than a batch
    found = asd.recordings([clip.path for clip in clips]).features(feature)
    expected = load_features(clips, feature, tmp_path / "features", 1)
    np.testing.assert_allclose(found.rows, expected.rows, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"layer": 9}, r"^layer: .* has layers 1 to 2, got 9"),
        ({"take": "class"}, r"^.*beats\.pt: BEATs has no class token; pool its tokens"),
    ],
)
def test_what_an_encoder_lacks_is_no_clips_fault(
    wrong, complaint, make_clips, tmp_path, tiny_encoders
):
    wanted = EncoderFeature(str(tiny_encoders["beats"]), precision="float32", **wrong)
    with pytest.raises(UserError, match=complaint) as caught:
        load_features(make_clips(16000), wanted, tmp_path / "features", 1)
    assert ".wav" not in str(caught.value)


def test_a_clip_that_is_too_short_is_named(feature, make_clips, tmp_path):
    clips = make_clips(8000, 2000, 8000)
    complaint = f"^{clips[1].path}: is too short for .*0.125 s, and one patch of it takes 0.175 s"
    with pytest.raises(UserError, match=complaint):
        load_features(clips, feature, tmp_path / "features", 1)
    with pytest.raises(UserError, match=complaint):
        asd.recordings([clip.path for clip in clips]).features(feature)
    assert not list((tmp_path / "features").glob("*.encoder"))


@pytest.mark.parametrize(
    ("kind", "is_fast", "expected"),
    [("beats", True, "bfloat16"), ("beats", False, "float32"), ("mn", True, "float32")],
)
def test_bfloat16_is_chosen_where_it_is_fast(monkeypatch, tiny_encoders, kind, is_fast, expected):
    """And where the network gains from it; it is not loaded to know."""
    monkeypatch.setattr(encoders, "_cpu_has_bfloat16", lambda: is_fast)
    encoder_feature._loaded.cache_clear()
    feature = EncoderFeature(str(tiny_encoders[kind]), Mean())
    assert feature.key()["precision"] == expected
    assert not encoder_feature._loaded.cache_info().currsize
    assert feature._encoder.precision == expected
    encoder_feature._loaded.cache_clear()


def test_published_embeddings_of_cnn14_and_openl3_are_features(make_clips, tmp_path, tiny_encoders):
    clips = make_clips(8000, 16000)
    for kind, how in (("panns", {"take": "class"}), ("openl3", {"pooling": Mean()})):
        feature = EncoderFeature(str(tiny_encoders[kind]), precision="float32", **how)
        found = load_features(clips, feature, tmp_path / kind, 1)
        assert found.rows.reshape(2, -1).shape == (2, 16)
        assert np.isfinite(found.rows).all()
