"""A detector as one ONNX file: waveform in, score and decision out.

The file runs with onnxruntime alone. Its metadata say what a program has to know: sampling rate,
length of the window, threshold. It is checked against the detector on real clips before it is
written.
"""

import importlib.util
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asd import __version__
from asd.audio.channels import choose_channels
from asd.audio.recording import read_recording
from asd.audio.recordings import recordings
from asd.clips import Clip
from asd.detector import Detector
from asd.errors import UserError
from asd.files import write_aside
from asd.scores.threshold import ConformalRule
from asd.systems.base import Exportable
from asd.systems.occlusion import clips_of_waves

log = logging.getLogger(__name__)

INPUT, SCORE, DECISION = "waveform", "score", "decision"
"""Names of the input and the outputs."""

_OPSET = 17
_USUAL_WINDOW_S = 10.0
_USUAL_QUANTILE = 0.9
_MOST_CLIPS = 40
"""Clips that are checked, and that ranges of 8-bit numbers are taken from."""

_LARGEST_DIFFERENCE = 1e-3
_LARGEST_INT8_DIFFERENCE = 0.1
"""Shares of the median normal score that scores may differ by."""


@dataclass(frozen=True)
class ExportOptions:
    """What is exported.

    Parameters
    ----------
    score
        Name of the score; None takes the detector's first.
    machine
        Machine type; needed where the detector knows several.
    window_s
        Length of the input in seconds; None takes the detector's own, or 10.
    quantile
        Of normal scores, that the decision is made by; None takes 0.9, or of a detector of one's
        own recordings what `asd score` decides by.
    int8
        Whether networks are to compute with 8-bit numbers.
    """

    score: str | None = None
    machine: str | None = None
    window_s: float | None = None
    quantile: float | None = None
    int8: bool = False


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how near it is to the detector.

    Parameters
    ----------
    size_bytes
        Of the file.
    products
        Multiplications (with an addition each) for one window.
    clips
        Number of clips that it was checked on; 0 where made-up sounds stood in.
    largest_difference
        Largest difference of a score from the detector's, as a share of the median normal score.
    changed_decisions
        Clips that are decided otherwise.
    """

    path: Path
    score: str
    rate_hz: int
    window_s: float
    threshold: float
    size_bytes: int
    products: int
    clips: int
    largest_difference: float
    changed_decisions: int

    def lines(self) -> list[str]:
        """The report in words."""
        on = f"{self.clips} clips" if self.clips else "made-up sounds (--clips names real ones)"
        return [
            f"{self.path}: {self.size_bytes / 1000:.0f} kB, {self.products / 1e6:.1f} million "
            "products a window",
            f"input {INPUT}: (n, {round(self.window_s * self.rate_hz)}) samples, "
            f"{self.window_s:g} s at {self.rate_hz} Hz, full scale 1",
            f"outputs: {SCORE} ({self.score}), {DECISION} (1 above {self.threshold:.6g})",
            f"checked on {on}: largest difference {100 * self.largest_difference:.2g} % of the "
            f"median normal score, {self.changed_decisions} decisions changed",
        ]


class Deciding(nn.Module):
    """A module that gives scores, with decisions beside them."""

    def __init__(self, scores: nn.Module, threshold: float) -> None:
        super().__init__()
        self.scores = scores
        self.threshold = threshold

    def forward(self, waves: Tensor) -> tuple[Tensor, Tensor]:
        """Scores, and 1 for those above the threshold, else 0; shape (n,) each."""
        scores = self.scores(waves)
        return scores, (scores > self.threshold).to(torch.int64)


def export(
    detector: Detector, path: Path, clips: Sequence[Path], options: ExportOptions
) -> ExportReport:
    """Write a detector as an ONNX file.

    Parameters
    ----------
    clips
        Recordings, or folders of them, to check it on; with `int8` also what ranges of values are
        taken from, so they should be normal ones.

    Raises
    ------
    UserError
        The detector or score cannot be exported, the extra asd[export] is not installed, or
        scores differ too much from the detector's.
    """
    _check_installed()
    plan = _Plan.of(detector, options)
    waves, known = _windows(detector, clips, plan)
    module = Deciding(plan.module(), plan.threshold).eval()
    with TemporaryDirectory() as folder, write_aside(path) as aside:
        file = Path(folder) / "model.onnx"
        _write(module, plan.samples, file)
        if options.int8:
            _quantise(module, file, waves if known else None)
        _add_metadata(file, plan.metadata(detector))
        found = _run(file, waves)
        expected = detector.system.score(known or _made_up(plan, waves), [plan.score])[plan.score]
        normal = detector.normal[plan.machine][plan.score] if detector.normal else expected
        difference, changed = _compare(found, expected, normal, plan.threshold)
        limit = _LARGEST_INT8_DIFFERENCE if options.int8 else _LARGEST_DIFFERENCE
        if not difference <= limit:
            raise UserError(
                f"{path}: scores differ from the detector's by up to {100 * difference:.3g} % of "
                f"the median normal score, more than {100 * limit:g} %; nothing is written"
                + ("; leave out --int8" if options.int8 else "")
            )
        products = _products(module, plan.samples)
        aside.write_bytes(file.read_bytes())
    return ExportReport(
        path, plan.score, plan.rate_hz, plan.samples / plan.rate_hz, plan.threshold,
        path.stat().st_size, products, len(clips and waves), difference, changed,
    )  # fmt: skip


def _check_installed() -> None:
    for name in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise UserError(f"asd export: needs {name}; pip install 'asd[export]'")


@dataclass(frozen=True)
class _Plan:
    """What is to be exported, checked."""

    system: Exportable
    score: str
    machine: str
    rate_hz: int
    samples: int
    threshold: float
    recording_threshold: float
    quantile: float

    @classmethod
    def of(cls, detector: Detector, options: ExportOptions) -> "_Plan":
        system = detector.system
        if not isinstance(system, Exportable):
            raise UserError(
                f"{detector.entry.label}: cannot be exported; the autoencoder and recipes can"
            )
        own = detector.own
        named = [options.score] if options.score else [own.score] if own and own.score else None
        score = detector.wanted_scores(named)[0]
        rate = detector.facts.sample_rate_hz
        if not rate:
            raise UserError(
                f"{detector.entry.label}: does not know its sampling rate (it was imported); train "
                "it here"
            )
        window_s = options.window_s or (own.window_s if own else _usual_window_s(system))
        machine = _machine(detector, options.machine)
        samples = round(window_s * rate)
        quantile = options.quantile or _usual_quantile(detector, machine, score)
        above = detector.threshold(machine, score, quantile)
        if detector.windows is None:
            return cls(system, score, machine, rate, samples, above, above, quantile)
        of_windows = detector.windows.threshold(score, 1 - quantile)
        return cls(system, score, machine, rate, samples, of_windows, above, quantile)

    def module(self) -> nn.Module:
        return self.system.module(self.score, self.samples, self.rate_hz, self.machine)

    def metadata(self, detector: Detector) -> dict[str, str]:
        values = {
            "program": f"asd {__version__}",
            "system": detector.entry.label,
            "machine": self.machine,
            "score": self.score,
            "sample_rate_hz": self.rate_hz,
            "window_s": self.samples / self.rate_hz,
            "window_samples": self.samples,
            "channel": getattr(detector.parameters, "channel", "left"),
            "threshold": repr(self.threshold),
            "recording_threshold": repr(self.recording_threshold),
            "quantile": self.quantile,
        }
        return {name: str(value) for name, value in values.items()}


def _usual_quantile(detector: Detector, machine: str, score: str) -> float:
    """The quantile of normal scores to decide by where none is asked for."""
    if detector.own is None:
        return _USUAL_QUANTILE
    return 1 - ConformalRule(detector.normal[machine][score]).usual_rate


def _usual_window_s(system: Any) -> float:
    return float(getattr(system, "input_s", 0.0)) or _USUAL_WINDOW_S


def _machine(detector: Detector, asked: str | None) -> str:
    known = detector.facts.machines
    if asked is None and len(known) == 1:
        return known[0]
    if asked in known:
        return str(asked)
    raise UserError(f"--machine: choose from {', '.join(known)}, got {asked or 'nothing'}")


def _windows(
    detector: Detector, clips: Sequence[Path], plan: _Plan
) -> tuple[NDArray[np.float32], Any]:
    """A window of each clip, shape (clips, samples), and the same as clips; made-up without any."""
    if not clips:
        return _made_up_waves(plan), None
    found = recordings(clips, machine=plan.machine)
    channel = str(getattr(detector.parameters, "channel", "left"))
    every = max(1, -(-len(found) // _MOST_CLIPS))
    chosen = [found[i] for i in range(0, len(found), every)]
    waves = np.stack(
        [
            fitted(
                choose_channels(read_recording(clip.path, rate_hz=plan.rate_hz).wave, channel)[0],
                plan.samples,
            )
            for clip in chosen
        ]
    )
    return waves, clips_of_waves(chosen, [_all_channels(w, channel) for w in waves], plan.rate_hz)


def _all_channels(wave: NDArray[np.float32], channel: str) -> NDArray[np.float32]:
    """One channel's samples as a recording in which it is the channel that is heard."""
    count = {"left": 1, "mix": 1, "right": 2}.get(channel) or int(channel)
    return np.repeat(wave[None], count, axis=0)


def _made_up(plan: _Plan, waves: NDArray[np.float32]) -> Any:
    channel = str(getattr(getattr(plan.system, "parameters", None), "channel", "left"))
    clips = [Clip(Path(f"{i}.wav"), plan.machine) for i in range(len(waves))]
    return clips_of_waves(clips, [_all_channels(w, channel) for w in waves], plan.rate_hz)


def _made_up_waves(plan: _Plan) -> NDArray[np.float32]:
    """Noise of several levels with a tone each, shape (8, samples)."""
    random = np.random.default_rng(0)
    time = np.arange(plan.samples) / plan.rate_hz
    waves = [
        random.normal(0, 0.1 / 2**i, plan.samples)
        + 0.1 / 2**i * np.sin(2 * np.pi * 150 * (i + 1) * time)
        for i in range(8)
    ]
    return np.stack(waves).astype(np.float32)


def fitted(wave: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """The first samples of a waveform, repeated where it is shorter."""
    return np.tile(wave, -(-samples // len(wave)))[:samples]


def _write(module: nn.Module, samples: int, path: Path) -> None:
    """Write a module as ONNX.

    By the exporter that needs no further package, and a twentieth of the newer one's time.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is the older exporter, and constant shapes
        torch.onnx.export(
            module,
            (torch.zeros(2, samples),),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=[INPUT],
            output_names=[SCORE, DECISION],
            dynamic_axes={name: {0: "n"} for name in (INPUT, SCORE, DECISION)},
        )


def _quantise(module: Deciding, path: Path, waves: NDArray[np.float32] | None) -> None:
    """Let the networks of a model compute with 8-bit numbers."""
    parts = getattr(module.scores, "int8_parts", ())
    if not parts:
        raise UserError("--int8: is for the autoencoder; leave it out")
    if waves is None:
        raise UserError("--int8: needs normal recordings to take ranges of values from (--clips)")
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, waves: NDArray[np.float32]) -> None:
            self._waves: Iterator[NDArray[np.float32]] = iter(waves)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            wave = next(self._waves, None)
            return None if wave is None else {INPUT: wave[None]}

    names = [
        node.name
        for node in onnx.load(str(path)).graph.node
        if any(f"/{part}/" in node.name for part in parts)
    ]
    exact = path.with_name("exact.onnx")
    path.rename(exact)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends steps that change nothing here
    try:
        quantize_static(
            str(exact), str(path), Reader(waves), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, nodes_to_quantize=names,
        )  # fmt: skip
    finally:
        root.setLevel(level)


def _add_metadata(path: Path, values: dict[str, str]) -> None:
    import onnx

    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, values)
    model.doc_string = "Waveform to anomaly score, see the metadata"
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _run(path: Path, waves: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores by onnxruntime, window by window, as a device would."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([SCORE], {INPUT: wave[None]})[0] for wave in waves])


def _compare(
    found: NDArray[np.float32],
    expected: NDArray[np.float64],
    normal: NDArray[np.float64],
    threshold: float,
) -> tuple[float, int]:
    """Largest difference as a share of the median normal score, and changed decisions.

    Scores of clips that were learned from may be 0, so they are no measure.
    """
    scale = float(np.median(np.abs(normal))) or 1.0
    difference = float(np.abs(found - expected).max()) / scale
    changed = (found > np.float32(threshold)) != (expected.astype(np.float32) > threshold)
    return difference, int(changed.sum())


def _products(module: nn.Module, samples: int) -> int:
    """Multiplications of matrix products and convolutions for one window."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, samples))
    return int(counter.get_total_flops()) // 2
