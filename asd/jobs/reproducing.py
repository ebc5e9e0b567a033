"""Published scores beside ours: which data, weights and command, and what came of it."""

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from asd.challenge import layout
from asd.challenge.catalog import load_challenge
from asd.challenge.true_attributes import true_attributes_folder
from asd.config import Config, load_config
from asd.errors import UserError
from asd.words import nearest

_TABLE = Path(__file__).with_name("published.yaml")

_DATA = "{data}"
"""Stands in a row's settings for the folder of the year's data."""


@dataclass(frozen=True)
class PublishedScore:
    """A row of `published.yaml`, which says what the fields mean."""

    name: str
    dataset: str
    split: str
    score: str
    published: float | None
    source: str
    flags: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def command(self) -> str:
        """The command that makes our score."""
        words = [f"--{name} {value}" for name, value in self.flags.items()]
        words += [f"--set {text}" for text in self._set_values(self._data_folder("data"))]
        start = f"asd run -{self.split[0]} --dataset {self.dataset}"
        return " ".join([start, *words, f"--score {self.score}"])

    def config(self, flags: Mapping[str, Any]) -> Config:
        """The run, with flags about folders and how the work is done; it makes no decisions."""
        own = {"dataset": self.dataset, "score": self.score, "export_dir": self.name}
        own |= {**self.flags, "decision_threshold": "none"}
        folder = self._data_folder(flags.get("dataset_directory", "data"))
        # As YAML that reads as it stands, whatever the folder is called.
        set_values = self._set_values(json.dumps(folder, ensure_ascii=False))
        return load_config(None, {**flags, **own}, self.split, set_values, use_default_file=False)

    def needs_attributes(self) -> bool:
        """Whether it learns from the true attributes that lie beside the clips."""
        return _DATA in self.settings.values()

    def _data_folder(self, data: str) -> str:
        return str(layout.year_folder(Path(data), load_challenge(self.dataset)))

    def _set_values(self, folder: str) -> list[str]:
        return [f"{key}={folder if text == _DATA else text}" for key, text in self.settings.items()]


@cache
def published_scores() -> Mapping[str, PublishedScore]:
    """The rows by name."""
    rows = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    return {name: PublishedScore(name, **row) for name, row in rows.items()}


def find_row(name: str) -> PublishedScore:
    """The row of a name.

    Raises
    ------
    UserError
        There is none.
    """
    rows = published_scores()
    if name not in rows:
        raise UserError(
            f"there is no row {name!r}{nearest(name, rows)}; asd reproduce list shows them"
        )
    return rows[name]


def reproduce(name: str, flags: Mapping[str, Any]) -> str:
    """Train and test what a row says, and put our score beside the published one.

    Results and models are named by the row, so that other runs of the same system stay.

    Parameters
    ----------
    flags
        Parameter name -> text, about folders and how the work is done.

    Returns
    -------
    A text of a few lines.

    Raises
    ------
    UserError
        There is no such row, weights or data are missing (the text says which command gets them),
        or the test clips have no labels.
    """
    row = find_row(name)
    config = row.config(flags)
    attributes = _missing_attributes(row, config)
    files = [] if attributes else _missing_files(config)  # the attributes are such files
    if missing := [*files, *_missing_clips(config), *attributes]:
        raise UserError(f"{name}: " + "; ".join(missing))
    from asd.jobs.pipeline import train_and_test  # loads torch

    train_and_test(config)
    return compared(row, _official_score(config))


def compared(row: PublishedScore, ours: float) -> str:
    """Our score beside the published one, both in percent."""
    lines = [
        f"{row.name}: official score of {row.score}, {row.dataset} {row.split}",
        f"  ours       {ours:6.2f}",
    ]
    if row.published is None:
        lines.append(f"  published       -  (the number is not known here: {row.source})")
    else:
        lines.append(f"  published  {row.published:6.2f}  ({row.source})")
        lines.append(f"  difference {ours - row.published:+6.2f}")
    return "\n".join([*lines, *([f"  note: {row.note}"] if row.note else [])])


def listed() -> list[tuple[str, str, str, str]]:
    """A heading and, for each row, its name, published score, source and command."""
    rows = [
        (row.name, _text(row.published), row.source, row.command)
        for row in published_scores().values()
    ]
    return [("row", "published", "source", "command"), *rows]


def _text(published: float | None) -> str:
    return "-" if published is None else f"{published:.2f}"


def _missing_attributes(row: PublishedScore, config: Config) -> list[str]:
    """What to fetch where a row learns from true attributes that are not there."""
    if not row.needs_attributes():
        return []
    where = config.dataset_directory, config.challenge, config.split
    known = config.challenge.split(config.split).attributes
    if all(any(true_attributes_folder(*where, machine).glob("*.csv")) for machine in known):
        return []
    return [
        f"true attributes are not in {config.dataset_directory}; get them: asd attributes "
        f"-{config.split[0]} --dataset {config.dataset} --dataset_directory "
        f"{shlex.quote(str(config.dataset_directory))}"
    ]


def _missing_files(config: Config) -> list[str]:
    """Which weights or other files of the recipe have to be fetched, with the commands."""
    try:
        config.entry.system_class()(config.system).check()
    except UserError as error:
        return [str(error)]
    return []


def _missing_clips(config: Config) -> list[str]:
    """Which clips have to be fetched, with the command."""
    absent = [] if config.is_auto_download else _machines_without_clips(config)
    if not absent:
        return []
    split, names = config.split, "" if absent == list(config.machines) else " ".join(absent)
    only = f" --machine_types {names}" if names else ""
    return [
        f"clips of {', '.join(absent)} are not in {config.dataset_directory}; get them: asd "
        f"download -{split[0]} --dataset {config.dataset}{only} (and with "
        "--dataset_directory where they shall lie)"
    ]


def _machines_without_clips(config: Config) -> list[str]:
    """Machine types that lack a folder; what is wrong within one is told when it is read."""
    tests = ("test_rename", "test", *config.challenge.test_folders)
    absent = []
    for machine in config.machines:
        where = config.dataset_directory, config.challenge, config.split, machine
        folder = layout.machine_folder(*where)
        if not ((folder / "train").is_dir() and any((folder / t).is_dir() for t in tests)):
            absent.append(machine)
    return absent


def _official_score(config: Config) -> float:
    """Our official score in percent, over all machine types of the split."""
    from asd.evaluation.summary import official_scores, summarize

    where = config.result_directory, config.challenge, config.split, config.export_dir
    summary = summarize(*where, all_systems=False)
    scores = official_scores(summary)
    names = [system.name for system in summary.systems if system.score == config.score_name]
    total = float(scores.mean[scores.systems.index(names[0]), 0]) if names else math.nan
    if math.isnan(total) or set(summary.machines) < set(config.machines):
        raise UserError(
            f"{config.export_dir}: there is no official score, as test clips have no labels; give "
            f"them their labelled names: asd rename --dataset {config.dataset}"
        )
    return 100 * total
