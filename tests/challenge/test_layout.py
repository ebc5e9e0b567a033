import csv
import os
import shlex
from pathlib import Path

import pytest

from asd.challenge import layout
from asd.challenge.catalog import load_challenge
from asd.errors import UserError

YEAR_2023 = load_challenge("DCASE2023T2")


@pytest.fixture
def put(tmp_path):
    """Make files of these names below a machine type's folder; their content is never read."""

    def make(*names, year="dcase2023t2", split="dev", machine="fan"):
        for name in names:
            path = tmp_path / year / f"{split}_data" / "raw" / machine / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return make


def names(clips):
    return [clip.file_name for clip in clips]


def test_folders():
    data = Path("data")
    assert layout.split_folder(data, YEAR_2023, "eval") == Path("data/dcase2023t2/eval_data")
    raw = Path("data/dcase2023t2/dev_data/raw/fan")
    assert layout.machine_folder(data, YEAR_2023, "dev", "fan") == raw
    processed = Path("data/dcase2023t2/dev_data/processed/fan")
    assert layout.features_folder(data, YEAR_2023, "dev", "fan") == processed


def official_order(data_folder, case, year, machine, section):
    """File names in the order in which the public baseline scored them."""
    results = data_folder / "evaluation" / "official" / case / "expected" / "results"
    pattern = f"*_data/baseline_MSE/anomaly_score_{year}{machine}_section_{section}_*.csv"
    (file,) = results.glob(pattern)
    return [row[0] for row in csv.reader(file.read_text().splitlines())]


def test_test_clips_come_in_the_public_baselines_order(tmp_path, data_folder, put):
    expected = official_order(data_folder, "case1_dcase2023_dev", "DCASE2023T2", "fan", "00")
    assert len(expected) == 24
    assert expected != sorted(expected)
    put(*(f"test/{name}" for name in reversed(expected)))
    assert names(layout.test_clips(tmp_path, YEAR_2023, "dev", "fan")) == expected


def test_sections_come_one_after_the_other(tmp_path, put):
    ordered = [
        "section_00_source_test_normal_0001_a.wav", "section_00_target_test_normal_0000_a.wav",
        "section_00_source_test_anomaly_0000_a.wav", "section_01_source_test_normal_0000_a.wav",
        "section_01_source_test_anomaly_0000_a.wav",
    ]  # fmt: skip
    put(*(f"test/{name}" for name in sorted(ordered)))
    assert names(layout.test_clips(tmp_path, YEAR_2023, "dev", "fan")) == ordered


def test_train_clips_know_their_machine_and_path(tmp_path, put):
    put("train/section_00_target_train_normal_0001_x.wav", "train/notes.txt")
    (clip,) = layout.train_clips(tmp_path, YEAR_2023, "dev", "fan")
    assert clip.machine == "fan"
    assert clip.is_target
    assert clip.path.is_file()


def test_labelled_copies_are_taken_in_place_of_the_unlabelled_clips(tmp_path, put):
    put("test/section_00_0000.wav", "test/section_00_0001.wav", split="eval", machine="bandsaw")
    found = layout.test_clips(tmp_path, YEAR_2023, "eval", "bandsaw")
    assert names(found) == ["section_00_0000.wav", "section_00_0001.wav"]
    assert {clip.label for clip in found} == {None}
    put("test_rename/section_00_source_test_anomaly_0000_x.wav", split="eval", machine="bandsaw")
    (found,) = layout.test_clips(tmp_path, YEAR_2023, "eval", "bandsaw")
    assert found.is_anomaly


def test_2021_has_a_test_folder_per_domain(tmp_path, put):
    options = {"year": "dcase2021t2", "machine": "pump"}
    put("source_test/section_00_source_test_anomaly_0000.wav", **options)
    put("target_test/section_00_target_test_normal_0000.wav", **options)
    found = layout.test_clips(tmp_path, load_challenge("DCASE2021T2"), "dev", "pump")
    assert [clip.domain for clip in found] == ["target", "source"]


def test_a_missing_folder_is_named_with_the_command_that_fills_it(tmp_path):
    with pytest.raises(UserError) as caught:
        layout.train_clips(tmp_path, YEAR_2023, "eval", "bandsaw")
    message = str(caught.value)
    folder = tmp_path / "dcase2023t2" / "eval_data" / "raw" / "bandsaw" / "train"
    assert message.startswith(f"{folder}: no such folder")
    assert "asd download --dataset DCASE2023T2 -e --machine_types bandsaw" in message


def test_that_command_is_one_the_program_knows(tmp_path):
    from asd.cli import _parser

    with pytest.raises(UserError) as caught:
        layout.test_clips(tmp_path, YEAR_2023, "dev", "fan")
    words = shlex.split(str(caught.value).partition("(asd ")[2].partition(")")[0])
    args = vars(_parser().parse_args(words))
    assert args["split"] == "dev"
    assert args["parameter dataset"] == "DCASE2023T2"
    assert args["parameter machine_types"] == ["fan"]
    assert args["parameter dataset_directory"] == str(tmp_path)


def test_an_empty_folder_is_named(tmp_path, put):
    put("train/readme.txt")
    with pytest.raises(UserError, match=r"raw/fan/train: no \.wav file in it"):
        layout.train_clips(tmp_path, YEAR_2023, "dev", "fan")


def test_clips_whose_ending_is_in_capitals_are_named(tmp_path, put):
    put("train/section_00_source_train_normal_0000_x.WAV")
    with pytest.raises(UserError, match=r"; rename section_00\S+_x\.WAV .* in \.wav, in small"):
        layout.train_clips(tmp_path, YEAR_2023, "dev", "fan")


UNUSED = [
    "section_00_source_train_normal_0001_x.WAV",
    "section_00_source_train_normal_0001_x.Wav",
    "section_00_source_train_normal_0001_x.flac",
    "section_00_source_train_normal_0001_x.wav.part",
    "section_00_source_train_normal_0001_x.wav ",
    "more/section_00_source_train_normal_0001_x.wav",
    "a_list.txt",
]
CLIP = "section_00_source_train_normal_0000_x.wav"


@pytest.mark.parametrize("name", UNUSED)
def test_what_is_not_used_is_told(tmp_path, put, caplog, name):
    put(f"train/{CLIP}", f"train/{name}", f"train/.{CLIP}", "train/Thumbs.db")
    assert names(layout.train_clips(tmp_path, YEAR_2023, "dev", "fan")) == [CLIP]
    folder = tmp_path / "dcase2023t2" / "dev_data" / "raw" / "fan" / "train"
    assert caplog.messages == [
        f"{folder}: 1 of 2 entries are not used, such as {name.split('/')[0]!r}; clips are files "
        "whose names end in .wav, in small letters"
    ]


def test_all_that_is_not_used_is_told_in_one_line_with_a_sound_as_example(tmp_path, put, caplog):
    put(f"train/{CLIP}", *(f"train/{name}" for name in UNUSED))
    layout.train_clips(tmp_path, YEAR_2023, "dev", "fan")
    (message,) = caplog.messages
    assert f"7 of 8 entries are not used, such as {UNUSED[0]!r}" in message


COPIES = [
    "(1)", "- Copy", "- Copy (2)", "- コピー", "copy", "copy 2", "(copy)", "(3rd copy)",
    "(Ann's conflicted copy 2024-05-01)",
]  # fmt: skip
SYNCHRONISED = [".sync-conflict-20240501-101112-ABCDEF", "_conflict-20240501-101112", ".Conflict"]


@pytest.fixture(params=[f" {copy}" for copy in COPIES] + SYNCHRONISED)
def copy_name(request):
    return CLIP.replace(".wav", f"{request.param}.wav")


def write_contents(tmp_path, **contents):
    folder = tmp_path / "dcase2023t2" / "dev_data" / "raw" / "fan" / "train"
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def test_copies_with_equal_bytes_are_told_and_left_out(tmp_path, caplog, copy_name):
    folder = write_contents(tmp_path, **{CLIP: b"sound", copy_name: b"sound"})
    assert names(layout.train_clips(tmp_path, YEAR_2023, "dev", "fan")) == [CLIP]
    assert caplog.messages == [
        f"{folder}: 1 of 2 files are copies of others and left out, such as {copy_name!r}; remove "
        "them"
    ]


def test_copies_with_other_bytes_are_refused(tmp_path, copy_name):
    folder = write_contents(tmp_path, **{CLIP: b"sound", copy_name: b"noise"})
    for name in (CLIP, copy_name):  # times say nothing
        os.utime(folder / name, (1e9, 1e9))
    with pytest.raises(UserError) as caught:
        layout.train_clips(tmp_path, YEAR_2023, "dev", "fan")
    assert str(caught.value) == (
        f"{folder / copy_name}: is named like a copy of {CLIP}, but differs from it; keep one of "
        "them"
    )


def test_copies_without_their_original_are_refused(tmp_path, copy_name):
    write_contents(tmp_path, **{copy_name: b"sound"})
    with pytest.raises(UserError, match=r"x.*\.wav: is named like a copy of .*, which is not here"):
        layout.train_clips(tmp_path, YEAR_2023, "dev", "fan")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such pipes on Windows")
def test_a_pipe_named_like_a_clip_is_refused_at_once(tmp_path):
    folder = write_contents(tmp_path)
    os.mkfifo(folder / CLIP)
    with pytest.raises(UserError, match=rf"{CLIP}: is not a file \(but a folder, a pipe, a dev"):
        layout.train_clips(tmp_path, YEAR_2023, "dev", "fan")


def test_a_folder_or_a_link_to_nothing_named_like_a_clip_is_refused(tmp_path):
    folder = write_contents(tmp_path)
    (folder / CLIP).mkdir()
    with pytest.raises(UserError, match=f"{CLIP}: is not a file"):
        layout.train_clips(tmp_path, YEAR_2023, "dev", "fan")
    (folder / CLIP).rmdir()
    (folder / CLIP).symlink_to("nowhere.wav")
    with pytest.raises(UserError, match=f"{CLIP}: is not a file"):
        layout.train_clips(tmp_path, YEAR_2023, "dev", "fan")


def test_odd_training_clips_are_told(tmp_path, put, caplog):
    put(
        "train/section_00_source_train_normal_0000_x.wav",
        "train/section_00_target_train_normal_0.wav",
    )
    layout.train_clips(tmp_path, YEAR_2023, "dev", "fan")
    assert not caplog.messages
    odd = "section_00_target_train_anomaly_0000_x.wav"
    put(f"train/{odd}", "train/section_00_target_train_normal_0000_x.wav", machine="valve")
    layout.train_clips(tmp_path, YEAR_2023, "dev", "valve")
    folder = tmp_path / "dcase2023t2" / "dev_data" / "raw" / "valve" / "train"
    assert caplog.messages == [
        f"{folder}: 1 of 2 training clips are anomalous by name, such as {odd}, and are learned "
        "as normal; move them away",
        f"{folder}: none of 2 training clips is of the source domain; check that all clips are "
        "there",
    ]


def test_a_name_that_does_not_parse_is_named_with_its_folder(tmp_path, put):
    put("test/section_00_source_test_normal_0000_x.wav", "test/noise.wav")
    with pytest.raises(UserError, match=r"raw/fan/test/noise\.wav: not a clip name"):
        layout.test_clips(tmp_path, YEAR_2023, "dev", "fan")


def test_a_synthetic_data_set_is_read_whole(tiny_data):
    for machine in ("fan", "ToyCar"):
        train = layout.train_clips(tiny_data, YEAR_2023, "dev", machine)
        test = layout.test_clips(tiny_data, YEAR_2023, "dev", machine)
        assert (len(train), len(test)) == (8, 8)
        assert sum(clip.is_target for clip in train) == 2
        assert sum(clip.is_anomaly for clip in test) == 4
