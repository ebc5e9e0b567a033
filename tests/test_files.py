import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asd.errors import UserError
from asd.files import folder_aside, remove_leftovers, write_aside, write_json, write_text


def test_text_is_utf8_with_unix_line_ends(tmp_path):
    path = tmp_path / "new" / "folder" / "Gerät.txt"
    write_text(path, "ä\nb\n")
    assert path.read_bytes() == b"\xc3\xa4\nb\n"


def test_json_comes_back(tmp_path):
    value = {"name": "ä", "numbers": [1, 2.5, None, True], "nested": {"a": []}}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert "ä" in text
    assert text.endswith("}\n")


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with write_aside(path) as aside:
        aside.write_text("new")
        assert path.read_text() == "old"
        assert aside.parent == path.parent  # a rename between disks would be a copy
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(5, "x", "other")])
def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with write_aside(path) as aside:
            aside.write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_another_files_trouble_is_not_called_a_failed_write(tmp_path):
    with pytest.raises(FileNotFoundError), write_aside(tmp_path / "a.txt"):
        (tmp_path / "input.txt").read_text()


def test_two_writers_do_not_share_their_temporary_file(tmp_path):
    path = tmp_path / "a.txt"
    with write_aside(path) as first, write_aside(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the outer block ends last


@pytest.mark.parametrize("below", ["a.txt", "b/a.txt", "b/c/a.txt"])
def test_a_file_in_place_of_a_folder_is_a_user_error(tmp_path, below):
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file" / below
    with pytest.raises(UserError) as caught:
        write_text(path, "text")
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be written (")
    assert "choose another" in message
    assert "\n" not in message


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, where none may write")
@pytest.mark.parametrize("below", ["a.txt", "b/a.txt", "b/c/a.txt"])
def test_a_place_where_no_folder_can_be_made_is_a_user_error(below):
    path = Path("/proc/none") / below
    with pytest.raises(UserError, match=f"^{path}: cannot be written"):
        write_text(path, "text")


def test_a_folder_in_place_of_the_file_is_a_user_error(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(UserError, match=r"a\.txt: cannot be written"):
        write_text(tmp_path / "a.txt", "text")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("below", ["a.txt", "b/a.txt", "b/c/a.txt"])
def test_a_read_only_folder_is_a_user_error(tmp_path, below):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\)"):
        write_text(tmp_path / below, "text")


LIMITED = """
import resource, sys
from pathlib import Path
from asd.errors import UserError
from asd.files import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_text(Path(sys.argv[1]), "x" * 5000)
except UserError as error:
    print(error)
"""


def test_a_full_disk_is_a_user_error(tmp_path):
    """A limit on the size of files stands in for the full disk: both fail in the middle."""
    path = tmp_path / "a.txt"
    path.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{path}: cannot be written (File too large)")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# --- power cuts ---


@pytest.fixture
def disk(monkeypatch):
    """What reaches the disk, in order: ("sync", inode) and ("rename", new name)."""
    events, sync, replace = [], os.fsync, os.replace

    def note_sync(number):
        events.append(("sync", os.fstat(number).st_ino))
        sync(number)

    def note_rename(source, target):
        events.append(("rename", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    return events


def test_a_file_is_on_the_disk_before_it_is_renamed_and_its_folder_after(tmp_path, disk):
    write_text(tmp_path / "a.txt", "new")
    file, folder = ((path.stat().st_ino) for path in (tmp_path / "a.txt", tmp_path))
    assert disk == [("sync", file), ("rename", "a.txt"), ("sync", folder)]


def test_new_folders_are_on_the_disk_too(tmp_path, disk):
    write_json(tmp_path / "b" / "c" / "a.json", 1)
    synced = [what for kind, what in disk if kind == "sync"]
    folders = [tmp_path / "b" / "c", tmp_path / "b", tmp_path]
    assert synced[1:] == [folder.stat().st_ino for folder in folders]


def test_what_need_not_outlive_a_power_cut_is_not_waited_for(tmp_path, disk):
    write_text(tmp_path / "b" / "a.txt", "new", durable=False)
    write_json(tmp_path / "a.json", 1, durable=False)
    assert disk == [("rename", "a.txt"), ("rename", "a.json")]


def fail_to_sync(monkeypatch, number):
    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)


def test_a_disk_that_fails_to_take_the_file_leaves_the_old_one(tmp_path, monkeypatch):
    """Network disks often say only then that they are full."""
    path = tmp_path / "a.txt"
    path.write_text("old")
    fail_to_sync(monkeypatch, errno.ENOSPC)
    with pytest.raises(UserError, match=r"a\.txt: cannot be written \(No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_is_written_to(tmp_path, monkeypatch, number):
    fail_to_sync(monkeypatch, number)
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_link_can_be_put_in_place(tmp_path):
    with write_aside(tmp_path / "link") as aside:
        aside.symlink_to(tmp_path / "nowhere")
    assert (tmp_path / "link").is_symlink()


# --- folders ---


def make_folder(path, name):
    path.mkdir(parents=True)
    (path / name).write_text(name)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def replace_folder(folder):
    with folder_aside(folder) as aside:
        (aside / "new").write_text("new")
        assert aside.parent == folder.parent


def test_a_folder_takes_the_place_of_another(tmp_path):
    replace_folder(tmp_path / "a" / "fan")
    assert names(tmp_path / "a") == ["fan", "fan/new"]
    make_folder(tmp_path / "b" / "fan", "old")
    replace_folder(tmp_path / "b" / "fan")
    assert names(tmp_path / "b") == ["fan", "fan/new"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_a_failed_block_leaves_the_old_folder_and_nothing_else(tmp_path, error):
    make_folder(tmp_path / "fan", "old")

    def fail():
        with folder_aside(tmp_path / "fan") as aside:
            (aside / "half").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert names(tmp_path) == ["fan", "fan/old"]


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("error", [OSError(5, "disk trouble"), KeyboardInterrupt()])
def test_a_failed_rename_leaves_the_old_folder_and_nothing_else(
    tmp_path, monkeypatch, failing, error
):
    """The first rename moves the old folder away, the second brings the new one."""
    make_folder(tmp_path / "fan", "old")
    rename, calls = Path.rename, []

    def rename_or_fail(path, target):
        calls.append(path)
        if len(calls) == failing:
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_or_fail)
    with pytest.raises(type(error)):
        replace_folder(tmp_path / "fan")
    assert names(tmp_path) == ["fan", "fan/old"]


def ended_process():
    code = "import os; print(os.getpid())"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_what_a_killed_process_left_is_removed_but_not_what_a_living_one_has(tmp_path):
    dead, living = ended_process(), os.getppid()
    make_folder(tmp_path / "fan", "old")
    for name in (f".fan.{dead}.00ff.part", f".fan.{dead}.00ff.old", f".fan.{living}.00ff.part"):
        (tmp_path / name).mkdir()
    replace_folder(tmp_path / "fan")
    assert names(tmp_path) == [f".fan.{living}.00ff.part", "fan", "fan/new"]


def test_a_folder_that_a_killed_process_moved_away_comes_back(tmp_path):
    dead = ended_process()
    make_folder(tmp_path / f".fan.{dead}.00ff.old", "old")
    make_folder(tmp_path / f".fan.{dead}.00ff.part", "half")
    with pytest.raises(KeyboardInterrupt), folder_aside(tmp_path / "fan"):
        raise KeyboardInterrupt
    assert names(tmp_path) == ["fan", "fan/old"]


def test_only_files_of_dead_processes_are_leftovers(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    names = [f".model.pt.{number}.0a1b2c3d.part" for number in (dead.pid, os.getpid())]
    for name in (*names, "model.pt", ".hidden"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {names[1], "model.pt", ".hidden"}
