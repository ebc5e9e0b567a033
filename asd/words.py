"""Words in messages: the known word nearest to a mistyped one, and text made fit for one line."""

import difflib
from collections.abc import Iterable

_LONGEST_NAME = 200  # bytes: file systems take 255, and endings are added
_LONGEST_LINE = 1200  # letters of a message


def closest(word: str, known: Iterable[object], cutoff: float = 0.5) -> str | None:
    """The known word most similar to `word`, or None where none is as similar as `cutoff` (0–1).

    Upper and lower case are the same here.
    """
    folded = {str(k).casefold(): str(k) for k in known}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=cutoff)
    return folded[near[0]] if near else None


def nearest(word: str, known: Iterable[object]) -> str:
    """A hint " (did you mean x?)", or "" where nothing is near."""
    near = closest(word, known)
    return f" (did you mean {near}?)" if near else ""


def nearest_flag(word: str, known: Iterable[str]) -> str:
    """A hint "; did you mean --x?", leading dashes left out of the comparison, or ""."""
    bare = {flag.lstrip("-"): flag for flag in known}
    near = closest(word.lstrip("-"), bare)
    return f"; did you mean {bare[near]}?" if near else ""


def shown(text: object) -> str:
    """A text or path fit for a line of a message: what cannot be printed is escaped.

    A line break in a file name would look like another message, and a name that is not UTF-8
    cannot be printed at all.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )


def utf8_name(name: object) -> str:
    """A name as UTF-8 can hold it; bytes that are none are escaped, all else stays."""
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: object) -> str:
    """A text as a line of a message, without the middle if it is very long.

    A damaged file can hold a word of thousands of letters; where it stands and what to do are told
    at the ends.
    """
    line = shown(text)
    if len(line) <= _LONGEST_LINE:
        return line
    return f"{line[: _LONGEST_LINE * 2 // 3]} [...] {line[-_LONGEST_LINE // 4 :]}"


def is_plain_name(name: str) -> bool:
    """Whether a name can be a file's: it leads to no other folder and can be printed."""
    odd = name in ("", ".", "..") or any(sign in name for sign in "/\\")
    return not odd and name.isprintable() and len(name.encode()) <= _LONGEST_NAME
