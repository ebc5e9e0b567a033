import dataclasses
import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asd.challenge import labels as room
from asd.challenge.catalog import LabelList, challenge_names, load_challenge
from asd.challenge.labels import (
    RenameCounts,
    find_label_list,
    load_labels,
    read_label_list,
    rename_eval_clips,
)
from asd.challenge.names import parse_clip_name
from asd.errors import UserError

ROOT = Path(__file__).parents[2]
REAL_LISTS = ROOT.parent / "shared" / "data" / "labels"
YEAR_2023 = load_challenge("DCASE2023T2")

SHAKER = {
    "section_00_0000.wav": "section_00_source_test_normal_0000_spd_1.wav",
    "section_00_0001.wav": "section_00_target_test_anomaly_0001_spd_2.wav",
}
LIST = "bandsaw\r\nsection_00_0007.wav,section_00_source_test_normal_0007_vel_1.wav\r\nshaker\r\n"
LIST += "".join(f"{a},{b}\r\n" for a, b in SHAKER.items())


@pytest.fixture
def write(tmp_path):
    def write_list(text, name="list.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return path

    return write_list


def add_clips(data, folder, names):
    """Make clips of different content below <data>/<folder>."""
    (data / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        (data / folder / name).write_text(name)


# --- reading --------------------------------------------------------------------------------------


def test_read(write):
    labels = read_label_list(write(LIST))
    assert labels["shaker"] == SHAKER
    assert list(labels) == ["bandsaw", "shaker"]


def test_form_of_2020(write):
    text = "\ufefffan\nid_01_00000000.wav,normal_id_01_00000098.wav,0\n\n"
    assert read_label_list(write(text)) == {
        "fan": {"id_01_00000000.wav": "normal_id_01_00000098.wav"}
    }


def test_missing_word_test_is_put_in(write):
    row = "section_00_0000.wav,section_00_source_normal_0035_weight15_BckgF.wav"
    assert read_label_list(write(f"RoboticArm\n{row}\n"))["RoboticArm"] == {
        "section_00_0000.wav": "section_00_source_test_normal_0035_weight15_BckgF.wav"
    }


GOOD = "section_00_source_test_normal_0000_a.wav"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"section_00_0000.wav,{GOOD}\n", "line 1: a line with the machine type must come before"),
        (f"fan\nx.wav,{GOOD}\n", "line 2: x.wav: not a clip name"),
        ("fan\nsection_00_0000.wav,y.wav\n", "line 2: y.wav: not a clip name"),
        ("fan\nsection_00_0000.wav,section_00_0001.wav\n", "says neither normal nor anomaly"),
        (f"fan\na/../section_00_0000.wav,{GOOD}\n", "line 2: .* is not a plain name"),
        (f"fan\nsection_00_0000.wav,{GOOD[:-4]}/../x.wav\n", "is not a plain name"),
        ("../fan\n", "line 1: '../fan' is not a plain name"),
        (f"fan\nsection_00_0000.wav,{GOOD}\nsection_00_0000.wav,b\n", "line 3"),
        (
            f"fan\nsection_00_0000.wav,{GOOD}\nsection_00_0000.wav,{GOOD[:-4]}b.wav\n",
            "line 3: section_00_0000.wav of fan has a row already",
        ),
        (
            f"fan\nsection_00_0000.wav,{GOOD}\nsection_00_0001.wav,{GOOD}\n",
            "line 3: .* is given to another clip already",
        ),
        ("fan\n", "no labels in it"),
        ("", "the file is empty"),
    ],
)
def test_broken_lists(write, text, message):
    path = write(text)
    with pytest.raises(UserError, match=message) as caught:
        read_label_list(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.replace(",", ";"),
            r"line 2: 'section_00_0000.*no machine type.*98 more",
        ),
        (lambda t: t.replace("fan\n", "").replace(",", ";"), "separated by semicolons"),
        (lambda t: t.replace(",", ", "), r"line 2: ' section_00.*' has blanks around it.*\(and 98"),
        (lambda t: t.replace("fan", "fan "), "line 1: 'fan ' has blanks around it"),
        (lambda t: t.replace("fan", '"fan\n"'), "line 2: .*control characters"),
    ],
)
def test_a_list_that_a_spreadsheet_changed_is_told_in_one_line(write, change, said):
    rows = [
        f"section_00_{i:04d}.wav,section_00_source_test_normal_{i:04d}_a.wav" for i in range(99)
    ]
    with pytest.raises(UserError, match=said) as caught:
        read_label_list(write(change("\n".join(["fan", *rows, ""]))))
    assert len(str(caught.value)) < 400


def test_not_a_text_file(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(b"fan\n\xff\xfe\n")
    with pytest.raises(UserError, match="line 2: is not UTF-8 text"):
        read_label_list(path)
    with pytest.raises(UserError, match="no such file"):
        read_label_list(tmp_path / "none.csv")


# --- finding and downloading ----------------------------------------------------------------------


def entry(url, name, content, **more):
    return LabelList(name, url, hashlib.sha256(content).hexdigest(), **more)


@pytest.fixture
def year_2022(zenodo):
    """2022 with small lists of our own on the server: the published one is wrong."""
    wrong = b"fan\nsection_00_0000.wav,section_00_source_test_normal_0000_a.wav\n"
    right = wrong.replace(b"normal", b"anomaly")
    zenodo.files.update({"/published": wrong, "/corrected": right})
    corrected = entry(zenodo.url + "/corrected", "list_corrected.csv", right, reason="it is wrong")
    published = entry(zenodo.url + "/published", "list.csv", wrong, corrected=corrected)
    return dataclasses.replace(load_challenge("DCASE2022T2"), label_list=published)


def test_corrected_list_is_downloaded_once(zenodo, year_2022, patience, tmp_path):
    for _ in range(2):
        path = find_label_list(tmp_path, year_2022, patience=patience)
        assert path == tmp_path / "dcase2022t2/eval_data/list_corrected.csv"
        assert b"anomaly" in path.read_bytes()
    assert [address for address, _ in zenodo.requests] == ["/corrected"]


def test_wrong_list_on_request(zenodo, year_2022, patience, tmp_path, caplog):
    find_label_list(tmp_path, year_2022, patience=patience)
    for _ in range(2):
        path = find_label_list(tmp_path, year_2022, allow_wrong=True, patience=patience)
        assert path.read_bytes() == zenodo.files["/published"]
    assert zenodo.count("/published") == 1
    assert "it is wrong" in caplog.text


@pytest.mark.parametrize("is_given", [True, False], ids=["given", "found"])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_wrong_list_is_refused(zenodo, year_2022, write, tmp_path, is_given, ends):
    text = zenodo.files["/published"].replace(b"\n", ends).decode()
    path = write(text, "dcase2022t2/eval_data/list.csv")
    with pytest.raises(UserError, match=f"it is wrong; the corrected list is at {zenodo.url}"):
        find_label_list(tmp_path, year_2022, path if is_given else None)
    assert find_label_list(tmp_path, year_2022, path, allow_wrong=True) == path
    assert zenodo.requests == []


def test_corrected_list_under_the_published_name(zenodo, year_2022, write, tmp_path):
    """As the toolkit has it that the corrected list comes from."""
    path = write(zenodo.files["/corrected"].decode(), "dcase2022t2/eval_data/list.csv")
    assert find_label_list(tmp_path, year_2022) == path


def test_list_of_ones_own_is_accepted(year_2022, write, tmp_path, caplog):
    path = write(LIST)
    with caplog.at_level(logging.INFO):
        assert load_labels(tmp_path, year_2022, path)["shaker"] == SHAKER
    assert "used as it is" in caplog.text
    year_2026 = load_challenge("DCASE2026T2")
    assert load_labels(tmp_path, year_2026, path)["shaker"] == SHAKER


def test_list_that_changed_online(zenodo, year_2022, patience, tmp_path):
    zenodo.files["/corrected"] += b"\n"
    with pytest.raises(UserError, match="/corrected: has changed"):
        find_label_list(tmp_path, year_2022, patience=patience)
    assert not list(tmp_path.rglob("*.csv"))


def test_year_without_a_list(tmp_path):
    with pytest.raises(UserError, match="DCASE2026T2: no list of labels is published"):
        find_label_list(tmp_path, load_challenge("DCASE2026T2"))


def test_missing_list(tmp_path):
    with pytest.raises(UserError, match=r"none.csv: the list of labels cannot be read"):
        find_label_list(tmp_path, YEAR_2023, tmp_path / "none.csv")


# --- renaming -------------------------------------------------------------------------------------

RAW = "dcase2023t2/eval_data/raw"


@pytest.mark.parametrize("link", [False, True], ids=["copy", "link"])
def test_rename(write, tmp_path, caplog, link):
    add_clips(tmp_path, f"{RAW}/shaker/test", [*SHAKER, "section_00_0099.wav"])
    add_clips(tmp_path, f"{RAW}/shaker/test_rename", ["section_00_0000.wav"])
    counts = rename_eval_clips(tmp_path, YEAR_2023, write(LIST), link=link)
    assert counts == {"shaker": RenameCounts(named=2, without_row=1, without_clip=0)}
    renamed = tmp_path / RAW / "shaker/test_rename"
    assert {p.name: p.read_text() for p in renamed.iterdir()} == {b: a for a, b in SHAKER.items()}
    assert all(p.stat().st_nlink == (2 if link else 1) for p in renamed.iterdir())
    # No folder for the machine type without data, nothing left over.
    assert {p.name for p in (tmp_path / RAW).iterdir()} == {"shaker"}
    assert {p.name for p in (tmp_path / RAW / "shaker").iterdir()} == {"test", "test_rename"}
    assert "2 clips named, 1 clips without a row in the list, 0 rows without a clip" in caplog.text


def test_symbolic_links_where_there_are_no_hard_links(write, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("not on this disk")

    monkeypatch.setattr(room.os, "link", refuse)
    add_clips(tmp_path / "here", f"{RAW}/shaker/test", SHAKER)
    rename_eval_clips(tmp_path / "here", YEAR_2023, write(LIST), link=True)
    (tmp_path / "here").rename(tmp_path / "moved")
    for old, new in SHAKER.items():
        path = tmp_path / "moved" / RAW / "shaker/test_rename" / new
        assert path.is_symlink()
        assert path.read_text() == old


def test_2021_has_two_folders(write, tmp_path):
    raw = "dcase2021t2/eval_data/raw/fan"
    rows = {}
    for domain in ("source", "target"):
        name = f"section_03_{domain}_test_0000.wav"
        add_clips(tmp_path, f"{raw}/{domain}_test", [name])
        rows[name] = f"section_03_{domain}_test_anomaly_0000.wav"
    text = "fan\n" + "".join(f"{a},{b}\n" for a, b in rows.items())
    rename_eval_clips(tmp_path, load_challenge("DCASE2021T2"), write(text))
    found = {p.name: p.read_text() for p in (tmp_path / raw / "test_rename").iterdir()}
    assert found == {b: a for a, b in rows.items()}


def test_rows_without_a_clip_are_counted(write, tmp_path):
    add_clips(tmp_path, f"{RAW}/shaker/test", ["section_00_0001.wav"])
    counts = rename_eval_clips(tmp_path, YEAR_2023, write(LIST))
    assert counts["shaker"] == RenameCounts(named=1, without_row=0, without_clip=1)


def test_no_row_fits(write, tmp_path):
    add_clips(tmp_path, f"{RAW}/shaker/test", ["section_00_0099.wav"])
    add_clips(tmp_path, f"{RAW}/shaker/test_rename", ["mine.wav"])
    rename_eval_clips(tmp_path, YEAR_2023, write(LIST))
    assert (tmp_path / RAW / "shaker/test_rename/mine.wav").exists()


def test_no_data_folder(tmp_path):
    with pytest.raises(UserError, match=r"eval_data/raw: no such folder; download"):
        rename_eval_clips(tmp_path, YEAR_2023)  # no list either: nothing is downloaded


def test_no_data(write, tmp_path):
    (tmp_path / RAW).mkdir(parents=True)
    with pytest.raises(UserError, match=r"raw: no test clips of bandsaw, shaker; download"):
        rename_eval_clips(tmp_path, YEAR_2023, write(LIST))


def test_interrupted_copy_leaves_the_old_folder(write, tmp_path, monkeypatch):
    add_clips(tmp_path, f"{RAW}/shaker/test", SHAKER)
    add_clips(tmp_path, f"{RAW}/shaker/test_rename", ["old.wav"])
    copied = []

    def copy(*paths):
        if copied:
            raise KeyboardInterrupt
        copied.append(paths)
        paths[1].touch()

    monkeypatch.setattr(room.shutil, "copy2", copy)
    with pytest.raises(KeyboardInterrupt):
        rename_eval_clips(tmp_path, YEAR_2023, write(LIST))
    assert len(copied) == 1
    assert {p.name for p in (tmp_path / RAW / "shaker").iterdir()} == {"test", "test_rename"}
    assert [p.name for p in (tmp_path / RAW / "shaker/test_rename").iterdir()] == ["old.wav"]


# --- the script -----------------------------------------------------------------------------------


def run_script(*flags, cwd):
    script = ROOT / "tools/rename_eval_wav.py"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, script, *flags], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_script_from_another_folder(write, tmp_path):
    write(LIST, "mine/dcase2023t2/eval_data/eval_data_list_2023.csv")
    add_clips(tmp_path / "mine", f"{RAW}/shaker/test", SHAKER)
    done = run_script("--dataset_parent_dir=mine", "--dataset_type=DCASE2023T2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    renamed = tmp_path / "mine" / RAW / "shaker/test_rename"
    assert {p.name for p in renamed.iterdir()} == set(SHAKER.values())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset_type=DCASE2032T2"], "challenge year 'DCASE2032T2' is unknown"),
        (["--dataset_type=DCASE2023T2", "--list=none.csv"], "none.csv: the list of labels cannot"),
    ],
)
def test_script_tells_what_is_wrong(tmp_path, flags, message):
    (tmp_path / RAW).mkdir(parents=True)
    done = run_script("--dataset_parent_dir=.", *flags, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


# --- the organisers' lists, which are not ours to keep here ---------------------------------------

FILES = [
    (name, which)
    for name in challenge_names()
    for which in ("published", "corrected")
    if load_challenge(name).label_list and (which == "published" or name == "DCASE2022T2")
]


@pytest.mark.parametrize(("name", "which"), FILES)
def test_real_lists(name, which):
    challenge = load_challenge(name)
    about = challenge.label_list if which == "published" else challenge.label_list.corrected
    path = REAL_LISTS / about.file
    if not path.is_file():
        pytest.skip(f"the organisers' list {about.file} is not at {REAL_LISTS}")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == about.sha256
    labels = read_label_list(path)
    assert set(labels) == set(challenge.eval.sections)
    for machine, rows in labels.items():
        for old, new in rows.items():
            before, after = parse_clip_name(old), parse_clip_name(new)
            assert (str(before), str(after)) == (old, new)
            assert before.section == after.section
            assert after.section in challenge.eval.sections[machine]
            assert before.label is None
            assert after.split == (None if challenge.year == 2020 else "test")
            assert (after.domain or "source") in challenge.domains
            assert before.domain in (None, after.domain)
    raw_rows = [line for line in path.read_text().splitlines() if "," in line]
    assert sum(map(len, labels.values())) == len(raw_rows)


def test_what_is_wrong_in_2022():
    about = load_challenge("DCASE2022T2").label_list
    paths = [REAL_LISTS / one.file for one in (about, about.corrected)]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"the organisers' lists of 2022 are not at {REAL_LISTS}")
    wrong, right = (
        {m: {old: parse_clip_name(new).label for old, new in rows.items()} for m, rows in one}
        for one in (read_label_list(path).items() for path in paths)
    )
    differing = {m: sum(wrong[m][k] != right[m][k] for k in wrong[m]) for m in wrong}
    assert {m: n for m, n in differing.items() if n} == {"ToyCar": 296, "ToyTrain": 312}
    with pytest.raises(UserError, match="296 ToyCar and 312 ToyTrain clips the wrong"):
        find_label_list(Path("data"), load_challenge("DCASE2022T2"), paths[0])
