"""A maintenance engineer's two commands, on recordings as they come from the shop floor."""

import csv
import io
import time
from contextlib import redirect_stdout

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from asd.cli import main

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
NORMAL, LATER = 60, 20


@pytest.fixture(scope="module")
def shop_floor(tmp_path_factory, make_pump):
    """60 normal recordings of a pump, and 20 later ones of which half are of faults."""
    folder, pump = tmp_path_factory.mktemp("floor"), make_pump(3)
    random = np.random.default_rng(0)
    for i in range(NORMAL):
        name = f"Pump 3 - {DAYS[i % 5]} {8 + i // 5:02d}.{15 + i % 5:02d}.wav"
        rate_hz = 44100 if i % 4 == 0 else 16000
        channels = 2 if i == 7 else 1
        pump.record(folder / "normal" / name, random.uniform(8, 14), "", rate_hz, channels)
    for i in range(LATER // 2):
        name = f"Pump 3, später #{i} (gut).wav"
        pump.record(folder / "new" / name, random.uniform(8, 14))
    for i, fault in enumerate(pump.faults(LATER // 2)):
        name = f"2026-11-{i + 1:02d}T08.15 {fault}.flac"
        pump.record(folder / "new" / name, random.uniform(8, 14), fault, (16000, 44100)[i % 2])
    return folder


@pytest.fixture(scope="module")
def learned(shop_floor):
    """The detector's file, and what `asd learn` said."""
    path, said, begin = shop_floor / "pump.asd", io.StringIO(), time.process_time()
    with redirect_stdout(said):
        assert main(["learn", str(shop_floor / "normal"), "--out", str(path)]) == 0
    assert time.process_time() - begin < 60
    return path, said.getvalue()


@pytest.fixture(scope="module")
def pump_asd(learned):
    return learned[0]


def score(pump_asd, where, *flags):
    out = pump_asd.parent / "scores.csv"
    status = main(["score", str(pump_asd), str(where), "--out", str(out), *map(str, flags)])
    with out.open(newline="", encoding="utf-8") as file:
        return status, list(csv.DictReader(file))


def of_files(rows):
    """The first row of each file: that of the recording as a whole."""
    found = {}
    for row in rows:
        found.setdefault(row["file"], row)
    return found


def test_later_recordings_keep_their_names_and_faults_come_first(shop_floor, pump_asd, capsys):
    status, rows = score(pump_asd, shop_floor / "new")
    files = of_files(rows)
    assert status == 0
    assert set(files) == {path.name for path in (shop_floor / "new").iterdir()}
    names = list(files)
    is_faulty = [name.endswith(".flac") for name in names]
    scores = [float(files[name]["score"]) for name in names]
    assert roc_auc_score(is_faulty, scores) > 0.9
    flagged = [name for name in names if files[name]["decision"] == "1"]
    assert sum(name.endswith(".flac") for name in flagged) >= 7
    assert sum(not name.endswith(".flac") for name in flagged) <= 2
    shown = [
        line for line in capsys.readouterr().out.splitlines() if "Pump 3" in line or "2026" in line
    ]
    worst = max(names, key=lambda name: float(files[name]["score"]))
    assert worst in shown[0]
    assert len(shown) == LATER


def test_a_recording_longer_than_a_window_has_rows_of_its_windows(shop_floor, pump_asd):
    _, rows = score(pump_asd, shop_floor / "new")
    assert list(rows[0]) == ["file", "start_s", "end_s", "score", "p_value", "decision"]
    for name, whole in of_files(rows).items():
        windows = [row for row in rows if row["file"] == name][1:]
        if float(whole["end_s"]) <= 10.5:
            assert windows == []
        else:
            assert windows[0]["start_s"] == "0"
            assert float(windows[-1]["end_s"]) == pytest.approx(float(whole["end_s"]))
            mean = np.mean([float(row["score"]) for row in windows])
            assert mean == pytest.approx(float(whole["score"]), rel=1e-5)


def test_the_summary_says_what_was_learned_and_what_can_be_promised(learned):
    text = learned[1]
    assert "60 recordings" in text
    assert "15 at 44100 Hz" in text
    assert "all brought to 16000 Hz" in text
    assert "1 recordings have more than one" in text
    assert "rates from 0.016 up can be promised from 60 held-out recordings" in text


def test_a_rate_that_cannot_be_promised_is_refused(shop_floor, pump_asd, capsys):
    words = ["score", str(pump_asd), str(shop_floor / "new"), "--false_alarms", "0.01"]
    assert main(words) == 2
    complaint = capsys.readouterr().err
    assert "cannot be promised from n = 60 held-out normal clips" in complaint
    assert "hold out 99 or more or raise --false_alarms to 0.0164" in complaint


def test_a_recording_that_cannot_be_read_is_a_row_with_its_reason(shop_floor, pump_asd, tmp_path):
    good = next((shop_floor / "new").glob("*.wav"))
    (tmp_path / "a.wav").write_bytes(good.read_bytes())
    (tmp_path / "b.wav").write_bytes(b"no sound")
    status, rows = score(pump_asd, tmp_path)
    assert status == 1
    files = of_files(rows)
    assert files["a.wav"]["reason"] == ""
    assert files["a.wav"]["decision"] in ("0", "1")
    assert files["b.wav"]["score"] == files["b.wav"]["decision"] == ""
    assert "is not a wav file" in files["b.wav"]["reason"]
