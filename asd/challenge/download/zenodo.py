"""What Zenodo's record API says about the files of a record."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from asd.challenge.download.policy import RetryPolicy
from asd.challenge.download.transfer import fetch_bytes
from asd.errors import UserError

ZENODO = "https://zenodo.org"
_RETRIES = 2


@dataclass(frozen=True)
class ZenodoFile:
    """A file of a record: its name, address, length in bytes, and MD5 in hexadecimal."""

    name: str
    url: str
    size: int
    md5: str


def record_number(url: str) -> int:
    """The record that a file's address such as ".../record/7882613/files/dev_fan.zip" is of."""
    match = re.search(r"/records?/([0-9]+)/files/", url)
    if match is None:
        raise ValueError(f"{url} is not the address of a file on Zenodo")
    return int(match[1])


def read_record(number: int, base_url: str, patience: RetryPolicy) -> dict[str, ZenodoFile]:
    """Ask for a record's files, by name.

    Few retries are made, because archives can be checked without this answer too.

    Source: Zenodo's REST API, https://developers.zenodo.org/#records.

    Raises
    ------
    UserError
        The API cannot be reached, or its answer is not what it should be.
    """
    url = f"{base_url}/api/records/{number}"
    answer = fetch_bytes(url, replace(patience, retries=min(_RETRIES, patience.retries)))
    try:
        entries = json.loads(answer)["files"]
        files = [_read_file(entry, f"{base_url}/records/{number}/files") for entry in entries]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{url}: the answer is not Zenodo's description of a record; try again later"
        ) from error
    return {file.name: file for file in files}


def _read_file(entry: Mapping[str, Any], folder_url: str) -> ZenodoFile:
    name, checksum = str(entry["key"]), str(entry["checksum"])
    if not re.fullmatch(r"[^./\\][^/\\]{,199}", name) or not name.isprintable():
        raise ValueError(f"{name!r} is not a plain file name")
    url = str(entry.get("links", {}).get("self", ""))
    if not url.startswith(("https://", "http://")) or not url.isprintable():
        url = f"{folder_url}/{quote(name)}"
    match = re.fullmatch(r"(?:md5:)?([0-9a-f]{32})", checksum.lower())
    if match is None:
        raise ValueError(f"{checksum!r} is not an MD5")
    size = entry["size"]
    if type(size) is not int or size < 0:
        raise ValueError(f"{size!r} is no length in bytes")
    return ZenodoFile(name, url, size, match[1])
