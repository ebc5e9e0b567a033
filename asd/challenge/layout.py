"""Where clips lie below the data folder, in the organisers' arrangement.

<data>/dcase2023t2/{dev,eval}_data/raw/<machine>/{train,test,test_rename,supplemental}/*.wav
<data>/dcase2023t2/{dev,eval}_data/raw/<machine>/attributes_NN.csv
<data>/dcase2023t2/{dev,eval}_data/processed/<machine>/      features made from them
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from asd.challenge.attributes import with_attributes
from asd.challenge.catalog import Challenge
from asd.challenge.names import parse_clip
from asd.clips import Clip
from asd.errors import UserError

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
    clips = _official_order(_read_folder(folder, challenge, split, machine))
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
    clips = [c for f in folders for c in _read_folder(f, challenge, split, machine)]
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
    return _official_order(_read_folder(folder, challenge, split, machine))


def _read_folder(folder: Path, challenge: Challenge, split: str, machine: str) -> list[Clip]:
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; download the {split} data of {challenge.name} "
            f"(asd download --dataset {challenge.name} -{split[0]} --machine_types {machine}), "
            "set --is_auto_download True, or name another --dataset_directory"
        )
    clips = [parse_clip(path, machine) for path in folder.glob("[!.]*.wav")]
    if not clips:
        raise UserError(f"{folder}: no .wav file in it; {_way_to_clips(folder, machine)}")
    return with_attributes(clips, folder.parent)


def _way_to_clips(folder: Path, machine: str) -> str:
    """What to do about a folder without clips."""
    for path in folder.glob("[!.]*"):
        if path.suffix.lower() == ".wav":
            return f"rename {path.name} and the others to end in .wav, in small letters"
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
