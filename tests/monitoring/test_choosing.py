"""Choosing a detector by stand-ins for faults."""

import numpy as np
import pytest

from asd.cli import main
from asd.monitoring import choosing
from asd.monitoring.changes import CHANGES

RATE = 16000


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_heard_and_the_same_for_the_same_seed(name, rng):
    wave = rng.normal(scale=0.05, size=(2, RATE)).astype(np.float32)
    first, again = (CHANGES[name](wave, RATE, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert len(first) == 2
    assert np.isfinite(first).all()
    assert abs(first.shape[1] / RATE - 1) < 0.07
    assert first.shape != wave.shape or not np.allclose(first, wave, atol=1e-4)


def test_a_tone_is_added_at_the_level_that_was_drawn(rng):
    wave = rng.normal(scale=0.05, size=(1, RATE)).astype(np.float32)
    added = CHANGES["tone"](wave, RATE, np.random.default_rng(1)) - wave
    level_db = 20 * np.log10(added.std() / wave.std())
    assert -25.1 <= level_db <= -9.9


@pytest.fixture
def _two_candidates(monkeypatch):
    """A detector that learns something and one that hears two bands only."""
    candidates = (("stats", ("n_mels=2",)), ("stats", ("n_mels=32",)))
    monkeypatch.setattr(choosing, "CANDIDATES", candidates)


@pytest.mark.usefixtures("_two_candidates")
def test_the_command_tells_what_it_tried_and_that_it_guesses(
    normal_folder, make_pump, tmp_path, capsys
):
    other = make_pump(77)
    for i in range(5):
        other.record(tmp_path / "others" / f"{i}.wav", 1.0)
    table = "file,condition\n" + "".join(
        f"{i:02d}.wav,{'slow' if i < 3 else 'fast'}\n" for i in range(20)
    )
    (tmp_path / "clips.csv").write_text(table)
    words = [
        "learn", normal_folder, "--out", tmp_path / "pump.asd", "--model", "auto", "--window", 1,
        "--others", tmp_path / "others", "--table", tmp_path / "clips.csv",
    ]  # fmt: skip
    assert main(list(map(str, words))) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].split()[:4] == ["tried", "mean", "others", "pitch"]
    assert "stats n_mels=2 MAHALA" in text
    assert "chosen: stats n_mels=32 MAHALA. This is a guess" in text
    assert (tmp_path / "pump.asd").is_file()


@pytest.mark.usefixtures("_two_candidates")
def test_a_condition_that_can_be_spared_is_a_stand_in_and_not_learned(normal_folder, tmp_path):
    from asd.monitoring.learning import learn
    from asd.monitoring.plan import Plan
    from asd.monitoring.table import read_table
    from asd.systems.registry import find_system

    lines = [f"{i:02d}.wav,{'slow' if i % 4 == 0 else 'fast'},{i // 4}\n" for i in range(20)]
    (tmp_path / "clips.csv").write_text("file,condition,session\n" + "".join(lines))
    entry = find_system("stats")
    learned = learn(
        normal_folder, Plan(entry, entry.defaults(), 1.0), machine="pump",
        known=read_table(tmp_path / "clips.csv"), choosing=True, progress=False,
    )  # fmt: skip
    assert learned.choice is not None
    assert {"condition", *CHANGES} <= set(learned.choice.trials[0].aucs)
    assert all(0 <= trial.mean <= 1 for trial in learned.choice.trials)
