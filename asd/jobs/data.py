"""Clips of a run and where their features are kept; clips are downloaded when that is allowed."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from asd.audio.clip_set import ClipSet, FeatureSource
from asd.audio.features import Feature, Features
from asd.audio.store import load_features
from asd.challenge import layout
from asd.clips import Clip
from asd.config import Config
from asd.errors import UserError

log = logging.getLogger(__name__)

Part = Literal["train", "test"]


def check_dataset(config: Config) -> None:
    """Raise a UserError where the data set is not there at all and may not be downloaded."""
    folder = layout.split_folder(config.dataset_directory, config.challenge, config.split) / "raw"
    if not folder.is_dir() and not config.is_auto_download:
        raise layout.no_folder(folder, config.dataset_directory, config.challenge, config.split)


def find_clips(config: Config, machine: str, part: Part) -> list[Clip]:
    """Clips of a machine type in the official order, downloaded first if that is allowed."""
    challenge, split = config.challenge, config.split
    if config.is_auto_download:
        from asd.challenge.download.dataset import download

        download(challenge, split, [machine], config.dataset_directory)
    find = layout.train_clips if part == "train" else layout.test_clips
    return find(config.dataset_directory, challenge, split, machine)


def machine_clips(config: Config, machine: str, part: Part, threads: int) -> ClipSet:
    """Training or test clips of a machine type.

    Raises
    ------
    UserError
        There are no clips, or their names cannot be read.
    """
    clips = find_clips(config, machine, part)
    folder = layout.features_folder(
        config.feature_directory or config.dataset_directory,
        config.challenge,
        config.split,
        machine,
    )
    source = stored_features(config, folder, threads)
    extra = _supplemental(config, machine) if part == "train" else []
    return ClipSet(clips, source, supplemental=extra, year=config.challenge.year)


def of_sections(config: Config, clips: ClipSet, sections: Sequence[str]) -> ClipSet:
    """The clips of some sections of a machine type; all where none is named.

    Raises
    ------
    UserError
        A section has no clip.
    """
    found = {clip.section for clip in clips}
    for section in sections:
        if section not in found:
            raise UserError(
                f"{clips[0].machine}: no training clip of section {section} in the {config.split} "
                f"data of {config.dataset}; add clips or leave the section out (--use_ids)"
            )
    if not sections:
        return clips
    return clips.select([i for i, clip in enumerate(clips) if clip.section in sections])


def challenge_clips(config: Config, threads: int) -> ClipSet:
    """Training clips of all machine types of a year, with their features in one store.

    As published, development and evaluation machines are learned together, where both are there;
    with `--machine_types` only those.

    Raises
    ------
    UserError
        There are no clips, or their names cannot be read.
    """
    there = [(replace(config, split=split), name) for split, name in _machines_at_hand(config)]
    clips = [clip for own, machine in there for clip in find_clips(own, machine, "train")]
    folder = layout.year_folder(
        config.feature_directory or config.dataset_directory, config.challenge
    )
    return ClipSet(
        clips,
        stored_features(config, folder / "processed", threads),
        label_only_clips=_test_clips_at_hand(config),
        supplemental=[clip for own, machine in there for clip in _supplemental(own, machine)],
        year=config.challenge.year,
    )


def stored_features(config: Config, folder: Path, threads: int) -> FeatureSource:
    """Features from the stores in a folder, computed into it where they are not there."""
    mono = config.challenge.channels == 1 if config.mono is None else config.mono

    def source(clips: Sequence[Clip], feature: Feature) -> Features:
        return load_features(clips, feature, folder, threads, mono=mono)

    return source


def _supplemental(config: Config, machine: str) -> list[Clip]:
    """Clips of the clean machine or of noise alone, where there are any."""
    data = config.dataset_directory
    return layout.supplemental_clips(data, config.challenge, config.split, machine)


def _machines_at_hand(config: Config) -> list[tuple[str, str]]:
    """Split and machine type of all training folders to learn from."""
    wanted = [(config.split, machine) for machine in config.machines]
    if config.machine_types:
        return wanted
    other = "eval" if config.split == "dev" else "dev"
    there = [
        (other, machine)
        for machine in config.challenge.split(other).sections
        if (layout.machine_folder(config.dataset_directory, config.challenge, other, machine)
            / "train").is_dir()
    ]  # fmt: skip
    return sorted(wanted + there)


def _test_clips_at_hand(config: Config) -> list[Clip]:
    """Test clips of the machine types to work on that are there: for their names alone."""
    clips = []
    for machine in config.machines:
        with suppress(UserError):
            clips += find_clips(replace(config, is_auto_download=False), machine, "test")
    return clips
