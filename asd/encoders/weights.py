"""Where pretrained weights come from, and where they are kept.

Weights are known by names of the catalog `weights.yaml`, or by names that a user has given to files
of his own. They lie in one folder: that of the environment variable ASD_WEIGHTS, or "asd/weights"
below the user's cache folder. Nothing is fetched unless `asd weights get` is called.
"""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import yaml

from asd.challenge.download.policy import RetryPolicy
from asd.errors import UserError
from asd.files import write_aside
from asd.locks import exclusive_lock
from asd.words import is_plain_name, nearest

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "ASD_WEIGHTS"
SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")
"""Endings of files of weights; a text with one of them, or with a folder, is a path."""

_CATALOG = Path(__file__).with_name("weights.yaml")
_HUB = re.compile(r"hf://(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/(?P<file>.+)")
_HUB_URL = "https://huggingface.co"


@dataclass(frozen=True)
class KnownWeights:
    """Weights of the catalog, see `weights.yaml` for the fields; "" and 0 are not known."""

    name: str
    kind: str
    file: str
    addresses: tuple[str, ...]
    page: str
    licence: str
    trained_on: str
    bytes: int = 0
    sha256: str = ""

    @property
    def file_name(self) -> str:
        """What the file is called in the folder of weights."""
        return f"{self.name}{_ending(self.file)}"


@cache
def catalog() -> Mapping[str, KnownWeights]:
    """The weights that are known by name."""
    entries = yaml.safe_load(_CATALOG.read_text(encoding="utf-8"))
    return {
        name: KnownWeights(name, **{**about, "addresses": tuple(about["addresses"])})
        for name, about in entries.items()
    }


def weights_folder() -> Path:
    """Where weights are kept."""
    if given := os.environ.get(FOLDER_VARIABLE):
        return Path(given)
    from platformdirs import user_cache_path  # only asked where the variable is not set

    return user_cache_path("asd", appauthor=False) / "weights"


def kept_weights() -> dict[str, Path]:
    """Name -> file of all weights in the folder."""
    folder = weights_folder()
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {
        path.stem: path
        for path in files
        if path.suffix in SUFFIXES and not path.name.startswith(".")
    }


def find_weights(path_or_name: str) -> Path:
    """The file of weights that a path or name means.

    Raises
    ------
    UserError
        There is none; the text says which command gets them.
    """
    if is_path(path_or_name):
        path = Path(path_or_name).expanduser()
        if not path.is_file():
            raise UserError(f"{path}: no such file of weights; check the path")
        return path
    kept = kept_weights()
    if path_or_name in kept:
        return kept[path_or_name]
    if path_or_name in catalog():
        raise UserError(
            f"weights {path_or_name} are not here yet; get them: asd weights get {path_or_name}"
        )
    known = [*catalog(), *kept]
    raise UserError(
        f"weights {path_or_name!r} are unknown{nearest(path_or_name, known)}; choose from "
        f"{', '.join(known)}, or name a file ({', '.join(SUFFIXES)})"
    )


def is_path(path_or_name: str) -> bool:
    """Whether a text means a file, not a name."""
    separators = {os.sep, os.altsep or os.sep, "/"}
    return path_or_name.endswith(SUFFIXES) or any(sign in path_or_name for sign in separators)


def checked_weights(path_or_name: str) -> Path:
    """The file of `find_weights`, if it is the one that the catalog knows by that name.

    Raises
    ------
    UserError
        There is none, or its SHA-256 differs.
    """
    path = find_weights(path_or_name)
    known = catalog().get(path.stem)
    if known and path.parent == weights_folder() and _differs(path, known.sha256):
        raise UserError(
            f"{path}: has the SHA-256 {sha256_of(path)} in place of {known.sha256}; get it again: "
            f"asd weights get {path.stem}"
        )
    return path


def get_weights(
    name: str, check: Callable[[Path], object], patience: RetryPolicy | None = None
) -> Path:
    """Download weights of the catalog, unless they are here.

    The addresses are tried one after the other. What was fetched is checked by its SHA-256, where
    that is known, and by reading it, before it gets its name.

    Parameters
    ----------
    check
        Reads a file; raises a UserError where it is no encoder.

    Raises
    ------
    UserError
        There are no such weights, or no address gave the right file.
    """
    known = catalog().get(name)
    if known is None:
        raise UserError(
            f"weights {name!r} are unknown{nearest(name, catalog())}; choose from "
            f"{', '.join(catalog())}; a file of your own: asd weights add NAME FILE"
        )
    with exclusive_lock(weights_folder() / f".{name}.lock", "download"):
        kept = kept_weights().get(name)
        target = weights_folder() / known.file_name
        if kept is not None:
            if not _differs(kept, known.sha256):
                log.info("%s: already there", kept)
                return kept
            log.warning("%s: is not the file that it should be; getting it again", kept)
        _fetch(known, target, check, patience or RetryPolicy())
        for other in _same_name(target):
            other.unlink()
    log.info("%s: %s, licence %s", target, known.kind, known.licence)
    return target


def add_weights(name: str, file: Path, check: Callable[[Path], object]) -> Path:
    """Copy a file into the folder of weights, under a name of the catalog or any other.

    Parameters
    ----------
    check
        Reads a file; raises a UserError where it is no encoder.

    Raises
    ------
    UserError
        The file is no encoder, or not the one of that name.
    """
    if not is_plain_name(name) or is_path(name) or name.startswith("."):
        raise UserError(f"weights {name!r}: expected a name such as my_beats, without folder")
    if not file.is_file():
        raise UserError(f"{file}: no such file of weights; check the path")
    if _ending(file.name) not in SUFFIXES:
        raise UserError(f"{file}: expected a name that ends in {', '.join(SUFFIXES)}; rename it")
    known = catalog().get(name)
    if known and _differs(file, known.sha256):
        raise UserError(
            f"{file}: has the SHA-256 {sha256_of(file)}, {name} has {known.sha256}; get it "
            "again, or add it under a name of your own"
        )
    check(file)
    target = weights_folder() / f"{name}{_ending(file.name)}"
    with exclusive_lock(target.with_name(f".{name}.lock"), "copying"):
        with write_aside(target) as aside:
            shutil.copyfile(file, aside)
        _copy_settings(file, settings_beside(target))
        for other in _same_name(target):
            other.unlink()
    log.info("%s: added", target)
    return target


def listed() -> list[tuple[str, ...]]:
    """Rows of the list of weights, a head line first."""
    kept = kept_weights()
    rows: list[tuple[str, ...]] = [("name", "kind", "MB", "licence", "here", "trained on")]
    for known in catalog().values():
        size = f"{known.bytes / 1e6:.0f}" if known.bytes else "?"
        here = "yes" if known.name in kept else "-"
        rows.append((known.name, known.kind, size, known.licence, here, known.trained_on))
    for name, path in kept.items():
        if name not in catalog():
            size = f"{path.stat().st_size / 1e6:.0f}"
            rows.append((name, "own file", size, "?", "yes", "?"))
    return rows


def described(name: str) -> str:
    """All that is known of weights, a line for each fact.

    Raises
    ------
    UserError
        There are no such weights.
    """
    known, kept = catalog().get(name), kept_weights().get(name)
    if known is None and kept is None:
        raise UserError(
            f"weights {name!r} are unknown{nearest(name, [*catalog(), *kept_weights()])}"
        )
    facts: list[tuple[str, object]] = [("name", name)]
    if known is not None:
        facts += [("kind", known.kind), ("licence", known.licence)]
        facts += [("trained on", known.trained_on), ("page", known.page)]
        facts += [("address", address) for address in known.addresses]
        facts += [("bytes", known.bytes or "?"), ("sha256", known.sha256 or "?")]
    facts.append(("here", kept or "-"))
    if kept is not None and (known is None or not known.sha256):
        facts.append(("sha256 here", sha256_of(kept)))
    return "\n".join(f"{key + ':':12} {value}" for key, value in facts)


def settings_beside(path: Path) -> Path:
    """Where settings lie that a file of weights does not hold itself: config.json, as published.

    In the folder of weights there are many, so they go by the name of the weights.
    """
    named = path.with_suffix(".json")
    is_kept = path.parent == weights_folder()
    return named if is_kept or named.is_file() else path.with_name("config.json")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; taken once for each state of the file."""
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=16)
def _sha256(path: Path, _size: int, _changed_ns: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _ending(file_name: str) -> str:
    """The ending by which a file is read: what is called .pth.tar is no archive."""
    return Path(file_name.removesuffix(".tar")).suffix


def _differs(path: Path, sha256: str) -> bool:
    return bool(sha256) and sha256_of(path) != sha256


def _copy_settings(file: Path, target: Path) -> None:
    settings = settings_beside(file)
    if file.suffix == ".safetensors" and settings.is_file():
        with write_aside(target) as aside:
            shutil.copyfile(settings, aside)
    else:  # those of what had this name before
        target.unlink(missing_ok=True)


def _same_name(target: Path) -> Iterable[Path]:
    """Files of other endings that the new one stands in for."""
    others = (target.with_suffix(suffix) for suffix in SUFFIXES)
    return [path for path in others if path != target and path.is_file()]


def _fetch(
    known: KnownWeights, target: Path, check: Callable[[Path], object], patience: RetryPolicy
) -> None:
    problem = "it has no address"
    for address in known.addresses:
        # A part that another address began is another file, as far as anyone knows.
        digest = hashlib.sha256(address.encode()).hexdigest()[:8]
        fetched = target.with_name(f".{known.name}.{digest}{target.suffix}")
        try:
            _fetch_from(address, fetched, known.bytes or None, patience)
            if _differs(fetched, known.sha256):
                raise UserError(
                    f"{address}: has the SHA-256 {sha256_of(fetched)} in place of {known.sha256}"
                )
            check(fetched)
            os.replace(fetched, target)
            return
        except UserError as error:
            problem = str(error)
            log.warning("%s: %s", known.name, problem)
        finally:
            fetched.unlink(missing_ok=True)  # the part that a broken download leaves stays
    raise UserError(
        f"weights {known.name}: no address gave the file (the last: {problem}); get {known.file} "
        f"with a browser from {known.page}, then: asd weights add {known.name} FILE"
    )


def _fetch_from(address: str, target: Path, size: int | None, patience: RetryPolicy) -> None:
    from asd.challenge.download.transfer import fetch_file  # only downloads need requests

    if match := _HUB.fullmatch(address):
        if _fetch_by_hub(match, target):
            return
        revision = match["revision"] or "main"
        address = f"{_HUB_URL}/{match['repo']}/resolve/{revision}/{match['file']}"
    fetch_file(address, target, size, patience)


def _fetch_by_hub(match: "re.Match[str]", target: Path) -> bool:
    """Fetch by huggingface_hub, which knows tokens and mirrors; False where it is not installed."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        return False
    try:
        kept = hf_hub_download(match["repo"], match["file"], revision=match["revision"])
    except Exception as error:  # of requests, httpx and its own
        raise UserError(f"{match[0]}: {' '.join(str(error).split())[:300]}") from None
    shutil.copyfile(kept, target)
    return True
