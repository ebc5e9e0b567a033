"""Unpacking the organisers' zip archives safely, and checking them before."""

import hashlib
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from asd.challenge.download.disk import as_user_error, check_space
from asd.errors import UserError

_BLOCK_BYTES = 1 << 20
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
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
    content is left out. The checksum (CRC) of every file in the archive is verified. If anything
    goes wrong, `folder` is not there afterwards.

    Raises
    ------
    BadArchiveError
        The archive is damaged.
    UserError
        An entry would lie outside `folder` or is no regular file; the disk is full.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as packed, as_user_error(folder):
            targets = _targets(packed, archive, machine, folder)
            needed = sum(info.file_size for info in targets)
            folder.mkdir(parents=True)
            check_space(folder, needed)
            for info, target in tqdm(targets.items(), desc=f"unpacking {archive.name}"):
                _extract(packed, info, target, needed)
    except _BROKEN as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise BadArchiveError(f"damaged ({error})") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _extract(packed: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, needed: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with packed.open(info) as source, as_user_error(target, needed), target.open("wb") as out:
        shutil.copyfileobj(source, out, _BLOCK_BYTES)


def _targets(
    packed: zipfile.ZipFile, archive: Path, machine: str, folder: Path
) -> dict[zipfile.ZipInfo, Path]:
    """Where each file of the archive goes. Everything is looked at before anything is written."""
    targets = {}
    for info in packed.infolist():
        fault = _fault(info)
        if fault:
            raise UserError(
                f"{archive}: the entry {info.filename!r} {fault}, so nothing was unpacked; "
                "delete this archive, and report it if it came from Zenodo"
            )
        path = PurePosixPath(info.filename)
        if info.is_dir() or path.parts[0] == "__MACOSX" or path.name == ".DS_Store":
            continue
        targets[info] = folder / _below_machine(path, machine)
    return targets


def _fault(info: zipfile.ZipInfo) -> str:
    """Why an entry must not be unpacked; empty if it may."""
    path = PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        return "would be written outside the folder"
    if "\\" in info.filename or ":" in path.parts[0]:
        return "is not a plain path"
    if stat.S_IFMT(info.external_attr >> 16) not in _REGULAR_TYPES:
        return "is a link or a special file"
    return ""


def _below_machine(path: PurePosixPath, machine: str) -> PurePosixPath:
    folders = path.parts[:-1]
    start = folders.index(machine) + 1 if machine in folders else 0
    return PurePosixPath(*path.parts[start:])
