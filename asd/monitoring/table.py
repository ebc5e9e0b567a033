"""A table of what is known about recordings: file, label, domain, condition, session."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asd.clips import LABELS, NO_ATTRIBUTE, Clip
from asd.csvfiles import read_rows
from asd.errors import UserError
from asd.words import nearest

COLUMNS = ("file", "label", "domain", "condition", "session")
_CHOICES = {"label": LABELS, "domain": ("source", "target")}


@dataclass(frozen=True)
class Facts:
    """A line of the table; "" where nothing is said.

    Parameters
    ----------
    label
        "normal" or "anomaly".
    domain
        "source": the usual circumstances; "target": others, of which there are few recordings.
    condition
        What the machine did, as one text.
    session
        Recordings made in one go share a session, which is never split by holding out.
    """

    file: str
    line: int
    label: str = ""
    domain: str = ""
    condition: str = ""
    session: str = ""

    def told(self, clip: Clip) -> Clip:
        """The clip with what the line says of it."""
        return replace(
            clip,
            label=self.label or "normal",
            domain=self.domain or "source",
            attributes=self.condition or NO_ATTRIBUTE,
        )


@dataclass(frozen=True)
class KnownFacts:
    """The lines of a table.

    Parameters
    ----------
    path
        The table's file, for messages.
    lines
        Its lines.
    """

    path: Path
    lines: tuple[Facts, ...]

    def of_recordings(self, paths: Sequence[Path], places: Sequence[Path]) -> dict[Path, Facts]:
        """Path of a recording -> what the table says of it.

        A line names a recording by its path, by its path within a folder that was given, or by
        its name where no other has that.

        Raises
        ------
        UserError
            A line names no recording, or several, or two lines name the same.
        """
        by_name: dict[str, set[Path]] = {}
        for path in paths:
            names = {str(path), str(path.absolute()), path.name}
            names |= {path.relative_to(p).as_posix() for p in places if path.is_relative_to(p)}
            for name in names:
                by_name.setdefault(name, set()).add(path)
        found: dict[Path, Facts] = {}
        for line in self.lines:
            named = by_name.get(line.file, set())
            if not named:
                raise self._error(
                    line, f"there is no recording {line.file!r}{nearest(line.file, by_name)}; "
                    "mend the name, or take the line out"
                )  # fmt: skip
            if len(named) > 1:
                raise self._error(
                    line, f"{len(named)} recordings are called {line.file!r}; give it with its "
                    "folder"
                )  # fmt: skip
            (path,) = named
            if path in found:
                raise self._error(
                    line, f"{line.file!r} stands in line {found[path].line} too; remove one"
                )
            found[path] = line
        return found

    def _error(self, line: Facts, what: str) -> UserError:
        return UserError(f"{self.path}, line {line.line}: {what}")


def read_table(path: Path) -> KnownFacts:
    """Read a table; its first line names columns, of which only `file` must be there.

    Raises
    ------
    UserError
        It cannot be read, lacks the column, has an unknown one, or a value that cannot be.
    """
    rows = read_rows(path, open_end=True)
    header = [name.strip().lower() for name in rows[0].cells]
    for name in header:
        if name not in COLUMNS:
            raise UserError(
                f"{path}, line {rows[0].line}: unknown column {name!r}{nearest(name, COLUMNS)}; "
                f"known are {', '.join(COLUMNS)}"
            )
    if "file" not in header or len(set(header)) < len(header):
        raise UserError(
            f"{path}, line {rows[0].line}: expected a first line that names the columns once each, "
            f"such as {','.join(COLUMNS)}"
        )
    return KnownFacts(path, tuple(_facts(path, row.line, header, row.cells) for row in rows[1:]))


def _facts(path: Path, line: int, header: Sequence[str], cells: Sequence[str]) -> Facts:
    if len(cells) != len(header):
        raise UserError(
            f"{path}, line {line}: has {len(cells)} cells, the first line {len(header)}; mend it"
        )
    named = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    for name, choices in _CHOICES.items():
        if named.get(name) and named[name] not in choices:
            raise UserError(
                f"{path}, line {line}: {name} is {named[name]!r}, expected "
                f"{' or '.join(choices)}, or nothing"
            )
    return Facts(line=line, **named)
