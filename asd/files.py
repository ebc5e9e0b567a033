"""Files that are either whole or not there: write aside, then rename."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from asd.errors import UserError


@contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block succeeds, rename it to `path`.

    A reader sees the old file or the new one, never a part. If the block raises, the temporary
    file is removed. Missing parent folders are made.

    Raises
    ------
    UserError
        The folder cannot be written to.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        os.replace(aside, path)
    except OSError as error:
        # A full disk names no file; another file's trouble is the caller's to explain.
        if error.filename not in (None, str(aside), *map(str, path.parents)):
            raise
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); "
            "check the folder's permissions and free space, or choose another"
        ) from error
    finally:
        with suppress(OSError):
            aside.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8 with Unix line ends, whole or not at all."""
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
