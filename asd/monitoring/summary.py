"""What `asd learn` says at its end, in plain words."""

from collections import Counter
from collections.abc import Iterator

from asd.monitoring.holding_out import unit_count
from asd.monitoring.learning import Learned
from asd.monitoring.scoring import Scorer
from asd.words import shown

RATES = (0.1, 0.05, 0.01, 0.001)
"""False-alarm rates that are told about."""


def summary(learned: Learned) -> list[str]:
    """Lines of a label and a sentence."""
    pairs = [
        ("learned from", _sound(learned)),
        *(("left out", line) for line in _left_out(learned)),
        ("heard as", _hearing(learned)),
        ("held out", _held_out(learned)),
        ("detector", _detector(learned)),
        ("false alarms", _rates(learned)),
    ]
    return [f"{label:14}{text}" for label, text in pairs]


def duration(seconds: float) -> str:
    """A length in the units that a person would use."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _sound(learned: Learned) -> str:
    found = learned.survey
    text = f"{len(found.clips)} recordings, {duration(found.seconds)} of sound"
    counts = Counter(found.rates_hz)
    if len(counts) == 1:
        return f"{text} at {found.rate_hz} Hz"
    each = ", ".join(f"{count} at {rate} Hz" for rate, count in sorted(counts.items()))
    return f"{text} ({each}; all brought to {found.rate_hz} Hz)"


def _left_out(learned: Learned) -> Iterator[str]:
    if learned.left_out:
        yield f"{len(learned.left_out)} recordings that the table calls anomalous"
    for path, reason in learned.survey.unreadable:
        yield shown(f"{path}: {reason}")


def _hearing(learned: Learned) -> str:
    own = learned.detector.own
    assert own is not None
    channel = getattr(learned.detector.parameters, "channel", "all")
    several = sum(count > 1 for count in learned.survey.channels)
    text = f"channel {channel}"
    if several:
        text += f" ({several} recordings have more than one)"
    longer = sum(length > 1.05 * own.window_s for length in learned.survey.durations_s)
    return f"{text}; windows of {own.window_s:g} s ({longer} recordings are longer)"


def _held_out(learned: Learned) -> str:
    own = learned.detector.own
    assert own is not None
    assert learned.detector.windows is not None
    count = learned.detector.windows.recordings
    sessions = f", whole sessions of {own.sessions}" if own.sessions else ""
    if own.held_out == "third":
        return f"{count} recordings{sessions}, from which nothing was learned"
    return (
        f"every recording once{sessions}, scored by a detector that learned nearly all the others; "
        "the one stored learned all"
    )


def _detector(learned: Learned) -> str:
    own = learned.detector.own
    assert own is not None
    return f"{learned.detector.entry.label}, score {own.score}"


def _rates(learned: Learned) -> str:
    scorer = Scorer(learned.detector, 0.5)
    n = len(scorer.rule.normal_scores)
    promised = [rate for rate in RATES if rate >= scorer.lowest_rate]
    above = ", ".join(
        f"{rate:g} (scores above {scorer.rule.threshold(rate):.4g})" for rate in promised
    )
    return (
        f"rates from {scorer.lowest_rate:.2g} up can be promised from {n} held-out recordings"
        + (f": {above}" if promised else "")
        + _limit_of_sessions(learned)
    )


def _limit_of_sessions(learned: Learned) -> str:
    """What can be promised for a session of which nothing was learned.

    Recordings of one session are alike, so that of a new one is exchangeable with the held-out
    sessions, not with their recordings (see `asd.scores.windows.HeldOutWindows`).
    """
    found = learned.survey
    if not any(found.sessions):
        return ""
    session_of = {clip.path: s for clip, s in zip(found.clips, found.sessions, strict=True)}
    (table,) = learned.detector.normal.values()
    count = unit_count([session_of[clip.path] for clip in table.clips])
    return (
        f"; where sessions differ, {count} held-out sessions promise no rate below "
        f"{1 / (count + 1):.2g} for a new session"
    )
