"""One tree for the clips of all years, under one naming scheme with labels.

    <output>/<year>/<dev|eval>/<machine>/<train|test|supplemental>/
        section_NN_<source|target>_<train|test>_<normal|anomaly>_NNNN_<attributes>.wav
    <output>/clips.csv      a line for each clip: path, year, split, machine, set, section, domain,
                            label, attributes, source (the file it is made of)

2020's ids are called sections, and its clips are of the source domain. Evaluation clips get their
labels from test_rename/ or from the organisers' list; where neither is there they keep names that
tell none, such as section_00_test_0000.wav. Supplemental clips keep their names.
"""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from tqdm import tqdm

from asd.challenge import layout
from asd.challenge.catalog import Challenge
from asd.challenge.download.disk import as_user_error, check_space
from asd.challenge.labels import find_local_list, read_label_list
from asd.challenge.names import ClipName, named_clip, parse_clip_name
from asd.clips import LABELS, NO_ATTRIBUTE, Clip
from asd.csvfiles import read_rows, write_rows
from asd.errors import UserError
from asd.files import write_aside
from asd.locks import exclusive_lock

_log = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class UnifiedClip:
    """A line of clips.csv; "" stands for what is not known. `path` is below the output folder."""

    path: str
    year: str
    split: str
    machine: str
    set: str
    section: str
    domain: str
    label: str
    attributes: str
    source: str


_HEADER = [field.name for field in fields(UnifiedClip)]


def unify(
    data: Path,
    challenge: Challenge,
    split: str,
    machines: Sequence[str],
    output: Path,
    *,
    link: bool = False,
    list_path: Path | None = None,
) -> list[UnifiedClip]:
    """Bring the clips of some machine types into the tree at `output`.

    What is there already is kept where it is the same, and clips of an earlier call that are no
    longer in the data set are removed; other years, data sets and machine types stay as they are.

    Parameters
    ----------
    data
        The data folder.
    challenge, split
        The year, and "dev" or "eval".
    machines
        Machine types; if none, all that are in the data folder.
    output
        Top folder of the tree.
    link
        Link instead of copying: hard links, or symbolic ones where the disk has no hard links.
    list_path
        The organisers' list of labels; by default the one in the data folder, if it is there.

    Returns
    -------
    list of UnifiedClip
        The clips brought in.

    Raises
    ------
    UserError
        A machine type is not of the year or not in the data folder; a name does not parse; two
        clips would get the same name; the list is known to be wrong; the folder cannot be written;
        its clips.csv is of something else, or names files outside their machine type's folder.
    """
    plan = _plan(data, challenge, split, machines, list_path)
    with exclusive_lock(output / ".format.lock", "formatting"), as_user_error(output):
        table = output / "clips.csv"
        before = _read_table(table)
        if not link:
            new = [clip for clip in plan if not _is_copied(clip, output)]
            check_space(output, sum(Path(clip.source).stat().st_size for clip in new))
        for clip in tqdm(plan, desc=f"format {challenge.name} {split}", unit="clip"):
            _place(clip, output, link)
        ours = {(clip.year, clip.split, clip.machine) for clip in plan}
        old = [clip for clip in before if (clip.year, clip.split, clip.machine) in ours]
        for path in {clip.path for clip in old} - {clip.path for clip in plan}:
            (output / path).unlink(missing_ok=True)
        _write_table(table, sorted({*before} - {*old} | {*plan}))
    return plan


# --- which clips, and what they are called --------------------------------------------------------


def _plan(
    data: Path,
    challenge: Challenge,
    split: str,
    machines: Sequence[str],
    list_path: Path | None,
) -> list[UnifiedClip]:
    wanted = challenge.check_machines(split, list(machines))
    if not machines:
        there = [m for m in wanted if layout.machine_folder(data, challenge, split, m).is_dir()]
        wanted = tuple(there) or wanted
    labels: Mapping[str, Mapping[str, str]] = {}
    if split == "eval" and (found := find_local_list(data, challenge, list_path)) is not None:
        labels = read_label_list(found)
    plan = [
        _unified(clip, _listed_name(clip, labels), challenge, split, clip_set)
        for machine in wanted
        for clip_set, clips in _clip_sets(data, challenge, split, machine, labels)
        for clip in clips
    ]
    _check_names(plan)
    return plan


def _clip_sets(
    data: Path,
    challenge: Challenge,
    split: str,
    machine: str,
    labels: Mapping[str, Mapping[str, str]],
) -> list[tuple[str, list[Clip]]]:
    """Training, test and supplemental clips; the evaluation data may lack its test clips yet."""
    sets = [("train", layout.train_clips(data, challenge, split, machine))]
    folder = layout.machine_folder(data, challenge, split, machine)
    names = ("test_rename", "test", *challenge.test_folders)
    if split == "dev" or any((folder / name).is_dir() for name in names):
        tests = layout.test_clips(data, challenge, split, machine)
        rows = labels.get(machine, {})
        tests = [_with_label(clip, rows) for clip in tests]
        if missing := sum(clip.label is None for clip in tests):
            text = "%s: %d of %d test clips are not in a list of labels, and left without one"
            _log.warning(text, folder, missing, len(tests))
        sets.append(("test", tests))
    else:
        _log.warning("%s: no test clips; only training clips are taken", folder)
    extra = layout.supplemental_clips(data, challenge, split, machine)
    return [*sets, ("supplemental", extra)]


def _listed_name(clip: Clip, labels: Mapping[str, Mapping[str, str]]) -> str:
    return labels.get(clip.machine, {}).get(clip.file_name, clip.file_name)


def _with_label(clip: Clip, rows: Mapping[str, str]) -> Clip:
    if clip.label is not None or clip.file_name not in rows:
        return clip
    return named_clip(clip.path, clip.machine, parse_clip_name(rows[clip.file_name]))


def _unified(
    clip: Clip, listed: str, challenge: Challenge, split: str, clip_set: str
) -> UnifiedClip:
    """A clip's line; `listed` is its name, in the list of labels where that has one."""
    name = parse_clip_name(listed)
    # A year with one domain need not tell it; other years' unlabelled clips keep it back.
    domain = name.domain or (challenge.domains[0] if len(challenge.domains) == 1 else None)
    attributes = None
    if clip_set == "supplemental":
        file_name = clip.file_name
    else:
        is_told = clip.label in LABELS or clip.attributes != NO_ATTRIBUTE
        attributes = clip.attributes if is_told else name.attributes
        file_name = str(
            ClipName("section", clip.section, name.number, domain, clip_set, clip.label, attributes)
        )
    return UnifiedClip(
        path=f"{challenge.year}/{split}/{clip.machine}/{clip_set}/{file_name}",
        year=str(challenge.year),
        split=split,
        machine=clip.machine,
        set=clip_set,
        section=clip.section,
        domain=domain or "",
        label=clip.label or "",
        attributes=attributes or "",
        source=str(clip.path.resolve()),
    )


def _check_names(plan: Sequence[UnifiedClip]) -> None:
    found: dict[str, str] = {}
    for clip in plan:
        if (other := found.setdefault(clip.path, clip.source)) != clip.source:
            raise UserError(
                f"{clip.source} and {other} would both be named {clip.path}; remove one of them"
            )


# --- files ----------------------------------------------------------------------------------------


def _is_copied(clip: UnifiedClip, output: Path) -> bool:
    """Whether a copy is there already: a file of its own, of the same size and time."""
    target, source = output / clip.path, Path(clip.source)
    if target.is_symlink() or not target.is_file() or target.samefile(source):
        return False
    there, wanted = target.stat(), source.stat()
    return (there.st_size, there.st_mtime_ns) == (wanted.st_size, wanted.st_mtime_ns)


def _place(clip: UnifiedClip, output: Path, link: bool) -> None:
    target, source = output / clip.path, Path(clip.source)
    if link:
        if target.is_file() and target.samefile(source):
            return
        with write_aside(target, durable=False) as aside:
            try:
                os.link(source, aside)
            except OSError:
                aside.symlink_to(source.resolve())
    elif not _is_copied(clip, output):
        with write_aside(target, durable=False) as aside:
            shutil.copy2(source, aside)


def _read_table(path: Path) -> list[UnifiedClip]:
    if not path.is_file():
        return []
    header, *rows = read_rows(path, spreadsheet=True)
    if header.cells != _HEADER or any(len(row.cells) != len(_HEADER) for row in rows):
        raise UserError(
            f"{path}: is not the table of a tree made by asd format; name another --output"
        )
    for line, cells in rows:
        if not _is_in_its_folder(clip := UnifiedClip(*cells)):
            raise UserError(
                f"{path}, line {line}: {clip.path!r} does not lie below "
                f"'{clip.year}/{clip.split}/{clip.machine}/'; remove the line, or name another "
                "--output"
            )
    return [UnifiedClip(*row.cells) for row in rows]


def _is_in_its_folder(clip: UnifiedClip) -> bool:
    """Whether a path read from a table stays in its place: it may be removed later."""
    path = Path(clip.path)
    below = path.parts[:3] == (clip.year, clip.split, clip.machine) and len(path.parts) > 3
    return below and not path.anchor and ".." not in path.parts


def _write_table(path: Path, clips: Sequence[UnifiedClip]) -> None:
    write_rows(path, [_HEADER, *map(astuple, clips)], spreadsheet=True)
