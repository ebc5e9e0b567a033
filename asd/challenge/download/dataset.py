"""Downloading the organisers' data sets from Zenodo and putting them where the package reads them.

Below <data>/<challenge>/{dev,eval}_data/raw/ each archive becomes <machine>/train/, <machine>/test/
and so on. Nothing there is ever half an archive: it is unpacked aside and renamed into place, and a
stamp file <machine>/.<archive>.json tells while it is being placed from when it is whole.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from asd.challenge.catalog import Challenge, Split
from asd.challenge.download.disk import as_user_error
from asd.challenge.download.policy import RetryPolicy
from asd.challenge.download.transfer import fetch_file
from asd.challenge.download.unpack import BadArchiveError, check_md5, unpack
from asd.challenge.download.zenodo import ZENODO, ZenodoFile, read_record, record_number
from asd.challenge.layout import machine_folder, split_folder
from asd.errors import UserError
from asd.files import write_json
from asd.locks import exclusive_lock

_log = logging.getLogger(__name__)

PARTS = ("train", "test")


@dataclass(frozen=True)
class _Archive:
    """A zip file to install: `parts` are those it holds, `known` what Zenodo says about it."""

    url: str
    parts: tuple[str, ...]
    known: ZenodoFile | None

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2] if self.known is None else self.known.name


@dataclass(frozen=True)
class _Stamp:
    """What an archive brought: `clips` counts them by folder; `complete` once all are in place."""

    archive: str
    url: str
    md5: str | None
    parts: Sequence[str]
    clips: Mapping[str, int]
    complete: bool

    @property
    def identity(self) -> tuple[int, str]:
        """Record and name: Zenodo never changes a file of a record."""
        return record_number(self.url), self.archive

    @property
    def title(self) -> str:
        return f"{self.archive} of record {self.identity[0]}"


@dataclass
class _Zenodo:
    """Zenodo, or a server like it: asked once per record."""

    base_url: str
    patience: RetryPolicy
    _records: dict[int, dict[str, ZenodoFile]] = field(default_factory=dict)

    def files(self, record: int) -> dict[str, ZenodoFile]:
        """Files of a record by name. UserError if the record API cannot tell."""
        if record not in self._records:
            self._records[record] = read_record(record, self.base_url, self.patience)
        return self._records[record]

    def known(self, url: str) -> ZenodoFile | None:
        """What is known of the file at an address of the catalog; None if the API is silent."""
        record = record_number(url)
        try:
            files = self.files(record)
        except UserError as error:
            _log.warning("%s; archives are checked by their own checksums (CRC) alone", error)
            files = self._records[record] = {}
        return files.get(url.rpartition("/")[2])


def download(
    challenge: Challenge,
    split: str,
    machines: Sequence[str],
    data: Path,
    parts: Sequence[str] = PARTS,
    keep_archives: bool = False,
    base_url: str = ZENODO,
    patience: RetryPolicy | None = None,
    renew: bool = False,
) -> None:
    """Download, check and unpack what is missing of a data set.

    A machine type whose train (or test) folder already has clips is skipped, unless an earlier
    download was stopped while it put them there, or clips of that download are gone. A warning
    tells where the organisers have replaced the archive that the clips came from.

    Parameters
    ----------
    challenge, split
        The year, and "dev" or "eval".
    machines
        Machine types; `Challenge.check_machines` gives all of them.
    data
        The data folder.
    parts
        "train", "test" or both. Development archives hold both in one file and come whole.
    keep_archives
        Leave the zip files beside the machine types' folders.
    base_url
        Address that stands in for https://zenodo.org.
    patience
        How long to bear with the server.
    renew
        Download what the organisers have replaced, and delete the clips of the old archive.

    Raises
    ------
    UserError
        An archive is not there, wrong on two attempts, or unsafe to unpack; the server cannot be
        reached; the disk is full or cannot be written to.
    """
    zenodo = _Zenodo(base_url, patience or RetryPolicy())
    with exclusive_lock(split_folder(data, challenge, split) / ".download.lock", "download"):
        for machine in machines:
            folder = machine_folder(data, challenge, split, machine)
            missing = [p for p in parts if not _is_there(folder, p, challenge)]
            present = [p for p in parts if p not in missing]
            for stamp in _replaced(folder, present, challenge.split(split), renew):
                missing += stamp.parts if renew else []
            if not missing:
                _log.info("%s: %s already there", folder, " and ".join(parts))
                continue
            for archive in _archives(challenge, split, machine, missing, zenodo):
                _install(archive, folder, challenge, zenodo.patience, keep_archives)


def _archives(
    challenge: Challenge, split: str, machine: str, missing: Sequence[str], zenodo: _Zenodo
) -> Iterator[_Archive]:
    """The archives that hold the missing parts of a machine type: the catalog's, the record's."""
    about = challenge.split(split)
    for address in about.archives[machine]:
        url = address.replace(ZENODO, zenodo.base_url, 1)
        parts = _parts_of(url, PARTS)
        if set(parts) & set(missing):
            yield _Archive(url, parts, zenodo.known(url))
    if about.record is not None and "test" in missing:
        for file in _record_archives(about.record, machine, zenodo):
            yield _Archive(file.url, ("test",), file)


def _record_archives(record: int, machine: str, zenodo: _Zenodo) -> list[ZenodoFile]:
    """The archives of a record whose names have the machine type, and "train" not, as a word."""
    files = zenodo.files(record)
    found = [
        file
        for name, file in files.items()
        if name.lower().endswith(".zip")
        and machine in _words(name)
        and _parts_of(name, ("test",)) == ("test",)
    ]
    if not found:
        raise UserError(
            f"{zenodo.base_url}/records/{record}: no archive of test clips there names the machine "
            f"type {machine}; it has {', '.join(files) or 'no files'}"
        )
    return found


def _words(name: str) -> list[str]:
    return re.split(r"[^0-9A-Za-z]+", name)


def _parts_of(name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    words = _words(name.rpartition("/")[2])
    return tuple(part for part in PARTS if part in words) or default


# --- what is already there ------------------------------------------------------------------------


def _folders(part: str, challenge: Challenge) -> tuple[str, ...]:
    """Folders that a part fills: train/; test/, or (2021) source_test/ and target_test/."""
    return challenge.test_folders if part == "test" else ("train",)


def _is_there(machine_dir: Path, part: str, challenge: Challenge) -> bool:
    is_filled = all(_count_clips(machine_dir / name) for name in _folders(part, challenge))
    if not is_filled and not (part == "test" and _count_clips(machine_dir / "test")):
        return False
    for stamp in _stamps(machine_dir):
        if part in stamp.parts and not _is_whole(machine_dir, stamp):
            _log.info("%s: %s is not whole; getting it again", machine_dir, stamp.archive)
            return False
    return True


def _is_whole(machine_dir: Path, stamp: _Stamp) -> bool:
    counts = stamp.clips.items()
    return stamp.complete and all(_count_clips(machine_dir / n) >= c for n, c in counts)


def _replaced(machine_dir: Path, parts: Sequence[str], about: Split, renew: bool) -> list[_Stamp]:
    """Stamps of archives with these parts that the organisers have replaced; each is told."""
    new = {url: _parts_of(url, PARTS) for url in about.archives[machine_dir.name]}
    current = {(record_number(url), url.rpartition("/")[2]) for url in new}
    old = [
        stamp
        for stamp in _stamps(machine_dir)
        if set(stamp.parts) & set(parts)
        and stamp.identity not in current
        and stamp.identity[0] != about.record
    ]
    for stamp in old:
        names = [url.rpartition("/")[2] for url in new if set(new[url]) & set(stamp.parts)]
        _log.warning(
            "%s: the clips are of %s, which the organisers have replaced by %s; %s",
            machine_dir, stamp.title, " and ".join(names) or f"record {about.record}",
            "getting that" if renew else "add --renew to get that",
        )  # fmt: skip
    return old


def _stamp_path(machine_dir: Path, archive: str) -> Path:
    return machine_dir / f".{archive}.json"


def _stamps(machine_dir: Path) -> list[_Stamp]:
    return [_read_stamp(path) for path in sorted(machine_dir.glob(".*.zip.json"))]


def _read_stamp(path: Path) -> _Stamp:
    try:
        stamp = _Stamp(**json.loads(path.read_text(encoding="utf-8")))
        is_ours = (
            path == _stamp_path(path.parent, stamp.archive)
            and stamp.identity is not None
            and set(stamp.parts) <= set(PARTS)
            and all(re.fullmatch(r"[^./\\\0][^/\\\0]*", folder) for folder in stamp.clips)
            and all(type(count) is int for count in stamp.clips.values())
            and type(stamp.complete) is bool
        )
    except (OSError, AttributeError, TypeError, ValueError, RecursionError):
        is_ours = False
    if not is_ours:
        raise UserError(
            f"{path}: is damaged or of another program; delete it, and if clips may be missing "
            "there, delete the folder and download again"
        )
    return stamp


def _count_clips(folder: Path) -> int:
    """Number of wav files in a folder, 0 if it is missing."""
    if not folder.is_dir():
        return 0
    with os.scandir(folder) as entries:
        return sum(entry.name.endswith(".wav") for entry in entries)


# --- getting an archive and putting its content into place ----------------------------------------


def _install(
    archive: _Archive, machine_dir: Path, challenge: Challenge, patience: RetryPolicy, keep: bool
) -> None:
    with as_user_error(machine_dir):
        machine_dir.mkdir(parents=True, exist_ok=True)
    path = machine_dir.parent / archive.name
    unpacked = machine_dir / f".{archive.name}.unpacking"
    try:
        _obtain(archive, path, unpacked, patience)
        _place(archive, unpacked, machine_dir, challenge)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
        if not any(machine_dir.iterdir()):
            machine_dir.rmdir()
    if not keep:
        path.unlink()


def _obtain(archive: _Archive, path: Path, unpacked: Path, patience: RetryPolicy) -> None:
    """Have the archive at `path` and its content in `unpacked`, both checked.

    A wrong archive is deleted and downloaded once more. One that is there already is used.
    """
    for is_last in (False, True):
        if not path.is_file():
            size = archive.known.size if archive.known else None
            fetch_file(archive.url, path, size, patience)
        try:
            if archive.known:
                check_md5(path, archive.known.size, archive.known.md5)
            unpack(path, unpacked.parent.name, unpacked)
            return
        except BadArchiveError as error:
            path.unlink()
            if is_last:
                raise UserError(
                    f"{archive.url}: the archive is wrong on the second attempt too ({error}); "
                    f"try again later, or unpack it by hand into {unpacked.parent}"
                ) from error
            _log.warning("%s: the archive is wrong (%s); getting it again", archive.url, error)


def _place(archive: _Archive, unpacked: Path, machine_dir: Path, challenge: Challenge) -> None:
    """Rename what was unpacked into the machine type's folder, under a stamp."""
    for name in (n for part in archive.parts for n in _folders(part, challenge)):
        if not _count_clips(unpacked / name):
            raise UserError(
                f"{archive.url}: holds no clip in {machine_dir.name}/{name}/, other than expected; "
                f"download and unpack it by hand into {machine_dir}"
            )
    stamp = _Stamp(
        archive.name,
        archive.url,
        archive.known.md5 if archive.known else None,
        archive.parts,
        {p.name: _count_clips(p) for p in sorted(unpacked.iterdir()) if p.is_dir()},
        complete=False,
    )
    for old in _stamps(machine_dir):
        if set(old.parts) & set(stamp.parts) and old.identity != stamp.identity:
            _remove(old, machine_dir)
    _write_stamp(stamp, machine_dir)
    with as_user_error(machine_dir):
        # The attributes of training clips stay, should a test archive bring a file of that name.
        _merge(unpacked, machine_dir, is_replacing="train" in archive.parts)
    _write_stamp(replace(stamp, complete=True), machine_dir)


def _write_stamp(stamp: _Stamp, machine_dir: Path) -> None:
    write_json(_stamp_path(machine_dir, stamp.archive), asdict(stamp))


def _remove(old: _Stamp, machine_dir: Path) -> None:
    """Delete the clips of an archive that another one replaces; its stamp goes last."""
    _write_stamp(replace(old, complete=False), machine_dir)
    with as_user_error(machine_dir):
        for folder in old.clips:
            for clip in (machine_dir / folder).glob("*.wav"):
                clip.unlink()
        _stamp_path(machine_dir, old.archive).unlink()
    if "test" in old.parts and (machine_dir / "test_rename").is_dir():
        _log.warning(
            "%s: test_rename/ has copies of the clips of %s; run asd rename again",
            machine_dir, old.title,
        )  # fmt: skip


def _merge(source: Path, target: Path, is_replacing: bool) -> None:
    """Move everything in a folder into another one of the same disk, folders as a whole if new."""
    for entry in source.iterdir():
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _merge(entry, place, is_replacing=True)
        elif is_replacing or not place.exists():
            os.replace(entry, place)
