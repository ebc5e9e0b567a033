"""False alarms on fresh normal recordings, over machines and seeds, against what is promised."""

import numpy as np
import pytest
from scipy.stats import binom

import asd
from asd.monitoring.holding_out import assign_parts
from asd.scores.windows import HeldOutWindows

RATE, MACHINES, FRESH = 0.1, 20, 4


def test_false_alarms_stay_within_the_promise_over_twenty_machines(make_pump, tmp_path):
    """A recording of a machine's fresh ones counts for itself only if few are taken of each."""
    flagged = 0
    for seed in range(MACHINES):
        pump, folder = make_pump(1000 + seed), tmp_path / str(seed)
        for i in range(20):
            pump.record(folder / "normal" / f"{i}.wav", 0.6 + 0.02 * i)
        for i in range(FRESH):
            pump.record(folder / "new" / f"{i}.wav", 0.8)
        detector = asd.learn(folder / "normal", window_s=0.5, seed=seed, progress=False, n_mels=32)
        p_values = detector.p_values(detector.score(folder / "new"), "MAHALA")
        assert p_values.min() >= 1 / 21
        flagged += int((p_values <= RATE + 1e-12).sum())
    assert binom.sf(flagged - 1, MACHINES * FRESH, RATE) > 0.01


def test_parts_keep_sessions_together_and_are_of_one_size():
    sessions = [f"s{i // 3}" for i in range(30)]
    part = assign_parts(["source"] * 30, sessions, 5, seed=0)
    for session in set(sessions):
        assert len({part[i] for i in range(30) if sessions[i] == session}) == 1
    assert np.bincount(part).tolist() == [6] * 5


def test_each_part_gets_its_share_of_both_domains():
    domains = ["source"] * 16 + ["target"] * 4
    part = assign_parts(domains, [""] * 20, 4, seed=0)
    assert np.bincount(part[16:], minlength=4).tolist() == [1] * 4


@pytest.mark.parametrize(
    ("sessions", "complaint"),
    [([""] * 3, "3 recordings are too few"), (["a"] * 9, "all recordings are of the session 'a'")],
)
def test_nothing_is_held_out_of_too_little(sessions, complaint):
    with pytest.raises(asd.UserError, match=complaint):
        assign_parts(["source"] * len(sessions), sessions, 5, seed=0)


def test_p_values_of_windows_count_recordings_not_windows(rng):
    owner = np.repeat([0, 1, 2], [1, 3, 10])
    scores = rng.normal(size=14)
    held_out = HeldOutWindows(owner, {"S": scores})
    for value in (-9.0, -0.5, 0.0, 0.5, 9.0):
        shares = [np.mean(scores[owner == i].astype("f4") >= np.float32(value)) for i in range(3)]
        assert held_out.p_values("S", [value])[0] == pytest.approx((1 + sum(shares)) / 4)
    for rate in (0.3, 0.5, 0.6, 0.9):
        at = held_out.threshold("S", rate)
        above, below = np.nextafter(np.float32(at), [np.inf, -np.inf], dtype=np.float32)
        assert held_out.p_values("S", [above])[0] <= rate < held_out.p_values("S", [below])[0]
    assert held_out.threshold("S", 0.2) == np.inf
    assert held_out.quantile("S", 1.0) == pytest.approx(scores.max())


def test_one_recording_of_many_windows_cannot_promise_more_than_one(rng):
    held_out = HeldOutWindows(np.zeros(1000, dtype=np.int64), {"S": rng.normal(size=1000)})
    assert held_out.p_values("S", [99.0])[0] == 0.5
