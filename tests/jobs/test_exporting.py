"""Exported detectors against themselves: spectra, scores, decisions, and the file's facts."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import asd
from asd.audio.logmel import LogMel, LogMelParameters
from asd.cli import main
from asd.errors import UserError
from asd.jobs.exporting import ExportOptions, export
from asd.monitoring.scoring import Scorer
from asd.systems.exporting import FourierTransform, LogMelFrames, folded, framed, windowed

onnxruntime = pytest.importorskip("onnxruntime", reason="needs asd[export]")
pytest.importorskip("onnx", reason="needs asd[export]")

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "score_onnx.py"


@pytest.mark.parametrize("length", [1, 2, 7, 36, 400, 1000, 1024, 5 * 16000])
def test_the_fourier_transform_in_two_steps_is_the_fourier_transform(length):
    random = np.random.default_rng(length)
    signals = random.normal(size=(2, 3, length)) if length < 2000 else random.normal(size=length)
    real, imaginary = FourierTransform(length)(torch.from_numpy(signals.astype(np.float32)))
    expected = np.fft.rfft(signals)
    found = real.numpy() + 1j * imaginary.numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()


@pytest.mark.parametrize(("width", "hop"), [(8, 4), (8, 8), (8, 3), (6, 4), (5, 7), (4, 1)])
def test_frames_are_those_of_sliding_windows(width, hop):
    waves = torch.arange(2 * 33.0).view(2, 33)
    torch.testing.assert_close(framed(waves, width, hop), waves.unfold(1, width, hop))


def test_windows_lie_side_by_side():
    frames = torch.arange(7 * 2.0).view(1, 7, 2)
    expected = frames.unfold(1, 3, 2).transpose(2, 3).flatten(2)
    torch.testing.assert_close(windowed(frames, 3, 2), expected)


@pytest.mark.parametrize(
    "parameters",
    [
        LogMelParameters(),
        LogMelParameters(32, 400, 160, fmin=100.0, fmax=6000.0),
        LogMelParameters(40, 512, 256, power=1.0, win_length=400),
        LogMelParameters(16, 375, 100),
    ],
)
def test_log_mel_frames_are_those_of_the_detector(parameters, rng):
    waves = rng.normal(0, 0.1, (2, 8000)).astype(np.float32)
    waves[1, 3000:] = 0  # silence has a floor
    found = LogMelFrames(parameters, 16000)(torch.from_numpy(waves)).numpy()
    expected = np.stack([LogMel(parameters, 16000)(wave) for wave in waves])
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_batch_normalisation_is_taken_into_the_layer_before():
    torch.manual_seed(0)
    layers = [
        torch.nn.Linear(3, 4),
        torch.nn.BatchNorm1d(4),
        torch.nn.ReLU(),
        torch.nn.Linear(4, 2),
    ]
    torch.nn.init.normal_(layers[1].weight)
    torch.nn.init.normal_(layers[1].bias)
    layers[1].running_mean.normal_()
    layers[1].running_var.uniform_(0.5, 2)
    x = torch.randn(5, 3)
    expected = torch.nn.Sequential(*layers).eval()(x)
    merged = folded(layers)
    assert len(merged) == 3
    torch.testing.assert_close(merged(x), expected)


@pytest.fixture(scope="module")
def fan(tmp_path_factory):
    from asd.challenge.catalog import load_challenge
    from asd.synthetic.dataset import SyntheticCounts, synthesize

    folder = tmp_path_factory.mktemp("exported")
    synthesize(folder, load_challenge("DCASE2023T2"), "dev", ["fan"],
               clips=SyntheticCounts(16, 4, 6), seconds=(1.0, 1.0))  # fmt: skip
    return asd.load_challenge("DCASE2023T2", folder).dev["fan"]


@pytest.fixture(scope="module")
def model(fan):
    return asd.create("ae", epochs=80, n_mels=32, batch_size=32).fit(fan.train, progress=False)


def run(path, waves, output="score"):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run([output], {"waveform": waves})[0]


def paths_of(clips):
    return [clip.path for clip in clips]


def waves_of(clips):
    from asd.audio.recording import read_recording

    return np.stack([read_recording(clip.path).wave[0] for clip in clips])


@pytest.mark.parametrize("score", ["MSE", "MAHALA", "MAHALA-FRAME"])
def test_the_file_scores_and_decides_as_the_detector(model, fan, tmp_path, score):
    options = ExportOptions(score, window_s=1.0)
    report = export(model, tmp_path / "fan.onnx", paths_of(fan.train), options)
    waves = waves_of(fan.test)
    expected = model.score(fan.test, [score])
    np.testing.assert_allclose(run(tmp_path / "fan.onnx", waves), expected[score], rtol=1e-3)
    decided = run(tmp_path / "fan.onnx", waves, "decision")
    np.testing.assert_array_equal(decided, model.decide(expected, score))
    assert report.largest_difference < 1e-4
    assert (report.changed_decisions, report.clips) == (0, 20)


def test_the_file_says_what_a_program_must_know(model, tmp_path):
    export(model, tmp_path / "fan.onnx", [], ExportOptions(window_s=2.0))
    session = onnxruntime.InferenceSession(str(tmp_path / "fan.onnx"))
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["sample_rate_hz"] == "16000"
    assert (facts["window_s"], facts["window_samples"]) == ("2.0", "32000")
    assert float(facts["threshold"]) == model.threshold("fan", "MSE", 0.9)
    assert (facts["score"], facts["machine"], facts["channel"]) == ("MSE", "fan", "left")
    assert session.get_inputs()[0].shape == ["n", 32000]
    assert [each.shape for each in session.get_outputs()] == [["n"], ["n"]]


def test_products_of_the_network_are_counted(model, tmp_path):
    """32 frames of 1 s make 28 windows; 160-128-128-128-128-8 and back are 124,928 products."""
    report = export(model, tmp_path / "fan.onnx", [], ExportOptions(window_s=1.0))
    network = 28 * 2 * (160 * 128 + 3 * 128 * 128 + 128 * 8)
    transform = 32 * 2 * (32**3 + 2 * 32**3)
    assert report.products == network + transform + 32 * 513 * 32


def test_eight_bits_keep_the_auc_and_halve_the_network(model, fan, tmp_path):
    from asd.evaluation.metrics import auc

    sizes, areas = [], []
    for int8 in (False, True):
        path = tmp_path / f"{int8}.onnx"
        options = ExportOptions(window_s=1.0, int8=int8)
        sizes.append(export(model, path, paths_of(fan.train), options).size_bytes)
        areas.append(auc(fan.test.is_anomaly, run(path, waves_of(fan.test))))
    assert areas[0] > 0.7
    assert areas[1] == pytest.approx(areas[0], abs=0.03)  # 24 clips: a swapped pair is 0.007
    assert sizes[0] - sizes[1] > 0.6 * 4 * 2 * (160 * 128 + 3 * 128 * 128 + 128 * 8)


@pytest.fixture(scope="module")
def recipe(fan):
    parameters = {
        "frontend.windows": [256], "frontend.width": 16, "frontend.kernels": [[64, 16], [16, 4]],
        "training.epochs": 1, "training.batch_size": 6, "input_s": 1.5,
        "backends.KMEANS.n_clusters": 2,
    }  # fmt: skip
    made = asd.create("dis_spec_scac_trainable", **parameters)
    return made.fit(fan.train, progress=False)


def test_a_network_with_nearest_neighbours_is_exported(recipe, fan, tmp_path):
    """Clips of 1 s are repeated to the 1.5 s of its input, there as here."""
    for score in recipe.system.score_names:
        report = export(recipe, tmp_path / "fan.onnx", paths_of(fan.train), ExportOptions(score))
        assert report.window_s == 1.5
    options = ExportOptions("KNN", window_s=1.0)
    export(recipe, tmp_path / "fan.onnx", paths_of(fan.train), options)
    expected = recipe.score(fan.test, ["KNN"])["KNN"]
    found = run(tmp_path / "fan.onnx", waves_of(fan.test))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_what_cannot_be_exported_is_one_line_and_leaves_no_file(model, recipe, fan, tmp_path):
    path = tmp_path / "fan.onnx"
    with pytest.raises(UserError, match=r"--int8: needs normal recordings .*\(--clips\)"):
        export(model, path, [], ExportOptions(int8=True))
    with pytest.raises(UserError, match="--int8: is for the autoencoder; leave it out"):
        export(recipe, path, paths_of(fan.train), ExportOptions(int8=True))
    with pytest.raises(UserError, match="--machine: choose from fan, got valve"):
        export(model, path, [], ExportOptions(machine="valve"))
    with pytest.raises(UserError, match="320 samples are too few for a window of 5 frames"):
        export(model, path, [], ExportOptions(window_s=0.02))
    assert list(tmp_path.iterdir()) == []


ENCODERS = [
    ("free_mn", "mn", {"input_s": "whole"}),
    ("free_beats", "beats", {"input_s": 1.5}),
    ("raw_eat", "eat", {"input_s": 0.5, "backends.KMEANS.n_clusters": 2}),
    ("dis_beats_2026", "beats", {"frontend.rank": 4, "labels.weights": "beats"}),
    ("dis_eat_scac_trainable", "eat", {"frontend.rank": 4, "backends.KMEANS.n_clusters": 2}),
    ("beats_smote_adacos", "beats", {"frontend.hidden": 8, "oversampling": None}),
]  # fmt: skip
TRAINED = {"input_s": 1.0, "training.epochs": 1, "training.batch_size": 10}


def with_encoder(fan, tiny_encoders, name, kind, changes):
    """A recipe with a tiny encoder, that knows one channel and takes a second to train."""
    frozen = name.startswith(("free", "raw"))
    weights = {"frontend.weights": str(tiny_encoders[kind]), "channel": "left"}
    precision = {"frontend.precision": "float32"} if frozen else TRAINED
    changes = {k: str(tiny_encoders[v]) if k == "labels.weights" else v for k, v in changes.items()}
    made = asd.create(name, **weights, **{**precision, **changes})
    return made.fit(fan.train, progress=False)


@pytest.mark.parametrize(("name", "kind", "changes"), ENCODERS, ids=[row[0] for row in ENCODERS])
def test_an_encoder_is_exported_with_all_that_is_in_front_of_it(
    fan, tiny_encoders, tmp_path, name, kind, changes
):
    """EfficientAT hears 32 kHz, and its clips come at 16."""
    tolerance = 5e-4 if name == "beats_smote_adacos" else 1e-4  # distances in small deviations
    made = with_encoder(fan, tiny_encoders, name, kind, changes)
    waves, path = waves_of(fan.test), tmp_path / "fan.onnx"
    score = made.system.score_names[0]
    export(made, path, paths_of(fan.train), ExportOptions(score, window_s=1.0))
    expected = made.score(fan.test, [score])
    normal = np.median(np.abs(made.normal["fan"][score]))
    np.testing.assert_allclose(run(path, waves), expected[score], atol=tolerance * normal)
    decided = run(path, waves, "decision")
    np.testing.assert_array_equal(decided, made.decide(expected, score))


def test_a_detector_of_several_channels_is_refused(fan, tmp_path):
    detector = asd.create("stats").fit(fan.train, progress=False)
    for channel in ("cancellation", "subtraction", "all"):
        detector.system.parameters = replace(detector.system.parameters, channel=channel)
        complaint = rf"^a detector that hears several channels \(--channel {channel}\) cannot be"
        with pytest.raises(UserError, match=complaint):
            export(detector, tmp_path / "fan.onnx", [], ExportOptions())
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_in_half_precision_or_of_two_channels_is_refused(fan, tiny_encoders, tmp_path):
    changes = {"frontend.precision": "bfloat16"}
    made = with_encoder(fan, tiny_encoders, "free_mn", "mn", changes)
    with pytest.raises(UserError, match=r"^an encoder that computes in bfloat16 cannot be export"):
        export(made, tmp_path / "fan.onnx", [], ExportOptions())
    made.system.parameters = replace(made.system.parameters, far_share=0.5)
    made.system._precision = "float32"
    with pytest.raises(UserError, match=r"^an embedding that a second channel's is taken off"):
        export(made, tmp_path / "fan.onnx", [], ExportOptions())
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_scores_otherwise_is_not_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr("asd.jobs.exporting.run_model", lambda _path, waves: np.zeros(len(waves)))
    with pytest.raises(UserError, match=r"scores differ from the detector's .*nothing is written"):
        export(model, tmp_path / "fan.onnx", [], ExportOptions(window_s=1.0))
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_wrote(model, fan, tmp_path, capsys):
    model.save(tmp_path / "fan.asd")
    clips = str(fan.train[0].path.parent)
    words = [str(tmp_path / "fan.asd"), "--onnx", str(tmp_path / "fan.onnx"), "--window", "1"]
    assert main(["export", *words, "--clips", clips]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "input waveform: (n, 16000) samples, 1 s at 16000 Hz, full scale 1"
    assert said[3].startswith("checked on 20 clips: largest difference")
    assert main(["export", *words, "--window", "nan"]) == 2
    assert main(["export", *words, "--decision_threshold", "1"]) == 2


def test_a_detector_of_own_recordings_decides_as_asd_score_does(fan, tmp_path):
    """On a window by the p-values of windows, on a recording by those of recordings."""
    paths = paths_of(fan.train)
    detector = asd.learn(paths, window_s=0.5, progress=False, n_mels=16)
    export(detector, tmp_path / "own.onnx", paths, ExportOptions())
    session = onnxruntime.InferenceSession(str(tmp_path / "own.onnx"))
    facts = session.get_modelmeta().custom_metadata_map
    scorer = Scorer(detector)
    rate = scorer.false_alarm_rate
    assert float(facts["quantile"]) == pytest.approx(1 - rate)
    assert float(facts["recording_threshold"]) == scorer.rule.threshold(rate)
    assert float(facts["threshold"]) == detector.windows.threshold("MAHALA", rate)
    halves = waves_of(fan.test).reshape(-1, 8000)
    decided = run(tmp_path / "own.onnx", halves, "decision")
    parts = [scorer.score_file(path, "") for path in paths_of(fan.test)]
    expected = [part.is_anomalous for one in parts for part in one.windows]
    np.testing.assert_array_equal(decided, expected)


def test_a_detector_is_not_overwritten_by_its_export(model, tmp_path, capsys):
    model.save(tmp_path / "fan.asd")
    file = str(tmp_path / "fan.asd")
    assert main(["export", file, "--onnx", file]) == 2
    assert "is used by this command already" in capsys.readouterr().err
    words = ["--false_alarms", "0.1", "--decision_threshold", "0.9"]
    assert main(["export", file, "--onnx", str(tmp_path / "a.onnx"), *words]) == 2
    assert "says the same as --false_alarms" in capsys.readouterr().err


def test_the_example_needs_numpy_and_onnxruntime_alone(model, fan, tmp_path):
    export(model, tmp_path / "fan.onnx", [], ExportOptions(window_s=0.5))
    paths = [str(path) for path in paths_of(fan.test[:2])]
    program = (
        f"import sys, runpy; sys.argv = {['x', str(tmp_path / 'fan.onnx'), *paths]!r}; "
        f"runpy.run_path({str(EXAMPLE)!r}); "
        "assert not {'torch', 'librosa', 'soundfile', 'asd'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    halves = waves_of(fan.test[:2]).reshape(2, 2, 8000)
    expected = [run(tmp_path / "fan.onnx", each).mean() for each in halves]
    lines = [line.split(",") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == paths
    np.testing.assert_allclose([float(line[1]) for line in lines], expected, rtol=1e-4)
    threshold = model.threshold("fan", "MSE", 0.9)
    assert [int(line[2]) for line in lines] == [int(value > threshold) for value in expected]
    assert len([line for line in EXAMPLE.read_text().splitlines() if line.strip()]) <= 36
