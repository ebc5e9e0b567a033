"""Learning from one's own recordings: tables, lengths, channels, mistakes."""

import os
import sys

import numpy as np
import pytest
import soundfile

import asd
from asd.audio.pieces import window_spans
from asd.cli import main
from asd.csvfiles import read_rows
from asd.monitoring.scoring import Scorer
from asd.monitoring.table import read_table


@pytest.fixture
def learn(normal_folder, tmp_path, capsys):
    """Run asd learn on the normal recordings; gives status, standard output, and errors."""

    def run(*words, where=normal_folder):
        out = tmp_path / "out" / "pump.asd"
        status = main(["learn", str(where), "--out", str(out), "--window", "1", *map(str, words)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_windows_cover_a_recording_and_end_with_it():
    for duration in (0.3, 10.0, 10.4, 10.6, 20.0, 25.0, 3600.5):
        spans = window_spans(duration, 10.0)
        assert spans[0][0] == 0
        assert spans[-1][1] == pytest.approx(duration)
        ends = [end for _, end in spans]
        assert all(start <= end for (start, _), end in zip(spans[1:], ends, strict=False))
        if len(spans) > 1:
            assert {round(end - start, 6) for start, end in spans} == {10.0}


def test_a_detector_file_is_all_that_scoring_needs(detector_file, normal_folder):
    loaded = asd.load(detector_file)
    scorer = Scorer(loaded)
    assert loaded.own.window_s == 1.0
    table = loaded.score(normal_folder)
    assert len(table) == 20
    for clip, score in zip(table.clips, table["MAHALA"], strict=True):
        scored = scorer.score_file(clip.path, clip.file_name)
        assert scored.whole.score == pytest.approx(score, rel=1e-9)
    p_values = loaded.p_values(table, "MAHALA")
    rate = scorer.false_alarm_rate
    np.testing.assert_array_equal(loaded.decide(table, "MAHALA", 1 - rate), p_values <= rate + 1e-9)


def test_a_long_recording_is_scored_by_the_mean_of_its_windows(detector_file, make_pump, tmp_path):
    path = make_pump(1).record(tmp_path / "long.wav", 30.0)
    scored = Scorer(asd.load(detector_file), 0.1).score_file(path, "long.wav")
    assert len(scored.windows) == 30
    assert scored.whole.score == pytest.approx(np.mean([part.score for part in scored.windows]))
    assert scored.whole.p_value > 0.1


def test_one_long_recording_is_learned_in_parts(learn, make_pump, tmp_path):
    make_pump(4).record(tmp_path / "long" / "all night.wav", 61.0, rate_hz=16000)
    status, text, err = learn(where=tmp_path / "long")
    assert status == 0
    assert "learned from  1 recordings, 61 s of sound" in text
    assert "parts of them are held out (21 of up to 3 s)" in err
    assert "rates from 0.045 up can be promised from 21 held-out recordings" in text


def test_parts_of_a_recording_are_its_samples_in_order(make_pump, tmp_path):
    from asd.monitoring.survey import survey

    path = make_pump(4).record(tmp_path / "a.wav", 7.0)
    whole = survey(path, machine="pump", channel="left", progress=False)
    parts = whole.cut(3.0)
    assert len(parts.clips) == 3
    joined = np.concatenate([parts.read(i) for i in range(3)], axis=1)
    np.testing.assert_allclose(joined, whole.read(0)[:, : joined.shape[1]])
    assert abs(joined.shape[1] - 7 * 16000) <= 2


def test_a_recording_of_a_lower_rate_is_scored_with_a_word(
    detector_file, make_pump, tmp_path, caplog
):
    path = make_pump(1).record(tmp_path / "low.wav", 1.0, rate_hz=8000)
    scored = Scorer(asd.load(detector_file)).score_file(path, "low.wav")
    assert scored.whole.end_s == pytest.approx(1.0)
    assert "is sampled at 8000 Hz, the detector learned 16000 Hz" in caplog.text


def test_the_near_channel_is_the_left_one(learn, make_pump, tmp_path):
    pump = make_pump(2)
    for i in range(12):
        near, far = pump.sound(1.0), pump.random.normal(scale=0.01, size=16000)
        (tmp_path / "two").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "two" / f"{i}.wav", np.stack([near, far], axis=1), 16000)
    status, text, _ = learn("--channel", "far", where=tmp_path / "two")
    assert status == 0
    assert "channel right (12 recordings have more than one)" in text


def test_recordings_that_cannot_be_used_are_left_out_and_told(learn, normal_folder, tmp_path):
    for path in sorted(normal_folder.iterdir())[:12]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "empty.wav").write_bytes(b"")
    status, text, _ = learn(where=tmp_path)
    assert status == 1
    assert "learned from  12 recordings" in text
    assert "empty.wav: is empty (0 bytes); replace it" in text


def test_a_table_tells_domains_and_leaves_anomalies_out(learn, tmp_path):
    lines = ["00.wav,anomaly,,,", "01.wav,normal,target,slow,a", "02.wav,,target,,a"]
    (tmp_path / "clips.csv").write_text(
        "\n".join(["file,label,domain,condition,session", *lines]) + "\n"
    )
    status, text, _ = learn("--table", tmp_path / "clips.csv")
    assert status == 0
    assert "1 recordings that the table calls anomalous" in text
    detector = asd.load(tmp_path / "out" / "pump.asd")
    clips = {clip.file_name: clip for clip in detector.normal["pump"].clips}
    assert "00.wav" not in clips
    assert (clips["01.wav"].domain, clips["01.wav"].attributes) == ("target", "slow")
    assert detector.own.sessions == 1
    assert detector.facts.machines == ("pump",)


def test_a_session_is_never_on_both_sides(normal_folder, tmp_path):
    lines = [f"{i:02d}.wav,{i // 4}" for i in range(20)]
    (tmp_path / "clips.csv").write_text("\n".join(["file,session", *lines]) + "\n")
    detector = asd.learn(normal_folder, window_s=1.0, table=tmp_path / "clips.csv", progress=False)
    held_out = {int(clip.file_name[:2]) for clip in detector.normal["recordings"].clips}
    assert detector.own.held_out == "third"  # five sessions are too few to hold each out
    assert all({i // 4 * 4 + k for k in range(4)} <= held_out for i in held_out)
    assert detector.facts.clips < 2 * (20 - len(held_out)) + 1


def test_every_model_can_be_learned(learn, normal_folder, tmp_path):
    status, text, _ = learn("--model", "raw_spec", "--score", "KNN", "--hold_out", "third")
    assert status == 0
    assert "raw_spec, score KNN" in text
    status, text, _ = learn("--model", "ae", "--set", "epochs=1", "--set", "n_mels=8")
    assert status == 0
    assert "from which nothing was learned" in text
    assert main(["score", str(tmp_path / "out" / "pump.asd"), str(normal_folder / "03.wav")]) == 0


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("file,domian\n", "line 1: unknown column 'domian' (did you mean domain?)"),
        ("label\nnormal\n", "line 1: expected a first line that names the columns"),
        ("file,label\n00.wav,broken\n", "line 2: label is 'broken', expected normal or anomaly"),
        ("file\n99.wav\n", "line 2: there is no recording '99.wav'"),
        ("file\n01.wav\n01.wav\n", "line 3: '01.wav' stands in line 2 too"),
        ("file,label\n01.wav\n", "line 2: has 1 cells, the first line 2"),
    ],
)
def test_a_wrong_table_is_told_with_its_line(learn, tmp_path, table, complaint):
    (tmp_path / "clips.csv").write_text(table)
    status, _, err = learn("--table", tmp_path / "clips.csv")
    assert status == 2
    assert complaint in err.splitlines()[-1]


def test_two_recordings_of_one_name_are_told_apart_by_their_folders(tmp_path):
    paths = [tmp_path / "a" / "1.wav", tmp_path / "b" / "1.wav"]
    (tmp_path / "t.csv").write_text("file,session\na/1.wav,x\n")
    facts = read_table(tmp_path / "t.csv").of_recordings(paths, [tmp_path])
    assert facts[paths[0]].session == "x"
    (tmp_path / "t.csv").write_text("file,session\n1.wav,x\n")
    with pytest.raises(asd.UserError, match=r"2 recordings are called '1\.wav'"):
        read_table(tmp_path / "t.csv").of_recordings(paths, [tmp_path])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--model", "stat"], "'stat' is unknown (did you mean stats?)"),
        (["--window", "0"], "--window: expected a number above 0"),
        (["--window", "0.01"], "--window: expected 0.1 s or more, got 0.01"),
        (["--channel", "middle"], "--channel: expected"),
        (["--channel", "right"], "has 1 channel(s), so there is no channel right"),
        (["--set", "n_mel=3"], "has no parameter 'n_mel'"),
        (["--score", "MSE"], "--score: 'MSE' is unknown; choose from MAHALA"),
        (["--table", "nowhere.csv"], "nowhere.csv: no such file"),
        (["--others", "."], "--others: is only used with --model auto"),
        (["--model", "auto", "--set", "n_mels=3"], "--model auto: chooses parameters"),
        (["--hold_out", "half"], "unknown 'half'"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(learn, tmp_path, words, complaint):
    status, out, err = learn(*words)
    assert status == 2
    assert out == ""
    assert complaint in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nowhere.asd", "."], "nowhere.asd: no such model; make it with asd learn"),
        (["DETECTOR", "nowhere"], "nowhere: no such file or folder"),
        (["DETECTOR", "EMPTY"], "no sound file there"),
        (["DETECTOR", ".", "--false_alarms", "0"], "--false_alarms: expected"),
        (["DETECTOR", ".", "--out", "."], "--out: . is a folder"),
        (["DETECTOR", ".", "--out", "DETECTOR"], "is used by this command already"),
        (["DETECTOR", ".", "--page", "DETECTOR"], "is used by this command already"),
        (["DETECTOR", ".", "--out", "a", "--page", "a"], "is used by this command already"),
        (["DETECTOR", ".", "--out", "/dev/null/a.csv"], "/dev/null does not allow it"),
        (["DETECTOR", ".", "--page", "."], "--page: . is a folder"),
        (["DETECTOR", ".", "--normal", "."], "--normal: is only used with --page"),
        (["DETECTOR", ".", "--page", "a", "--normal", "nowhere"], "--normal: nowhere: no such"),
    ],
)
def test_a_mistake_in_scoring_is_one_line(detector_file, tmp_path, capsys, words, complaint):
    named = {"DETECTOR": str(detector_file), "EMPTY": str(tmp_path)}
    assert main(["score", *(named.get(word, word) for word in words)]) == 2
    err = capsys.readouterr().err
    assert complaint in err
    assert err.count("\n") == 1


def test_no_recording_is_overwritten(normal_folder, detector_file, capsys):
    recording = normal_folder / "00.wav"
    before = recording.read_bytes()
    assert main(["learn", str(normal_folder), "--out", str(recording)]) == 2
    assert main(["score", str(detector_file), str(normal_folder), "--out", str(recording)]) == 2
    assert capsys.readouterr().err.count("is a sound file, which would be lost") == 2
    assert recording.read_bytes() == before


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_odd_names_do_not_stop_scoring(detector_file, normal_folder, tmp_path, capsys):
    content = (normal_folder / "00.wav").read_bytes()
    for name in (b"\xff.wav", b"a\nb.wav", b"\x1b[31mred.wav"):
        (tmp_path / os.fsdecode(name)).write_bytes(content)
    out = tmp_path / "scores.csv"
    assert main(["score", str(detector_file), str(tmp_path), "--out", str(out)]) == 0
    names = {row.cells[0] for row in read_rows(out)}
    assert names == {"file", r"\udcff.wav", "a\nb.wav", "\x1b[31mred.wav"}
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert len([line for line in told.splitlines() if ".wav" in line]) == 3


def test_a_model_of_challenge_data_is_refused(normal_folder, tmp_path, capsys):
    model = asd.create("stats").fit(asd.recordings(normal_folder), progress=False)
    model.save(tmp_path / "fan.asd")
    assert main(["score", str(tmp_path / "fan.asd"), str(normal_folder)]) == 2
    assert "was not made by asd learn" in capsys.readouterr().err


def test_few_sessions_promise_little_for_a_new_one(learn, tmp_path):
    rows = [f"{i:02d}.wav,day {i // 4}" for i in range(20)]
    (tmp_path / "clips.csv").write_text("\n".join(["file,session", *rows]) + "\n")
    status, text, _ = learn("--table", tmp_path / "clips.csv")
    assert status == 0
    assert "2 held-out sessions promise no rate below 0.33 for a new session" in text
    assert "for a new session" not in learn()[1]


def test_a_network_learns_a_machine_of_which_nothing_is_known(normal_folder, tmp_path, capsys):
    """One class only: clusters of mean spectra are told apart, and the mean of epochs decides."""
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "base: unlabelled_pattr_bic_pre\n"
        "input_s: 1\n"
        "frontend: {windows: [512], whole_clip: false, width: 16}\n"
        "training: {epochs: 2, keep_epochs: [1, 2], batch_size: 8}\n"
        "labels: {class: ClusterLabeller, dimensions: null, method: k_means}\n"
        "backends: {KMEANS: {n_clusters: 2}}\n"
    )
    out = tmp_path / "pump.asd"
    words = ["learn", normal_folder, "--out", out, "--model", recipe, "--window", "1"]
    assert main([str(word) for word in words]) == 0
    told = capsys.readouterr()
    assert "clusters are of mean spectra" in told.err
    assert asd.load(out).own.score == "KMEANS-ENSEMBLE"
