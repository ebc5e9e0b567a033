"""Typed reader of catalog.yaml, the one place where challenge years are described."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from asd.errors import UserError
from asd.words import nearest


@dataclass(frozen=True)
class LabelList:
    """The organisers' list that maps unlabelled evaluation names to labelled ones.

    `corrected` is a list to use instead, and `reason` says why, where the published one is wrong.
    """

    file: str
    url: str
    sha256: str
    corrected: "LabelList | None" = None
    reason: str = ""


@dataclass(frozen=True)
class AttributeFile:
    """A table of true attributes that the organisers published: its name, address and SHA-256."""

    name: str
    url: str
    sha256: str


@dataclass(frozen=True)
class Split:
    """The development or the evaluation data set of a year.

    `sections` maps machine types to their sections, in the order of the official tables;
    `archives` maps machine types to the addresses of their zip files; `record` is the Zenodo
    record to ask for further files, or None; `attributes` maps machine types whose names hide
    their attributes to the tables of these.
    """

    name: str
    sections: Mapping[str, tuple[str, ...]]
    archives: Mapping[str, tuple[str, ...]]
    record: int | None
    attributes: Mapping[str, tuple[AttributeFile, ...]]

    @property
    def folder(self) -> str:
        """Folder of this data set below the year's: "dev_data" or "eval_data"."""
        return f"{self.name}_data"


@dataclass(frozen=True)
class OfficialScore:
    """How a year's metrics become one number: the kind of mean and the metrics it is taken over."""

    mean: str
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Challenge:
    """One year of DCASE Challenge Task 2."""

    name: str
    year: int
    keyword: str
    channels: int
    sample_rate_hz: int
    domains: tuple[str, ...]
    test_folders: tuple[str, ...]
    submission_files: tuple[str, ...]
    official_score: OfficialScore
    dev: Split
    eval: Split
    label_list: LabelList | None

    def split(self, name: str) -> Split:
        """The data set called "dev" or "eval"."""
        return {"dev": self.dev, "eval": self.eval}[name]

    def check_machines(self, split: str, machines: list[str]) -> tuple[str, ...]:
        """The machine types asked for, in the order of the official tables; all if none are.

        Raises
        ------
        UserError
            A machine type is not of this year and data set.
        """
        known = tuple(self.split(split).sections)
        for machine in machines:
            if machine not in known:
                raise UserError(
                    f"machine type {machine!r} is not in the {split} data of {self.name}"
                    f"{nearest(machine, known)}; it has {', '.join(known)}"
                )
        return tuple(m for m in known if m in machines) if machines else known


def challenge_names() -> tuple[str, ...]:
    """The names of all challenge years, oldest first."""
    return tuple(_catalog())


def load_challenge(name: str) -> Challenge:
    """The challenge year called `name`, such as "DCASE2023T2".

    Raises
    ------
    UserError
        No year has this name.
    """
    if name not in _catalog():
        names = challenge_names()
        raise UserError(
            f"challenge year {name!r} is unknown{nearest(name, names)}; "
            f"choose from {', '.join(names)}"
        )
    return _parse_challenge(name, _catalog()[name])


def split_dataset_name(name: str) -> tuple[str, str]:
    """Split the public baseline's "DCASE2023T2ToyCar" into year and machine type ("" if none)."""
    for challenge in challenge_names():
        if name.startswith(challenge):
            return challenge, name.removeprefix(challenge)
    return name, ""


@cache
def _catalog() -> dict[str, Any]:
    # Read at every start of the program: libyaml takes a tenth of the time, where there is one.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = Path(__file__).with_name("catalog.yaml").read_text(encoding="utf-8")
    catalog: dict[str, Any] = yaml.load(text, Loader=loader)
    return catalog


def _parse_challenge(name: str, entry: Mapping[str, Any]) -> Challenge:
    plain = {k: entry[k] for k in ("year", "keyword", "channels", "sample_rate_hz")}
    score = entry["official_score"]
    return Challenge(
        name=name,
        **plain,
        domains=tuple(entry["domains"]),
        test_folders=tuple(entry["test_folders"]),
        submission_files=tuple(entry["submission_files"]),
        official_score=OfficialScore(score["mean"], tuple(score["metrics"])),
        dev=_parse_split("dev", entry["dev"], entry.get("attributes_url", "")),
        eval=_parse_split("eval", entry["eval"], entry.get("attributes_url", "")),
        label_list=_parse_label_list(entry.get("label_list")),
    )


def _parse_split(name: str, entry: Mapping[str, Any], attributes_url: str) -> Split:
    renamed = entry.get("archive_names", {})

    def address(template: str, machine: str) -> str:
        folder, _, file = template.format(machine=machine).rpartition("/")
        return f"{folder}/{renamed.get(file, file)}"

    def tables(machine: str, digests: Mapping[str, str]) -> tuple[AttributeFile, ...]:
        files = []
        for part, sha256 in digests.items():
            url = attributes_url.format(split=name, machine=machine, part=part)
            files.append(AttributeFile(url.rpartition("/")[2], url, sha256))
        return tuple(files)

    return Split(
        name=name,
        sections={machine: tuple(ids) for machine, ids in entry["sections"].items()},
        archives={m: tuple(address(t, m) for t in entry["archives"]) for m in entry["sections"]},
        record=entry.get("record"),
        attributes={m: tables(m, found) for m, found in entry.get("attributes", {}).items()},
    )


def _parse_label_list(entry: Mapping[str, Any] | None) -> LabelList | None:
    if entry is None:
        return None
    fields = {**entry, "corrected": _parse_label_list(entry.get("corrected"))}
    return LabelList(**fields)
