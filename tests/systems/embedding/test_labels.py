"""Training classes from clip names."""

from pathlib import Path

import pytest

from asd.challenge.names import parse_clip
from asd.clips import Clip
from asd.errors import UserError
from asd.systems.embedding.labels import find_classes

ALL = ("machine", "section", "attributes", "domain")


def clip(machine: str, name: str) -> Clip:
    return parse_clip(Path(machine) / f"{name}.wav", machine)


CAR_A = clip("ToyCar", "section_00_source_train_normal_0000_car_A1")
CAR_A_TARGET = clip("ToyCar", "section_00_target_train_normal_0001_car_A1")
CAR_B = clip("ToyCar", "section_00_source_train_normal_0002_car_B1")
FAN = clip("fan", "section_00_source_train_normal_0000_noAttribute")
FAN_NO_TEXT = clip("fan", "section_00_source_train_normal_0001_")
FAN_2020 = clip("fan", "normal_id_02_00000000")


def test_classes_are_the_combinations_that_occur():
    clips = [CAR_B, FAN, CAR_A, CAR_A_TARGET, CAR_A]
    classes = find_classes(clips, ALL)
    assert classes.names == (
        ("ToyCar", "00", "car_A1", "source"),
        ("ToyCar", "00", "car_A1", "target"),
        ("ToyCar", "00", "car_B1", "source"),
        ("fan", "00", "noAttribute", "source"),
    )
    assert classes.numbers(clips).tolist() == [2, 3, 0, 1, 0]


def test_clips_without_attributes_share_a_class():
    assert len(find_classes([CAR_A, FAN, FAN_NO_TEXT], ALL)) == 2


def test_the_recipe_chooses_the_parts():
    clips = [CAR_A, CAR_B, FAN, FAN_2020]
    assert find_classes(clips, ["machine"]).names == (("ToyCar",), ("fan",))
    assert len(find_classes(clips, ["machine", "section"])) == 3


def test_test_names_count_but_do_not_have_to_be_trained_on():
    unseen = clip("ToyCar", "section_00_source_test_normal_0000_car_C1")
    classes = find_classes([CAR_A, CAR_B], ALL, label_only_clips=[unseen])
    assert len(classes) == 3
    assert classes.numbers([CAR_B]).tolist() == [1]
    with pytest.raises(UserError, match="was not trained on"):
        find_classes([CAR_A, CAR_B], ALL).numbers([unseen])


def test_one_class_is_too_few():
    with pytest.raises(UserError, match=r"of one class \(fan, 00, noAttribute, source\)"):
        find_classes([FAN, FAN_NO_TEXT], ALL)
