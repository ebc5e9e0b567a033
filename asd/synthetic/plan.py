"""Which clips a data set of invented machines holds, and how they are called.

Sections, forms of names, attributes that are told and labels that are kept back are the year's own.
"""

import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from asd.challenge.catalog import Challenge
from asd.challenge.names import ClipName
from asd.clips import LABELS, NO_ATTRIBUTE
from asd.errors import UserError
from asd.synthetic.machine_sound import FAULTS, Condition, Machine, draw_machine


@dataclass(frozen=True)
class SyntheticCounts:
    """Numbers of clips per section.

    Parameters
    ----------
    train_source, train_target
        Training clips of each domain.
    test_per_group
        Test clips of each domain and label.

    Raises
    ------
    UserError
        A number is below 0, or there is no training clip at all.
    """

    train_source: int = 60
    train_target: int = 8
    test_per_group: int = 12

    def __post_init__(self) -> None:
        flags = ("train_source", "train_target", "test")
        counts = (self.train_source, self.train_target, self.test_per_group)
        for flag, count in zip(flags, counts, strict=True):
            if count < 0:
                raise UserError(f"--{flag}: expected a number of clips of 0 or more, got {count}")
        if self.train_source + self.train_target == 0:
            raise UserError(
                "--train_source and --train_target: both are 0, but there is nothing to learn "
                "without a training clip; raise one of them"
            )


@dataclass(frozen=True)
class Section:
    """A section of a machine type, and the machine that is heard in it."""

    challenge: Challenge
    split: str
    machine: str
    number: str
    sound: Machine
    hidden: bool = False

    @property
    def has_attributes(self) -> bool:
        """Whether the year's names tell attributes; from 2024 on every other machine type's do."""
        machines = list(self.challenge.split(self.split).sections)
        return self.challenge.year < 2024 or machines.index(self.machine) % 2 == 0

    @property
    def tells_attributes(self) -> bool:
        """Whether names tell attributes: those of the year, unless they are hidden on purpose."""
        return self.has_attributes and not self.hidden


@dataclass(frozen=True)
class PlannedClip:
    """A clip to be made. `unlabelled` is the name that it gets where the label is kept back."""

    section: Section
    folder: str
    name: ClipName
    condition: Condition
    fault: str = ""
    unlabelled: ClipName | None = None

    @property
    def seed_name(self) -> str:
        """What the clip's random numbers come from: its labelled name, were nothing hidden."""
        if not self.section.hidden or not self.name.attributes:
            return str(self.name)
        told = _year_text(self.section, self.condition)
        return str(replace(self.name, attributes=told))

    @property
    def true_name(self) -> str:
        """The labelled name with the attributes that were left out."""
        return str(replace(self.name, attributes=_told_text(self.condition)))

    @property
    def path(self) -> str:
        """Where the clip lies below its machine type's folder."""
        return f"{self.folder}/{self.unlabelled or self.name}"


def plan_machine(
    challenge: Challenge,
    split: str,
    machine: str,
    counts: SyntheticCounts,
    seed: int,
    *,
    hidden: bool = False,
    contrast: float = 1.0,
) -> list[PlannedClip]:
    """All clips of a machine type, section by section; parameters as in `synthesize`."""
    plan: list[PlannedClip] = []
    for number in challenge.split(split).sections[machine]:
        sound = draw_machine(seeded_generator(seed, machine, number), contrast)
        section = Section(challenge, split, machine, number, sound, hidden)
        tests: list[PlannedClip] = []
        for domain in challenge.domains:
            train_count = counts.train_source if domain == "source" else counts.train_target
            plan += _group(section, "train", "train", domain, "normal", train_count)
            folder = f"{domain}_test" if len(challenge.test_folders) > 1 else "test"
            for label in LABELS:
                tests += _group(section, folder, "test", domain, label, counts.test_per_group)
        if split == "eval":
            tests = _without_labels(tests, seeded_generator(seed, machine, number, "order"))
        plan += tests + _supplemental(section, counts.train_target)
    return plan


def _group(
    section: Section, folder: str, use: str, domain: str, label: str, count: int
) -> list[PlannedClip]:
    """Clips of one use ("train" or "test"), domain and label: conditions and faults take turns."""
    conditions = section.sound.conditions[domain]
    faults = list(FAULTS) if label == "anomaly" else [""]
    return [
        PlannedClip(
            section,
            folder,
            _labelled_name(section, use, domain, label, index, conditions[index % len(conditions)]),
            conditions[index % len(conditions)],
            faults[index % len(faults)],
        )
        for index in range(count)
    ]


def _labelled_name(
    section: Section, use: str, domain: str, label: str, index: int, condition: Condition
) -> ClipName:
    challenge = section.challenge
    if challenge.keyword == "id":
        return ClipName("id", section.number, f"{index:08d}", label=label)
    return ClipName(
        challenge.keyword,
        section.number,
        f"{index:04d}",
        domain=domain,
        split=use,
        label=label,
        attributes=_attribute_text(section, use, condition),
    )


def _attribute_text(section: Section, use: str, condition: Condition) -> str | None:
    """The attributes as the file name gives them; None in test clips of 2021, as there."""
    if use == "test" and section.challenge.year == 2021:
        return None
    return _told_text(condition) if section.tells_attributes else NO_ATTRIBUTE


def _year_text(section: Section, condition: Condition) -> str:
    """The attributes as the year's names give them."""
    return _told_text(condition) if section.has_attributes else NO_ATTRIBUTE


def _told_text(condition: Condition) -> str:
    return "_".join(f"{key}_{value}" for key, value in condition.attributes)


def _without_labels(tests: list[PlannedClip], rng: Generator) -> list[PlannedClip]:
    """Test clips of a section in random order, numbered through per folder, without labels."""
    placed: list[PlannedClip] = []
    for folder in dict.fromkeys(clip.folder for clip in tests):
        group = [clip for clip in tests if clip.folder == folder]
        for number, index in enumerate(rng.permutation(len(group))):
            clip = group[index]
            tells_domain = clip.folder != "test"
            name = ClipName(
                clip.name.keyword,
                clip.name.section,
                f"{number:0{len(clip.name.number)}d}",
                domain=clip.name.domain if tells_domain else None,
                split=clip.name.split if tells_domain else None,
            )
            placed.append(
                PlannedClip(
                    clip.section, folder, clip.name, clip.condition, clip.fault, unlabelled=name
                )
            )
    return placed


def _supplemental(section: Section, count: int) -> list[PlannedClip]:
    """The clean-machine or noise-only clips of 2025; machine types have the one or the other."""
    if section.challenge.year != 2025:
        return []
    label = "machine" if section.has_attributes else "noise"
    conditions = section.sound.conditions["source"]
    return [
        PlannedClip(
            section,
            "supplemental",
            ClipName("section", section.number, f"{index:04d}", label=label, attributes=""),
            conditions[index % len(conditions)],
        )
        for index in range(1, count + 1)
    ]


def seeded_generator(seed: int, *words: str) -> Generator:
    """Random numbers of their own for what the words name."""
    return np.random.default_rng([seed, zlib.crc32("/".join(words).encode())])
