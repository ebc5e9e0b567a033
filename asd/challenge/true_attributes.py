"""Attributes of clips whose names hide them, which the organisers published after the challenge.

They lie beside the clips, not among them, so that nothing learns from them unasked:

<data>/dcase2024t2/dev_data/ground_truth_attributes/<machine>/attributes_NN_train_correspondence.csv

source_file_name,target_file_name         the name with attributes, and the clip's own without
section_00_source_train_normal_0033_spd_7.wav,section_00_source_train_normal_0033_noAttribute.wav

`asd synthesize` writes such tables for the machine types whose attributes it hides.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from asd.challenge.catalog import AttributeFile, Challenge
from asd.challenge.download.policy import RetryPolicy
from asd.challenge.layout import split_folder
from asd.challenge.names import parse_clip_name
from asd.csvfiles import read_rows, refuse_lines
from asd.errors import UserError
from asd.files import write_aside

log = logging.getLogger(__name__)

HEADER = ("source_file_name", "target_file_name")
_FILES = "attributes_*_correspondence.csv"


def true_attributes_folder(data: Path, challenge: Challenge, split: str, machine: str) -> Path:
    """Folder of the tables of a machine type."""
    return split_folder(data, challenge, split) / "ground_truth_attributes" / machine


def table_name(section: str, part: str) -> str:
    """Name of the table of a section ("00"), of its "train" or "test" clips."""
    return f"attributes_{section}_{part}_correspondence.csv"


def true_attributes(folder: Path) -> dict[str, str]:
    """From file name to attribute text, such as "car_B1_spd_7", of a machine type's clips.

    Parameters
    ----------
    folder
        See `true_attributes_folder`. Empty if there is no table in it, or no such folder.

    Raises
    ------
    UserError
        A table cannot be read or is none; tells the line.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.glob(_FILES)):
        header, *rows = read_rows(path, open_end=True)
        if tuple(header.cells[:2]) != HEADER:
            raise UserError(
                f"{path}: no table of attributes, which begins with {','.join(HEADER)}; get it "
                "again (asd attributes), or remove it"
            )
        faults = []
        for line, cells in rows:
            try:
                name, text = _row(cells)
            except UserError as error:
                faults.append((line, f"{error}; mend or remove this line"))
                continue
            if found.setdefault(name, text) != text:
                faults.append((line, f"{name} has other attributes above; keep one of the lines"))
        refuse_lines(path, faults)
    return found


def fetch_true_attributes(
    data: Path,
    challenge: Challenge,
    split: str,
    machines: Sequence[str] = (),
    patience: RetryPolicy | None = None,
) -> list[Path]:
    """Download the tables of machine types; those that are there are kept.

    Parameters
    ----------
    machines
        Machine types; all that have tables if there are none.

    Returns
    -------
    list of Path
        The tables.

    Raises
    ------
    UserError
        No tables are published for what is asked; or one cannot be downloaded, or is not the one
        expected.
    """
    published = challenge.split(split).attributes
    chosen = challenge.check_machines(split, list(machines))
    wanted = {machine: published[machine] for machine in chosen if machine in published}
    if not wanted:
        has = f"; they are of {', '.join(published)}" if published else ""
        raise UserError(
            f"{challenge.name} {split}: no attributes are published apart from the names of clips"
            f"{' of ' + ', '.join(machines) if machines else ''}{has}"
        )
    found = []
    for machine, files in wanted.items():
        folder = true_attributes_folder(data, challenge, split, machine)
        found += [_fetch(folder / file.name, file, patience or RetryPolicy()) for file in files]
    return found


def _row(cells: Sequence[str]) -> tuple[str, str]:
    """Name of a clip as it is, and its attributes; a UserError says what is wrong."""
    if len(cells) < 2:
        raise UserError("a single cell, where the name with attributes and the name without belong")
    told = parse_clip_name(cells[0])
    parse_clip_name(cells[1])
    if not told.attributes:
        raise UserError(f"{cells[0]}: tells no attributes")
    return cells[1], told.attributes


def _fetch(path: Path, file: AttributeFile, patience: RetryPolicy) -> Path:
    if path.is_file():
        log.info("%s: already there", path)
        return path
    from asd.challenge.download.transfer import fetch_bytes  # loads an HTTP library

    content = fetch_bytes(file.url, patience)
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise UserError(
            f"{file.url}: has changed (SHA-256 {digest} in place of {file.sha256}); look at it, "
            f"and if it is right save it as {path}"
        )
    with write_aside(path) as aside:
        aside.write_bytes(content)
    log.info("%s: downloaded from %s", path, file.url)
    return path
