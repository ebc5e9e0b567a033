"""Occlusion, with systems that have no explanation of their own."""

import numpy as np
import pytest

import asd
from asd.systems.base import Explainer, Referrer, System
from asd.systems.occlusion import Occlusion, band_edges_hz

RATE = 16000


class Band(System):
    """Scores a clip by its power from 2 to 4 kHz."""

    score_names = ("POWER",)

    def inputs(self):
        from asd.audio.features import Waveform

        return {"waveform": Waveform("all")}

    def score(self, clips, names=None):  # noqa: ARG002
        features = clips.features(self.inputs()["waveform"])
        return {"POWER": np.array([_power(features.clip(i)) for i in range(len(clips))])}

    def fit(self, train, run): ...
    def normal_scores(self): ...
    def state(self): ...
    def load_state(self, state): ...


def _power(samples):
    spectrum = np.abs(np.fft.rfft(samples[:, 0])) ** 2 / len(samples)
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    return spectrum[(hz > 2000) & (hz < 4000)].sum() / len(samples)


@pytest.fixture
def clip(tmp_path):
    return asd.Clip(tmp_path / "a.wav", "fan")


def noise(seconds, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(0, 0.01, (1, int(seconds * RATE))).astype(np.float32)


def with_tone(wave, hz, start_s, end_s):
    time = np.arange(wave.shape[1]) / RATE
    tone = 0.3 * np.sin(2 * np.pi * hz * time) * ((time >= start_s) & (time < end_s))
    return (wave + tone).astype(np.float32)


@pytest.mark.parametrize("normal", [None, noise(1.3, seed=1)])
def test_the_part_that_raises_the_score_loses_it(clip, normal):
    wave = with_tone(noise(4), 3000, 1.2, 1.6)
    found = Occlusion(Band(None), "POWER", times=10).explain(clip, wave, RATE, normal)
    time, band = np.unravel_index(found.values.argmax(), found.values.shape)
    assert found.times_s[time] == pytest.approx(1.2)
    assert found.bands_hz[band] < 3000 < found.bands_hz[band + 1]
    before = Band(None).score(_set(clip, wave))["POWER"][0]
    assert found.values.max() == pytest.approx(before, rel=0.1)
    others = np.delete(found.values.ravel(), found.values.argmax())
    assert np.abs(others).max() < before / 10
    (part,) = found.parts()
    assert part.low_hz < 3000 < part.high_hz


def _set(clip, *waves):
    from asd.systems.occlusion import clips_of_waves

    return clips_of_waves([clip] * len(waves), waves, RATE)


def test_a_clip_replaced_by_itself_keeps_its_score(clip):
    wave = with_tone(noise(2), 3000, 0.5, 1)
    found = Occlusion(Band(None), "POWER").explain(clip, wave, RATE, wave)
    np.testing.assert_allclose(found.values, 0, atol=1e-6)


@pytest.mark.parametrize("samples", [40, 300, 1025, 16000])
def test_short_clips_of_several_channels_are_explained(clip, samples):
    wave = np.random.default_rng(0).normal(size=(2, samples)).astype(np.float32)
    found = Occlusion(Band(None), "POWER").explain(clip, wave, RATE)
    assert np.isfinite(found.values).all()
    assert found.times_s[-1] == samples / RATE


def test_bands_cover_all_frequencies():
    edges = band_edges_hz(8, RATE)
    assert (edges[0], edges[-1], len(edges)) == (0, 8000, 9)
    assert (np.diff(edges) > 0).all()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Twelve normal recordings, and one with a whistle."""
    import soundfile

    folder = tmp_path_factory.mktemp("occluded")
    for i in range(12):
        hum = with_tone(noise(1, seed=i), 200 + 40 * (i % 3), 0, 1)
        soundfile.write(folder / f"normal {i}.wav", hum[0], RATE)
    whistle = with_tone(with_tone(noise(1, seed=99), 240, 0, 1), 5000, 0.3, 0.6)
    soundfile.write(folder / "whistle.flac", whistle[0], RATE)
    return folder


@pytest.fixture(scope="module")
def model(recordings):
    normal = asd.recordings(sorted(recordings.glob("normal*")), machine="pump")
    return asd.create("raw_spec", **{"frontend.mels": 64, "input_s": 1}).fit(normal, progress=False)


def test_an_embedding_system_is_explained_by_its_nearest_normal_clip(model, recordings):
    assert not isinstance(model.system, Explainer)
    (near,) = model.nearest_normal([recordings / "whistle.flac"])
    assert near.file_name in {f"normal {i}.wav" for i in (1, 4, 7, 10)}  # those of 240 Hz
    (why,) = model.explain([recordings / "whistle.flac"], "KNN", [recordings / near.file_name])
    (part,) = why.parts(most=1)
    assert part.low_hz < 5000 < part.high_hz
    assert part.start_s == pytest.approx(0.3)
    assert part.end_s == pytest.approx(0.6, abs=0.11)


def test_the_nearest_normal_clip_survives_a_file(model, recordings, tmp_path):
    model.save(tmp_path / "pump.asd")
    loaded = asd.load(tmp_path / "pump.asd")
    assert isinstance(loaded.system, Referrer)
    paths = sorted(recordings.glob("normal*"))
    expected = [path.name for path in paths]
    assert [clip.file_name for clip in loaded.nearest_normal(paths)] == expected


def test_a_system_without_references_names_none(tiny_data):
    fan = asd.load_challenge("DCASE2023T2", tiny_data).dev["fan"]
    model = asd.create("ae", epochs=1, n_mels=8).fit(fan.train, progress=False)
    assert model.nearest_normal(fan.test[:2]) == [None, None]
