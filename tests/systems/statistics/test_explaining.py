"""The distance of band statistics, put where it comes from; and its export."""

import numpy as np
import pytest
import soundfile

import asd
from asd.systems.statistics.explaining import contributions
from asd.systems.statistics.system import band_statistics


def test_contributions_add_up_to_the_sum_of_all_statistics(rng):
    log_mel = rng.normal(-40, 6, (50, 7))
    statistics = band_statistics(log_mel)
    centre = rng.normal(-3, 1, 15)
    centre[1:8] -= centre[1:8].mean()  # bands against their mean level
    weights = rng.normal(size=15)
    found = contributions(log_mel, statistics, centre, weights)
    assert found.shape == (50, 7)
    assert found.sum() == pytest.approx((statistics - centre) @ weights, rel=1e-9)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stats")
    random = np.random.default_rng(0)
    for i in range(24):
        wave = random.normal(0, 0.02, 32000)
        if i == 23:
            time = np.arange(32000) / 16000
            wave += 0.05 * np.sin(2 * np.pi * 3000 * time) * ((time > 0.5) & (time < 1.0))
        soundfile.write(folder / f"{'normal' if i < 23 else 'whistle'} {i}.wav", wave, 16000)
    return folder


@pytest.fixture(scope="module")
def model(recordings):
    clips = asd.recordings(sorted(recordings.glob("normal*")), machine="pump")
    return asd.create("stats", n_mels=32).fit(clips, progress=False)


def test_a_detector_explains_its_scores(model, recordings):
    paths = sorted(recordings.glob("*.wav"))
    scores = model.score(paths)["MAHALA"]
    found = model.explain(paths)
    np.testing.assert_allclose([each.values.sum() for each in found], scores, rtol=1e-6)
    (part,) = found[-1].parts(most=1)
    assert part.low_hz < 3000 < part.high_hz
    assert (part.start_s, part.end_s) == pytest.approx((0.5, 1.0), abs=0.2)


def test_the_exported_detector_scores_the_same(model, recordings, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs asd[export]")
    pytest.importorskip("onnx", reason="needs asd[export]")
    from asd.jobs.exporting import ExportOptions, export

    report = export(model, tmp_path / "s.onnx", [recordings], ExportOptions(window_s=2.0))
    assert report.clips == 24
    assert report.largest_difference < 1e-4
    assert report.changed_decisions == 0
