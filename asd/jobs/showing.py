"""A data set at a glance: how many clips of each kind, how long, and how a few of them sound."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
from tqdm import tqdm

from asd import __version__
from asd.audio.recordings import recordings
from asd.challenge import layout
from asd.challenge.true_attributes import true_attributes, true_attributes_folder
from asd.clips import NO_ATTRIBUTE, Clip
from asd.config import Config
from asd.errors import UserError
from asd.jobs.data import check_dataset, find_clips
from asd.pages.heard import Heard
from asd.report.clip_page import Sound
from asd.report.data_page import ClipGroup, DataPage, write_data_page
from asd.words import utf8_name

log = logging.getLogger(__name__)

COLUMNS = ("machine", "section", "set", "domain", "label", "attributes", "clips", "seconds")
_TEXTS = 6
"""Columns of words; the others are numbers."""

_SOUND_BYTES, _LONGEST_S = 12_000_000, 60.0
"""Size of all sounds in a page, and length beyond which a recording is linked."""


@dataclass(frozen=True)
class ShownClip:
    """A clip of a data set.

    Parameters
    ----------
    clip
        The clip.
    part
        The set that it belongs to: "train", "test", "supplemental"; of own recordings the
        folder. Own recordings have neither section nor domain.
    attributes
        What its name or a table tells; "" if nothing.
    """

    clip: Clip
    part: str
    attributes: str = ""


@dataclass(frozen=True)
class Group:
    """Clips of one kind.

    Parameters
    ----------
    machine, section, part, domain, label, attributes
        What they have in common; "" where it is not known. `attributes` may be a count.
    clips
        The clips.
    seconds
        Shortest and longest length; nan where none can be read.
    """

    machine: str
    section: str
    part: str
    domain: str
    label: str
    attributes: str
    clips: tuple[ShownClip, ...]
    seconds: tuple[float, float]

    @property
    def row(self) -> tuple[str, ...]:
        """The line of the table."""
        low, high = self.seconds
        length = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
        words = (self.machine, self.section, self.part, self.domain, self.label, self.attributes)
        return (*words, str(len(self.clips)), "-" if np.isnan(low) else length)


@dataclass(frozen=True)
class Survey:
    """A data set that was looked through.

    Parameters
    ----------
    title
        What it is.
    groups
        By kind, in order.
    facts
        Pairs of words and values.
    unreadable
        Path and reason of clips that cannot be read.
    """

    title: str
    groups: tuple[Group, ...]
    facts: tuple[tuple[str, str], ...]
    unreadable: tuple[tuple[Path, str], ...]


def challenge_set(config: Config) -> list[ShownClip]:
    """The clips of a challenge year's data set: of the machine types asked for, or all there are.

    Raises
    ------
    UserError
        The data set, or a machine type that was asked for, is not there, or a name in it does not
        parse.
    """
    own = replace(config, is_auto_download=False)
    check_dataset(own)
    wanted = own.machines
    if not own.machine_types:
        where = own.dataset_directory, own.challenge, own.split
        there = [name for name in wanted if layout.machine_folder(*where, name).is_dir()]
        if missing := [name for name in wanted if name not in there]:
            log.info("not there: %s", ", ".join(missing))
        wanted = tuple(there) or wanted
    return [shown for machine in wanted for shown in _machine_set(own, machine)]


def recorded_set(folder: Path) -> list[ShownClip]:
    """Own recordings, in a folder and its subfolders, which are their sets.

    Raises
    ------
    UserError
        There is no sound file.
    """
    name = folder.resolve().name
    return [
        ShownClip(
            replace(clip, machine=name, section="", domain=""),
            clip.path.relative_to(folder).parent.as_posix().removeprefix("."),
        )
        for clip in recordings(folder).clips
    ]


def survey(title: str, clips: Sequence[ShownClip], *, by_attributes: bool = False) -> Survey:
    """Count clips by machine, section, set, domain and label, and look how long they are.

    Parameters
    ----------
    by_attributes
        Count each combination of attributes for itself.
    """
    sounds: dict[Path, _Format] = {}
    unreadable = []
    for shown in tqdm(clips, desc="show", unit="clip", leave=False):
        try:
            sounds[shown.clip.path] = _Format.read(shown.clip.path)
        except UserError as error:
            unreadable.append((shown.clip.path, str(error)))
            log.warning("%s: cannot be read (%s)", shown.clip.path, error)
    groups = tuple(_groups(clips, sounds, by_attributes))
    return Survey(title, groups, _facts(groups, sounds.values(), unreadable), tuple(unreadable))


def survey_text(found: Survey) -> str:
    """A survey as a table for the terminal, its facts below."""
    lines = [COLUMNS, *(group.row for group in found.groups)]
    kept = [i for i in range(len(COLUMNS)) if any(line[i] for line in lines[1:])]
    widths = {i: max(len(line[i]) for line in lines) for i in kept}
    table = [
        "  ".join(
            line[i].ljust(widths[i]) if i < _TEXTS else line[i].rjust(widths[i]) for i in kept
        ).rstrip()
        for line in lines
    ]
    facts = ", ".join(f"{name} {value}" for name, value in found.facts)
    return utf8_name("\n".join([*table, f"{found.title}: {facts}"]))


def write_survey_page(path: Path, found: Survey, each: int) -> None:
    """Write a survey as a page, with pictures and sounds of a few clips of each group.

    Parameters
    ----------
    each
        Clips of a group to show: of as many combinations of attributes as there are.

    Raises
    ------
    UserError
        The file cannot be written. A clip that cannot be read is told and left out.
    """
    room = _SOUND_BYTES
    groups: dict[str, list[ClipGroup]] = {}
    for group in tqdm(found.groups, desc="page", unit="group", leave=False):
        sounds = []
        for shown, sound in _sounds(group, each, path.resolve().parent):
            is_kept = len(sound.audio) <= room
            room -= len(sound.audio) if is_kept else 0
            heading = shown.attributes or "clip"
            sounds.append((heading, sound if is_kept else replace(sound, audio=b"")))
        section = group.section and f"section {group.section}"
        kind = ", ".join(filter(None, [section, group.part, group.domain, group.label]))
        attributes = group.attributes and f"attributes: {group.attributes}"
        count = len(group.clips)
        words = [f"{count} clip{'' if count == 1 else 's'}", attributes]
        entry = ClipGroup(kind, ", ".join(filter(None, words)), sounds)
        groups.setdefault(group.machine, []).append(entry)
    notes = [f"Cannot be read: {utf8_name(file)} ({why})" for file, why in found.unreadable[:20]]
    footer = f"Made by asd {__version__}. Each sound is raised to full scale."
    rows = [group.row for group in found.groups]
    page = DataPage(found.title, found.facts, COLUMNS, rows, _TEXTS, groups, notes, footer)
    write_data_page(path, page)
    log.info("page: %s", path)


@dataclass(frozen=True)
class _Format:
    """What the head of a sound file says."""

    seconds: float
    rate_hz: int
    channels: int

    @classmethod
    def read(cls, path: Path) -> "_Format":
        """Read the head of a file.

        Raises
        ------
        UserError
            It cannot be read, or holds no sample.
        """
        import soundfile

        try:
            found = soundfile.info(str(path))
        except (OSError, RuntimeError) as error:
            raise UserError(str(error)) from None
        if not found.frames:
            raise UserError("holds no sample")
        return cls(found.frames / found.samplerate, found.samplerate, found.channels)


def _machine_set(config: Config, machine: str) -> Iterator[ShownClip]:
    data, challenge, split = config.dataset_directory, config.challenge, config.split
    told = true_attributes(true_attributes_folder(data, challenge, split, machine))
    parts = {
        "train": find_clips(config, machine, "train"),
        "test": _test_clips(config, machine),
        "supplemental": layout.supplemental_clips(data, challenge, split, machine),
    }
    for part, clips in parts.items():
        for clip in clips:
            is_told = clip.attributes not in (NO_ATTRIBUTE, "")
            yield ShownClip(
                clip, part, clip.attributes if is_told else told.get(clip.file_name, "")
            )


def _test_clips(config: Config, machine: str) -> list[Clip]:
    """The test clips, which come later than the training clips and may not be there yet."""
    try:
        return find_clips(config, machine, "test")
    except UserError as error:
        log.warning("%s", error)
        return []


def _groups(
    clips: Sequence[ShownClip], sounds: Mapping[Path, _Format], by_attributes: bool
) -> Iterator[Group]:
    kinds: dict[tuple[str, str, str, str, str, str], list[ShownClip]] = {}
    for shown in clips:
        clip = shown.clip
        key = (
            clip.machine,
            clip.section,
            shown.part,
            "" if shown.part == "supplemental" and clip.section else clip.domain,
            clip.label or ("unlabelled" if clip.section else ""),
            shown.attributes if by_attributes else "",
        )
        kinds.setdefault(key, []).append(shown)
    for key, members in kinds.items():
        lengths = [sounds[m.clip.path].seconds for m in members if m.clip.path in sounds]
        several = len({member.attributes for member in members if member.attributes})
        attributes = key[-1] or (f"{several} different" if several else "")
        ends = (min(lengths), max(lengths)) if lengths else (np.nan, np.nan)
        yield Group(*key[:5], attributes, tuple(members), ends)


def _facts(
    groups: Sequence[Group], sounds: Iterable[_Format], unreadable: Sequence[object]
) -> tuple[tuple[str, str], ...]:
    known = list(sounds)
    rates, channels = ({getattr(s, name) for s in known} for name in ("rate_hz", "channels"))
    facts = [
        ("machine types", str(len({group.machine for group in groups}))),
        ("clips", str(sum(len(group.clips) for group in groups))),
        ("length", _duration(sum(s.seconds for s in known))),
        ("sampling rate", " and ".join(f"{rate} Hz" for rate in sorted(rates))),
        ("channels", " and ".join(map(str, sorted(channels)))),
        ("cannot be read", str(len(unreadable)) if unreadable else ""),
    ]
    return tuple((name, value) for name, value in facts if value)


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.3g} s"


def _sounds(group: Group, each: int, folder: Path) -> Iterator[tuple[ShownClip, Sound]]:
    """Some clips of a group, with what a page in a folder shows of them."""
    left = each
    for shown in _in_turn(group.clips):
        if not left:
            return
        try:
            heard = Heard.read(shown.clip.path, "mix")
        except UserError as error:
            log.warning("%s; the page leaves it out", error)
            continue
        left -= 1
        gain = 0.9 / max(heard.peak, 1e-6)
        yield shown, heard.sound(folder, heard.loudest_db, gain, _LONGEST_S)


def _in_turn(clips: Sequence[ShownClip]) -> Iterator[ShownClip]:
    """The clips, one of each combination of attributes after the other."""
    kinds: dict[str, list[ShownClip]] = {}
    for shown in clips:
        kinds.setdefault(shown.attributes, []).append(shown)
    turns = chain.from_iterable(zip_longest(*kinds.values()))
    return (shown for shown in turns if shown is not None)
