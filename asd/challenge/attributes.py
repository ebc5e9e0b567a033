"""Attributes of clips whose file names tell none, from the attributes_NN.csv beside them.

file_name,d1p,d1v,d2p,d2v,...                       name and value of each attribute in turn
fan/train/section_00_source_train_normal_0000_noAttribute.wav,spd,6,mic,1
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from asd.clips import NO_ATTRIBUTE, Clip
from asd.csvfiles import read_rows, refuse_lines
from asd.errors import UserError


def with_attributes(clips: Sequence[Clip], machine_dir: Path) -> list[Clip]:
    """The clips, with the attributes of the tables in `machine_dir` where their names tell none.

    Raises
    ------
    UserError
        A table is needed but is not one.
    """
    silent = {clip.section for clip in clips if clip.attributes == NO_ATTRIBUTE}
    told: dict[str, str] = {}
    for section in sorted(silent):
        path = machine_dir / f"attributes_{section}.csv"
        if path.is_file():
            told |= read_attributes(path)
    return [_with_attributes(clip, told) for clip in clips] if told else list(clips)


def _with_attributes(clip: Clip, told: dict[str, str]) -> Clip:
    text = told.get(clip.file_name)
    if text is None or clip.attributes != NO_ATTRIBUTE:
        return clip
    return replace(clip, attributes=text)


def read_attributes(path: Path) -> dict[str, str]:
    """From file name to attribute text such as "spd_6_mic_1", for clips that have attributes.

    Raises
    ------
    UserError
        The file cannot be read, or is not such a table; a clip has two lines that differ.
    """
    header, *rows = read_rows(path, open_end=True)
    if header.cells[0] != "file_name":
        raise UserError(f"{path}: no table of attributes, which begins with 'file_name'; remove it")
    texts: dict[str, str] = {}
    faults = []
    for line, (name, *words) in rows:
        name = name.rpartition("/")[2]
        text = "_".join(word for word in words if word)
        if len(words) >= len(header.cells):
            found, most = len(words) + 1, len(header.cells)
            faults.append((line, f"{found} cells where the header has {most}; download it again"))
        elif not name:
            faults.append((line, "no file name; download it again"))
        elif texts.setdefault(name, text) != text:
            faults.append((line, f"{name} has other attributes above; keep one of the lines"))
    refuse_lines(path, faults)
    return {name: text for name, text in texts.items() if text}
