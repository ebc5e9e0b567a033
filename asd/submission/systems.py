"""The files of submitted systems, from a folder or from a zip file of folders.

<author>_<institute>_task2_<index>/anomaly_score_*.csv, decision_result_*.csv, *.meta.yaml
"""

import lzma
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from asd.errors import UserError

KINDS = ("anomaly_score_", "decision_result_")
"""How the names of CSV files begin."""

_MOST_BYTES = 1 << 26  # of a file in a zip file: a thousand times what a section needs


@dataclass(frozen=True)
class SystemFiles:
    """The files of one system.

    Parameters
    ----------
    folder
        Where they are, for messages; within a zip file <zip file>/<folder>.
    files
        File name -> content.
    """

    folder: Path
    files: Mapping[str, bytes]

    @property
    def tables(self) -> dict[str, bytes]:
        """The score and decision files alone."""
        return {name: content for name, content in self.files.items() if name.startswith(KINDS)}


def read_systems(path: Path) -> list[SystemFiles]:
    """The system in a folder, or the systems in a zip file.

    Raises
    ------
    UserError
        There is no such folder or zip file, it cannot be read, or it holds no score file.
    """
    if path.is_dir():
        found = [_read_folder(path)]
    elif path.is_file():
        found = _read_zip(path)
    else:
        raise UserError(f"{path}: no such folder; name the one with the CSV files, or a zip file")
    found = [system for system in found if system.tables]
    if not found:
        raise UserError(
            f"{path}: no anomaly_score_*.csv in it; name the folder that holds the CSV files of "
            "one system, or the zip file of asd submission pack"
        )
    return found


def read_enclosure(path: Path) -> bytes:
    """The content of a file that goes with a submission.

    Raises
    ------
    UserError
        It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name another file") from None


def _is_ours(name: str) -> bool:
    return name.endswith(".meta.yaml") or (name.startswith(KINDS) and name.endswith(".csv"))


def _read_folder(folder: Path) -> SystemFiles:
    paths = sorted(path for path in folder.iterdir() if _is_ours(path.name))
    return SystemFiles(folder, {path.name: read_enclosure(path) for path in paths})


def _read_zip(path: Path) -> list[SystemFiles]:
    folders: dict[PurePosixPath, dict[str, bytes]] = {}
    try:
        with zipfile.ZipFile(path) as package:
            for entry in package.infolist():
                place = PurePosixPath(entry.filename)
                if not _is_ours(place.name):
                    continue
                files = folders.setdefault(place.parent, {})
                if place.name in files:
                    raise UserError(f"{path}: {place} is in it twice; pack it again")
                files[place.name] = _read_entry(path, package, entry)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a zip file ({error}); pack it again") from None
    except (NotImplementedError, RuntimeError):
        raise UserError(
            f"{path}: is encrypted or packed in a way that cannot be read; pack it again"
        ) from None
    return [SystemFiles(path / folder, files) for folder, files in folders.items()]


def _read_entry(path: Path, package: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with package.open(entry) as stream:
        content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise UserError(f"{path}: {entry.filename} is no score file, it has over 64 MiB; remove it")
    return content
