import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import soundfile
from threadpoolctl import threadpool_limits
from xxhash import xxh3_64_intdigest

from asd.audio import store
from asd.audio.features import LogMelFeature, Waveform
from asd.audio.logmel import LogMel, LogMelParameters
from asd.audio.recording import read_recording
from asd.audio.store import load_features
from asd.challenge import layout
from asd.challenge.catalog import load_challenge
from asd.challenge.names import parse_clip
from asd.errors import UserError

P = LogMelParameters(n_mels=16, n_fft=256, hop_length=128)
FEATURE = LogMelFeature(P)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "processed" / "fan"


@pytest.fixture
def no_computing(monkeypatch):
    """From now on, computing a feature is an error."""

    def begin():
        def refuse(*_):
            raise AssertionError("computed again")

        monkeypatch.setattr(store, "_compute", refuse)

    return begin


def stores(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def assert_right(features, clips, feature=FEATURE):
    """Features are those that each clip gives alone."""
    assert len(features) == len(clips)
    for index, clip in enumerate(clips):
        wave, rate_hz = read_recording(clip.path)
        expected = feature.compute(wave, rate_hz)
        assert np.array_equal(features.clip(index), expected)
        assert features.clip(index).dtype == expected.dtype


def test_clips_of_all_lengths_lie_end_to_end(make_clips, folder):
    clips = make_clips(2000, 128, 1, 3001)
    features = load_features(clips, FEATURE, folder, threads=2)
    assert_right(features, clips)
    assert features.lengths.tolist() == [16, 2, 1, 24]
    assert features.starts.tolist() == [0, 16, 18, 19]
    assert features.rows.shape == (43, 16)
    assert features.rows.dtype == np.float32
    assert features.sample_rate_hz == 16000


@pytest.mark.parametrize("jobs", [1, 3])
def test_many_clips_keep_their_order(make_clips, folder, jobs):
    clips = make_clips(*range(100, 160))[::-1]
    assert_right(load_features(clips, FEATURE, folder, jobs), clips)


def test_bits_do_not_depend_on_the_threads_of_matrix_products(make_clips, folder):
    clips = make_clips(160_000, 160_000)
    feature = LogMelFeature(LogMelParameters())
    with threadpool_limits(2, user_api="blas"):
        features = load_features(clips, feature, folder, threads=1)
    with threadpool_limits(1, user_api="blas"):
        assert_right(features, clips, feature)


def test_samples_can_be_stored_in_place_of_frames(make_clips, folder):
    clips = make_clips(200, 31)
    feature = Waveform()
    features = load_features(clips, feature, folder, threads=1)
    assert_right(features, clips, feature)
    assert features.rows.shape == (231,)
    assert features.lengths.tolist() == [200, 31]


def test_frames_are_those_of_the_log_mel_alone(make_clips, folder):
    (clip,) = make_clips(3000)
    ((samples,), _) = read_recording(clip.path)
    features = load_features([clip], FEATURE, folder, threads=1)
    assert np.array_equal(features.clip(0), LogMel(P, 16000)(samples))


CHANNELS = ["left", "right", "3", "mix", "all"]


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("kind", [Waveform, partial(LogMelFeature, P)])
def test_channels_are_stored_apart(make_clips, folder, channel, kind):
    clips = make_clips(500, 700, channels=3)
    for other in CHANNELS:
        load_features(clips, kind(other), folder, threads=1)
    feature = kind(channel)
    assert_right(load_features(clips, feature, folder, threads=1, mono=False), clips, feature)
    assert len(stores(folder)) == len(CHANNELS)


def test_all_channels_lie_side_by_side(make_clips, folder):
    clips = make_clips(500, 700, channels=3)
    waves = load_features(clips, Waveform("all"), folder, threads=1)
    assert waves.rows.shape == (1200, 3)
    frames = load_features(clips, LogMelFeature(P, "all"), folder, threads=1)
    assert frames.rows.shape[1:] == (3, 16)
    for number, channel in enumerate(CHANNELS[:3]):
        one = load_features(clips, LogMelFeature(P, channel), folder, threads=1)
        assert np.array_equal(frames.rows[:, number], one.rows)
        assert np.array_equal(
            waves.clip(1)[:, number],
            load_features(clips, Waveform(channel), folder, threads=1).clip(1),
        )


def test_second_call_reads_what_is_there(make_clips, folder, no_computing):
    clips = make_clips(500, 700)
    first = load_features(clips, FEATURE, folder, threads=1)
    no_computing()
    second = load_features(clips, FEATURE, folder, threads=1)
    assert np.array_equal(first.rows, second.rows)
    assert second.lengths.tolist() == first.lengths.tolist()
    assert isinstance(second.rows, np.memmap)


def test_two_who_open_a_store_share_its_rows(make_clips, folder):
    clips = make_clips(2000, 3000)
    one, other = (load_features(clips, FEATURE, folder, threads=1) for _ in range(2))
    assert one.rows is other.rows
    for path in folder.iterdir():
        path.unlink()
    assert load_features(clips, FEATURE, folder, threads=1).rows is not one.rows


def test_stored_rows_cannot_be_written_to(make_clips, folder):
    rows = load_features(make_clips(500), FEATURE, folder, threads=1).rows
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
    load_features(clips, FEATURE, folder, threads=1)
    feature = LogMelFeature(replace(P, **change))
    assert_right(load_features(clips, feature, folder, threads=1), clips, feature)


def test_a_clip_with_other_content_of_the_same_size_is_seen(make_clips, folder):
    clips = make_clips(500, 700)
    load_features(clips, FEATURE, folder, threads=1)
    before = os.stat(clips[0].path)
    content = bytearray(clips[0].path.read_bytes())
    content[100:300] = bytes(200)
    clips[0].path.write_bytes(content)
    os.utime(clips[0].path, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))
    assert_right(load_features(clips, FEATURE, folder, threads=1), clips)


def test_a_clip_of_another_size_with_the_old_time_is_seen(make_clips, folder, write_wav):
    clips = make_clips(500, 700)
    load_features(clips, FEATURE, folder, threads=1)
    before = os.stat(clips[1].path)
    write_wav(clips[1].path, np.linspace(-0.5, 0.5, 702))
    os.utime(clips[1].path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert_right(load_features(clips, FEATURE, folder, threads=1), clips)


def test_added_removed_renamed_and_reordered_clips_are_seen(make_clips, folder, tmp_path):
    clips = make_clips(500, 700, 900)
    load_features(clips[:2], FEATURE, folder, threads=1)
    assert_right(load_features(clips, FEATURE, folder, threads=1), clips)
    assert_right(load_features(clips[1:], FEATURE, folder, threads=1), clips[1:])
    assert_right(load_features(clips[::-1], FEATURE, folder, threads=1), clips[::-1])
    renamed = clips[0].path.rename(tmp_path / "fan" / "train" / "section_00_0000.wav")
    changed = [parse_clip(renamed, "fan"), *clips[1:]]
    assert_right(load_features(changed, FEATURE, folder, threads=1), changed)


def test_another_order_is_seen_even_of_clips_alike_in_size_and_time(make_clips, folder):
    clips = make_clips(500, 500)
    for clip in clips:
        os.utime(clip.path, (1e9, 1e9))
    load_features(clips, FEATURE, folder, threads=1)
    assert_right(load_features(clips[::-1], FEATURE, folder, threads=1), clips[::-1])


# --- content --------------------------------------------------------------------------------------


def swap_contents(one, other):
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])


def swap_names(one, other):
    aside = one.with_suffix(".aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


@pytest.fixture
def no_new_files(monkeypatch):
    """Times of files are taken as if they were old."""
    monkeypatch.setattr(store, "_CLOCK_NS", -1)


@pytest.mark.parametrize("swap", [swap_contents, swap_names])
@pytest.mark.parametrize("feature", [FEATURE, Waveform()], ids=lambda feature: feature.kind)
@pytest.mark.parametrize("age", ["new files", "old files"])
def test_clips_of_equal_size_and_time_that_are_swapped_are_seen(
    make_clips, folder, request, swap, feature, age
):
    if age == "old files":  # whose times are believed
        request.getfixturevalue("no_new_files")
    clips = make_clips(500, 500, 500)
    for clip in clips:
        os.utime(clip.path, ns=(10**18, 10**18))
    before = load_features(clips, feature, folder, threads=1)
    first, second = before.clip(0).copy(), before.clip(1).copy()
    time.sleep(0.02)  # longer than a step of the clock that files are stamped with
    swap(clips[0].path, clips[1].path)
    for clip in clips:
        os.utime(clip.path, ns=(10**18, 10**18))
    after = load_features(clips, feature, folder, threads=1)
    assert np.array_equal(after.clip(0), second)
    assert np.array_equal(after.clip(1), first)
    assert_right(after, clips, feature)


def test_relabelled_clips_give_the_features_of_their_own_files(make_clips, folder):
    """Names are exchanged as after `asd rename` with a corrected list: the order stays."""
    clips = make_clips(500, 500)
    load_features(clips, FEATURE, folder, threads=1)
    swap_names(*(clip.path for clip in clips))
    assert_right(load_features(clips, FEATURE, folder, threads=1), clips)


def test_clips_that_were_only_moved_are_not_computed_again(make_clips, folder, no_computing):
    clips = make_clips(500, 700)
    load_features(clips, FEATURE, folder, threads=1)
    moved = []
    for clip in clips:
        copied = clip.path.with_name(clip.path.name.replace("source", "target"))
        shutil.copyfile(clip.path, copied)  # another inode, other times
        moved.append(parse_clip(copied, "fan"))
    no_computing()
    features = load_features(moved, FEATURE, folder, threads=1)
    assert_right(features, moved)


@pytest.mark.usefixtures("no_new_files")
def test_moved_clips_are_read_once_then_known(make_clips, folder, monkeypatch):
    clips = make_clips(500, 700)
    load_features(clips, FEATURE, folder, threads=1)
    os.utime(clips[1].path, (1e9, 1e9))
    read = []
    hash_file = store._hash_file
    monkeypatch.setattr(store, "_hash_file", lambda path: read.append(path) or hash_file(path))
    for _ in range(2):
        assert_right(load_features(clips, FEATURE, folder, threads=1), clips)
    assert read == [clips[1].path]


@pytest.mark.usefixtures("no_new_files")
def test_moved_clips_can_be_used_where_the_store_cannot_be_written(
    make_clips, folder, no_computing, monkeypatch
):
    clips = make_clips(500, 700)
    load_features(clips, FEATURE, folder, threads=1)
    os.utime(clips[1].path, (1e9, 1e9))

    def refuse(*_):
        raise UserError("cannot be written")

    monkeypatch.setattr(store, "write_sources", refuse)
    no_computing()
    assert_right(load_features(clips, FEATURE, folder, threads=1), clips)


def test_files_too_new_for_their_times_to_tell_are_read_each_time(make_clips, folder, monkeypatch):
    clips = make_clips(500)
    load_features(clips, FEATURE, folder, threads=1)
    read = []
    hash_file = store._hash_file
    monkeypatch.setattr(store, "_hash_file", lambda path: read.append(path) or hash_file(path))
    for _ in range(2):
        load_features(clips, FEATURE, folder, threads=1)
    assert len(read) == 2


# --- damage ---------------------------------------------------------------------------------------

DAMAGES = {
    "cut in the values": lambda content: content[:-1],
    "cut in the middle": lambda content: content[: len(content) // 2],
    "cut before the values": lambda content: content[:12],
    "empty": lambda content: content[:0],
    "longer": lambda content: content + b"\0",
    "no store": lambda content: b"x" * len(content),
    "an index that begins nowhere": lambda c: c[:-24] + b"\xff" * 8 + c[-16:],
    "another checksum": lambda c: c[:-16] + bytes(8) + c[-8:],
    "one bit of the first value": lambda c: c[:64] + bytes([c[64] ^ 1]) + c[65:],
    "two clips exchanged": lambda c: c[:64] + c[320:576] + c[64:320] + c[576:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_told_and_made_anew(make_clips, folder, damage, caplog):
    clips = make_clips(500, 500, 700)
    load_features(clips, FEATURE, folder, threads=1)
    (path,) = folder.glob("*.logmel")
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    assert_right(load_features(clips, FEATURE, folder, threads=1), clips)
    (message,) = caplog.messages
    assert message.startswith(f"{path}: is damaged (")
    assert message.endswith("; features are computed again")
    caplog.clear()
    assert_right(load_features(clips, FEATURE, folder, threads=1), clips)
    assert not caplog.messages


@pytest.mark.parametrize("feature", [FEATURE, Waveform()], ids=lambda feature: feature.kind)
def test_no_changed_byte_changes_features(make_clips, folder, rng, feature):
    clips = make_clips(300, 200)
    load_features(clips, feature, folder, threads=1)
    (path,) = folder.glob(f"*.{feature.kind}")
    whole = path.read_bytes()
    for place in rng.integers(0, len(whole), 150):
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        assert_right(load_features(clips, feature, folder, threads=1), clips, feature)


FORGED = {
    "objects": {"dtype": "|O"},
    "no type": {"dtype": "what"},
    "a negative length": {"lengths": [12, -8]},
    "too few lengths": {"lengths": [4]},
    "another number of mels": {"frame_shape": [17]},
    "more mels than the file has room for": {"frame_shape": [10**6]},
    "a text for a shape": {"frame_shape": "x"},
    "an unknown word": {"secret": 1},
    "no sources": {"sources": None},
}


@pytest.mark.parametrize("forged", FORGED)
def test_an_index_with_right_checksum_and_wrong_content_is_refused(
    make_clips, folder, forged, caplog
):
    clips = make_clips(300, 200)
    load_features(clips, FEATURE, folder, threads=1)
    (path,) = folder.glob("*.logmel")
    content = path.read_bytes()
    start, _, magic = struct.unpack("<QQ8s", content[-24:])
    text = json.dumps(json.loads(content[start:-24]) | FORGED[forged]).encode()
    end = struct.pack("<QQ8s", start, xxh3_64_intdigest(text), magic)
    path.write_bytes(content[:start] + text + end)
    assert_right(load_features(clips, FEATURE, folder, threads=1), clips)
    assert "is damaged" in caplog.text


def test_stores_of_earlier_versions_are_replaced_without_a_word(make_clips, folder, caplog):
    clips = make_clips(300)
    load_features(clips, FEATURE, folder, threads=1)
    (path,) = folder.glob("*.logmel")
    path.write_bytes(b"ASDROWS1" + path.read_bytes()[8:])
    assert_right(load_features(clips, FEATURE, folder, threads=1), clips)
    assert not caplog.messages


# --- 16 bits --------------------------------------------------------------------------------------


def test_samples_of_16_bits_take_no_more_room_than_their_files(make_clips, folder):
    clips = make_clips(16000, 12000)
    features = load_features(clips, Waveform(), folder, threads=1)
    assert features.rows.dtype == np.int16
    assert features.scale == 1 / 32768
    (path,) = folder.glob("*.waveform")
    files = sum(clip.path.stat().st_size for clip in clips)
    assert path.stat().st_size < 1.02 * files
    assert_right(features, clips, Waveform())


def test_extreme_samples_of_16_bits_are_kept(make_clips, folder, write_wav):
    (clip,) = make_clips(4)
    write_wav(clip.path, np.array([-1.0, 32767 / 32768, 0, -1 / 32768]))
    features = load_features([clip], Waveform(), folder, threads=1)
    assert features.rows.tolist() == [-32768, 32767, 0, -1]
    assert features.clip(0).tolist() == [-1, 32767 / 32768, 0, -1 / 32768]


@pytest.mark.parametrize("place", [0, 20])
@pytest.mark.parametrize(
    ("value", "subtype"),
    [(0.1, "FLOAT"), (1.0, "FLOAT"), (-2.5, "FLOAT"), (1e30, "FLOAT"), (2**-20, "PCM_24")],
)
def test_one_clip_of_other_samples_keeps_all_in_32_bits(make_clips, folder, place, value, subtype):
    clips = make_clips(*range(100, 130))
    soundfile.write(clips[place].path, np.array([0.5, value, 0.25]), 16000, subtype=subtype)
    features = load_features(clips, Waveform(), folder, threads=2)
    assert features.rows.dtype == np.float32
    assert features.scale is None
    assert features.clip(place)[1] == np.float32(value)
    assert_right(features, clips, Waveform())


def test_log_mels_are_never_rounded_to_16_bits(make_clips, folder):
    features = load_features(make_clips(500), FEATURE, folder, threads=1)
    assert features.rows.dtype == np.float32
    assert features.scale is None


# --- building -------------------------------------------------------------------------------------


def test_leftovers_of_killed_runs_are_removed(make_clips, folder):
    clips = make_clips(500)
    load_features(clips, FEATURE, folder, threads=1)
    (path,) = folder.glob("*.logmel")
    path.unlink()
    leftover = folder / f".{path.name}.123.abc.part"
    leftover.write_bytes(b"half a store")
    other = folder / ".other.logmel.123.abc.part"
    other.write_bytes(b"of a build that may be going on")
    load_features(clips, FEATURE, folder, threads=1)
    assert not leftover.exists()
    assert other.exists()


def test_a_failed_build_leaves_no_store(make_clips, folder):
    clips = make_clips(500, 700, 900)

    nan = np.array([0.5, np.nan, 0.25])
    soundfile.write(clips[2].path, nan, 16000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"0002_m-n_W\.wav: holds samples that are NaN"):
        load_features(clips, FEATURE, folder, threads=2)
    assert not list(folder.glob("*.logmel"))
    assert not list(folder.glob(".*.part"))


def test_features_that_are_not_finite_are_refused_and_the_clip_named(make_clips, folder, recwarn):
    clips = make_clips(500, 700)
    loud = np.full(700, 1e18)
    loud[::2] = -1e18
    soundfile.write(clips[1].path, loud, 16000, subtype="FLOAT")
    with pytest.raises(UserError) as caught:
        load_features(clips, FEATURE, folder, threads=1)
    assert str(caught.value) == (
        f"{clips[1].path}: its features are not finite; its samples reach 1e+18 where full scale "
        "is 1, scale them down or remove it"
    )
    assert not list(folder.glob("*.logmel"))
    assert not [str(w.message) for w in recwarn if w.category is RuntimeWarning]
    assert_right(load_features(clips, Waveform(), folder, threads=1), clips, Waveform())


def test_size_is_under_an_eighth_of_the_official_pickle(tmp_path, make_clips):
    clips = make_clips(16000, 16000, 16000)
    features = load_features(clips, LogMelFeature(LogMelParameters()), tmp_path / "p", threads=1)
    (path,) = (tmp_path / "p").glob("*.logmel")
    windows = np.lib.stride_tricks.sliding_window_view(features.clip(0), (5, 128))
    vectors = np.zeros((len(clips) * len(windows), 640))  # float64: what the public code pickles
    assert path.stat().st_size < len(pickle.dumps(vectors)) / 8


def test_sampling_rates_must_agree(make_clips, folder, write_wav):
    clips = make_clips(500, 700)
    write_wav(clips[1].path, np.zeros(700), rate_hz=22050)
    with pytest.raises(UserError, match=r"0001_m-n_W\.wav: is sampled at 22050 Hz, .*16000 Hz"):
        load_features(clips, FEATURE, folder, threads=1)


def test_clips_of_several_rates_are_brought_to_the_one_asked_for(make_clips, folder, write_wav):
    clips = make_clips(1600, 800)
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(4410) / 44100)
    write_wav(clips[1].path, tone, rate_hz=44100)
    for rate_hz in (16000, 8000):
        features = load_features(clips, Waveform(), folder, threads=1, rate_hz=rate_hz)
        assert features.sample_rate_hz == rate_hz
        assert features.lengths.tolist() == [rate_hz // 10, rate_hz // 10]
        expected = read_recording(clips[1].path, rate_hz=rate_hz).wave[0]
        assert np.array_equal(features.clip(1), expected)
    assert len(stores(folder)) == 2


def test_a_stereo_file_among_mono_ones_is_refused(make_clips, folder, write_wav):
    clips = make_clips(500, 700)
    write_wav(clips[1].path, np.zeros((700, 2)))
    with pytest.raises(UserError, match=r"0001_.*has 2 channel\(s\), expected 1; set --mono False"):
        load_features(clips, FEATURE, folder, threads=1, mono=True)


def test_the_number_of_channels_is_checked_in_stored_features_too(make_clips, folder):
    clips = make_clips(500)
    load_features(clips, FEATURE, folder, threads=1, mono=True)
    with pytest.raises(UserError, match=r"has 1 channel\(s\), expected several; set --mono True"):
        load_features(clips, FEATURE, folder, threads=1, mono=False)


@pytest.mark.parametrize("channels", [2, 3, 8])
def test_files_of_several_channels_need_no_other_flag(make_clips, folder, channels):
    """Were "set --mono False" the answer to three channels, it would be an endless circle."""
    clips = make_clips(500, 700, channels=channels)
    for channel in ("left", "mix", str(channels)):
        feature = LogMelFeature(P, channel)
        assert_right(load_features(clips, feature, folder, threads=1, mono=False), clips, feature)


def test_clips_must_agree_in_the_number_of_channels(make_clips, folder, write_wav):
    clips = make_clips(500, 700, channels=2)
    write_wav(clips[1].path, np.zeros((700, 3)))
    with pytest.raises(UserError, match=r"0001_.*has 3 channel\(s\), \S+0000_\S+ has 2; convert"):
        load_features(clips, FEATURE, folder, threads=1, mono=False)
    load_features(clips, FEATURE, folder, threads=1)  # as recordings of one's own may
    with pytest.raises(UserError, match=r"0001_.*has 3 channel\(s\), \S+0000_\S+ has 2; convert"):
        load_features(clips, FEATURE, folder, threads=1, mono=False)
    with pytest.raises(UserError, match=r"0001_.*\(frames, 3, 16\) and float32, those of .*0000_"):
        load_features(clips, LogMelFeature(P, "all"), folder, threads=1)


def test_a_mono_file_has_no_right_channel(make_clips, folder):
    with pytest.raises(UserError, match=r"0000_.*has 1 channel\(s\), so there is no channel right"):
        load_features(make_clips(500), LogMelFeature(P, "right"), folder, threads=1)


# --- features of others ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Levels:
    """Level and largest sample of each millisecond: a feature as a user would write one."""

    kind = "levels"
    factor: float = 1.0

    def key(self):
        return {"factor": self.factor}

    def compute(self, wave, rate_hz):
        step = rate_hz // 1000
        blocks = wave[0, : wave.shape[1] // step * step].reshape(-1, step).astype(np.float64)
        return self.factor * np.stack([blocks.std(axis=1), blocks.max(axis=1)], axis=1)


class LevelsAtOnce(Levels):
    batch_size = 4
    batches: ClassVar[list] = []

    def compute_many(self, waves, rate_hz):
        self.batches.append((len(waves), rate_hz))
        return [self.compute(wave, rate_hz) for wave in waves]


def test_a_feature_from_outside_is_stored_by_its_key(make_clips, folder, no_computing):
    clips = make_clips(500, 700)
    feature = Levels()
    features = load_features(clips, feature, folder, threads=2)
    assert_right(features, clips, feature)
    assert features.rows.shape == (31 + 43, 2)
    assert_right(load_features(clips, Levels(2.0), folder, threads=1), clips, Levels(2.0))
    no_computing()
    assert_right(load_features(clips, Levels(), folder, threads=1), clips, feature)
    assert all(name.endswith(".levels") for name in stores(folder))


class NeedsRate(Levels):
    def prepare(self, rate_hz):
        raise UserError(f"--levels: cannot be had at {rate_hz} Hz")


def test_a_feature_is_prepared_before_any_clip_and_no_clip_blamed_for_it(make_clips, folder):
    with pytest.raises(UserError, match=r"^--levels: cannot be had at 16000 Hz"):
        load_features(make_clips(500), NeedsRate(), folder, threads=1)


def test_filters_are_made_and_told_of_once(make_clips, folder, caplog):
    feature = LogMelFeature(LogMelParameters(n_mels=100, n_fft=256))
    load_features(make_clips(*range(500, 520)), feature, folder, threads=4)
    (message,) = caplog.messages
    assert "mel bands lie between two frequencies" in message


def test_a_clip_that_a_feature_cannot_use_is_named(make_clips, folder):
    with pytest.raises(UserError, match=r"0000_m-n_W\.wav: has 1 channel\(s\)"):
        load_features(make_clips(500), LogMelFeature(P, "4"), folder, threads=1)


def test_a_feature_that_asks_for_several_clips_at_once_gets_them(make_clips, folder):
    clips = make_clips(*range(100, 110))
    features = load_features(clips, LevelsAtOnce(), folder, threads=2)
    assert LevelsAtOnce.batches == [(4, 16000), (4, 16000), (2, 16000)]
    assert_right(features, clips, Levels())


def test_a_dangling_link_is_named(make_clips, folder):
    clips = make_clips(500)
    clips[0].path.unlink()
    clips[0].path.symlink_to("nowhere.wav")
    with pytest.raises(UserError, match=r"0000_m-n_W\.wav: cannot be read \(No such file"):
        load_features(clips, FEATURE, folder, threads=1)


def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(make_clips, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/fan: features cannot be stored .*--feature_dir"):
        load_features(make_clips(500), FEATURE, tmp_path / "file" / "fan", threads=1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named_with_the_way_out(make_clips, folder):
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    with pytest.raises(UserError, match=r"features cannot be stored .*--feature_directory"):
        load_features(make_clips(500), FEATURE, folder, threads=1)


SLOW_BUILD = """
import sys, time
from pathlib import Path
import asd.audio.store as store
from asd.audio.features import LogMelFeature
from asd.audio.logmel import LogMelParameters
from asd.challenge.names import parse_clip
wavs, folder, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
quick = LogMelFeature.compute
def slow(self, wave, rate_hz):
    print("read", wave.shape[1], flush=True)
    time.sleep(seconds)
    return quick(self, wave, rate_hz)
LogMelFeature.compute = slow
clips = [parse_clip(path, "fan") for path in sorted(wavs.glob("*.wav"))]
feature = LogMelFeature(LogMelParameters(n_mels=16, n_fft=256, hop_length=128))
print("ready", flush=True)
features = store.load_features(clips, feature, folder, threads=1)
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
    features = load_features(clips, FEATURE, folder, threads=1)
    assert_right(features, clips)
    expected = f"sum {features.rows.sum(dtype='f8')}"
    assert all(expected in output for output in outputs)
    assert sum(output.count("read ") for output in outputs) == len(clips)


def test_a_build_killed_in_the_middle_leaves_nothing_that_counts(make_clips, folder):
    clips = make_clips(*range(400, 420))
    process = start_build(clips, folder, 0.2)
    for line in process.stdout:
        if line == "read 402\n":  # the third clip is being read, so the file has been begun
            break
    process.kill()
    process.wait()
    process.stdout.close()
    assert list(folder.glob(".*.part"))
    assert not list(folder.glob("*.logmel"))
    started = time.monotonic()
    assert_right(load_features(clips, FEATURE, folder, threads=1), clips)
    assert time.monotonic() - started < 10  # the dead process holds no lock
    assert not list(folder.glob(".*.part"))


def test_a_real_data_set_by_its_folders(tiny_data, tmp_path):
    challenge = load_challenge("DCASE2023T2")
    for machine in ("fan", "ToyCar"):
        train = layout.train_clips(tiny_data, challenge, "dev", machine)
        test = layout.test_clips(tiny_data, challenge, "dev", machine)
        folder = tmp_path / machine
        assert_right(load_features(train, FEATURE, folder, threads=2), train)
        assert_right(load_features(test, FEATURE, folder, threads=2), test)
        assert [name.split("_")[0] for name in stores(folder)] == ["test", "train"]
