import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from asd.audio import store
from asd.audio.logmel import LogMel, LogMelParameters
from asd.audio.store import FeatureSpec, load_features
from asd.audio.wav import read_samples
from asd.challenge import layout
from asd.challenge.catalog import load_challenge
from asd.challenge.names import parse_clip
from asd.errors import UserError

P = LogMelParameters(n_mels=16, n_fft=256, hop_length=128)
SPEC = FeatureSpec(P)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "processed" / "fan"


@pytest.fixture
def no_computing(monkeypatch):
    """From now on, computing a feature is an error."""

    def begin():
        def refuse(*_):
            raise AssertionError("computed again")

        monkeypatch.setattr(store, "read_samples", refuse)

    return begin


def stores(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def assert_right(features, clips, spec=SPEC):
    """Features are those that each clip gives alone."""
    assert len(features) == len(clips)
    for index, clip in enumerate(clips):
        samples = read_samples(clip.path, spec.channel)
        expected = LogMel(spec.logmel, 16000)(samples) if spec.logmel else samples
        assert np.array_equal(features.clip(index), expected)


def test_clips_of_all_lengths_lie_end_to_end(make_clips, folder):
    clips = make_clips(2000, 128, 1, 3001)
    features = load_features(clips, SPEC, folder, jobs=2)
    assert_right(features, clips)
    assert features.lengths.tolist() == [16, 2, 1, 24]
    assert features.starts.tolist() == [0, 16, 18, 19]
    assert features.rows.shape == (43, 16)
    assert features.rows.dtype == np.float32
    assert features.sample_rate_hz == 16000


@pytest.mark.parametrize("jobs", [1, 3])
def test_many_clips_keep_their_order(make_clips, folder, jobs):
    clips = make_clips(*range(100, 160))[::-1]
    assert_right(load_features(clips, SPEC, folder, jobs), clips)


def test_bits_do_not_depend_on_the_threads_of_matrix_products(make_clips, folder):
    clips = make_clips(160_000, 160_000)
    spec = FeatureSpec(LogMelParameters())
    with threadpool_limits(2, user_api="blas"):
        features = load_features(clips, spec, folder, jobs=1)
    with threadpool_limits(1, user_api="blas"):
        assert_right(features, clips, spec)


def test_samples_can_be_stored_in_place_of_frames(make_clips, folder):
    clips = make_clips(200, 31)
    spec = FeatureSpec(logmel=None)
    features = load_features(clips, spec, folder, jobs=1)
    assert_right(features, clips, spec)
    assert features.rows.shape == (231,)
    assert features.lengths.tolist() == [200, 31]


@pytest.mark.parametrize("channel", ["left", "right", "mix"])
def test_channels_are_stored_apart(make_clips, folder, channel):
    clips = make_clips(500, 700, channels=2)
    for other in ("left", "right", "mix"):
        load_features(clips, FeatureSpec(P, other), folder, jobs=1)
    spec = FeatureSpec(P, channel, channels=2)
    assert_right(load_features(clips, spec, folder, jobs=1), clips, spec)
    assert len(stores(folder)) == 3


def test_second_call_reads_what_is_there(make_clips, folder, no_computing):
    clips = make_clips(500, 700)
    first = load_features(clips, SPEC, folder, jobs=1)
    no_computing()
    second = load_features(clips, SPEC, folder, jobs=1)
    assert np.array_equal(first.rows, second.rows)
    assert second.lengths.tolist() == first.lengths.tolist()
    assert isinstance(second.rows, np.memmap)


def test_two_who_open_a_store_share_its_rows(make_clips, folder):
    clips = make_clips(2000, 3000)
    one, other = (load_features(clips, SPEC, folder, jobs=1) for _ in range(2))
    assert one.rows is other.rows
    for path in folder.iterdir():
        path.unlink()
    assert load_features(clips, SPEC, folder, jobs=1).rows is not one.rows


def test_stored_rows_cannot_be_written_to(make_clips, folder):
    rows = load_features(make_clips(500), SPEC, folder, jobs=1).rows
    with pytest.raises(ValueError, match="read-only"):
        rows[:] = 0


@pytest.mark.parametrize(
    "change",
    [
        {"n_mels": 17}, {"n_fft": 258}, {"hop_length": 127}, {"power": 1.0}, {"fmin": 50.0},
        {"fmax": 7000.0}, {"win_length": 200},
    ],
    ids=str,
)  # fmt: skip
def test_no_parameter_is_forgotten(make_clips, folder, change):
    clips = make_clips(500, 700)
    load_features(clips, SPEC, folder, jobs=1)
    spec = FeatureSpec(replace(P, **change))
    assert_right(load_features(clips, spec, folder, jobs=1), clips, spec)


def test_a_clip_with_other_content_of_the_same_size_is_seen(make_clips, folder):
    clips = make_clips(500, 700)
    load_features(clips, SPEC, folder, jobs=1)
    before = os.stat(clips[0].path)
    content = bytearray(clips[0].path.read_bytes())
    content[100:300] = bytes(200)
    clips[0].path.write_bytes(content)
    os.utime(clips[0].path, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))
    assert_right(load_features(clips, SPEC, folder, jobs=1), clips)


def test_a_clip_of_another_size_with_the_old_time_is_seen(make_clips, folder, write_wav):
    clips = make_clips(500, 700)
    load_features(clips, SPEC, folder, jobs=1)
    before = os.stat(clips[1].path)
    write_wav(clips[1].path, np.linspace(-0.5, 0.5, 702))
    os.utime(clips[1].path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert_right(load_features(clips, SPEC, folder, jobs=1), clips)


def test_added_removed_renamed_and_reordered_clips_are_seen(make_clips, folder, tmp_path):
    clips = make_clips(500, 700, 900)
    load_features(clips[:2], SPEC, folder, jobs=1)
    assert_right(load_features(clips, SPEC, folder, jobs=1), clips)
    assert_right(load_features(clips[1:], SPEC, folder, jobs=1), clips[1:])
    assert_right(load_features(clips[::-1], SPEC, folder, jobs=1), clips[::-1])
    renamed = clips[0].path.rename(tmp_path / "fan" / "train" / "section_00_0000.wav")
    changed = [parse_clip(renamed, "fan"), *clips[1:]]
    assert_right(load_features(changed, SPEC, folder, jobs=1), changed)


def test_another_order_is_seen_even_of_clips_alike_in_size_and_time(make_clips, folder):
    clips = make_clips(500, 500)
    for clip in clips:
        os.utime(clip.path, (1e9, 1e9))
    load_features(clips, SPEC, folder, jobs=1)
    assert_right(load_features(clips[::-1], SPEC, folder, jobs=1), clips[::-1])


DAMAGES = {
    "cut in the rows": lambda content: content[:-1],
    "cut in the header": lambda content: content[:40],
    "cut before the header": lambda content: content[:12],
    "empty": lambda content: content[:0],
    "longer": lambda content: content + b"\0",
    "no store": lambda content: b"x" * len(content),
    "an endless header": lambda content: content[:8] + b"\xff" * 8 + content[16:],
    "a broken header": lambda content: content[:16] + b"?" + content[17:],
    "a header that is no mapping": lambda content: content[:8] + b"\2" + bytes(7) + b"[]",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_made_anew(make_clips, folder, damage):
    clips = make_clips(500, 700)
    load_features(clips, SPEC, folder, jobs=1)
    (path,) = folder.glob("*.logmel")
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert_right(load_features(clips, SPEC, folder, jobs=1), clips)


def test_leftovers_of_killed_runs_are_removed(make_clips, folder):
    clips = make_clips(500)
    load_features(clips, SPEC, folder, jobs=1)
    (path,) = folder.glob("*.logmel")
    path.unlink()
    leftover = folder / f".{path.name}.123.abc.part"
    leftover.write_bytes(b"half a store")
    other = folder / ".other.logmel.123.abc.part"
    other.write_bytes(b"of a build that may be going on")
    load_features(clips, SPEC, folder, jobs=1)
    assert not leftover.exists()
    assert other.exists()


def test_a_failed_build_leaves_no_store(make_clips, folder, monkeypatch):
    clips = make_clips(500, 700, 900)

    def fail_at_last(path, channel):
        if path == clips[2].path:
            raise UserError(f"{path}: holds samples that are NaN or infinite; replace it")
        return read_samples(path, channel)

    monkeypatch.setattr(store, "read_samples", fail_at_last)
    with pytest.raises(UserError, match=r"0002_m-n_W\.wav: holds samples that are NaN"):
        load_features(clips, SPEC, folder, jobs=2)
    assert not list(folder.glob("*.logmel"))
    assert not list(folder.glob(".*.part"))


def test_a_clip_that_grows_while_it_is_read_is_noticed(make_clips, folder, monkeypatch):
    clips = make_clips(500, 700)
    longer = np.zeros(5000, dtype=np.float32)
    monkeypatch.setattr(store, "read_samples", lambda *_: longer)
    with pytest.raises(UserError, match=r"0000_m-n_W\.wav: changed while it was read"):
        load_features(clips, SPEC, folder, jobs=1)
    assert not list(folder.glob("*.logmel"))


def test_size_is_under_an_eighth_of_the_official_pickle(tmp_path, make_clips):
    clips = make_clips(16000, 16000, 16000)
    features = load_features(clips, FeatureSpec(LogMelParameters()), tmp_path / "p", jobs=1)
    (path,) = (tmp_path / "p").glob("*.logmel")
    windows = np.lib.stride_tricks.sliding_window_view(features.clip(0), (5, 128))
    vectors = np.zeros((len(clips) * len(windows), 640))  # float64: what the public code pickles
    assert path.stat().st_size < len(pickle.dumps(vectors)) / 8


def test_sampling_rates_must_agree(make_clips, folder, write_wav):
    clips = make_clips(500, 700)
    write_wav(clips[1].path, np.zeros(700), rate_hz=22050)
    with pytest.raises(UserError, match=r"0001_m-n_W\.wav: is sampled at 22050 Hz, .*16000 Hz"):
        load_features(clips, SPEC, folder, jobs=1)


def test_a_stereo_file_among_mono_ones_is_refused(make_clips, folder, write_wav):
    clips = make_clips(500, 700)
    write_wav(clips[1].path, np.zeros((700, 2)))
    with pytest.raises(UserError, match=r"0001_.*has 2 channel\(s\), expected 1; set --mono False"):
        load_features(clips, FeatureSpec(P, channels=1), folder, jobs=1)


def test_the_number_of_channels_is_checked_in_stored_features_too(make_clips, folder):
    clips = make_clips(500)
    load_features(clips, FeatureSpec(P, channels=1), folder, jobs=1)
    with pytest.raises(UserError, match=r"has 1 channel\(s\), expected 2; set --mono True"):
        load_features(clips, FeatureSpec(P, channels=2), folder, jobs=1)


def test_a_mono_file_has_no_right_channel(make_clips, folder):
    with pytest.raises(UserError, match=r"0000_.*has no right channel, only 1"):
        load_features(make_clips(500), FeatureSpec(P, "right"), folder, jobs=1)


def test_a_dangling_link_is_named(make_clips, folder):
    clips = make_clips(500)
    clips[0].path.unlink()
    clips[0].path.symlink_to("nowhere.wav")
    with pytest.raises(UserError, match=r"0000_m-n_W\.wav: cannot be read \(No such file"):
        load_features(clips, SPEC, folder, jobs=1)


def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(make_clips, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/fan: features cannot be stored .*--feature_dir"):
        load_features(make_clips(500), SPEC, tmp_path / "file" / "fan", jobs=1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named_with_the_way_out(make_clips, folder):
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    with pytest.raises(UserError, match=r"features cannot be stored .*--feature_directory"):
        load_features(make_clips(500), SPEC, folder, jobs=1)


SLOW_BUILD = """
import sys, time
from pathlib import Path
import asd.audio.store as store
from asd.audio.logmel import LogMelParameters
from asd.challenge.names import parse_clip
wavs, folder, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
quick = store.read_samples
def slow(path, channel):
    print("read", path.name, flush=True)
    time.sleep(seconds)
    return quick(path, channel)
store.read_samples = slow
clips = [parse_clip(path, "fan") for path in sorted(wavs.glob("*.wav"))]
spec = store.FeatureSpec(LogMelParameters(n_mels=16, n_fft=256, hop_length=128))
print("ready", flush=True)
features = store.load_features(clips, spec, folder, jobs=1)
print("sum", float(features.rows.sum(dtype="f8")), flush=True)
"""


def start_build(clips, folder, seconds_per_clip):
    command = [sys.executable, "-c", SLOW_BUILD, clips[0].path.parent, folder, seconds_per_clip]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_build_once_and_both_are_right(make_clips, folder):
    clips = make_clips(*[400] * 6)
    processes = [start_build(clips, folder, 0.05) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    features = load_features(clips, SPEC, folder, jobs=1)
    assert_right(features, clips)
    expected = f"sum {features.rows.sum(dtype='f8')}"
    assert all(expected in output for output in outputs)
    assert sum(output.count("read ") for output in outputs) == len(clips)


def test_a_build_killed_in_the_middle_leaves_nothing_that_counts(make_clips, folder):
    clips = make_clips(*[400] * 20)
    process = start_build(clips, folder, 0.2)
    for line in process.stdout:
        if "0002" in line:  # the third clip is being read, so the file has been begun
            break
    process.kill()
    process.wait()
    process.stdout.close()
    assert list(folder.glob(".*.part"))
    assert not list(folder.glob("*.logmel"))
    started = time.monotonic()
    assert_right(load_features(clips, SPEC, folder, jobs=1), clips)
    assert time.monotonic() - started < 10  # the dead process holds no lock
    assert not list(folder.glob(".*.part"))


def test_a_real_data_set_by_its_folders(tiny_data, tmp_path):
    challenge = load_challenge("DCASE2023T2")
    for machine in ("fan", "ToyCar"):
        train = layout.train_clips(tiny_data, challenge, "dev", machine)
        test = layout.test_clips(tiny_data, challenge, "dev", machine)
        folder = tmp_path / machine
        assert_right(load_features(train, SPEC, folder, jobs=2), train)
        assert_right(load_features(test, SPEC, folder, jobs=2), test)
        assert [name.split("_")[0] for name in stores(folder)] == ["test", "train"]
