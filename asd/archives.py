"""Archives of tensors and plain values: any byte changed since they were written is found."""

import io
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from asd.errors import UserError
from asd.files import write_aside

# The zip format's end record, without a comment: signature, 16 bytes about the members, and the
# comment's length. Our comment is the CRC-32 of all bytes before it.
_END = struct.Struct("<4s16sH")
_BEGIN_MARK, _END_MARK = b"PK\x03\x04", b"PK\x05\x06"
_COMMENT = "crc32 {:08x}"
_COMMENT_BYTES = len(_COMMENT.format(0))
_BLOCK_BYTES = 1 << 20

# All that torch.save needs for tensors and plain values. torch.load knows more, such as bytearray,
# which makes gigabytes of a number.
_GLOBALS = {
    "collections OrderedDict",
    "torch Size",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
    *(
        f"torch {name}Storage"
        for name in (
            "BFloat16", "Bool", "Byte", "Char", "ComplexDouble", "ComplexFloat", "Double", "Float",
            "Half", "Int", "Long", "Short",
        )
    ),
}  # fmt: skip
_DEEPEST = 64
_MOST_VALUES = 10_000_000


class _DamagedError(Exception):
    """The file is not what `save_archive` wrote; the text says why, to those who debug."""


def save_archive(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values by name, whole or not at all.

    The file is what `torch.save` writes, with a checksum of all its bytes as the comment of the
    zip archive, so that `torch.load` reads it too.

    Raises
    ------
    UserError
        The file cannot be written.
    TypeError
        `load_archive` would refuse the content.
    """
    import torch

    # Through memory: on a full disk torch's own writer says "unexpected pos", Python's says why.
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    try:
        with zipfile.ZipFile(buffer) as written:
            _check_globals(written)
        _check_values(content, {}, 0)
    except _DamagedError as error:
        raise TypeError(f"{path.name} cannot be read back: {error}") from None
    archive = buffer.getbuffer()
    archive[-2:] = struct.pack("<H", _COMMENT_BYTES)
    with write_aside(path) as aside, aside.open("wb") as file:
        file.write(archive)
        file.write(_COMMENT.format(zlib.crc32(archive)).encode())


def load_archive(path: Path, hint: str) -> dict[str, Any]:
    """Read what `save_archive` wrote; tensors come to the CPU, nothing is run.

    Files without our checksum, as this program wrote them before, are read where the checksums of
    the archive's members agree. Content that would take far more memory than its file is refused.

    Parameters
    ----------
    hint
        What the user can do about a file that is damaged; the message ends in it.

    Raises
    ------
    UserError
        The file is damaged, or no file of this program.
    OSError
        It cannot be read.
    """
    import torch

    with path.open("rb") as file:
        try:
            is_known_whole = _check_bytes(file)
            _check_members(file)
            whole = file if is_known_whole else _rewritten(file)
            whole.seek(0)
            content = torch.load(whole, map_location="cpu", weights_only=True)
            if isinstance(content, dict):
                _check_values(content, {}, 0)
                return content
        except MemoryError:
            raise
        except Exception:  # zipfile and torch raise many kinds for a damaged file
            pass
    raise UserError(f"{path}: is damaged or not a file of this program; {hint}")


def _check_bytes(file: IO[bytes]) -> bool:
    """Find any change of a file that has our checksum, and anything after the archive's end.

    Returns
    -------
    bool
        Whether the file has our checksum.
    """
    if file.read(len(_BEGIN_MARK)) != _BEGIN_MARK:
        raise _DamagedError("does not begin as an archive does")
    size = file.seek(0, io.SEEK_END)
    for comment_bytes in (_COMMENT_BYTES, 0):
        file.seek(max(size - comment_bytes - _END.size, 0))
        end, comment = file.read(_END.size), file.read()
        if len(end) == _END.size:
            mark, _, length = _END.unpack(end)
            if mark == _END_MARK and length == len(comment) == comment_bytes:
                break
    else:
        raise _DamagedError("does not end as an archive does")
    if comment and comment != _COMMENT.format(_crc32(file, size - len(comment))).encode():
        raise _DamagedError("its checksum is another")
    return bool(comment)


def _crc32(file: IO[bytes], size: int) -> int:
    """The checksum of a file's first bytes."""
    file.seek(0)
    value = 0
    while size and (block := file.read(min(size, _BLOCK_BYTES))):
        value = zlib.crc32(block, value)
        size -= len(block)
    return value


def _check_members(file: IO[bytes]) -> None:
    """Check that no member is larger in memory than in the file, and what the pickle would make."""
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len({member.filename for member in members}) < len(members):
            raise _DamagedError("two members have the same name")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise _DamagedError("a member is compressed")
        if sum(member.file_size for member in members) > size:
            raise _DamagedError("its members overlap")
        _check_globals(archive)


def _rewritten(file: IO[bytes]) -> IO[bytes]:
    """The archive with new headers: the members' checksums, checked here, know nothing of those.

    One changed bit there makes of a member a folder, and torch then gives numbers at random.
    """
    copy = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return copy


def _check_globals(archive: zipfile.ZipFile) -> None:
    """Check that an archive's pickle makes nothing but tensors and plain values."""
    pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
    if len(pickles) != 1:
        raise _DamagedError(f"holds {len(pickles)} pickles")
    for code, argument, _ in pickletools.genops(archive.read(pickles[0])):
        if code.name == "STACK_GLOBAL" or (code.name == "GLOBAL" and argument not in _GLOBALS):
            raise _DamagedError(f"holds {argument or 'a global'}")


def _check_values(value: Any, counts: dict[int, int], depth: int) -> int:
    """Count the values in nested dicts and lists; refuse those that are far more than they seem.

    A pickle can name one list many times in another, that one again, and so on: few bytes, but no
    end when they are walked through. A tensor can be as large, with one number stored.
    """
    import torch

    if isinstance(value, torch.Tensor):
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise _DamagedError("a tensor is larger than what is stored of it")
        return 1
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if id(value) not in counts:
        if depth > _DEEPEST:
            raise _DamagedError("is nested too deep")
        items = [*value, *value.values()] if isinstance(value, dict) else value
        counts[id(value)] = 1 + sum(_check_values(item, counts, depth + 1) for item in items)
        if counts[id(value)] > _MOST_VALUES:
            raise _DamagedError("holds too many values")
    return counts[id(value)]
