"""Labels of clips from a CSV file, and a labeller that makes them classes.

clip,label                                          a path, of which folder and file name count
ToothBrush/train/section_00_source_train_normal_0000_noAttribute.wav,id_A1_spd_2

The organisers' tables of true attributes are read too, see `asd.challenge.true_attributes`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from asd.audio.clip_set import ClipSet
from asd.clips import Clip
from asd.csvfiles import Row, read_rows, refuse_lines
from asd.errors import UserError
from asd.systems.base import Run
from asd.systems.embedding.labellers import Labeller, TrainingClasses, numbered
from asd.systems.embedding.labels import Part, class_name

_LABELS = ("label", "cluster")
_TRUTH = ("target_file_name", "source_file_name")
_BESIDE_CLIPS = re.compile(r"attributes_\d+\.csv")
_FIELDS_BEFORE_ATTRIBUTES = 6  # section, 00, domain, split, label, number


class FileLabeller(Labeller):
    """Classes from a file; machine types that it does not name keep those of their names.

    Parameters
    ----------
    file
        A CSV file with a line for each training clip. Columns: `clip`, its file name or path; what
        it is, `label` or, as in the table that ClusterLabeller leaves, `cluster`; and `machine`,
        where neither the path's folders nor the file name alone tell the machine type. Or a table
        of true attributes of the organisers (target_file_name, source_file_name: the label is what
        stands in the latter for attributes), or a folder in which those of all machine types lie,
        each in a folder of its name, such as that of a year's data; their lines about other clips
        count for nothing.
    parts
        What of a clip's name makes its class together with its label; none takes labels alone, so
        that equal labels of different machine types are one class, as in the published runs with
        true attributes.
    """

    def __init__(
        self, *, file: str, parts: tuple[Part, ...] = ("machine", "section", "domain")
    ) -> None:
        self.file, self.parts = file, parts

    def classes(self, train: ClipSet, run: Run) -> TrainingClasses:  # noqa: ARG002
        """Classes, numbered in the order of their names.

        Raises
        ------
        UserError
            The file cannot be read, lacks clips of a machine type or names unknown ones, or all
            clips are of one class; or clusters of different groups would become one class.
        """
        self._check_parts()
        labels = read_clip_labels(Path(self.file), train.clips, train.label_only_clips)
        names = []
        for clip, label in zip(train.clips, labels, strict=True):
            if label is None:
                names.append((*class_name(clip, ("machine", "section", "domain")), clip.attributes))
            else:
                names.append((*class_name(clip, self.parts), label))
        found = numbered(names)
        if found.count < 2:
            raise UserError(
                f"{self.file}: all training clips are of one class, but a frontend learns by "
                "telling classes apart; give more labels"
            )
        return found

    def _check_parts(self) -> None:
        """Refuse to take numbers of clusters, which begin anew in each group, as labels alone."""
        path, group = Path(self.file), ("machine", "section", "domain")
        if set(group) <= set(self.parts) or path.is_dir():
            return
        header = read_rows(path, open_end=True)[0].cells
        if "cluster" in header and "label" not in header:
            raise UserError(
                f"{path}: clusters are numbered for each {', '.join(group)}; set labels.parts to "
                f"[{', '.join(group)}]"
            )


def read_clip_labels(
    path: Path, clips: Sequence[Clip], other_clips: Sequence[Clip] = ()
) -> list[str | None]:
    """The label of each clip; None for those of machine types that the file does not name.

    Parameters
    ----------
    clips
        Clips that need labels, all of a machine type or none.
    other_clips
        Clips that the file may name too, such as test clips.

    Raises
    ------
    UserError
        The file cannot be read or is not such a file, lacks clips or names unknown ones.
    """
    known: dict[str, set[str]] = {}
    for clip in (*clips, *other_clips):
        known.setdefault(clip.file_name, set()).add(clip.machine)
    machines = {clip.machine for clip in clips}
    found: dict[tuple[str, str], str] = {}
    if path.is_dir():
        for file in sorted(path.rglob("*.csv")):
            beside_clips = _BESIDE_CLIPS.fullmatch(file.name)  # says what names of clips do
            if file.parent.name in machines and not beside_clips:
                _read_table(file, file.parent.name, known, machines, found)
    else:
        _read_table(path, None, known, machines, found)
    return _in_order(path, clips, found)


def _read_table(
    path: Path,
    machine: str | None,
    known: dict[str, set[str]],
    machines: set[str],
    found: dict[tuple[str, str], str],
) -> None:
    """Add the labels of a file to `found`; `machine` is the type that it is all about, if known."""
    header, *rows = read_rows(path, open_end=True)
    place, label = _columns(path, header.cells)
    own = header.cells.index("machine") if "machine" in header.cells else None
    is_truth = header.cells[label] in _TRUTH
    faults = []
    for row in rows:
        try:
            _check_cells(row, len(header.cells), least=is_truth)
            text = _label_of(row.cells[label], is_truth)
            if is_truth and row.cells[place].rpartition("/")[2] not in known:
                continue
            named = machine if own is None else row.cells[own]
            key = _clip_of(row.cells[place], named, known, machines)
        except ValueError as fault:
            faults.append((row.line, str(fault)))
            continue
        if key is not None and found.setdefault(key, text) != text:
            faults.append((row.line, f"{key[1]} has another label above; keep one of the lines"))
    refuse_lines(path, faults)


def _columns(path: Path, header: Sequence[str]) -> tuple[int, int]:
    """The columns of clips and of labels."""
    if all(name in header for name in _TRUTH):
        return header.index(_TRUTH[0]), header.index(_TRUTH[1])
    labels = [name for name in _LABELS if name in header]
    if "clip" not in header or not labels:
        raise UserError(
            f"{path}: no table of labels, which has the columns clip and label (it has "
            f"{', '.join(header)}); rename its columns"
        )
    return header.index("clip"), header.index(labels[0])


def _check_cells(row: Row, expected: int, least: bool) -> None:
    """Refuse a line of another length; with `least` it may be longer."""
    if len(row.cells) != expected and not (least and len(row.cells) > expected):
        raise ValueError(f"{len(row.cells)} cells where the header has {expected}; write it again")


def _label_of(cell: str, is_truth: bool) -> str:
    text = cell.strip()
    if is_truth:
        stem = text.rpartition("/")[2].removesuffix(".wav")
        text = "_".join(stem.split("_")[_FIELDS_BEFORE_ATTRIBUTES:])
    if not text:
        raise ValueError("the label is empty; give one, or leave the line out")
    return text


def _clip_of(
    cell: str, machine: str | None, known: dict[str, set[str]], machines: set[str]
) -> tuple[str, str] | None:
    """Machine type and file name of a line; None for a machine type that is not learned."""
    *folders, name = cell.strip().replace("\\", "/").split("/")
    own = known.get(name, set())
    if machine is None:
        machine = next((each for each in reversed(folders) if each in own), None)
    if machine is None and len(own) == 1 and not folders:
        machine = next(iter(own))
    if machine is None and len(own) > 1 and not folders:
        raise ValueError(
            f"{name} is a clip of {' and of '.join(sorted(own))}; add a column machine, or write "
            "its path"
        )
    if machine is None:
        if folders and not machines & set(folders):
            return None
        raise ValueError(f"{cell} is none of the clips; correct the name, or remove the line")
    if machine not in own:
        if machine not in machines:
            return None
        raise ValueError(f"{name} is no clip of {machine}; correct the name, or remove the line")
    return machine, name


def _in_order(
    path: Path, clips: Sequence[Clip], found: dict[tuple[str, str], str]
) -> list[str | None]:
    named = {machine for machine, _ in found}
    labels: list[str | None] = []
    missing = []
    for clip in clips:
        label = found.get((clip.machine, clip.file_name))
        labels.append(label)
        if label is None and clip.machine in named:
            missing.append(clip)
    if missing:
        more = f" and of {len(missing) - 1} more clips" if len(missing) > 1 else ""
        raise UserError(
            f"{path}: has no label of {missing[0].file_name} ({missing[0].machine}){more}; add "
            "lines for them"
        )
    machines = sorted({clip.machine for clip in clips})
    if not named & set(machines):
        raise UserError(
            f"{path}: names none of the training clips, which are of {', '.join(machines)}; "
            "correct the file"
        )
    return labels
