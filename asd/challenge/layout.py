"""Where clips lie below the data folder, in the organisers' arrangement.

<data>/dcase2023t2/{dev,eval}_data/raw/<machine>/{train,test,test_rename,supplemental}/*.wav
<data>/dcase2023t2/{dev,eval}_data/raw/<machine>/attributes_NN.csv
<data>/dcase2023t2/{dev,eval}_data/processed/<machine>/      features made from them
"""

import filecmp
import logging
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from asd.challenge.attributes import with_attributes
from asd.challenge.catalog import Challenge
from asd.challenge.names import copied_from, parse_clip
from asd.clips import Clip
from asd.errors import UserError

_OF_SYSTEMS = ("Thumbs.db", "desktop.ini")
"""Files that Windows puts into folders by itself."""

_SOUND = (".wav", ".flac", ".mp3", ".ogg", ".aif", ".m4a")

log = logging.getLogger(__name__)


def year_folder(data: Path, challenge: Challenge) -> Path:
    """Folder of a challenge year."""
    return data / challenge.name.lower()


def split_folder(data: Path, challenge: Challenge, split: str) -> Path:
    """Folder of a year's "dev" or "eval" data set."""
    return year_folder(data, challenge) / challenge.split(split).folder


def machine_folder(data: Path, challenge: Challenge, split: str, machine: str) -> Path:
    """Folder that holds the train and test folders of a machine type."""
    return split_folder(data, challenge, split) / "raw" / machine


def features_folder(data: Path, challenge: Challenge, split: str, machine: str) -> Path:
    """Folder for features of a machine type."""
    return split_folder(data, challenge, split) / "processed" / machine


def train_clips(data: Path, challenge: Challenge, split: str, machine: str) -> list[Clip]:
    """Training clips of a machine type, all sections, in the public baseline's order.

    Anomalous clips among them, or a lack of source clips, are told in a logged line.

    Raises
    ------
    UserError
        The folder is missing, holds no clip, or holds a name that does not parse.
    """
    folder = machine_folder(data, challenge, split, machine) / "train"
    clips = _official_order(_read_folder(folder, data, challenge, split, machine))
    _warn_of_odd_training(folder, clips)
    return clips


def test_clips(data: Path, challenge: Challenge, split: str, machine: str) -> list[Clip]:
    """Test clips of a machine type, all sections, in the public baseline's order.

    The labelled copies in test_rename/ are taken in place of test/ where that folder exists.

    Raises
    ------
    UserError
        The folder is missing, holds no clip, or holds a name that does not parse.
    """
    machine_dir = machine_folder(data, challenge, split, machine)
    if (machine_dir / "test_rename").is_dir():
        folders = [machine_dir / "test_rename"]
    elif (machine_dir / "test").is_dir():
        folders = [machine_dir / "test"]
    else:
        folders = [machine_dir / name for name in challenge.test_folders]
    clips = [c for f in folders for c in _read_folder(f, data, challenge, split, machine)]
    return _official_order(clips)


def supplemental_clips(data: Path, challenge: Challenge, split: str, machine: str) -> list[Clip]:
    """Clips of the clean machine or of noise alone (2025), all sections; none in other years.

    Their label is "machine" or "noise".

    Raises
    ------
    UserError
        The folder is there, but holds no clip, or a name that does not parse.
    """
    folder = machine_folder(data, challenge, split, machine) / "supplemental"
    if not folder.is_dir():
        return []
    return _official_order(_read_folder(folder, data, challenge, split, machine))


def no_folder(
    folder: Path, data: Path, challenge: Challenge, split: str, machine: str = ""
) -> UserError:
    """The error of a folder that is not there, with the command that downloads it.

    Parameters
    ----------
    folder
        The folder.
    data
        The data folder that it should be in.
    machine
        Machine type to download; all of the data set if "".
    """
    machines = f" --machine_types {machine}" if machine else ""
    return UserError(
        f"{folder}: no such folder; download the {split} data of {challenge.name} (asd download "
        f"--dataset {challenge.name} -{split[0]}{machines} --dataset_directory "
        f"{shlex.quote(str(data))}), or name another --dataset_directory"
    )


def _read_folder(
    folder: Path, data: Path, challenge: Challenge, split: str, machine: str
) -> list[Clip]:
    if not folder.is_dir():
        raise no_folder(folder, data, challenge, split, machine)
    names, unused = _list_folder(folder)
    if not names:
        raise UserError(f"{folder}: no .wav file in it; {_way_to_clips(unused, machine)}")
    if unused:
        log.warning(
            "%s: %d of %d entries are not used, such as %r; clips are files whose names end in "
            ".wav, in small letters",
            folder, len(unused), len(names) + len(unused), _example(unused),
        )  # fmt: skip
    clips = [parse_clip(folder / name, machine) for name in _without_copies(folder, names)]
    return with_attributes(clips, folder.parent)


def _list_folder(folder: Path) -> tuple[list[str], list[str]]:
    """Names that end in .wav, and those that do not; names that begin with a dot are no clips.

    Raises
    ------
    UserError
        What is named .wav is not a file: reading a pipe or a device could take for ever.
    """
    names, unused = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _OF_SYSTEMS:
                continue
            if not entry.name.endswith(".wav"):
                unused.append(entry.name)
            elif entry.is_file():
                names.append(entry.name)
            else:
                raise UserError(
                    f"{entry.path}: is not a file (but a folder, a pipe, a device or a link to "
                    "nothing); remove it"
                )
    return names, unused


def _without_copies(folder: Path, names: list[str]) -> list[str]:
    """The names less those of second copies, which are told in a logged line.

    Raises
    ------
    UserError
        A file is named like a copy, but differs from the original, or there is none.
    """
    copies = {name: original for name in names if (original := copied_from(name))}
    for name, original in copies.items():
        if not (folder / original).is_file():
            raise UserError(
                f"{folder / name}: is named like a copy of {original}, which is not here; "
                "rename or remove it"
            )
        if not filecmp.cmp(folder / name, folder / original, shallow=False):
            raise UserError(
                f"{folder / name}: is named like a copy of {original}, but differs from it; "
                "keep one of them"
            )
    if copies:
        log.warning(
            "%s: %d of %d files are copies of others and left out, such as %r; remove them",
            folder, len(copies), len(names), min(copies),
        )  # fmt: skip
    return [name for name in names if name not in copies]


def _example(unused: list[str]) -> str:
    """The entry that was most likely meant to be a clip."""
    return min(unused, key=lambda name: (not _looks_like_sound(name), name))


def _looks_like_sound(name: str) -> bool:
    return any(word in name.lower() for word in _SOUND)


def _way_to_clips(unused: list[str], machine: str) -> str:
    """What to do about a folder without clips."""
    for name in sorted(unused):
        if name.lower().endswith(".wav"):
            return f"rename {name} and the others to end in .wav, in small letters"
    return f"put the clips of {machine} there"


def _warn_of_odd_training(folder: Path, clips: Sequence[Clip]) -> None:
    """Tell what a system would learn from all the same, but was hardly meant to."""
    if odd := [clip for clip in clips if clip.is_anomaly]:
        log.warning(
            "%s: %d of %d training clips are anomalous by name, such as %s, and are learned as "
            "normal; move them away", folder, len(odd), len(clips), odd[0].file_name,
        )  # fmt: skip
    if all(clip.is_target for clip in clips):
        log.warning(
            "%s: none of %d training clips is of the source domain; check that all clips are there",
            folder, len(clips),
        )  # fmt: skip


def _official_order(clips: list[Clip]) -> list[Clip]:
    """By section, then normal before anomalous clips, then by name."""
    return sorted(clips, key=lambda c: (c.section, c.is_anomaly, c.file_name))
