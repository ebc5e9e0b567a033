import gc
import io
import json
import logging
import os
import random
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import textwrap
import time
import zipfile
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from asd import __version__
from asd.challenge.catalog import load_challenge
from asd.challenge.download import dataset as room
from asd.challenge.download import disk, transfer
from asd.challenge.download.dataset import download
from asd.challenge.download.policy import RetryPolicy
from asd.challenge.download.transfer import fetch_file
from asd.challenge.download.unpack import BadArchiveError, unpack
from asd.challenge.layout import test_clips as clips_for_testing
from asd.challenge.layout import train_clips
from asd.cli import main
from asd.errors import UserError

DEV = "/record/7882613/files/dev_fan.zip"
DEV_API = "/api/records/7882613"
EVAL_TRAIN = "/record/7830345/files/eval_data_shaker_train.zip"
EVAL_TEST = "/record/7860847/files/eval_data_shaker_test.zip"
YEAR_2023 = load_challenge("DCASE2023T2")


def clip(number, split="train"):
    return f"section_00_source_{split}_normal_{number:04d}_a_1.wav"


@pytest.fixture
def fan_zip(pack):
    noise = os.urandom(200_000)  # does not compress, so that a break can come in the middle
    return pack(
        {
            f"fan/train/{clip(0)}": noise,
            f"fan/train/{clip(1)}": b"one",
            f"fan/test/{clip(0, 'test')}": b"two",
            "fan/attributes_00.csv": b"file_name,d1p\n",
        }
    )


@pytest.fixture
def get(zenodo, patience, tmp_path):
    def run(split="dev", machines=("fan",), challenge=YEAR_2023, **options):
        options = {"base_url": zenodo.url, "patience": patience, **options}
        download(challenge, split, machines, tmp_path, **options)
        return tmp_path / challenge.name.lower() / f"{split}_data" / "raw"

    return run


@pytest.fixture
def raw(tmp_path):
    """Folder of the development data of 2023."""
    return tmp_path / "dcase2023t2/dev_data/raw"


def tree(folder):
    """Visible files below a folder, and what is hidden but neither lock nor stamp."""
    paths = {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}
    return {p for p in paths if not p.endswith((".zip.json", ".lock"))}


FAN = {
    f"fan/train/{clip(0)}",
    f"fan/train/{clip(1)}",
    f"fan/test/{clip(0, 'test')}",
    "fan/attributes_00.csv",
}


def no_folders_left(raw):
    return not [p for p in raw.rglob("*") if p.is_dir() and p.name.startswith(".")]


# --- the plain way --------------------------------------------------------------------------------


def test_development_data(zenodo, get, fan_zip, tmp_path):
    zenodo.add_file(DEV, fan_zip)
    raw = get()
    assert tree(raw) == FAN
    assert no_folders_left(raw)
    assert [c.file_name for c in train_clips(tmp_path, YEAR_2023, "dev", "fan")] == [
        clip(0),
        clip(1),
    ]
    assert (raw / f"fan/train/{clip(1)}").read_bytes() == b"one"


def test_what_is_there_is_not_downloaded_again(zenodo, get, fan_zip):
    zenodo.add_file(DEV, fan_zip)
    get()
    get()
    assert len(zenodo.requests) == 2  # one for the record, one for the archive


def test_unpacked_by_hand_is_left_alone(zenodo, get, raw):
    for name in ("train", "test"):
        (raw / "fan" / name).mkdir(parents=True)
        (raw / "fan" / name / "x.wav").touch()
    assert tree(get()) == {"fan/train/x.wav", "fan/test/x.wav"}
    assert zenodo.requests == []


def test_lost_clips_are_fetched_again(zenodo, get, fan_zip):
    zenodo.add_file(DEV, fan_zip)
    raw = get()
    (raw / f"fan/train/{clip(1)}").unlink()
    (raw / "fan/train/mine.txt").touch()
    get()
    assert tree(raw) == FAN | {"fan/train/mine.txt"}


def test_archives_are_kept_on_request_and_used(zenodo, get, fan_zip):
    zenodo.add_file(DEV, fan_zip)
    raw = get(keep_archives=True)
    assert (raw / "dev_fan.zip").read_bytes() == fan_zip
    shutil.rmtree(raw / "fan")
    get()
    assert tree(raw) == FAN
    assert zenodo.count(DEV) == 1


def add_eval(zenodo, pack):
    train = {f"shaker/train/{clip(0)}": b"a", "shaker/attributes_00.csv": b"of train"}
    test = {"shaker/test/section_00_0000.wav": b"b", "shaker/attributes_00.csv": b"of test"}
    zenodo.add_file(EVAL_TRAIN, pack(train))
    zenodo.add_file(EVAL_TEST, pack(test))


@pytest.mark.parametrize("order", [("train", "test"), ("test", "train")])
def test_evaluation_parts_join(zenodo, get, pack, order):
    add_eval(zenodo, pack)
    for part in order:
        raw = get("eval", ["shaker"], parts=[part])
    assert tree(raw) == {
        f"shaker/train/{clip(0)}",
        "shaker/test/section_00_0000.wav",
        "shaker/attributes_00.csv",
    }
    assert (raw / "shaker/attributes_00.csv").read_text() == "of train"


def test_only_the_part_asked_for(zenodo, get, pack):
    add_eval(zenodo, pack)
    raw = get("eval", ["shaker"], parts=["train"])
    assert not (raw / "shaker/test").exists()
    assert {path for path, _ in zenodo.requests} == {"/api/records/7830345", EVAL_TRAIN}


def test_2021_has_two_test_folders(zenodo, get, pack, tmp_path):
    zenodo.add_file(
        "/record/4562016/files/dev_data_fan.zip",
        pack(
            {
                "fan/train/section_00_source_train_normal_0000_a.wav": b"",
                "fan/source_test/section_00_source_test_normal_0000_a.wav": b"",
                "fan/target_test/section_00_target_test_anomaly_0000_a.wav": b"",
            }
        ),
    )
    year = load_challenge("DCASE2021T2")
    get(challenge=year)
    assert [c.domain for c in clips_for_testing(tmp_path, year, "dev", "fan")] == [
        "source",
        "target",
    ]
    get(challenge=year)
    assert zenodo.count("/record/4562016/files/dev_data_fan.zip") == 1


def test_supplemental_clips_of_2025_come_along(zenodo, get, pack):
    entries = {
        f"fan/train/{clip(0)}": b"",
        "fan/supplemental/section_00_noise_0000_.wav": b"",
        f"fan/test/{clip(0, 'test')}": b"",
        "__MACOSX/fan/train/._x.wav": b"",
    }
    zenodo.add_file("/records/15097779/files/dev_fan.zip", pack(entries))
    raw = get(challenge=load_challenge("DCASE2025T2"))
    assert tree(raw) == {name for name in entries if not name.startswith("__")}


# --- archives that the organisers replaced --------------------------------------------------------

YEAR_2026 = load_challenge("DCASE2026T2")
OLD_CAR = "/records/19336329/files/dev_ToyCar.zip"
NEW_CAR = "/records/19336329/files/dev_ToyCar_r2.zip"
CAR_2 = {f"ToyCar/train/{clip(0)}", f"ToyCar/train/{clip(2)}", f"ToyCar/test/{clip(0, 'test')}"}


def before(challenge, old, new):
    """The challenge year as its catalog entry was when `old` was the newest archive."""
    archives = {
        machine: tuple(url.replace(new, old) for url in urls)
        for machine, urls in challenge.dev.archives.items()
    }
    return replace(challenge, dev=replace(challenge.dev, archives=archives))


@pytest.fixture
def old_car(zenodo, get, pack):
    """A tree with the first archive's clips and a file of the user's, and the new one on offer."""
    first = {f"ToyCar/train/{clip(n)}": b"old" for n in (0, 1)}
    first[f"ToyCar/test/{clip(0, 'test')}"] = b"old"
    zenodo.add_file(OLD_CAR, pack(first))
    zenodo.add_file(NEW_CAR, pack(dict.fromkeys(sorted(CAR_2), b"new")))
    raw = get(
        machines=["ToyCar"], challenge=before(YEAR_2026, "dev_ToyCar.zip", "dev_ToyCar_r2.zip")
    )
    (raw / "ToyCar/train/mine.txt").touch()
    return raw


def test_replaced_archive_is_told_and_left_alone(zenodo, get, old_car, caplog):
    there = tree(old_car)
    get(machines=["ToyCar"], challenge=YEAR_2026)
    assert tree(old_car) == there
    assert zenodo.count(NEW_CAR) == 0
    [warning] = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert warning == (
        f"{old_car / 'ToyCar'}: the clips are of dev_ToyCar.zip of record 19336329, which the "
        "organisers have replaced by dev_ToyCar_r2.zip; add --renew to get that"
    )


def test_renewing_leaves_no_clip_of_the_replaced_archive(zenodo, get, old_car, caplog):
    (old_car / "ToyCar/test_rename").mkdir()
    get(machines=["ToyCar"], challenge=YEAR_2026, renew=True)
    assert tree(old_car) == CAR_2 | {"ToyCar/train/mine.txt"}
    assert {(old_car / name).read_bytes() for name in CAR_2} == {b"new"}
    assert [p.name for p in (old_car / "ToyCar").glob(".*.json")] == [".dev_ToyCar_r2.zip.json"]
    assert "replaced by dev_ToyCar_r2.zip; getting that" in caplog.text
    assert "test_rename/ has copies of the clips of dev_ToyCar.zip of record" in caplog.text
    caplog.clear()
    get(machines=["ToyCar"], challenge=YEAR_2026, renew=True)
    assert zenodo.count(NEW_CAR) == 1
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_archive_of_the_same_name_in_a_new_record_is_another_one(zenodo, get, old_car):
    other = OLD_CAR.replace("19336329", "77")
    zenodo.add_file(other, zenodo.files[NEW_CAR])
    get(machines=["ToyCar"], challenge=before(YEAR_2026, other[1:], NEW_CAR[1:]), renew=True)
    assert tree(old_car) == CAR_2 | {"ToyCar/train/mine.txt"}


def test_lost_clips_of_a_replaced_archive_do_not_mix_with_new_ones(get, old_car):
    (old_car / f"ToyCar/train/{clip(0)}").unlink()
    get(machines=["ToyCar"], challenge=YEAR_2026)
    assert tree(old_car) == CAR_2 | {"ToyCar/train/mine.txt"}


@pytest.mark.parametrize("call", [1, 2, 3, 4, 5])
def test_renewal_that_is_stopped_is_done_by_the_next_download(get, old_car, monkeypatch, call):
    """Stopped at each deletion (three clips, one stamp) and before the new clips are moved."""
    calls, real = [], Path.unlink

    def stop(path, *args, **options):
        if path.suffix in (".wav", ".json"):
            calls.append(path)
            if len(calls) == call:
                raise KeyboardInterrupt
        real(path, *args, **options)

    monkeypatch.setattr(Path, "unlink", stop)
    if call == 5:
        monkeypatch.setattr(
            room, "_merge", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
        )
    with pytest.raises(KeyboardInterrupt):
        get(machines=["ToyCar"], challenge=YEAR_2026, renew=True)
    monkeypatch.undo()
    get(machines=["ToyCar"], challenge=YEAR_2026)
    assert tree(old_car) == CAR_2 | {"ToyCar/train/mine.txt"}
    assert {(old_car / name).read_bytes() for name in CAR_2} == {b"new"}


def test_records_asked_for_names_are_current_without_asking(zenodo, get, pack, caplog):
    add_2026(zenodo, pack)
    for _ in range(2):
        get("eval", ["ToyDrone"], YEAR_2026, renew=True)
    assert zenodo.count("/api/records/20437238") == 1
    assert "replaced" not in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"archive": "other.zip"},
        {"url": "http://x/y.zip"},
        {"url": None},
        {"parts": "train"},
        {"clips": {"../train": 1}},
        {"clips": {"train": "many"}},
        {"clips": []},
        {"complete": 1},
        {"more": 1},
        "",
        "[]",
        "[" * 100_000,
        "\0",
    ],
    ids=str,
)
def test_damaged_stamps_are_named(zenodo, get, fan_zip, change):
    zenodo.add_file(DEV, fan_zip)
    path = get() / "fan/.dev_fan.zip.json"
    stamp = json.loads(path.read_text())
    path.write_text(json.dumps({**stamp, **change}) if isinstance(change, dict) else change)
    with pytest.raises(UserError, match=r"\.dev_fan\.zip\.json: is damaged or of another program"):
        get()


# --- 2026: the record's own list ------------------------------------------------------------------


def add_2026(zenodo, pack):
    train = "/records/20151556/files/eval_data_ToyDrone_train.zip"
    zenodo.add_file(train, pack({f"ToyDrone/train/{clip(0)}": b""}))
    for name, machine in [
        ("eval_data_ToyDroneEmu_test.zip", "ToyDroneEmu"),
        ("eval-data.ToyDrone_r3.zip", "ToyDrone"),
        ("eval_data_Sander_test.zip", "Sander"),
    ]:
        content = pack({f"{machine}/test/section_00_0000.wav": machine.encode()})
        zenodo.add_file(f"/records/20437238/files/{name}", content)


def test_2026_asks_the_record_for_names(zenodo, get, pack):
    add_2026(zenodo, pack)
    raw = get("eval", ["ToyDrone"], load_challenge("DCASE2026T2"))
    assert tree(raw) == {f"ToyDrone/train/{clip(0)}", "ToyDrone/test/section_00_0000.wav"}
    assert (raw / "ToyDrone/test/section_00_0000.wav").read_bytes() == b"ToyDrone"
    assert zenodo.count("/records/20437238/files/eval_data_ToyDroneEmu_test.zip") == 0


def test_2026_training_data_do_not_need_the_record(zenodo, get, pack):
    add_2026(zenodo, pack)
    get("eval", ["ToyDrone"], load_challenge("DCASE2026T2"), parts=["train"])
    assert zenodo.count("/api/records/20437238") == 0


def test_2026_machine_missing_in_the_record(zenodo, get, pack):
    add_2026(zenodo, pack)
    with pytest.raises(UserError, match=r"names the machine type ToothBrush; it has eval_data_Toy"):
        get("eval", ["ToothBrush"], load_challenge("DCASE2026T2"), parts=["test"])


def test_2026_needs_the_record(zenodo, get):
    zenodo.files["/api/records/20437238"] = b"<html>maintenance</html>"
    with pytest.raises(UserError, match="not Zenodo's description of a record"):
        get("eval", ["Sander"], load_challenge("DCASE2026T2"), parts=["test"])


# --- a network and a server that misbehave --------------------------------------------------------


def test_broken_connections_are_resumed(zenodo, get, fan_zip):
    zenodo.add_file(DEV, fan_zip)
    # More breaks than `retries` allows in a row: each brought something, so all are forgiven.
    zenodo.faults[DEV] = [("drop", 30_000)] * 5
    assert tree(get()) == FAN
    assert zenodo.ranges(DEV) == [None, *(f"bytes={30_000 * n}-" for n in range(1, 6))]


def test_stall_is_noticed_and_resumed(zenodo, get, fan_zip):
    zenodo.add_file(DEV, fan_zip)
    zenodo.faults[DEV] = [("stall", 50_000)]
    assert tree(get()) == FAN
    assert zenodo.ranges(DEV) == [None, "bytes=50000-"]


def test_moved_address_is_resumed_too(zenodo, get, fan_zip):
    """As Zenodo sends on from /record/ to /records/."""
    zenodo.add_file(DEV, fan_zip)
    there = DEV.replace("record", "records")
    zenodo.files[there] = fan_zip
    zenodo.faults[DEV] = [("status", 301, {"Location": there})] * 2
    zenodo.faults[there] = [("drop", 40_000)]
    assert tree(get()) == FAN
    assert zenodo.ranges(there) == [None, "bytes=40000-"]


def test_server_that_ignores_ranges(zenodo, get, fan_zip):
    zenodo.add_file(DEV, fan_zip)
    zenodo.faults[DEV] = [("drop", 50_000), "no-range"]
    assert tree(get()) == FAN


def test_changed_file_is_not_glued_to_the_old_part(zenodo, patience, tmp_path):
    target = tmp_path / "x.bin"
    zenodo.files["/x"] = b"new" * 1000
    url, part = zenodo.url + "/x", tmp_path / "x.bin.part"
    session = transfer._session(url, patience)
    first = transfer._Download(url, part, None, patience, _bar(), session)
    zenodo.faults["/x"] = [("drop", 700)]
    with pytest.raises(transfer._BrokenError):
        first.attempt()
    zenodo.files["/x"] = b"other" * 1000
    first.attempt()
    assert target.with_name("x.bin.part").read_bytes() == b"other" * 1000


def _bar():
    return transfer.tqdm(disable=True)


def test_part_of_an_earlier_run_is_continued(zenodo, get, fan_zip, raw):
    zenodo.add_file(DEV, fan_zip)
    raw.mkdir(parents=True)
    (raw / "dev_fan.zip.part").write_bytes(fan_zip[:70_000])
    assert tree(get()) == FAN
    assert zenodo.ranges(DEV) == ["bytes=70000-"]


@pytest.mark.parametrize("extra", [b"", b"more"])
def test_part_that_is_complete_or_too_long(zenodo, patience, tmp_path, extra):
    zenodo.files["/x"] = b"new" * 1000
    (tmp_path / "x.part").write_bytes(zenodo.files["/x"] + extra)
    fetch_file(zenodo.url + "/x", tmp_path / "x", None, patience)  # the server says 416
    assert (tmp_path / "x").read_bytes() == zenodo.files["/x"]
    assert zenodo.ranges("/x") == ([f"bytes={3000 + len(extra)}-"] + [None] * bool(extra))


def test_server_errors_are_retried(zenodo, get, fan_zip):
    zenodo.add_file(DEV, fan_zip)
    zenodo.faults[DEV] = [500, 503]
    zenodo.faults[DEV_API] = [502]
    assert tree(get()) == FAN


def test_server_errors_without_end(zenodo, get, fan_zip):
    zenodo.add_file(DEV, fan_zip)
    zenodo.faults[DEV] = [500] * 9
    with pytest.raises(UserError, match=r"dev_fan.zip: gave up after 4 failed .*HTTP status 500"):
        get()
    assert zenodo.count(DEV) == 4


def test_not_found_is_told_at_once(zenodo, get):
    zenodo.files[DEV_API] = b'{"files": []}'
    with pytest.raises(UserError, match=rf"{zenodo.url}{DEV}: cannot be .*404"):
        get()
    assert zenodo.count(DEV) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(zenodo, get, fan_zip, monkeypatch, form):
    zenodo.add_file(DEV, fan_zip)
    later = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=3), usegmt=True)
    wait = {"seconds": "3", "date": later}[form]
    zenodo.faults[DEV] = [("status", 429, {"Retry-After": wait})]
    pauses = []
    monkeypatch.setattr(transfer.time, "sleep", pauses.append)
    assert tree(get()) == FAN
    assert pauses == [pytest.approx(3, abs=1.5 if form == "date" else 0)]


def test_too_long_a_wait_is_left_to_the_user(zenodo, get, fan_zip):
    zenodo.add_file(DEV, fan_zip)
    zenodo.faults[DEV] = [("status", 429, {"Retry-After": "3600"})]
    with pytest.raises(UserError, match="asks to wait 3600 s"):
        get()


def test_requests_name_the_program_and_its_library(zenodo, get, fan_zip):
    zenodo.add_file(DEV, fan_zip)
    get()
    agents = {headers["User-Agent"] for _, headers in zenodo.requests}
    assert agents == {f"asd/{__version__} python-requests/{requests.__version__}"}


def test_refused_program_is_told_so_at_once(zenodo, patience, tmp_path):
    zenodo.files["/x"] = b"x"
    zenodo.faults["/x"] = [403]
    with pytest.raises(UserError) as caught:
        fetch_file(zenodo.url + "/x", tmp_path / "x", None, patience)
    assert str(caught.value) == (
        f"{zenodo.url}/x: the server refuses this program (HTTP status 403 Forbidden); "
        "try again in an hour, or get the file with a browser"
    )
    assert zenodo.count("/x") == 1


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (429, {"X-RateLimit-Reset": "+240"}, 240),
        (429, {"X-RateLimit-Reset": "+240", "Retry-After": "7"}, 7),
        (429, {"X-RateLimit-Reset": "+240", "Retry-After": "\u00b2"}, 240),
        (429, {"X-RateLimit-Reset": "-5"}, 0),
        (500, {"X-RateLimit-Reset": "+240"}, 0),  # Zenodo sends it with every answer
        (429, {"X-RateLimit-Reset": "\u00b2"}, 0),
        (429, {"Retry-After": "\u00b2"}, 0),
        (429, {"Retry-After": "9" * 5000}, 0),
        (429, {"Retry-After": "Mon, 99 Foo 99999999999999 99:99:99 GMT"}, 0),
        (429, {"Retry-After": "1.5e3"}, 0),
        (429, {}, 0),
    ],
)
def test_pause_is_what_the_rate_limit_says(
    zenodo, get, fan_zip, patience, monkeypatch, status, headers, expected
):
    zenodo.add_file(DEV, fan_zip)
    headers = {
        name: str(int(time.time()) + int(value)) if value[0] in "+-" else value
        for name, value in headers.items()
    }
    zenodo.faults[DEV] = [("status", status, headers)]
    pauses = []
    monkeypatch.setattr(transfer.time, "sleep", pauses.append)
    assert tree(get(patience=replace(patience, longest_wait_s=900))) == FAN
    # The first pause of urllib3 has no length.
    assert pauses == [pytest.approx(expected, abs=2)]


def test_too_far_a_reset_is_left_to_the_user(zenodo, get, fan_zip):
    zenodo.add_file(DEV, fan_zip)
    reset = str(int(time.time()) + 4000)
    zenodo.faults[DEV] = [("status", 429, {"X-RateLimit-Reset": reset})]
    with pytest.raises(UserError, match=r"asks to wait (3999|4000) s \(HTTP status 429\)"):
        get()


def test_retries_are_told_with_reason_and_pause(zenodo, get, fan_zip, caplog):
    zenodo.add_file(DEV, fan_zip)
    zenodo.faults[DEV] = [503, ("drop", 0)]
    assert tree(get()) == FAN
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert told[0] == f"{zenodo.url}{DEV}: HTTP status 503; trying again in 0 s"
    assert told[1].startswith(f"{zenodo.url}{DEV}: ")
    assert len(told) == 2


@pytest.mark.parametrize("length", ["abc", "\u00b2", "-7", "9" * 5000, "1e3"])
def test_length_that_is_none(zenodo, get, fan_zip, length):
    zenodo.add_file(DEV, fan_zip)
    zenodo.faults[DEV] = [("length", length)]
    zenodo.faults[DEV_API] = [("length", length)]
    assert tree(get()) == FAN


def test_absurd_length_is_a_matter_of_space(zenodo, get, fan_zip):
    zenodo.add_file(DEV, fan_zip)
    zenodo.faults[DEV] = [("length", "9" * 18)]
    with pytest.raises(UserError, match=rf"disk is full \({'9' * 18} bytes are needed"):
        get()


def test_break_of_an_answer_in_chunks_is_resumed(zenodo, get, fan_zip):
    zenodo.add_file(DEV, fan_zip)
    zenodo.faults[DEV] = [("chunked", 50_000)]
    assert tree(get()) == FAN
    assert zenodo.ranges(DEV) == [None, "bytes=50000-"]


def test_answer_without_end_is_cut_off(zenodo, patience, tmp_path, monkeypatch):
    zenodo.files["/x"] = b""
    zenodo.faults["/x"] = ["endless"] * 2
    fetch_file(zenodo.url + "/x", tmp_path / "x", 100_000, patience)
    assert 100_000 < (tmp_path / "x").stat().st_size < 10**6
    monkeypatch.setattr(transfer, "_SMALL_BYTES", 100_000)
    with pytest.raises(UserError, match="more than 100000 bytes"):
        transfer.fetch_bytes(zenodo.url + "/x", patience)


@pytest.mark.parametrize(
    "place",
    ["file:///etc/hostname", "http://[::1", "/x", "gopher://x", "http://\u00e9\u00ff.x:-1/"],
)
def test_redirects_to_nowhere(zenodo, patience, tmp_path, place):
    zenodo.faults["/x"] = [("status", 302, {"Location": place})] * 40
    with pytest.raises(UserError, match=r"/x: (cannot be downloaded|gave up)") as caught:
        fetch_file(zenodo.url + "/x", tmp_path / "x", None, patience)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [204, 206, 300, 401, 418, 999])
def test_other_answers_are_no_file(zenodo, patience, code):
    zenodo.faults["/x"] = [code]
    with pytest.raises(UserError, match=rf"cannot be downloaded \(HTTP status {code} "):
        transfer.fetch_bytes(zenodo.url + "/x", patience)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no program to make a certificate")
def test_certificate_that_nobody_trusts_is_not_tried_again(zenodo, patience, tmp_path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1",
         "-keyout", tmp_path / "key", "-out", tmp_path / "certificate"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    zenodo.socket = context.wrap_socket(zenodo.socket, server_side=True)
    url = zenodo.url.replace("http:", "https:")
    with pytest.raises(UserError, match=r"/x: the server's certificate is not trusted \(self"):
        transfer.fetch_bytes(url + "/x", patience)


def test_pauses_double_up_to_a_minute():
    retry = transfer._Retry.of("http://x", RetryPolicy(retries=9, backoff_s=1.0))
    pauses = []
    for _ in range(9):
        retry = retry.increment("GET", "/", error=OSError("broken"))
        pauses.append(retry.get_backoff_time())
    assert pauses == [0, 2, 4, 8, 16, 32, 60, 60, 60]


def test_nobody_answers(patience, tmp_path, zenodo):
    zenodo.server_close()
    with pytest.raises(UserError, match="gave up after 4 failed attempts"):
        fetch_file(zenodo.url + "/x", tmp_path / "x", None, patience)


# --- archives that are wrong ----------------------------------------------------------------------


def test_wrong_archive_is_fetched_once_more(zenodo, get, fan_zip):
    zenodo.add_file(DEV, fan_zip)
    zenodo.faults[DEV] = [("content", b"x" * len(fan_zip))]
    assert tree(get()) == FAN


@pytest.mark.parametrize("kind", ["other bytes", "truncated"])
def test_wrong_twice(zenodo, get, fan_zip, raw, kind):
    zenodo.add_file(DEV, fan_zip)
    wrong = {"other bytes": b"x" * len(fan_zip), "truncated": fan_zip[:-9]}[kind]
    zenodo.files[DEV] = wrong
    reason = {"other bytes": "MD5 .* in place of", "truncated": "bytes long in place of"}[kind]
    with pytest.raises(UserError, match=rf"dev_fan.zip: .*second attempt too \(.*{reason}"):
        get()
    assert tree(raw) == set()


def test_without_the_api_the_archive_is_checked_by_its_own_sums(zenodo, get, fan_zip, caplog):
    zenodo.add_file(DEV, fan_zip, record_entry=False)
    damaged = bytearray(fan_zip)
    damaged[100_000] ^= 1
    zenodo.faults[DEV] = [("content", bytes(damaged))]
    with caplog.at_level(logging.WARNING):
        assert tree(get()) == FAN
    assert "checked by their own checksums" in caplog.text
    assert "damaged (Bad CRC-32" in caplog.text


def link_entry(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize(
    "evil",
    [
        "../../evil.wav",
        "fan/../../../evil.wav",
        "/tmp/evil.wav",
        "C:/evil.wav",
        "fan\\..\\..\\evil.wav",
        link_entry("fan/train/link.wav"),
    ],
    ids=str,
)
def test_no_entry_escapes(zenodo, get, evil, tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr(f"fan/train/{clip(0)}", b"")
        if isinstance(evil, str):  # ZipInfo would mend some of these names
            info = zipfile.ZipInfo("x")
            info.filename = evil
            packed.writestr(info, b"evil")
        else:
            packed.writestr(evil, b"/etc/passwd")
    zenodo.add_file(DEV, stream.getvalue())
    with pytest.raises(UserError, match="nothing was unpacked"):
        get()
    assert [p.name for p in tmp_path.rglob("*") if not p.is_dir() and p.suffix != ".lock"] == [
        "dev_fan.zip"
    ]


def special(name, kind):
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o644) << 16
    return info


def raw_name(text):
    """ZipInfo would cut or mend some names; the file then has this one."""
    info = zipfile.ZipInfo("x")
    info.filename = text
    return info


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (special("fan/train/a.wav", stat.S_IFLNK), "is a link or a special file"),
        (special("fan/train/a.wav", stat.S_IFIFO), "is a link or a special file"),
        (special("fan/train/a.wav", stat.S_IFCHR), "is a link or a special file"),
        (special("fan/train/a.wav", stat.S_IFBLK), "is a link or a special file"),
        (special("fan/train/a.wav", stat.S_IFSOCK), "is a link or a special file"),
        (raw_name("fan/train/a.wav\0.txt"), "is not a plain path"),
        (raw_name("\0"), "would be written outside"),
        (raw_name("fan/train/a\nINFO: b.wav"), "is not a plain path"),
        (raw_name(f"train/{clip(0)}"), "is there twice"),
        (raw_name("fan/train"), "train is a file and a folder"),
        (raw_name("fan/train/" + "a" * 300), "too long"),
    ],
    ids=str,
)
def test_strange_entries_leave_nothing_behind(zenodo, get, raw, entry, complaint):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr(f"fan/train/{clip(0)}", b"x")
        packed.writestr(f"fan/test/{clip(0, 'test')}", b"x")
        packed.writestr(entry, b"evil")
    zenodo.add_file(DEV, stream.getvalue())
    with pytest.raises(UserError, match=f"(?i){complaint}") as caught:
        get()
    assert "\n" not in str(caught.value)
    assert tree(raw) == {"dev_fan.zip"}
    assert no_folders_left(raw)


def test_hidden_files_of_archives_are_left_out(zenodo, get, fan_zip, pack):
    """One is made up to look like the stamp of a whole download."""
    stamp = {"archive": "x.zip", "url": "/record/1/files/x.zip", "md5": None, "parts": [],
             "clips": {"train": 10**6}, "complete": False}  # fmt: skip
    entries = {"fan/.x.zip.json": json.dumps(stamp), ".dev_fan.zip.json": "{}", "fan/.DS_Store": "",
               "fan/train/._a.wav": "", "fan/.git/config": ""}  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(fan_zip)) as packed:
        entries.update({name: packed.read(name) for name in packed.namelist()})
    zenodo.add_file(DEV, pack(entries))
    raw = get()
    assert tree(raw) == FAN
    assert [p.name for p in raw.rglob(".*") if p.suffix == ".json"] == [".dev_fan.zip.json"]
    assert json.loads((raw / "fan/.dev_fan.zip.json").read_text())["complete"] is True


def test_archive_of_zeros_is_refused_before_it_is_unpacked(zenodo, get, raw, pack):
    content = pack({f"fan/train/{clip(0)}": bytes(70 << 20), f"fan/test/{clip(0, 'test')}": b""})
    zenodo.add_file(DEV, content)
    with pytest.raises(UserError) as caught:
        get()
    assert str(caught.value) == (
        f"{raw / 'dev_fan.zip'}: {70 << 20} bytes in {len(content)} are no recordings, so nothing "
        "was unpacked; delete this archive, and report it if it came from Zenodo"
    )
    assert tree(raw) == {"dev_fan.zip"}


METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


@pytest.mark.parametrize("method", METHODS)
def test_damage_anywhere_is_noticed_or_harmless(tmp_path, method):
    """A changed byte, a lost end, zeros: one line and no folder, or every clip as it was."""
    content = {f"train/{clip(n)}": random.Random(n).randbytes(300) * 9 for n in range(3)}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", METHODS[method]) as packed:
        for name, data in content.items():
            packed.writestr(f"fan/{name}", data)
    whole, draw = stream.getvalue(), random.Random(13711)
    archive, folder = tmp_path / "x.zip", tmp_path / "fan"
    complaints = []
    for _ in range(120):
        damaged = bytearray(whole)
        place = draw.randrange(len(whole))
        match draw.randrange(3):
            case 0:
                damaged[place] ^= draw.randrange(1, 256)
            case 1:
                del damaged[place:]
            case 2:
                damaged[place : place + 20] = bytes(len(damaged[place : place + 20]))
        archive.write_bytes(damaged)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            unpack(archive, "fan", folder)
        except (BadArchiveError, UserError) as error:
            complaints.append(str(error))
        found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.wav")}
        assert found in ({}, content)
        assert folder.exists() == bool(found)
    assert len(complaints) > 80
    assert not [text for text in complaints if "\n" in text]


@pytest.mark.parametrize(
    "answer",
    [
        b"[" * 100_000,
        b'{"files": ' * 50_000,
        b"\xff\xfe",
        b"null",
        *(
            b'{"files": [{"key": "dev_fan.zip", "size": %s, "checksum": "%032d"}]}' % (size, 0)
            for size in (b"1e400", b"1e2", b"NaN", b"-1", b"true", b'"12"', b"9" * 5000)
        ),
        *(
            json.dumps({"files": [{"key": key, "size": 1, "checksum": "0" * 32}]}).encode()
            for key in ("../x.zip", ".x.zip.json", "a\0b", "a\nb", "\ud800", "a" * 300, "", "a/b")
        ),
    ],
    ids=lambda answer: repr(answer[:70]),
)
def test_records_that_are_nonsense_are_told(zenodo, get, fan_zip, answer, caplog):
    zenodo.add_file(DEV, fan_zip)
    zenodo.files[DEV_API] = answer
    gc.disable()  # finalisers that run where the recursion is deepest print errors of their own
    try:
        assert tree(get()) == FAN  # by the archive's own checksums
    finally:
        gc.enable()
    assert "/api/records/7882613: the answer is not Zenodo's description" in caplog.text


def test_the_command_line_renews(zenodo, old_car, patience, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "download", partial(download, base_url=zenodo.url, patience=patience))
    command = ["download", "-d", "--dataset", "DCASE2026T2", "--machine_types", "ToyCar",
               "--dataset_directory", str(tmp_path)]  # fmt: skip
    assert main(command) == 0
    assert zenodo.count(NEW_CAR) == 0
    assert main([*command, "--renew"]) == 0
    assert tree(old_car) == CAR_2 | {"ToyCar/train/mine.txt"}


def test_a_damaged_member_ends_the_command_with_one_line(
    zenodo, patience, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(room, "download", partial(download, base_url=zenodo.url, patience=patience))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr(f"fan/train/{clip(0)}", os.urandom(1000))
    content = bytearray(stream.getvalue())
    content[80:1000] = bytes(920)
    zenodo.add_file(DEV, bytes(content))
    status = main(["download", "-d", "--dataset", "DCASE2023T2", "--machine_types", "fan",
                   "--dataset_directory", str(tmp_path)])  # fmt: skip
    assert status == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("asd: error")]
    assert len(told) == 1
    assert "the archive is wrong on the second attempt too (damaged (" in told[0]
    assert tree(tmp_path) == set()


def test_archive_without_the_expected_folders(zenodo, get, pack):
    zenodo.add_file(DEV, pack({f"fan/train/{clip(0)}": b""}))
    with pytest.raises(UserError, match="holds no clip in fan/test/"):
        get()


# --- the disk -------------------------------------------------------------------------------------


def usage(free):
    """Stands in for shutil.disk_usage."""
    return lambda _: SimpleNamespace(free=free)


def test_too_little_room_is_told_before_downloading(zenodo, get, fan_zip, monkeypatch):
    zenodo.add_file(DEV, fan_zip)
    monkeypatch.setattr(disk.shutil, "disk_usage", usage(1000))
    with pytest.raises(
        UserError, match=rf"raw: the disk is full \({len(fan_zip)} bytes are needed, 1000 are free"
    ):
        get()


def test_too_little_room_for_unpacking(zenodo, get, pack, monkeypatch):
    content = pack({f"fan/train/{clip(0)}": bytes(10**6), f"fan/test/{clip(0, 'test')}": b""})
    zenodo.add_file(DEV, content)
    monkeypatch.setattr(disk.shutil, "disk_usage", usage(500_000))
    with pytest.raises(UserError, match=r"\(1000000 bytes are needed, 500000 are free"):
        get()
    monkeypatch.undo()
    assert tree(get()) == {f"fan/train/{clip(0)}", f"fan/test/{clip(0, 'test')}"}
    assert zenodo.count(DEV) == 1  # the archive was there already


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_disk_that_fills_up_meanwhile(zenodo, get, fan_zip, raw):
    zenodo.add_file(DEV, fan_zip)
    raw.mkdir(parents=True)
    (raw / "dev_fan.zip.part").symlink_to("/dev/full")
    needed = len(fan_zip)
    with pytest.raises(UserError, match=rf"disk is full \({needed} bytes are needed, \d+ are free"):
        get()
    assert zenodo.count(DEV) == 1  # not taken for a broken connection


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(get, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        get()


def test_file_in_the_way(get, tmp_path):
    (tmp_path / "dcase2023t2").touch()
    with pytest.raises(UserError, match="dcase2023t2"):
        get()


# --- several processes, and killed ones -----------------------------------------------------------


def start(zenodo, data, before=""):
    """Download in a process of its own, after running the code `before` there."""
    head = """
        import os, sys, logging
        from pathlib import Path
        from asd.challenge.download import dataset as room, transfer, unpack
        from asd.challenge.catalog import load_challenge
        logging.basicConfig(level=logging.INFO)
    """
    call = f"""
        patience = transfer.RetryPolicy(timeout_s=30, backoff_s=0.001)
        room.download(load_challenge("DCASE2023T2"), "dev", ["fan"], Path({str(data)!r}),
                      base_url={zenodo.url!r}, patience=patience)
    """
    code = "\n".join(textwrap.dedent(piece) for piece in (head, before, call))
    path = os.pathsep.join([str(Path(room.__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_at_once(zenodo, fan_zip, tmp_path, raw):
    zenodo.add_file(DEV, fan_zip)
    zenodo.faults[DEV] = [("stall", 90_000)]
    processes = [start(zenodo, tmp_path) for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert tree(raw) == FAN
    assert zenodo.count(DEV) == 2  # one download, with one break
    assert any("waiting for process" in text for text in errors)


def test_killed_while_downloading(zenodo, get, fan_zip, tmp_path, raw):
    zenodo.add_file(DEV, fan_zip)
    zenodo.faults[DEV] = [("stall", 60_000)]
    process = start(zenodo, tmp_path)
    part = raw / "dev_fan.zip.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size == 60_000):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert tree(get()) == FAN
    assert zenodo.ranges(DEV) == [None, "bytes=60000-"]


DIE_AT = {
    "second file unpacked": ("unpack", "_extract", 2),
    "before placing": ("room", "_merge", 1),
    "second rename": ("room.os", "replace", 4),  # archive, stamp, then what was unpacked
    "third rename": ("room.os", "replace", 5),
    "last stamp": ("room", "write_json", 2),
}


@pytest.mark.parametrize("moment", DIE_AT)
def test_killed_while_unpacking(zenodo, get, fan_zip, tmp_path, raw, moment):
    zenodo.add_file(DEV, fan_zip)
    place, name, call = DIE_AT[moment]
    dying = f"""
        calls, real = [], {place}.{name}
        def dying(*args, **options):
            calls.append(1)
            return os._exit(9) if len(calls) == {call} else real(*args, **options)
        {place}.{name} = dying"""
    process = start(zenodo, tmp_path, dying)
    assert process.wait(timeout=60) == 9, process.communicate()
    assert tree(raw) != FAN
    get()
    assert tree(raw) == FAN
    assert no_folders_left(raw)
    assert zenodo.count(DEV) == 1
    stamp = json.loads((raw / "fan/.dev_fan.zip.json").read_text())
    assert stamp["complete"]
    assert stamp["clips"] == {"train": 2, "test": 1}


def test_every_address_of_the_catalog_names_record_and_parts():
    years = [load_challenge(f"DCASE{year}T2") for year in range(2020, 2027)]
    for year in years:
        for urls in year.dev.archives.values():
            assert [room._parts_of(url, room.PARTS) for url in urls] == [room.PARTS]
        for urls in year.eval.archives.values():
            parts = [room._parts_of(url, room.PARTS) for url in urls]
            assert parts == [("train",), ("test",)][: 1 if year.eval.record else 2]
            assert all(room.record_number(url) > 0 for url in urls)
