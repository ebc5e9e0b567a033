from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.challenge.names import ClipName, copied_from, parse_clip, parse_clip_name
from asd.clips import Clip
from asd.errors import UserError

FORMS = {
    "section_00_source_train_normal_0000_car_A1_spd_28V.wav": ClipName(
        "section", "00", "0000", "source", "train", "normal", "car_A1_spd_28V"
    ),
    "section_03_target_test_anomaly_0017.wav": ClipName(
        "section", "03", "0017", "target", "test", "anomaly"
    ),
    "section_00_target_train_normal_0001_noAttribute.wav": ClipName(
        "section", "00", "0001", "target", "train", "normal", "noAttribute"
    ),
    "section_00_source_normal_0002_bckend_x.wav": ClipName(
        "section", "00", "0002", "source", None, "normal", "bckend_x"
    ),
    "section_05_source_test_0099.wav": ClipName("section", "05", "0099", "source", "test"),
    "section_02_test_0000.wav": ClipName("section", "02", "0000", None, "test"),
    "section_00_0123.wav": ClipName("section", "00", "0123"),
    "normal_id_02_00000010.wav": ClipName("id", "02", "00000010", label="normal"),
    "anomaly_id_06_00000000.wav": ClipName("id", "06", "00000000", label="anomaly"),
    "id_05_00000123.wav": ClipName("id", "05", "00000123"),
    "section_00_machine_0001_.wav": ClipName(
        "section", "00", "0001", label="machine", attributes=""
    ),
    "section_00_noise_0100_.wav": ClipName("section", "00", "0100", label="noise", attributes=""),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_the_organisers_is_read_and_written_back(name):
    assert parse_clip_name(name) == FORMS[name]
    assert str(FORMS[name]) == name


digits = "0123456789"
sections = st.text(digits, min_size=2, max_size=2)
numbers = st.text(digits, min_size=1, max_size=8)
labels = st.sampled_from([None, "normal", "anomaly"])
attributes = st.none() | st.text(st.characters(exclude_characters="/\n\0", codec="utf-8"))


@given(
    st.builds(
        ClipName, st.just("section"), sections, numbers,
        st.sampled_from([None, "source", "target"]), st.sampled_from([None, "train", "test"]),
        labels | st.sampled_from(["machine", "noise"]), attributes,
    )
    | st.builds(ClipName, st.just("id"), sections, numbers, label=labels)
)  # fmt: skip
def test_any_name_comes_back_as_it_was(name):
    assert parse_clip_name(str(name)) == name


@given(st.text())
def test_a_text_is_refused_or_comes_back(text):
    try:
        name = parse_clip_name(text)
    except UserError:
        return
    assert str(name) == text


@pytest.mark.parametrize(
    "junk",
    [
        "noise.wav",
        "section_0_source_train_normal_0000.wav",
        "section_000_source_train_normal_0000.wav",
        "section_00_middle_train_normal_0000.wav",
        "section_00_source_train_normal.wav",
        "section_00_source_train_normal_0000.mp3",
        "section_00_source_train_normal_0000.wav.part",
        "section_00_train_source_normal_0000.wav",
        "Section_00_source_train_normal_0000.wav",
        "._section_00_source_train_normal_0000.wav",
        "normal_id_00.wav",
        "broken_id_00_00000000.wav",
        "section_00_source_train_normal_0000x.wav",
        "section_\u0660\u0660_source_train_normal_0000.wav",  # Arabic digits
        "section_00_source_train_normal_\uff10\uff11.wav",  # wide ones
        "normal_id_0\u0660_00000000.wav",
        "id_00_\u0967.wav",
        "",
    ],
)
def test_junk_is_refused_with_its_name_and_folder(junk):
    with pytest.raises(UserError) as caught:
        parse_clip(Path("data/fan/train") / f"x{junk}", "fan")
    message = str(caught.value)
    assert message.startswith(f"data/fan/train/x{junk}: not a clip name")
    assert "section_00_source_train_normal_0000" in message.partition("expected")[2]
    with pytest.raises(UserError):
        parse_clip_name(junk)


def test_what_a_clip_says_of_itself():
    path = Path("fan/test/section_02_target_test_anomaly_0003_m-n_Y.wav")
    clip = parse_clip(path, "fan")
    assert (clip.machine, clip.section, clip.domain, clip.label) == (
        "fan",
        "02",
        "target",
        "anomaly",
    )
    assert clip.is_target
    assert clip.is_anomaly
    assert clip.attributes == "m-n_Y"
    assert clip.file_name == path.name


@pytest.mark.parametrize("name", ["id_05_00000123.wav", "section_00_0123.wav"])
def test_an_unlabelled_clip_is_source_and_without_attributes(name):
    clip = parse_clip(Path(name), "fan")
    assert (clip.domain, clip.label, clip.attributes) == ("source", None, "noAttribute")
    assert not clip.is_target
    assert not clip.is_anomaly


def test_the_word_target_among_attributes_makes_no_target_clip():
    name = "section_00_source_train_normal_0000_speed_target.wav"
    assert not Clip(Path(name), "fan", parse_clip_name(name)).is_target


@pytest.mark.parametrize("name", FORMS)
def test_the_organisers_names_are_no_copies_and_those_of_copies_lead_to_them(name):
    assert copied_from(name) is None
    assert copied_from(name.replace(".wav", " (1).wav")) == name
    assert copied_from(name.replace(".wav", " (1) - Copy.wav")) == name.replace(".wav", " (1).wav")


def test_numbers_in_brackets_within_a_name_make_no_copy():
    assert copied_from("section_00_0000_speed (1) of 2.wav") is None
    assert copied_from("section_00_0000_speed(1).wav") is None
