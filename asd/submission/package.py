"""Submissions to the challenge, packed for sending.

    <author>_<institute>_task2_<index>/<author>_<institute>_task2_<index>.meta.yaml
    <author>_<institute>_task2_<index>/anomaly_score_<machine>_section_NN_test.csv ...
    <author>_<institute>_task2.technical_report.pdf

Source: dcase.community, challenge2020-2026, page "Submission".
"""

import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from asd.challenge.catalog import Challenge
from asd.csvfiles import Row
from asd.errors import UserError
from asd.files import write_aside
from asd.submission.check import (
    ClipTable,
    KnownClips,
    Problem,
    SectionFile,
    meta_fault,
    parse_table,
    section_files,
    table_problems,
)
from asd.submission.systems import KINDS, read_enclosure

_NAME = re.compile(r"[A-Za-z0-9-]+")
_MOST_INDEX = 4  # systems that a team may submit
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time in a zip file: the same bytes every time


def submission_label(author: str, institute: str, index: int) -> str:
    """<author>_<institute>_task2_<index>.

    Raises
    ------
    UserError
        A part holds other characters than letters, digits and hyphens, or there is no such index.
    """
    for flag, word in (("--author", author), ("--institute", institute)):
        if not _NAME.fullmatch(word):
            raise UserError(f"{flag}: expected letters, digits and hyphens only, got {word!r}")
    if not 1 <= index <= _MOST_INDEX:
        raise UserError(f"--index: expected 1 to {_MOST_INDEX}, got {index}")
    return f"{author}_{institute}_task2_{index}"


def gather_submission(
    results: Path, challenge: Challenge, clips: KnownClips
) -> tuple[dict[str, str], list[Problem]]:
    """The files of a submission, made of those that the test step wrote for the evaluation data.

    Parameters
    ----------
    results
        Folder of the result files of one score, such as results/eval_data/baseline_MSE.
    challenge
    clips
        What the clips are checked against.

    Returns
    -------
    dict
        File name -> text. In 2020 and 2021 the organisers name and divide the files otherwise
        than the test step does.
    list of Problem
        Why they cannot be sent.

    Raises
    ------
    UserError
        There are no such files, or one cannot be read.
    """
    wanted = section_files(challenge)
    if not any((results / file.usual_name).is_file() for file in wanted):
        raise UserError(_no_results(results, challenge))
    tables: dict[str, ClipTable] = {}
    problems = []
    for file in wanted:
        path = results / file.usual_name
        if path.is_file():
            tables[file.name] = _of_domain(_read_table(path), file, challenge)
            problems += _age_problems(path, challenge)
        else:
            way = "test on unlabelled clips: asd test -e without test_rename/"
            problems.append(Problem(path, None, f"is missing; {way}"))
    problems = list(dict.fromkeys(problems))  # in 2021 two files are made of one
    problems += table_problems(tables, wanted, challenge, clips)
    problems = list(dict.fromkeys(problems))
    return {name: _text(table.rows) for name, table in tables.items()}, problems


def _no_results(results: Path, challenge: Challenge) -> str:
    """What to say where a score has no file of a submission: which scores have some."""
    export_dir, _, score = results.name.rpartition("_")
    names = {file.usual_name for file in section_files(challenge)}
    scores = [
        folder.name.removeprefix(f"{export_dir}_")
        for folder in sorted(results.parent.glob("*"))
        if folder.name.rpartition("_")[0] == export_dir
        and any((folder / name).is_file() for name in names)
    ]
    if scores:
        return (
            f"{results}: no results of score {score}; there are some of --score {', '.join(scores)}"
        )
    return (
        f"{results}: no results for a submission to {challenge.name}; write them on unlabelled "
        "clips: asd test -e without test_rename/"
    )


def _read_table(path: Path) -> ClipTable:
    return parse_table(path, read_enclosure(path))


def _text(rows: Iterable[Row]) -> str:
    return "".join(f"{','.join(row.cells)}\n" for row in rows)


def _of_domain(table: ClipTable, file: SectionFile, challenge: Challenge) -> ClipTable:
    """The lines of the file's domain; lines that are wrong otherwise stay, to be complained of."""
    if file.domain is None:
        return table
    others = [f"_{domain}_" for domain in challenge.domains if domain != file.domain]
    rows = [row for row in table.rows if not any(word in row.cells[0] for word in others)]
    return ClipTable(table.path, rows, table.fault)


def _age_problems(path: Path, challenge: Challenge) -> list[Problem]:
    """Whether a file is of an earlier model than the test step's own results beside it.

    A test on labelled clips writes those alone. They call the clips by other names, so values are
    compared; a file with the values of any of them is of a model that still stands.
    """
    kind = next(word for word in KINDS if path.name.startswith(word))
    stem = path.name.removeprefix(kind).removesuffix(".csv")
    results = list(path.parent.glob(f"{kind}{challenge.name}{stem}_*.csv"))
    newest = max(results, key=_time, default=path)
    if _time(newest) <= _time(path) or _values(path) in map(_values, results):
        return []
    way = "move test_rename/ away and test on the unlabelled clips again: asd test -e"
    what = f"is older than {newest.name}, and has other values: an earlier model's; {way}"
    return [Problem(path, None, what)]


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns


def _values(path: Path) -> list[str]:
    """What a file says of its clips, in an order that does not depend on their names."""
    return sorted(row.cells[-1] for row in _read_table(path).rows)


def write_package(
    path: Path, label: str, files: Mapping[str, str], meta: bytes, report: bytes | None = None
) -> None:
    """Write a submission's zip file; the same content gives the same bytes.

    Parameters
    ----------
    path
    label
        Name of the folder in the zip file, and of the meta file in it.
    files
        File name -> text.
    meta
        Content of the meta file.
    report
        The technical report, a PDF; it is put beside the folder.

    Raises
    ------
    UserError
        The meta file is not YAML or has another label; the zip file cannot be written.
    """
    if fault := meta_fault(meta, label):
        raise UserError(f"--meta: the file {fault}")
    members = {f"{label}/{name}": text.encode() for name, text in files.items()}
    members[f"{label}/{label}.meta.yaml"] = meta
    if report is not None:
        team = label.rpartition("_")[0]
        members[f"{team}.technical_report.pdf"] = report
    with write_aside(path) as aside, zipfile.ZipFile(aside, "w") as package:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, so that the permissions are read
            entry.external_attr = 0o644 << 16
            package.writestr(entry, members[name])


def meta_skeleton(challenge: Challenge, label: str) -> bytes:
    """A meta file to be filled in."""
    author, institute = label.split("_")[:2]
    template = Path(__file__).with_name("meta.yaml").read_text(encoding="utf-8")
    results = "".join(
        f"    {machine}:\n      harmonic_mean_auc: !!null\n      harmonic_mean_pauc: !!null\n"
        for machine in challenge.dev.sections
    )
    text = template.format(
        label=label,
        author=author,
        institute=institute,
        rate_khz=challenge.sample_rate_hz / 1000,
        results=results.rstrip("\n"),
    )
    return text.encode()
