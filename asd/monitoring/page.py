"""The page of scored recordings."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asd.audio.clip_set import ClipSet
from asd.audio.recordings import computed_features, recordings
from asd.clips import Clip
from asd.monitoring.scoring import ScoredRecording, Scorer
from asd.pages.clip_page import PageText, ScoredSet, write_clip_page

log = logging.getLogger(__name__)


def write_score_page(
    path: Path,
    title: str,
    scorer: Scorer,
    found: Sequence[ScoredRecording],
    normal: Sequence[Path] = (),
) -> None:
    """Write the page of scored recordings, the most anomalous first.

    Parameters
    ----------
    title
        Its heading, such as the name of the detector.
    normal
        Normal recordings, or folders of them; the nearest is shown beside each clip.

    Raises
    ------
    UserError
        The file cannot be written, or there is no recording among `normal`.
    """
    scored = [(one, one.whole) for one in found if one.whole is not None]
    score, machine = scorer.own.score, scorer.machine
    clips = [Clip(one.path, machine) for one, _ in scored]
    entries = ScoredSet(
        scorer.detector,
        ClipSet(clips, computed_features(scorer.rate_hz)),
        score,
        np.array([whole.score for _, whole in scored]),
        {machine: scorer.rule.threshold(scorer.false_alarm_rate)},
        np.array([whole.p_value for _, whole in scored]),
        np.array([whole.is_anomalous for _, whole in scored]),
        recordings(normal, machine=machine).clips if normal else (),
        [one.name for one, _ in scored],
        scorer.rate_hz,
    )
    facts = (
        ("detector", scorer.detector.entry.label),
        ("recordings", str(len(found))),
        ("decided anomalous", str(sum(whole.is_anomalous for _, whole in scored))),
        ("false-alarm rate", f"{scorer.false_alarm_rate:.3g}"),
    )
    failed = [(one.name, one.reason) for one in found if one.whole is None]
    write_clip_page(path, [entries], PageText(title, facts), failed=failed)
    log.info("page: %s", path)
