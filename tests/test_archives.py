import io
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from asd.archives import load_archive, save_archive
from asd.errors import UserError

CONTENT = {
    "format": 1,
    "parameters": {"layers": [3, 2], "rate": 0.5, "name": "Gerät", "none": None, "on": True},
    "state": {"weight": torch.arange(6.0).reshape(3, 2), "count": torch.tensor(7)},
    "pairs": (1, (2, "x")),
}


def same(one, two):
    if isinstance(one, torch.Tensor):
        return isinstance(two, torch.Tensor) and one.dtype == two.dtype and torch.equal(one, two)
    if type(one) is not type(two):
        return False
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


def outcome(path):
    """What a file holds; None if it is refused."""
    try:
        return load_archive(path, "train again")
    except UserError:
        return None


@pytest.fixture
def archive(tmp_path):
    save_archive(tmp_path / "model.pt", CONTENT)
    return tmp_path / "model.pt"


@pytest.fixture
def older(tmp_path):
    """A file as torch.save alone writes it."""
    torch.save(CONTENT, tmp_path / "older.pt")
    return tmp_path / "older.pt"


def test_content_comes_back(archive):
    assert same(outcome(archive), CONTENT)


def test_state_dicts_of_modules_come_back(tmp_path):
    state = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict()
    half = {name: value.to(torch.bfloat16) for name, value in state.items()}
    save_archive(tmp_path / "a.pt", {"state": state, "half": half, "size": torch.Size([1, 2])})
    found = outcome(tmp_path / "a.pt")
    assert isinstance(found["state"], OrderedDict)
    assert same(dict(found["state"]), dict(state))
    assert same(found["half"], half)


def test_torch_reads_the_file_without_this_program(archive):
    assert same(torch.load(archive, weights_only=True), CONTENT)


def test_the_same_content_gives_the_same_bytes(archive, tmp_path):
    save_archive(tmp_path / "again.pt", CONTENT)
    assert (tmp_path / "again.pt").read_bytes() == archive.read_bytes()


def changed_at_each_place(whole):
    """The bytes of a file with one bit, or a whole byte, changed at each place in turn."""
    masks = np.random.default_rng(0).choice([*(1 << i for i in range(8)), 0xFF], len(whole))
    for position, mask in enumerate(masks):
        changed = bytearray(whole)
        changed[position] ^= int(mask)
        yield changed


def lengthened_or_cut(whole):
    yield from (whole[:end] for end in range(0, len(whole), 37))
    yield from (whole[:-1], whole + b"\0", b"\0" + whole, whole * 2, whole[:1000] + whole)


@pytest.mark.parametrize("change", [changed_at_each_place, lengthened_or_cut])
def test_a_changed_file_is_refused(archive, change):
    for changed in change(archive.read_bytes()):
        archive.write_bytes(changed)
        with pytest.raises(UserError) as caught:
            load_archive(archive, "train again")
        assert str(caught.value) == (
            f"{archive}: is damaged or not a file of this program; train again"
        )


@pytest.mark.parametrize("change", [changed_at_each_place, lengthened_or_cut])
def test_a_changed_older_file_is_refused_or_holds_what_it_held(older, change):
    for number, changed in enumerate(change(older.read_bytes())):
        older.write_bytes(changed)
        found = outcome(older)
        assert found is None or same(found, CONTENT), number


def test_older_files_are_read(older):
    assert same(outcome(older), CONTENT)


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    for text in (b"", b"PK", b"weights", b"\x80\x02}q\x00."):
        path.write_bytes(text)
        assert outcome(path) is None
    torch.save([1, 2], path)
    assert outcome(path) is None
    torch.save(CONTENT, path, _use_new_zipfile_serialization=False)
    assert outcome(path) is None


def test_a_missing_file_is_no_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_archive(tmp_path / "none.pt", "train again")


# --- archives made to harm ---


def with_pickle(path, pickled, compression=zipfile.ZIP_STORED):
    """An archive like torch's with another pickle in it, whose checksums agree."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(4)}, buffer)
    source = zipfile.ZipFile(buffer)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in source.namelist():
            content = source.read(name)
            archive.writestr(name, pickled(content) if name.endswith("data.pkl") else content)
    return path


def test_a_rewritten_archive_is_read(tmp_path):
    """Or the tests below would not show why theirs are refused."""
    assert same(outcome(with_pickle(tmp_path / "a.pt", lambda old: old)), {"a": torch.zeros(4)})


def test_a_global_that_fills_the_memory_is_refused(tmp_path):
    size = b"J" + struct.pack("<i", 2_000_000_000)
    pickled = b"\x80\x02}X\x01\x00\x00\x00acbuiltins\nbytearray\n" + size + b"\x85Rs."
    assert outcome(with_pickle(tmp_path / "a.pt", lambda _: pickled)) is None


def test_a_tensor_larger_than_its_numbers_is_refused(tmp_path):
    def expand(old):
        size_4_stride_1 = b"K\x04\x85q\x08K\x01"
        assert size_4_stride_1 in old
        size = b"J" + struct.pack("<i", 400_000_000)
        return old.replace(size_4_stride_1, size + b"\x85q\x08K\x00")

    assert outcome(with_pickle(tmp_path / "a.pt", expand)) is None


def test_lists_that_hold_each_other_many_times_are_refused(tmp_path):
    """Forty lists, each twice in the next: ten to the twelfth values when walked through."""
    doubled = b"]" + b"".join(b"q\x01]h\x01ah\x01a" for _ in range(40))
    pickled = b"\x80\x02}X\x01\x00\x00\x00a" + doubled + b"s."
    assert outcome(with_pickle(tmp_path / "a.pt", lambda _: pickled)) is None


def test_a_list_within_itself_is_refused(tmp_path):
    pickled = b"\x80\x02}X\x01\x00\x00\x00a]q\x01h\x01as."
    assert outcome(with_pickle(tmp_path / "a.pt", lambda _: pickled)) is None


def test_a_compressed_archive_is_refused(tmp_path):
    path = with_pickle(tmp_path / "a.pt", lambda old: old, zipfile.ZIP_DEFLATED)
    assert outcome(path) is None


def test_two_pickles_are_refused(tmp_path):
    path = with_pickle(tmp_path / "a.pt", lambda old: old)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", b"\x80\x02}.")
    assert outcome(path) is None


@pytest.mark.parametrize(
    "value", [np.float64(1), torch.zeros(1).expand(5), b"bytes", {1: object()}]
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, value):
    with pytest.raises((TypeError, AttributeError)):
        save_archive(tmp_path / "a.pt", {"a": value})
    assert not list(tmp_path.iterdir())
