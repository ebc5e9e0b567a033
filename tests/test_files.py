import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asd.errors import UserError
from asd.files import write_aside, write_json, write_text


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
