"""Unpacking the organisers' zip archives safely, and checking them before."""

import hashlib
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tqdm import tqdm

from asd.challenge.download.disk import as_user_error, check_space
from asd.errors import UserError

_BLOCK_BYTES = 1 << 20
# All that zipfile and the decompressors raise; OSError is bz2's.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, ArithmeticError, EOFError,
    LookupError, MemoryError, OSError, RuntimeError, ValueError,
)  # fmt: skip
# Recordings shrink to a third, digital silence to a thousandth. Small archives may be silent.
_MOST_RATIO = 100
_SMALL_BYTES = 1 << 26

_ENTRY = b"PK\3\4"
_HEADER = struct.Struct("<6xH6xLLLHH")  # flags, CRC, packed length, length; of name and extra field
_LONGEST_DESCRIPTOR = 24
_SIZES_FOLLOW = 8  # flag: CRC and lengths are written after the content
_SIZE_IS_ELSEWHERE = 0xFFFFFFFF  # zip64
_REGULAR_TYPES = (0, stat.S_IFREG, stat.S_IFDIR)  # 0: packed on a system without file types


class BadArchiveError(Exception):
    """The archive is damaged or not the one that was asked for; another download may help."""


def check_md5(archive: Path, size: int, md5: str) -> None:
    """Compare a file with its published length in bytes and MD5.

    Raises
    ------
    BadArchiveError
        They differ.
    """
    found = archive.stat().st_size
    if found != size:
        raise BadArchiveError(f"{found} bytes long in place of {size}")
    digest = hashlib.md5(usedforsecurity=False)
    with (
        archive.open("rb") as stream,
        tqdm(total=size, desc=f"checking {archive.name}", unit="B", unit_scale=True) as bar,
    ):
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
            bar.update(len(block))
    if digest.hexdigest() != md5:
        raise BadArchiveError(f"MD5 {digest.hexdigest()} in place of {md5}")


def unpack(archive: Path, machine: str, folder: Path) -> None:
    """Unpack the clips of `machine` into the new folder `folder`: train/, test/ and so on.

    The organisers' archives hold one top folder called after the machine type; what is above its
    content is left out, and so are hidden files, which the systems of those who pack archives
    leave there. The checksum (CRC) of every file in the archive is verified. If anything goes
    wrong, `folder` is not there afterwards.

    Raises
    ------
    BadArchiveError
        The archive is damaged.
    UserError
        An entry would lie outside `folder`, is no regular file or is there twice; the content is
        far larger than recordings could be; the disk is full.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with as_user_error(archive), archive.open("rb") as stream, _open_zip(stream) as packed:
            targets = _targets(packed, archive, machine, folder)
            needed = sum(info.file_size for info in targets)
            folder.mkdir(parents=True)
            check_space(folder, needed)
            for info, target in tqdm(targets.items(), desc=f"unpacking {archive.name}"):
                _extract(packed, info, target, needed)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _open_zip(stream: BinaryIO) -> zipfile.ZipFile:
    try:
        packed = zipfile.ZipFile(stream)
        _check_list(packed, stream)
        return packed
    except _BROKEN as error:
        raise _damaged(error) from error


def _check_list(packed: zipfile.ZipFile, stream: BinaryIO) -> None:
    """Compare the list at the end of an archive with the headers before the entries.

    The checksums do not cover the list: an entry that was lost from it would be missed by nobody.

    Source: APPNOTE.TXT 6.3.10, PKWARE, sections 4.3.7 and 4.4.
    """
    entries = sorted(packed.infolist(), key=lambda info: info.header_offset)
    starts = [*(info.header_offset for info in entries), packed.start_dir]
    if starts[0] > 0:
        _check_gap(stream, 0, starts[0])
    for info, following in zip(entries, starts[1:], strict=True):
        stream.seek(info.header_offset)
        flags, crc, _, size, *lengths = _HEADER.unpack(stream.read(_HEADER.size))
        is_known = not flags & _SIZES_FOLLOW and size != _SIZE_IS_ELSEWHERE and (crc or size)
        if is_known and (crc, size) != (info.CRC, info.file_size):
            raise ValueError(f"two checksums or lengths for {info.filename!r}")
        end = info.header_offset + _HEADER.size + sum(lengths) + info.compress_size
        if end > following:
            raise ValueError(f"{info.filename!r} overlaps the next entry")
        _check_gap(stream, end, following)


def _check_gap(stream: BinaryIO, start: int, end: int) -> None:
    """Between entries may be lengths and padding, but no entry."""
    stream.seek(start)
    if _ENTRY in stream.read(min(end - start, _LONGEST_DESCRIPTOR + len(_ENTRY))):
        raise ValueError("the list of entries lacks one")


def _extract(packed: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, needed: int) -> None:
    with as_user_error(target, needed):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            for block in _blocks(packed, info):
                out.write(block)


def _blocks(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """Content of an entry, its checksum verified at the end."""
    try:
        with packed.open(info) as source:
            while block := source.read(_BLOCK_BYTES):
                yield block
    except _BROKEN as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> BadArchiveError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return BadArchiveError(f"damaged ({reason})")


def _targets(
    packed: zipfile.ZipFile, archive: Path, machine: str, folder: Path
) -> dict[zipfile.ZipInfo, Path]:
    """Where each file of the archive goes. Everything is looked at before anything is written."""
    targets: dict[zipfile.ZipInfo, Path] = {}
    taken = set()
    for info in packed.infolist():
        if fault := _fault(info):
            raise _unsafe(archive, f"the entry {info.orig_filename!r} {fault}")
        path = PurePosixPath(info.filename)
        if info.is_dir() or path.parts[0] == "__MACOSX":
            continue
        inside = _below_machine(path, machine)
        if any(part.startswith(".") for part in inside.parts):
            continue
        if inside in taken:
            raise _unsafe(archive, f"the entry {info.filename!r} is there twice")
        taken.add(inside)
        targets[info] = folder / inside
    if both := taken & {parent for inside in taken for parent in inside.parents}:
        raise _unsafe(archive, f"{both.pop()} is a file and a folder")
    size, content = archive.stat().st_size, sum(info.file_size for info in targets)
    if content > max(_MOST_RATIO * size, _SMALL_BYTES):
        raise _unsafe(archive, f"{content} bytes in {size} are no recordings")
    return targets


def _unsafe(archive: Path, fault: str) -> UserError:
    return UserError(
        f"{archive}: {fault}, so nothing was unpacked; delete this archive, and report it if it "
        "came from Zenodo"
    )


def _fault(info: zipfile.ZipInfo) -> str:
    """Why an entry must not be unpacked; empty if it may."""
    path = PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        return "would be written outside the folder"
    # zipfile cuts a name at its first NUL.
    is_plain = info.orig_filename.isprintable() and "\\" not in info.orig_filename
    if not is_plain or ":" in path.parts[0]:
        return "is not a plain path"
    if stat.S_IFMT(info.external_attr >> 16) not in _REGULAR_TYPES:
        return "is a link or a special file"
    return ""


def _below_machine(path: PurePosixPath, machine: str) -> PurePosixPath:
    folders = path.parts[:-1]
    start = folders.index(machine) + 1 if machine in folders else 0
    return PurePosixPath(*path.parts[start:])
