"""A detector as one ONNX file: waveform in, score and decision out.

The file runs with onnxruntime alone. Its metadata say what a program has to know: sampling rate,
length of the window, threshold. It is checked against the detector on real clips before it is
written.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from asd import __version__
from asd.detector import Detector
from asd.errors import UserError
from asd.files import write_aside
from asd.jobs.export_clips import Heard, one_channel
from asd.jobs.onnx_files import (
    DECISION,
    INPUT,
    SCORE,
    Deciding,
    add_metadata,
    count_products,
    run_model,
    write_model,
)
from asd.jobs.quantising import quantise
from asd.scores.threshold import ConformalRule
from asd.systems.base import Exportable

_USUAL_WINDOW_S = 10.0
_USUAL_QUANTILE = 0.9

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
    waves, known = plan.heard.windows(clips) if clips else plan.heard.made_up()
    module = Deciding(plan.module(), plan.threshold).eval()
    with TemporaryDirectory() as folder, write_aside(path) as aside:
        file = Path(folder) / "model.onnx"
        write_model(module, plan.heard.samples, file)
        if options.int8:
            quantise(module, file, waves if clips else None)
        add_metadata(file, plan.metadata(detector))
        expected = detector.system.score(known, [plan.score])[plan.score]
        normal = detector.normal[plan.machine][plan.score] if detector.normal else expected
        difference, changed = _compare(run_model(file, waves), expected, normal, plan.threshold)
        _check_difference(path, difference, options.int8)
        products = count_products(module, plan.heard.samples)
        aside.write_bytes(file.read_bytes())
    return ExportReport(
        path, plan.score, plan.heard.rate_hz, plan.heard.samples / plan.heard.rate_hz,
        plan.threshold, path.stat().st_size, products, len(waves) if clips else 0, difference,
        changed,
    )  # fmt: skip


def _check_installed() -> None:
    for name in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise UserError(f"asd export: needs {name}; pip install 'asd[export]'")


def _check_difference(path: Path, difference: float, int8: bool) -> None:
    """Refuse a file whose scores are not the detector's.

    Raises
    ------
    UserError
        They differ by more than rounding explains.
    """
    limit = _LARGEST_INT8_DIFFERENCE if int8 else _LARGEST_DIFFERENCE
    if not difference <= limit:
        raise UserError(
            f"{path}: scores differ from the detector's by up to {100 * difference:.3g} % of "
            f"the median normal score, more than {100 * limit:g} %; nothing is written"
            + ("; leave out --int8" if int8 else "")
        )


@dataclass(frozen=True)
class _Plan:
    """What is to be exported, checked."""

    system: Exportable
    score: str
    heard: Heard
    threshold: float
    recording_threshold: float
    quantile: float

    @classmethod
    def of(cls, detector: Detector, options: ExportOptions) -> "_Plan":
        system = detector.system
        if not isinstance(system, Exportable):
            raise UserError(
                f"{detector.entry.label}: cannot be exported; ae, stats and recipes can"
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
        channel = one_channel(getattr(detector.parameters, "channel", "left"))
        window_s = options.window_s or (own.window_s if own else _usual_window_s(system))
        machine = _machine(detector, options.machine)
        heard = Heard(machine, channel, rate, round(window_s * rate))
        quantile = options.quantile or _usual_quantile(detector, machine, score)
        above = detector.threshold(machine, score, quantile)
        if detector.windows is None:
            return cls(system, score, heard, above, above, quantile)
        of_windows = detector.windows.threshold(score, 1 - quantile)
        return cls(system, score, heard, of_windows, above, quantile)

    @property
    def machine(self) -> str:
        return self.heard.machine

    def module(self) -> nn.Module:
        heard = self.heard
        return self.system.module(self.score, heard.samples, heard.rate_hz, heard.machine)

    def metadata(self, detector: Detector) -> dict[str, str]:
        values = {
            "program": f"asd {__version__}",
            "system": detector.entry.label,
            "machine": self.machine,
            "score": self.score,
            "sample_rate_hz": self.heard.rate_hz,
            "window_s": self.heard.samples / self.heard.rate_hz,
            "window_samples": self.heard.samples,
            "channel": self.heard.channel,
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
