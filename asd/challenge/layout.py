"""Where clips lie below the data folder, in the organisers' arrangement.

<data>/dcase2023t2/{dev,eval}_data/raw/<machine>/{train,test,test_rename,supplemental}/*.wav
<data>/dcase2023t2/{dev,eval}_data/raw/<machine>/attributes_NN.csv
<data>/dcase2023t2/{dev,eval}_data/processed/<machine>/      features made from them
"""

from pathlib import Path

from asd.challenge.attributes import with_attributes
from asd.challenge.catalog import Challenge
from asd.challenge.clips import Clip, parse_clip
from asd.errors import UserError


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

    Raises
    ------
    UserError
        The folder is missing, holds no clip, or holds a name that does not parse.
    """
    folder = machine_folder(data, challenge, split, machine) / "train"
    return _official_order(_read_folder(folder, challenge, split, machine))


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
        raise UserError(f"{folder}: no .wav file in it; put the clips of {machine} there")
    return with_attributes(clips, folder.parent)


def _official_order(clips: list[Clip]) -> list[Clip]:
    """By section, then normal before anomalous clips, then by name."""
    return sorted(clips, key=lambda c: (c.section, c.is_anomaly, c.file_name))
