"""Labels of evaluation clips, from the lists that the organisers publish after a challenge.

A list has one line with a machine type alone, then lines `unlabelled name,labelled name` of that
machine type; further fields are ignored (2020 has a third). Known errata are handled here:

- The list published for 2022 labels 296 clips of ToyCar and 312 of ToyTrain wrongly. It is told by
  its SHA-256 and refused; the catalog names a corrected one, drawn from the organisers' evaluator.
- In the list of 2024 the labelled names of RoboticArm lack "test_". They are read with it.
"""

import dataclasses
import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from asd.challenge.catalog import Challenge, LabelList
from asd.challenge.download.disk import as_user_error, check_space
from asd.challenge.download.policy import RetryPolicy
from asd.challenge.layout import machine_folder, split_folder
from asd.challenge.names import parse_clip_name
from asd.csvfiles import read_rows, refuse_lines
from asd.errors import UserError
from asd.files import folder_aside, write_aside
from asd.locks import exclusive_lock

_log = logging.getLogger(__name__)

Labels = Mapping[str, Mapping[str, str]]
"""Machine type -> unlabelled file name -> labelled file name."""


@dataclass(frozen=True)
class RenameCounts:
    """What became of a machine type's test clips.

    `named` clips have a labelled copy now; `without_row` clips are not in the list; for
    `without_clip` rows of the list there is no clip.
    """

    named: int
    without_row: int
    without_clip: int


# --- the list -------------------------------------------------------------------------------------


def load_labels(
    data: Path,
    challenge: Challenge,
    list_path: Path | None = None,
    allow_wrong: bool = False,
    patience: RetryPolicy | None = None,
) -> Labels:
    """Find, or download, a year's list and read it. Parameters as in `find_label_list`."""
    return read_label_list(find_label_list(data, challenge, list_path, allow_wrong, patience))


def find_label_list(
    data: Path,
    challenge: Challenge,
    list_path: Path | None = None,
    allow_wrong: bool = False,
    patience: RetryPolicy | None = None,
) -> Path:
    """The file with a year's list: the one given, else the one in eval_data/, else downloaded.

    Parameters
    ----------
    data
        The data folder; the list lies in <data>/<challenge>/eval_data/.
    challenge
        The year.
    list_path
        A list to use instead. Any content is accepted, unless it is one known to be wrong.
    allow_wrong
        Use the published list although it is known to be wrong (2022), as the public baseline does.
    patience
        How long to bear with the server.

    Raises
    ------
    UserError
        The year has no list; the file given is missing; the list is the wrong one; it cannot be
        downloaded, or is not the one expected.
    """
    found = find_local_list(data, challenge, list_path, allow_wrong)
    if found is not None:
        return found
    published = challenge.label_list
    if published is None:
        raise UserError(
            f"{challenge.name}: no list of labels is published for its evaluation clips; "
            "give one of your own with --list"
        )
    wanted = published if allow_wrong else published.corrected or published
    return _download_list(split_folder(data, challenge, "eval"), wanted, patience)


def find_local_list(
    data: Path,
    challenge: Challenge,
    list_path: Path | None = None,
    allow_wrong: bool = False,
) -> Path | None:
    """As `find_label_list`, but None in place of a download.

    In a year without a published list, `eval_data_list_<year>.csv` is looked for, which is how
    the organisers would call it.
    """
    published = challenge.label_list
    if list_path is None:
        folder = split_folder(data, challenge, "eval")
        names = [f"eval_data_list_{challenge.year}.csv"]
        if published is not None:
            wanted = published if allow_wrong else published.corrected or published
            names = [wanted.file, published.file]
        list_path = next((folder / name for name in names if (folder / name).is_file()), None)
    if list_path is not None:
        _check_list(list_path, published, allow_wrong)
    return list_path


def _check_list(path: Path, published: LabelList | None, allow_wrong: bool) -> None:
    """Tell by the SHA-256 which list this is, whichever line ends it was saved with."""
    content = _read(path)
    if published is None:
        return
    digests = {_sha256(content), _sha256(content.replace(b"\r\n", b"\n"))}
    if published.corrected is not None and published.sha256 in digests:
        fault = f"{path}: {published.corrected.reason}; the corrected list is at "
        fault += published.corrected.url
        if not allow_wrong:
            raise UserError(f"{fault} (or use this one with --allow_wrong_labels)")
        _log.warning("%s", fault)
    elif not digests & {one.sha256 for one in (published, published.corrected) if one}:
        _log.info("%s: differs from the organisers' list by its SHA-256; used as it is", path)


def _download_list(folder: Path, wanted: LabelList, patience: RetryPolicy | None) -> Path:
    from asd.challenge.download.transfer import fetch_bytes  # loads an HTTP library

    content = fetch_bytes(wanted.url, patience or RetryPolicy())
    digest = _sha256(content)
    if digest != wanted.sha256:
        raise UserError(
            f"{wanted.url}: has changed (SHA-256 {digest} in place of {wanted.sha256}); "
            "look at it, and if it is right give it with --list"
        )
    path = folder / wanted.file
    with write_aside(path) as aside:
        aside.write_bytes(content)
    _log.info("%s: downloaded from %s", path, wanted.url)
    return path


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: the list of labels cannot be read ({error.strerror}); check --list"
        ) from error


def read_label_list(path: Path) -> dict[str, dict[str, str]]:
    """Read a list: machine type -> unlabelled file name -> labelled file name.

    Raises
    ------
    UserError
        The file cannot be read, or a line is not as it should be, with its number.
    """
    labels: dict[str, dict[str, str]] = {}
    machine = ""
    taken: set[tuple[str, str]] = set()
    faults = []
    for line, cells in read_rows(path, open_end=True):
        try:
            if len(cells) > 1:
                _add_row(labels, taken, machine, *cells[:2])
            elif ".wav" in cells[0]:
                raise ValueError(f"{cells[0]!r} is no machine type; names are separated by commas")
            else:
                machine = _plain(cells[0])
                labels.setdefault(machine, {})
        except ValueError as error:
            faults.append((line, f"{error}; mend or remove this line"))
    refuse_lines(path, faults)
    if not any(labels.values()):
        raise UserError(f"{path}: no labels in it; give a list of labels with --list")
    return labels


def _add_row(
    labels: dict[str, dict[str, str]],
    taken: set[tuple[str, str]],
    machine: str,
    unlabelled: str,
    name: str,
) -> None:
    """Add a row of a list; ValueError tells what is wrong with it.

    `taken` holds the (machine type, labelled name) that have a clip.
    """
    if not machine:
        raise ValueError("a line with the machine type must come before the first row")
    rows = labels[machine]
    try:
        parse_clip_name(_plain(unlabelled))
        labelled = _labelled_name(_plain(name))
    except UserError as error:
        raise ValueError(str(error)) from error
    if unlabelled in rows:
        raise ValueError(f"{unlabelled} of {machine} has a row already")
    if (machine, labelled) in taken:
        raise ValueError(f"{labelled} of {machine} is given to another clip already")
    taken.add((machine, labelled))
    rows[unlabelled] = labelled


def _labelled_name(text: str) -> str:
    """A labelled name as all years write it: 2024's RoboticArm rows lack the word "test"."""
    name = parse_clip_name(text)
    if name.label not in ("normal", "anomaly"):
        raise ValueError(f"{text} says neither normal nor anomaly")
    if name.keyword == "section" and name.split is None:
        name = dataclasses.replace(name, split="test")
    return str(name)


def _plain(name: str) -> str:
    """Refuse names that would lead to another folder."""
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise ValueError(f"{name!r} is not a plain name")
    if name != name.strip() or not name.isprintable():
        raise ValueError(f"{name!r} has blanks around it or control characters in it")
    return name


# --- labelled copies of the clips -----------------------------------------------------------------


def rename_eval_clips(
    data: Path,
    challenge: Challenge,
    list_path: Path | None = None,
    link: bool = False,
    allow_wrong: bool = False,
    patience: RetryPolicy | None = None,
) -> dict[str, RenameCounts]:
    """Copy the evaluation clips from test/ to test_rename/ under their labelled names.

    Done for all machine types that have test clips; in 2021 from source_test/ and target_test/. A
    test_rename/ that exists is replaced as a whole, so that no name of an earlier list stays.

    Parameters
    ----------
    data, challenge, list_path, allow_wrong, patience
        As in `find_label_list`.
    link
        Link instead of copying: hard links, or symbolic ones where the disk has no hard links.

    Returns
    -------
    dict
        Machine type -> what became of its clips.

    Raises
    ------
    UserError
        The list cannot be had (see `find_label_list`) or read; no machine type of the list has
        test clips; the folder cannot be written to.
    """
    raw = split_folder(data, challenge, "eval") / "raw"
    if not raw.is_dir():  # told before anything is downloaded into a folder that was mistyped
        raise UserError(
            f"{raw}: no such folder; download the eval data of {challenge.name}, or name another "
            "data folder"
        )
    labels = load_labels(data, challenge, list_path, allow_wrong, patience)
    counts = {}
    with exclusive_lock(raw.parent / ".rename.lock", "renaming"):
        for machine, rows in labels.items():
            folder = machine_folder(data, challenge, "eval", machine)
            clips = _test_clips(folder, challenge)
            if clips:
                counts[machine] = _rename_machine(folder, clips, rows, link)
    if not counts:
        raise UserError(
            f"{raw}: no test clips of {', '.join(labels)}; download the eval data of "
            f"{challenge.name}, or name another data folder"
        )
    return counts


def _test_clips(machine_dir: Path, challenge: Challenge) -> dict[str, Path]:
    """Unlabelled test clips by file name."""
    names = ("test",) if (machine_dir / "test").is_dir() else challenge.test_folders
    return {path.name: path for name in names for path in (machine_dir / name).glob("*.wav")}


def _rename_machine(
    machine_dir: Path, clips: Mapping[str, Path], rows: Mapping[str, str], link: bool
) -> RenameCounts:
    both = {clips[name]: labelled for name, labelled in rows.items() if name in clips}
    counts = RenameCounts(len(both), len(clips) - len(both), len(rows) - len(both))
    if both:
        renamed = machine_dir / "test_rename"
        with as_user_error(renamed), folder_aside(renamed) as new:
            if not link:
                check_space(machine_dir, sum(clip.stat().st_size for clip in both))
            for clip, labelled in tqdm(both.items(), desc=f"naming {machine_dir.name}"):
                _link(clip, new / labelled) if link else shutil.copy2(clip, new / labelled)
    level = logging.WARNING if counts.without_row or counts.without_clip else logging.INFO
    _log.log(
        level,
        "%s: %d clips named, %d clips without a row in the list, %d rows without a clip",
        machine_dir,
        counts.named,
        counts.without_row,
        counts.without_clip,
    )
    return counts


def _link(clip: Path, target: Path) -> None:
    try:
        os.link(clip, target)
    except OSError:
        target.symlink_to(Path("..") / clip.parent.name / clip.name)
