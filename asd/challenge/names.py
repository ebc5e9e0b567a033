r"""File names of clips. Nothing else in the package looks inside a file name.

The names that the organisers use (NN a section or machine id, NNNN a running number):

    section_NN_source_train_normal_NNNN_<attributes>.wav    2021 on; "_<attributes>" may be missing
    section_NN_source_normal_NNNN_<attributes>.wav          2024 evaluation list, RoboticArm
    section_NN_source_test_NNNN.wav                         2021 evaluation, unlabelled
    section_NN_test_NNNN.wav, section_NN_NNNN.wav           2022 on evaluation, unlabelled
    normal_id_NN_NNNNNNNN.wav, id_NN_NNNNNNNN.wav           2020, labelled and unlabelled
    section_NN_machine_NNNN_.wav, section_NN_noise_NNNN_.wav  2025 supplemental
"""

import re
from dataclasses import dataclass
from pathlib import Path

from asd.clips import NO_ATTRIBUTE, Clip
from asd.errors import UserError

_NAME = re.compile(
    r"section_(?P<section>[0-9]{2})"
    r"(?:_(?P<domain>source|target))?"
    r"(?:_(?P<split>train|test))?"
    r"(?:_(?P<label>normal|anomaly|machine|noise))?"
    r"_(?P<number>[0-9]+)"
    r"(?P<attributes>_.*)?\.wav"
)
_NAME_2020 = re.compile(
    r"(?:(?P<label>normal|anomaly)_)?id_(?P<section>[0-9]{2})_(?P<number>[0-9]+)\.wav"
)

_COPY = re.compile(
    r"(?P<original>.+?)"
    r"(?: \([0-9]+\)"  # browsers, Google Drive
    r"| - (?:copy|kopie|copie|copia|cópia|コピー|副本|복사본)(?: \([0-9]+\))?"  # Windows
    r"| copy(?: [0-9]+)?"  # macOS
    r"| \((?:another |[0-9]+(?:st|nd|rd|th) )?copy\)"  # GNOME
    r"| \([^()]*conflict[^()]*\)"  # Dropbox, Nextcloud
    r"|\.sync-conflict-[^.]+"  # Syncthing
    r"|[ ._-][^ ._-]*conflict.*)"  # ownCloud, Resilio, Synology
    r"\.wav",
    re.IGNORECASE,
)
"""How browsers, file managers and programs that synchronise folders name a second copy."""


@dataclass(frozen=True)
class ClipName:
    """What a file name says. `None` stands for what it does not say; `str()` gives the name back.

    Parameters
    ----------
    keyword
        "section", or (2020) "id".
    section
        Two digits.
    number
        The running number, with its leading zeros.
    domain
        "source" or "target".
    split
        "train" or "test".
    label
        "normal" or "anomaly"; of supplemental clips "machine" or "noise".
    attributes
        All that follows the running number, as it stands: "car_A1_spd_28V". "" where the name
        ends in a lone underscore.
    """

    keyword: str
    section: str
    number: str
    domain: str | None = None
    split: str | None = None
    label: str | None = None
    attributes: str | None = None

    def __str__(self) -> str:
        if self.keyword == "id":
            words = [self.label, "id", self.section, self.number]
        else:
            words = ["section", self.section, self.domain, self.split, self.label]
            words += [self.number, self.attributes]
        return "_".join(word for word in words if word is not None) + ".wav"


def parse_clip_name(file_name: str) -> ClipName:
    """Read a file name.

    Raises
    ------
    UserError
        The name is of none of the forms above.
    """
    if match := _NAME.fullmatch(file_name):
        words = match.groupdict()
        if words["attributes"] is not None:
            words["attributes"] = words["attributes"][1:]
        return ClipName(keyword="section", **words)
    if match := _NAME_2020.fullmatch(file_name):
        return ClipName(keyword="id", **match.groupdict())
    raise UserError(
        f"{file_name}: not a clip name of the challenge; expected one like "
        "section_00_source_train_normal_0000_<attributes>.wav, section_00_0000.wav "
        "or normal_id_00_00000000.wav"
    )


def copied_from(file_name: str) -> str | None:
    """Name of the file that this one is a copy of, by its name; None for a name of its own.

    Without it "..._spd_6V (1).wav" would be a clip with the attribute "spd_6V (1)".
    """
    match = _COPY.fullmatch(file_name)
    return f"{match['original']}.wav" if match else None


def named_clip(path: Path, machine: str, name: ClipName) -> Clip:
    """The clip at `path` with what a name says; its domain is "source" where that says none."""
    return Clip(
        path,
        machine,
        name.section,
        name.domain or "source",
        name.label,
        name.attributes or NO_ATTRIBUTE,
    )


def parse_clip(path: Path, machine: str) -> Clip:
    """The clip at `path`.

    Raises
    ------
    UserError
        The file's name does not parse.
    """
    try:
        return named_clip(path, machine, parse_clip_name(path.name))
    except UserError as error:
        raise UserError(f"{path.parent}{'/'}{error}") from None
