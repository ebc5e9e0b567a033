"""Score recordings with a detector of one's own: files, their windows, p-values, decisions."""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from asd.audio.recording import Recording, read_recording, resample
from asd.audio.recordings import recordings
from asd.clips import Clip
from asd.csvfiles import cell
from asd.detector import Detector, OwnRecordings
from asd.errors import UserError
from asd.monitoring.survey import places_of, shown_name
from asd.scores.threshold import RATE_HINT, RATE_ROUNDING, USUAL_RATE, ConformalRule
from asd.words import shown

log = logging.getLogger(__name__)

COLUMNS = ("file", "start_s", "end_s", "score", "p_value", "decision")
REASON = "reason"


@dataclass(frozen=True)
class Scored:
    """A recording, or a window of one, with its score.

    Parameters
    ----------
    start_s, end_s
        Where in the recording it lies.
    score
        Anomaly score.
    p_value
        Share of normal ones that score as high.
    is_anomalous
        Whether that is at most the false-alarm rate.
    """

    start_s: float
    end_s: float
    score: float
    p_value: float
    is_anomalous: bool


@dataclass(frozen=True)
class ScoredRecording:
    """What was found in a recording.

    Parameters
    ----------
    name
        What it is called in tables.
    path
        Its file.
    whole
        The recording as a whole; None where it could not be scored.
    windows
        Its windows, where it has several.
    reason
        Why it could not be scored.
    """

    name: str
    path: Path
    whole: Scored | None = None
    windows: tuple[Scored, ...] = ()
    reason: str = ""


class Scorer:
    """Scores recordings with a detector that `asd learn` made.

    Parameters
    ----------
    detector
        The detector.
    false_alarm_rate
        Share of normal recordings that may be decided anomalous; None takes 0.05, or the lowest
        that the held-out recordings can promise.

    Raises
    ------
    UserError
        The detector was not made by `asd learn`, or cannot promise such a rate.
    """

    def __init__(self, detector: Detector, false_alarm_rate: float | None = None) -> None:
        if detector.own is None or detector.windows is None:
            raise UserError(
                "the model was not made by asd learn: it has no scores of held-out recordings to "
                "decide by; learn again, or score challenge data with asd test"
            )
        self.detector = detector
        self.own: OwnRecordings = detector.own
        self.windows = detector.windows
        (self.machine,) = detector.facts.machines
        self.rule = ConformalRule(detector.normal[self.machine][self.own.score])
        self.false_alarm_rate = self._promised(false_alarm_rate)

    @property
    def lowest_rate(self) -> float:
        """The lowest false-alarm rate that can be promised."""
        return 1 / (len(self.rule.normal_scores) + 1)

    @property
    def rate_hz(self) -> int:
        """Sampling rate that the detector hears."""
        return self.detector.facts.sample_rate_hz

    def score_file(self, path: Path, name: str) -> ScoredRecording:
        """Score a recording; one that cannot be scored is told with its reason."""
        try:
            recording = self.at_its_rate(read_recording(path), path)
            return self.score_recording(recording, path, name)
        except UserError as error:
            return ScoredRecording(name, path, reason=str(error).removeprefix(f"{path}: "))

    def at_its_rate(self, recording: Recording, where: Path | str) -> Recording:
        """A recording at the detector's rate, with a word where it lacks high frequencies.

        Raises
        ------
        UserError
            Its rate is too far from the detector's.
        """
        self.warn_of_low_rate(where, recording.rate_hz)
        if recording.rate_hz == self.rate_hz:
            return recording
        return Recording(resample(recording.wave, recording.rate_hz, self.rate_hz), self.rate_hz)

    def warn_of_low_rate(self, where: Path | str, rate_hz: int) -> None:
        """Say where sound lacks the high frequencies that the detector learned."""
        if rate_hz < self.rate_hz:
            log.warning(
                "%s: is sampled at %d Hz, the detector learned %d Hz; what it lacks will count "
                "as strange", where, rate_hz, self.rate_hz,
            )  # fmt: skip

    def score_recording(self, recording: Recording, path: Path, name: str) -> ScoredRecording:
        """Score a recording at the detector's rate.

        Raises
        ------
        UserError
            It cannot be scored.
        """
        clip = Clip(path, self.machine)
        pieces, table = self.detector.score_windows(clip, recording.wave, [self.own.score])
        scores = table[self.own.score]
        windows = tuple(
            Scored(*span, float(score), float(p_value), self._is_rare(p_value))
            for span, score, p_value in zip(
                pieces.spans, scores, self.windows.p_values(self.own.score, scores), strict=True
            )
        )
        mean = float(pieces.means(scores)[0])
        p_value = float(self.rule.p_values([mean])[0])
        whole = Scored(0.0, pieces.spans[-1][1], mean, p_value, self._is_rare(p_value))
        return ScoredRecording(name, path, whole, windows if len(windows) > 1 else ())

    def window_scores(self, wave: NDArray[np.float32]) -> tuple[float, float]:
        """Score and p-value of one window, shape (channels, samples), at the detector's rate."""
        clip = Clip(Path("-"), self.machine)
        _, table = self.detector.score_windows(clip, wave, [self.own.score])
        score = float(table[self.own.score].mean())
        return score, float(self.windows.p_values(self.own.score, [score])[0])

    def _is_rare(self, p_value: float) -> bool:
        return p_value <= self.false_alarm_rate + RATE_ROUNDING

    def _promised(self, asked: float | None) -> float:
        if asked is None:
            usual = self.rule.usual_rate
            if usual > USUAL_RATE:
                log.warning(
                    "false-alarm rate %g: no lower one can be promised from %d held-out "
                    "recordings; learn from more", usual, len(self.rule.normal_scores),
                )  # fmt: skip
            return usual
        if not 0 < asked < 1:
            raise UserError(f"--false_alarms: expected a rate between 0 and 1, got {asked:g}")
        self.rule.threshold(asked, RATE_HINT)
        return asked


def score_recordings(
    scorer: Scorer, where: str | Path | Iterable[str | Path], *, progress: bool = True
) -> list[ScoredRecording]:
    """Score a folder, files, or both, in the order in which they are found.

    Raises
    ------
    UserError
        A place is missing, or has no sound file.
    """
    places = places_of(where)
    paths = [clip.path for clip in recordings(places).clips]
    bar = tqdm(paths, desc="scoring", unit="recording", disable=not progress)
    return [scorer.score_file(path, shown_name(path, places)) for path in bar]


def table_rows(found: Sequence[ScoredRecording]) -> Iterator[list[str]]:
    """Cells of the score file: a header, then for each recording a row, and one for each window.

    Only where a recording could not be scored there is a column more, with the reason.
    """
    with_reason = any(one.reason for one in found)
    yield [*COLUMNS, REASON] if with_reason else [*COLUMNS]
    for one in found:
        parts = [one.whole, *one.windows]
        for part in parts:
            cells = [""] * (len(COLUMNS) - 1) if part is None else _cells(part)
            yield [one.name, *cells, one.reason] if with_reason else [one.name, *cells]


def _cells(part: Scored) -> list[str]:
    seconds = [f"{second:.10g}" for second in (part.start_s, part.end_s)]
    score = str(np.float32(part.score))
    return [*seconds, score, cell(part.p_value), str(int(part.is_anomalous))]


def worst_first(found: Sequence[ScoredRecording]) -> list[ScoredRecording]:
    """The recordings by falling score; those without one at the end."""
    return sorted(found, key=lambda one: -math.inf if one.whole is None else one.whole.score)[::-1]


def terminal_table(found: Sequence[ScoredRecording], most: int = 40) -> list[str]:
    """Lines for the terminal, the worst recording first."""
    lines = [f"{'score':>11}  {'p-value':>7}  {'decision':9}  file"]
    ranked = worst_first(found)
    for one in ranked[:most]:
        if one.whole is None:
            lines.append(f"{'-':>11}  {'-':>7}  {'not read':9}  {shown(one.name)}: {one.reason}")
            continue
        word = "anomalous" if one.whole.is_anomalous else "normal"
        line = f"{one.whole.score:11.5g}  {one.whole.p_value:7.3f}  {word:9}  {shown(one.name)}"
        lines.append(line + _worst_window(one))
    if len(ranked) > most:
        lines.append(f"... and {len(ranked) - most} more")
    return lines


def _worst_window(one: ScoredRecording) -> str:
    flagged = [part for part in one.windows if part.is_anomalous]
    if not flagged:
        return ""
    worst = max(flagged, key=lambda part: part.score)
    return f" (most at {worst.start_s:.4g}-{worst.end_s:.4g} s)"
