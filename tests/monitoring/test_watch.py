"""Watching a stream: samples from a pipe, files that appear, decisions in time."""

import io
import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile

import asd
from asd.cli import main
from asd.errors import UserError
from asd.monitoring.scoring import Scorer
from asd.monitoring.stream import Stream, StreamParameters
from asd.monitoring.watching import FolderWatch, watch_folder, watch_samples
from asd.scores.windows import HeldOutWindows

NORMAL = HeldOutWindows(np.arange(99), {"S": np.arange(1.0, 100.0)})
"""Scores 1 to 99: median 50, threshold at a rate of 0.1 90, quartile range 50."""


def stream(**parameters):
    return Stream(NORMAL, "S", StreamParameters(0.1, **{"recentre_s": 0.0, **parameters}))


def test_a_window_alone_decides_by_its_p_value():
    said = stream().judge(95.0, 10)
    assert said.p_value == pytest.approx(6 / 100)
    assert said.decision
    assert not stream().judge(89.0, 10).decision


def test_smoothing_lets_a_single_window_pass_and_a_lasting_change_not():
    watched = stream(smoothing=4)
    alarms = [watched.judge(score, 10).alarm for score in [50, 150, 50, 50, *[150] * 6]]
    assert alarms == [False] * 5 + [True] * 5


def test_an_alarm_ends_below_the_threshold_only():
    watched = stream(smoothing=1, hysteresis=0.5)  # on above 90, off at 70
    alarms = [watched.judge(score, 10).alarm for score in [80, 95, 80, 71, 69, 80]]
    assert alarms == [False, True, True, True, False, False]


def test_the_middle_follows_a_slow_change_and_no_further_than_to_the_threshold():
    watched = stream(smoothing=1, recentre_s=1000)
    for _ in range(2000):
        said = watched.judge(80.0, 10)
    assert said.shift == pytest.approx(30, abs=0.6)  # 80 is the middle now
    for _ in range(5000):
        said = watched.judge(100.0, 10)
    assert said.shift == pytest.approx(40)  # 90 - 50, though the middle lies at 100
    fixed = stream(smoothing=1, recentre_s=0)
    assert [fixed.judge(80.0, 10).shift for _ in range(100)][-1] == 0


def test_the_middle_stands_still_in_an_alarm():
    watched = stream(smoothing=1, recentre_s=1000)
    for _ in range(100):
        said = watched.judge(200.0, 10)
    assert said.alarm
    assert said.shift == 0


@pytest.mark.parametrize("wrong", [{"smoothing": 0.5}, {"hysteresis": 1.5}, {"recentre_s": -1.0}])
def test_parameters_that_cannot_be_are_refused(wrong):
    with pytest.raises(UserError, match="--"):
        stream(**wrong)


@pytest.fixture
def scorer(detector_file):
    return Scorer(asd.load(detector_file), 0.1)


def new_stream(scorer):
    return Stream(scorer.windows, scorer.own.score, StreamParameters(0.1, recentre_s=0.0))


def pcm(wave):
    return np.round(wave * 32767).astype("<i2").tobytes()


def test_samples_from_a_pipe_are_scored_as_a_recording_of_them(scorer, make_pump, tmp_path):
    wave = make_pump(1).sound(3.0)
    soundfile.write(tmp_path / "a.wav", np.round(wave * 32767).astype("<i2"), 16000)
    expected = scorer.score_file(tmp_path / "a.wav", "a.wav")
    lines = list(watch_samples(scorer, new_stream(scorer), io.BytesIO(pcm(wave)), 16000, 1))
    assert [(line["start_s"], line["end_s"]) for line in lines] == [(0, 1), (1, 2), (2, 3)]
    for line, part in zip(lines, expected.windows, strict=True):
        assert line["score"] == pytest.approx(part.score, rel=1e-5)
        assert line["p_value"] == pytest.approx(part.p_value, abs=1e-5)


def test_samples_of_another_rate_and_several_channels_are_brought_to_the_detectors(
    scorer, make_pump
):
    wave = make_pump(1).sound(2.0)
    plain = list(watch_samples(scorer, new_stream(scorer), io.BytesIO(pcm(wave)), 16000, 1))
    twice = np.repeat(np.repeat(wave, 3)[:, None], 2, axis=1)  # 48 kHz, two channels
    lines = list(watch_samples(scorer, new_stream(scorer), io.BytesIO(pcm(twice)), 48000, 2))
    assert len(lines) == len(plain) == 2
    assert lines[0]["end_s"] == pytest.approx(1.0)


def test_half_a_window_at_the_end_is_scored_and_less_is_not(scorer, make_pump):
    for seconds, count in ((1.6, 2), (1.4, 1), (0.3, 0)):
        source = io.BytesIO(pcm(make_pump(1).sound(seconds)) + b"\0")  # and half a sample
        lines = list(watch_samples(scorer, new_stream(scorer), source, 16000, 1))
        assert len(lines) == count


def test_samples_of_a_lower_rate_are_scored_with_a_word(scorer, make_pump, caplog):
    source = io.BytesIO(pcm(make_pump(1).sound(1.0)[::2]))
    assert len(list(watch_samples(scorer, new_stream(scorer), source, 8000, 1))) == 1
    assert "is sampled at 8000 Hz, the detector learned 16000 Hz" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_not_utf8_can_be_printed(tmp_path, normal_folder):
    clock = Clock()
    watch = FolderWatch(tmp_path, clock=clock)
    content = (normal_folder / "00.wav").read_bytes()
    (tmp_path / os.fsdecode(b"\xff.wav")).write_bytes(content)
    found(watch, clock)
    assert found(watch, clock, 3) == [(r"\udcff.wav", True, "")]


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def found(watch, clock, seconds=0.0):
    clock.now += seconds
    return [(name, recording is not None, reason) for name, recording, reason in watch.complete()]


def test_a_file_is_read_when_it_is_complete(tmp_path, normal_folder):
    (tmp_path / "old.wav").write_bytes((normal_folder / "00.wav").read_bytes())
    clock = Clock()
    watch = FolderWatch(tmp_path, clock=clock)
    content = (normal_folder / "01.wav").read_bytes()
    new = tmp_path / "sub" / "new.wav"
    new.parent.mkdir()
    new.write_bytes(content[:20000])
    assert found(watch, clock) == []
    assert found(watch, clock, 10) == []  # still, but not all that its header announces
    new.write_bytes(content)
    assert found(watch, clock, 1) == []  # has just grown
    assert found(watch, clock, 3) == [("sub/new.wav", True, "")]
    assert found(watch, clock, 100) == []  # once


def test_a_file_that_is_written_anew_is_a_new_recording(tmp_path, normal_folder):
    (tmp_path / "latest.wav").write_bytes((normal_folder / "00.wav").read_bytes())
    clock = Clock()
    watch = FolderWatch(tmp_path, clock=clock)
    assert found(watch, clock) == []
    assert found(watch, clock, 60) == []  # was there before
    for number in ("01", "02"):  # of the same size
        (tmp_path / "latest.wav").write_bytes((normal_folder / f"{number}.wav").read_bytes())
        assert found(watch, clock, 1) == []
        assert found(watch, clock, 3) == [("latest.wav", True, "")]
        assert found(watch, clock, 60) == []


def test_files_of_a_lower_rate_are_scored_with_a_word(
    scorer, make_pump, tmp_path, write_wav, caplog
):
    clock = Clock()
    watch = FolderWatch(tmp_path, clock=clock)
    write_wav(tmp_path / "low.wav", make_pump(1).sound(1.0)[::2], rate_hz=8000)
    lines = watch_folder(
        scorer, new_stream(scorer), watch, sleep=lambda _: setattr(clock, "now", clock.now + 3)
    )
    assert next(lines)["end_s"] == 1
    assert "low.wav: is sampled at 8000 Hz, the detector learned 16000 Hz" in caplog.text


def test_a_file_that_stays_unreadable_is_told_once(tmp_path):
    clock = Clock()
    watch = FolderWatch(tmp_path, clock=clock)
    (tmp_path / "broken.flac").write_bytes(b"no sound at all")
    (tmp_path / "notes.txt").write_text("none")
    assert found(watch, clock) == []
    assert found(watch, clock, 3) == []
    ((name, is_read, reason),) = found(watch, clock, 40)
    assert (name, is_read) == ("broken.flac", False)
    assert "cannot be read as a sound file" in reason
    assert found(watch, clock, 40) == []


def run_watch(*words, **options):
    command = [sys.executable, "-m", "asd", "watch", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_the_command_scores_a_pipe_to_its_end(detector_file, make_pump):
    process = run_watch(detector_file, "-", "--rate", 16000, stdin=subprocess.PIPE)
    out, err = process.communicate(pcm(make_pump(1).sound(2.0)), timeout=120)
    assert process.returncode == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["end_s"] for line in lines] == [1, 2]
    assert set(lines[0]) == {
        "file", "start_s", "end_s", "score", "smoothed", "p_value", "decision", "alarm", "shift",
    }  # fmt: skip


def test_a_closed_standard_input_is_told_in_one_line(detector_file):
    command = f'exec "{sys.executable}" -m asd watch "{detector_file}" - --rate 16000 <&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "standard input: is closed" in done.stderr


def test_a_watch_ends_when_nobody_reads_it(detector_file, normal_folder):
    process = run_watch(detector_file, normal_folder, "--existing")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_watched_folder_is_scored_until_a_signal_comes(
    detector_file, make_pump, tmp_path, number
):
    process = run_watch(detector_file, tmp_path, "--existing")
    make_pump(1).record(tmp_path / "Pump 3 - Monday.wav", 1.0)
    guard = threading.Timer(120, process.kill)
    guard.start()
    line = json.loads(process.stdout.readline())
    assert line["file"] == "Pump 3 - Monday.wav"
    assert line["end_s"] == 1
    os.kill(process.pid, number)
    out, err = process.communicate()
    guard.cancel()
    assert process.returncode == 0, err
    assert out.decode() == "", line
    assert b"Traceback" not in err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-"], "--rate: is needed for samples from a pipe"),
        (["nowhere"], "nowhere: no such folder"),
        ([".", "--rate", "8000"], "files know theirs"),
        (["-", "--rate", "many"], "--rate: expected a whole number"),
        (["-", "--rate", "1"], "--rate: 1 Hz cannot be brought to the detector's 16000 Hz"),
        ([".", "--false_alarms", "0.001"], "cannot be promised"),
        ([".", "--smoothing", "0"], "--smoothing: expected"),
    ],
)
def test_wrong_words_are_told_in_one_line(detector_file, words, complaint, capsys):
    assert main(["watch", str(detector_file), *words]) == 2
    err = capsys.readouterr().err
    assert complaint in err
    assert err.count("\n") == 1
