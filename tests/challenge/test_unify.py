"""One tree of all years: names, labels, links, reruns; attribute tables; supplemental clips."""

import csv
import dataclasses
from pathlib import Path

import pytest

from asd.challenge import layout
from asd.challenge.attributes import read_attributes
from asd.challenge.catalog import challenge_names, load_challenge
from asd.challenge.labels import read_label_list
from asd.challenge.names import parse_clip_name
from asd.challenge.unify import unify
from asd.errors import UserError

REAL_LISTS = Path(__file__).parents[3] / "shared" / "data" / "labels"


@pytest.fixture
def data(tmp_path):
    """Make files, named below the data folder, that hold their own names."""

    class Data:
        path = tmp_path / "data"
        output = tmp_path / "tree"

        def add(self, folder, *names):
            (self.path / folder).mkdir(parents=True, exist_ok=True)
            for name in names:
                (self.path / folder / name).write_text(f"{folder}/{name}")

        def unify(self, year, split, machine, **options):
            challenge = load_challenge(year)
            clips = unify(self.path, challenge, split, [machine], self.output, **options)
            return {clip.path: clip for clip in clips}

        def table(self):
            with (self.output / "clips.csv").open(newline="") as file:
                return list(csv.DictReader(file))

    return Data()


def test_2020(data):
    data.add("dcase2020t2/dev_data/raw/fan/train", "normal_id_00_00000001.wav")
    data.add("dcase2020t2/dev_data/raw/fan/test", "anomaly_id_00_00000001.wav")
    assert list(data.unify("DCASE2020T2", "dev", "fan")) == [
        "2020/dev/fan/train/section_00_source_train_normal_00000001_noAttribute.wav",
        "2020/dev/fan/test/section_00_source_test_anomaly_00000001_noAttribute.wav",
    ]


def test_2021_brings_both_test_folders_together(data):
    raw = "dcase2021t2/dev_data/raw/fan"
    data.add(f"{raw}/train", "section_00_source_train_normal_0000_strength_1_ambient.wav")
    data.add(f"{raw}/source_test", "section_00_source_test_normal_0000.wav")
    data.add(f"{raw}/target_test", "section_00_target_test_anomaly_0000.wav")
    assert set(data.unify("DCASE2021T2", "dev", "fan")) == {
        "2021/dev/fan/train/section_00_source_train_normal_0000_strength_1_ambient.wav",
        "2021/dev/fan/test/section_00_source_test_normal_0000_noAttribute.wav",
        "2021/dev/fan/test/section_00_target_test_anomaly_0000_noAttribute.wav",
    }


def evaluation_data(data, with_list=True):
    raw = "dcase2024t2/eval_data/raw/RoboticArm"
    data.add(f"{raw}/train", "section_00_source_train_normal_0000_weight_1.wav")
    data.add(f"{raw}/test", "section_00_0000.wav", "section_00_0001.wav")
    if with_list:
        (data.path / "dcase2024t2/eval_data/eval_data_list_2024.csv").write_text(
            "RoboticArm\nsection_00_0000.wav,section_00_target_anomaly_0035_weight_2.wav\n"
        )


def test_labels_of_the_list(data, caplog):
    evaluation_data(data)
    found = data.unify("DCASE2024T2", "eval", "RoboticArm")
    labelled = "2024/eval/RoboticArm/test/section_00_target_test_anomaly_0035_weight_2.wav"
    unlabelled = "2024/eval/RoboticArm/test/section_00_test_0001.wav"
    assert set(found) > {labelled, unlabelled}
    assert "1 of 2 test clips are not in a list of labels" in caplog.text
    clip = found[labelled]
    assert (clip.domain, clip.label, clip.attributes) == ("target", "anomaly", "weight_2")
    assert clip.source.endswith("test/section_00_0000.wav")
    assert (data.output / labelled).read_text().endswith("test/section_00_0000.wav")
    assert (found[unlabelled].domain, found[unlabelled].label) == ("", "")


def test_labels_that_come_later_replace_unlabelled_clips(data):
    evaluation_data(data, with_list=False)
    data.unify("DCASE2024T2", "eval", "RoboticArm")
    folder = data.output / "2024/eval/RoboticArm/test"
    assert {p.name for p in folder.iterdir()} == {
        "section_00_test_0000.wav",
        "section_00_test_0001.wav",
    }
    evaluation_data(data)
    data.unify("DCASE2024T2", "eval", "RoboticArm")
    assert {p.name for p in folder.iterdir()} == {
        "section_00_target_test_anomaly_0035_weight_2.wav",
        "section_00_test_0001.wav",
    }
    assert {row["path"] for row in data.table()} == {
        p.relative_to(data.output).as_posix() for p in data.output.rglob("*.wav")
    }


def test_renamed_clips_are_taken_as_they_are(data):
    evaluation_data(data, with_list=False)
    name = "section_00_source_test_normal_0001_weight_9.wav"
    data.add("dcase2024t2/eval_data/raw/RoboticArm/test_rename", name)
    assert f"2024/eval/RoboticArm/test/{name}" in data.unify("DCASE2024T2", "eval", "RoboticArm")


def test_evaluation_data_without_test_clips_yet(data, caplog):
    data.add("dcase2026t2/eval_data/raw/Sander/train", "section_00_source_train_normal_0000_a.wav")
    assert len(data.unify("DCASE2026T2", "eval", "Sander")) == 1
    assert "no test clips" in caplog.text


def test_rerun_leaves_files_alone(data):
    evaluation_data(data)
    data.unify("DCASE2024T2", "eval", "RoboticArm")
    before = {p: (p.stat().st_ino, p.read_text()) for p in data.output.rglob("*.wav")}
    table = (data.output / "clips.csv").read_bytes()
    data.unify("DCASE2024T2", "eval", "RoboticArm")
    assert before == {p: (p.stat().st_ino, p.read_text()) for p in data.output.rglob("*.wav")}
    assert table == (data.output / "clips.csv").read_bytes()


def test_links_and_back_to_copies(data, monkeypatch):
    evaluation_data(data)
    path = "2024/eval/RoboticArm/train/section_00_source_train_normal_0000_weight_1.wav"
    source = data.path / "dcase2024t2/eval_data/raw/RoboticArm/train" / Path(path).name
    data.unify("DCASE2024T2", "eval", "RoboticArm", link=True)
    assert (data.output / path).samefile(source)
    data.unify("DCASE2024T2", "eval", "RoboticArm")
    assert not (data.output / path).samefile(source)
    monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError()))
    data.unify("DCASE2024T2", "eval", "RoboticArm", link=True)
    assert (data.output / path).is_symlink()
    assert (data.output / path).samefile(source)


def test_years_share_a_tree(data):
    evaluation_data(data)
    data.add("dcase2020t2/dev_data/raw/fan/train", "normal_id_00_00000001.wav")
    data.add("dcase2020t2/dev_data/raw/fan/test", "anomaly_id_00_00000001.wav")
    data.unify("DCASE2024T2", "eval", "RoboticArm")
    data.unify("DCASE2020T2", "dev", "fan")
    rows = data.table()
    assert [row["year"] for row in rows] == ["2020", "2020", "2024", "2024", "2024"]
    assert rows[0]["attributes"] == "noAttribute"


def test_a_table_of_something_else_is_not_overwritten(data):
    evaluation_data(data)
    data.output.mkdir()
    (data.output / "clips.csv").write_text("my,own,table\n")
    with pytest.raises(UserError, match="name another --output"):
        data.unify("DCASE2024T2", "eval", "RoboticArm")
    assert not list(data.output.rglob("*.wav"))


@pytest.mark.parametrize(
    "place",
    [
        "../victim.txt,2024,eval,RoboticArm",
        "2024/eval/RoboticArm/../../../../victim.txt,2024,eval,RoboticArm",
        "../tree/../victim.txt,..,tree,..",
        "/dev/fan/victim.txt,/,dev,fan",
        "2024/eval/RoboticArm,2024,eval,RoboticArm",
        "2020/dev/fan/test/section_00_test_0000.wav,2024,eval,RoboticArm",
    ],
)
def test_a_table_that_leads_to_other_folders_is_refused(data, place):
    evaluation_data(data)
    data.unify("DCASE2024T2", "eval", "RoboticArm")
    victim = data.output.parent / "victim.txt"
    victim.write_text("mine")
    with (data.output / "clips.csv").open("a") as table:
        table.write(f"{place},test,00,source,normal,,x.wav\n")
    with pytest.raises(UserError, match=r"clips\.csv, line 5: .* does not lie below .*; remove"):
        data.unify("DCASE2024T2", "eval", "RoboticArm")
    assert victim.read_text() == "mine"


def test_two_clips_of_one_name(data):
    evaluation_data(data)
    name = "section_00_source_train_normal_0000.wav"
    data.add("dcase2024t2/eval_data/raw/RoboticArm/train", name)
    twin = "section_00_source_train_normal_0000_noAttribute.wav"
    data.add("dcase2024t2/eval_data/raw/RoboticArm/train", twin)
    with pytest.raises(UserError, match="would both be named"):
        data.unify("DCASE2024T2", "eval", "RoboticArm")


def test_supplemental_clips(data):
    raw = "dcase2025t2/dev_data/raw/fan"
    data.add(f"{raw}/train", "section_00_source_train_normal_0000_noAttribute.wav")
    data.add(f"{raw}/test", "section_00_source_test_normal_0000_noAttribute.wav")
    data.add(f"{raw}/supplemental", "section_00_noise_0002_.wav", "section_00_noise_0001_.wav")
    challenge = load_challenge("DCASE2025T2")
    clips = layout.supplemental_clips(data.path, challenge, "dev", "fan")
    assert [(c.file_name, c.label) for c in clips] == [
        ("section_00_noise_0001_.wav", "noise"),
        ("section_00_noise_0002_.wav", "noise"),
    ]
    assert layout.supplemental_clips(data.path, challenge, "dev", "valve") == []
    found = data.unify("DCASE2025T2", "dev", "fan")
    assert "2025/dev/fan/supplemental/section_00_noise_0001_.wav" in found


def test_a_formula_in_the_table_is_text_and_read_back(data):
    raw = "dcase2024t2/dev_data/raw/=HYPERLINK(1)"
    data.add(f"{raw}/train", "section_00_source_train_normal_0000_-x.wav")
    data.add(f"{raw}/test", "section_00_source_test_normal_0000_-5.wav")
    year = load_challenge("DCASE2024T2")
    split = dataclasses.replace(year.dev, sections={"=HYPERLINK(1)": ("00",)})
    year = dataclasses.replace(year, dev=split)
    tree = data.output
    for _ in range(2):  # the second time reads the table
        clips = unify(data.path, year, "dev", [], tree)
        rows = data.table()
        assert [row["machine"] for row in rows] == ["'=HYPERLINK(1)"] * 2
        assert sorted(row["attributes"] for row in rows) == ["'-x", "-5"]
        assert {clip.machine for clip in clips} == {"=HYPERLINK(1)"}
        assert len(rows) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b.decode().encode("utf-16"), r"clips\.csv: is UTF-16 text"),
        (lambda b: b[:-20] + b"\xe9.wav\n", r"clips\.csv, line 4: is not UTF-8 text"),
        (lambda b: b[:-20], r"clips\.csv, line 4: the file is cut off here"),
        (lambda b: b + b"x,y\n", "is not the table of a tree"),
    ],
)
def test_a_damaged_table_is_refused_in_one_line(data, change, said):
    evaluation_data(data)
    data.unify("DCASE2024T2", "eval", "RoboticArm")
    path = data.output / "clips.csv"
    path.write_bytes(damaged := change(path.read_bytes()))
    with pytest.raises(UserError, match=said):
        data.unify("DCASE2024T2", "eval", "RoboticArm")
    assert path.read_bytes() == damaged


# --- attributes -----------------------------------------------------------------------------------


def attribute_clips(data, table):
    raw = "dcase2024t2/dev_data/raw/fan"
    data.add(
        f"{raw}/train",
        "section_00_source_train_normal_0000_noAttribute.wav",
        "section_00_source_train_normal_0001_noAttribute.wav",
        "section_00_source_train_normal_0002_spd_7.wav",
    )
    (data.path / raw / "attributes_00.csv").write_text(table)
    challenge = load_challenge("DCASE2024T2")
    clips = layout.train_clips(data.path, challenge, "dev", "fan")
    return {clip.file_name.split("_")[5][:4]: clip for clip in clips}


TABLE = """file_name,d1p,d1v,d2p,d2v
fan/train/section_00_source_train_normal_0000_noAttribute.wav,spd,6,mic,1
fan/train/section_00_source_train_normal_0001_noAttribute.wav,,,,
fan/train/section_00_source_train_normal_0002_spd_7.wav,spd,9,,
"""


def test_attributes_of_the_table_where_names_tell_none(data):
    clips = attribute_clips(data, TABLE)
    attributes = {number: clip.attributes for number, clip in clips.items()}
    assert attributes == {"0000": "spd_6_mic_1", "0001": "noAttribute", "0002": "spd_7"}
    assert clips["0000"].file_name == "section_00_source_train_normal_0000_noAttribute.wav"


def test_a_table_that_is_none(data):
    with pytest.raises(UserError, match=r"attributes_00\.csv: no table of attributes"):
        attribute_clips(data, "name,value\n")


def test_read_attributes_skips_clips_without(tmp_path):
    path = tmp_path / "attributes_00.csv"
    path.write_text(TABLE)
    assert set(read_attributes(path).values()) == {"spd_6_mic_1", "spd_9"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TABLE + "fan/test/a.wav,spd,6,mic,1,x\n", "line 5: 6 cells where the header has 5"),
        (TABLE + ",spd,6,mic,1\n", "line 5: no file name"),
        (
            TABLE + "fan/test/section_00_source_train_normal_0002_spd_7.wav,spd,8,,\n",
            "line 5: section_00_source_train_normal_0002_spd_7.wav has other attributes above",
        ),
        (TABLE.replace(",", ";"), "separated by semicolons"),
    ],
)
def test_attributes_that_contradict_each_other_are_refused(tmp_path, text, said):
    path = tmp_path / "attributes_00.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        read_attributes(path)


@pytest.mark.skipif(not REAL_LISTS.is_dir(), reason="needs the organisers' real lists")
@pytest.mark.parametrize("name", [n for n in challenge_names() if n != "DCASE2026T2"])
def test_names_of_the_real_lists_stay_apart(data, name):
    """A test clip of each row of a machine type comes into the tree under a name of its own."""
    year = load_challenge(name)
    corrected = "_corrected" if year.year == 2022 else ""
    path = REAL_LISTS / f"eval_data_list_{year.year}{corrected}.csv"
    machine, rows = next(iter(read_label_list(path).items()))
    raw = f"{name.lower()}/eval_data/raw/{machine}"
    section = year.eval.sections[machine][0]
    train = {"id": f"normal_id_{section}_00000000.wav"}
    data.add(
        f"{raw}/train",
        train.get(year.keyword, f"section_{section}_source_train_normal_0000_a_1.wav"),
    )
    for unlabelled in rows:
        domain = parse_clip_name(unlabelled).domain
        folder = f"{domain}_test" if len(year.test_folders) > 1 else "test"
        data.add(f"{raw}/{folder}", unlabelled)
    found = data.unify(name, "eval", machine, list_path=path, link=True)
    assert len(found) == len(rows) + 1
    assert all(clip.label and clip.domain for clip in found.values())
