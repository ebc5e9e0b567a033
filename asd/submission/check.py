"""Submissions to the challenge, checked against the year's rules.

A submission is a folder named <author>_<institute>_task2_<index> with a meta.yaml and one or two
CSV files per section (and, in 2021, domain), without header:

    anomaly_score_<machine>_section_NN_test.csv       clip,score
    decision_result_<machine>_section_NN_test.csv     clip,0|1

Their names by year stand in catalog.yaml. Sources: dcase.community, challenge2020-2026, page
"Submission"; the read-me files of the organisers' evaluators.
"""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from asd.challenge.catalog import Challenge, challenge_names, load_challenge
from asd.challenge.labels import find_local_list, read_label_list
from asd.challenge.layout import machine_folder
from asd.challenge.names import parse_clip_name
from asd.csvfiles import CsvError, Row, parse_number, parse_rows
from asd.errors import UserError
from asd.submission.systems import KINDS, SystemFiles, read_systems
from asd.words import one_line

_LABEL = re.compile(r"[^_]+_[^_]+_task2_[0-9]+")
_FEW = 5  # lines whose numbers are told


@dataclass(frozen=True)
class SectionFile:
    """A file that a submission must hold. `domain` is None where a file holds both domains."""

    name: str
    machine: str
    section: str
    domain: str | None

    @property
    def is_decision(self) -> bool:
        return self.name.startswith("decision_result_")

    @property
    def usual_name(self) -> str:
        """The name of 2022 on, which `asd test` writes for every year."""
        return submission_names(self.machine, self.section)[self.is_decision]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a submission, where, and how to mend it. `line` counts from 1."""

    path: Path
    line: int | None
    what: str

    def __str__(self) -> str:
        where = f"{self.path}, line {self.line}" if self.line else str(self.path)
        return one_line(f"{where}: {self.what}")


@dataclass(frozen=True)
class KnownClips:
    """File names of the evaluation clips by machine type, and a text about where they are from.

    A machine type that is not in `names` is checked for the form of its clips' names only.
    """

    names: Mapping[str, frozenset[str]]
    text: str


@dataclass(frozen=True)
class ClipTable:
    """The lines of a score or decision file, and the path to name in messages.

    `fault` tells why there are none, where the file is no strict CSV file.
    """

    path: Path
    rows: Sequence[Row]
    fault: Problem | None = None


@dataclass(frozen=True)
class CheckedSubmission:
    """What was found: the year that was checked for, all problems, and what they are based on."""

    challenge: Challenge
    problems: Sequence[Problem]
    basis: str


def submission_names(machine: str, section: str) -> tuple[str, str]:
    """Names of the score file and the decision file in a submission, from 2022 on."""
    scores, decisions = (f"{kind}{machine}_section_{section}_test.csv" for kind in KINDS)
    return scores, decisions


# --- what must be there ---------------------------------------------------------------------------


def section_files(challenge: Challenge) -> list[SectionFile]:
    """The files of a submission, in the order of the official tables."""
    return [
        SectionFile(
            template.format(machine=machine, section=section, domain=domain),
            machine,
            section,
            domain,
        )
        for machine, sections in challenge.eval.sections.items()
        for section in sections
        for template in challenge.submission_files
        for domain in (challenge.domains if "{domain}" in template else (None,))
    ]


def find_test_clips(data: Path, challenge: Challenge, list_path: Path | None = None) -> KnownClips:
    """The evaluation clips' names: from the data folder, else from a list of labels, else none.

    Parameters
    ----------
    data
        The data folder.
    challenge
    list_path
        The organisers' list; by default the one in the data folder, if it is there.

    Raises
    ------
    UserError
        The list cannot be read.
    """
    names = {}
    for machine in challenge.eval.sections:
        folder = machine_folder(data, challenge, "eval", machine)
        clips = [path for name in challenge.test_folders for path in (folder / name).glob("*.wav")]
        if clips:
            names[machine] = frozenset(path.name for path in clips)
    sources = [f"the clips in {data}"] if names else []
    # Even a list whose labels are wrong has the right names.
    path = find_local_list(data, challenge, list_path, allow_wrong=True)
    if path is not None and len(names) < len(challenge.eval.sections):
        listed = {machine: frozenset(rows) for machine, rows in read_label_list(path).items()}
        names = {**listed, **names}
        sources.append(str(path))
    text = f"compared with {' and '.join(sources)}" if sources else ""
    if unknown := [machine for machine in challenge.eval.sections if machine not in names]:
        text += f"{'; ' if text else ''}only the form of clip names was checked of "
        text += f"{', '.join(unknown)} (no clips in {data}, no list)"
    return KnownClips(names, text)


def fitting_year(names: Collection[str]) -> Challenge | None:
    """The challenge year that files of these names are for; None where no year is."""
    years = [load_challenge(name) for name in challenge_names()]
    counts = [len(set(names) & {file.name for file in section_files(year)}) for year in years]
    return years[counts.index(max(counts))] if max(counts) else None


# --- check ----------------------------------------------------------------------------------------


def check(
    path: Path,
    data: Path,
    usual: Challenge,
    wanted: Challenge | None = None,
    list_path: Path | None = None,
) -> CheckedSubmission:
    """Check the submission in a folder, or those in a zip file.

    Parameters
    ----------
    path
        Folder or zip file.
    data, list_path
        As in `find_test_clips`.
    usual
        The year where the names of the files tell none.
    wanted
        The year to check for; None takes it from the names of the files.

    Raises
    ------
    UserError
        There is nothing of a submission, or the list cannot be read.
    """
    systems = read_systems(path)
    year = wanted or fitting_year([name for system in systems for name in system.tables]) or usual
    clips = find_test_clips(data, year, list_path)
    problems = [found for system in systems for found in check_system(system, year, clips)]
    return CheckedSubmission(year, problems, clips.text)


def check_system(system: SystemFiles, challenge: Challenge, clips: KnownClips) -> list[Problem]:
    """All problems of a system's files; none if they can be sent."""
    wanted = section_files(challenge)
    names = [file.name for file in wanted]
    problems = _name_problems(system, names, challenge)
    missing = [name for name in names if name not in system.tables]
    if len(missing) > _FEW:
        year = fitting_year(system.tables)
        hint = "" if year in (None, challenge) else f", or check for --dataset {year.name}"
        what = f"{len(missing)} of {len(names)} files are missing, the first is {missing[0]}"
        problems.append(Problem(system.folder, None, f"{what}; add them{hint}"))
    else:
        problems += [Problem(system.folder, None, f"{name} is missing; add it") for name in missing]
    tables = {
        name: parse_table(system.folder / name, content) for name, content in system.tables.items()
    }
    problems += table_problems(tables, wanted, challenge, clips)
    return problems + _meta_problems(system)


def parse_table(path: Path, content: bytes) -> ClipTable:
    """The lines of a score or decision file; `path` is the one to name in messages."""
    try:
        return ClipTable(path, parse_rows(content, may_have_mark=False))
    except CsvError as error:
        return ClipTable(path, (), Problem(path, error.line, error.what))


def _name_problems(
    system: SystemFiles, names: Sequence[str], challenge: Challenge
) -> list[Problem]:
    # The test step's own result files may lie beside those of the submission.
    results = tuple(f"{kind}{challenge.name}" for kind in KINDS)
    odd = [n for n in system.tables if n not in names and not n.startswith(results)]
    problems = []
    for name in odd[:_FEW]:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.94)
        way = f"rename it to {near[0]} or remove it" if near else "remove it"
        what = f"no such file in {challenge.name}; {way}"
        problems.append(Problem(system.folder / name, None, what))
    if more := len(odd) - len(problems):
        what = f"{more} more files that {challenge.name} does not have; remove them"
        problems.append(Problem(system.folder, None, what))
    return problems


def _meta_problems(system: SystemFiles) -> list[Problem]:
    """A folder that is named as a submission must hold its meta.yaml."""
    label = system.folder.resolve().name
    if not _LABEL.fullmatch(label):
        return []
    name = f"{label}.meta.yaml"
    if name not in system.files:
        what = "is missing; asd submission pack makes a skeleton"
        return [Problem(system.folder / name, None, what)]
    fault = meta_fault(system.files[name], label)
    return [Problem(system.folder / name, None, fault)] if fault else []


def meta_fault(content: bytes, label: str) -> str:
    """What is wrong with the content of a meta file, "" if nothing is."""
    try:
        meta = yaml.safe_load(content)
        found = meta["submission"]["label"]
    except (yaml.YAMLError, ValueError, RecursionError):  # a date or number may be none
        return "is not valid YAML; mend it"
    except (KeyError, TypeError):
        return f"has no submission label; give it the label {label}"
    return "" if found == label else f"its label is {found!r}; write {label}"


def table_problems(
    tables: Mapping[str, ClipTable],
    wanted: Sequence[SectionFile],
    challenge: Challenge,
    clips: KnownClips,
) -> list[Problem]:
    """Problems of the lines of files, by file name; files that are not there are passed over."""
    problems: list[Problem] = []
    score_clips: dict[tuple[str, str, str | None], frozenset[str]] = {}
    for file in wanted:
        table = tables.get(file.name)
        if table is None:
            continue
        if table.fault is not None:
            problems.append(table.fault)
            continue
        place = (file.machine, file.section, file.domain)
        expected = _expected_clips(clips, file, challenge)
        if expected is None and file.is_decision:
            expected = score_clips.get(place) or None
        if not file.is_decision:
            score_clips[place] = frozenset(row.cells[0] for row in table.rows)
        problems += _line_problems(table, file, challenge, expected)
    return problems


def _expected_clips(
    clips: KnownClips, file: SectionFile, challenge: Challenge
) -> frozenset[str] | None:
    if file.machine not in clips.names:
        return None
    return frozenset(n for n in clips.names[file.machine] if not _form_problem(n, file, challenge))


def _line_problems(
    table: ClipTable, file: SectionFile, challenge: Challenge, expected: frozenset[str] | None
) -> list[Problem]:
    """The problems of a file's lines, each kind told once."""
    first_line: dict[str, int] = {}
    found = []  # (line, kind of problem as a pattern, name, value)
    for line, cells in table.rows:
        name, value = cells[0], ",".join(cells[1:])
        if len(cells) != 2:
            found.append((line, "'{name},{value}' is not 'clip,value'; mend it", name, value))
            continue
        pattern = _form_problem(name, file, challenge)
        if name in first_line:
            pattern = "{name} has a line already; keep one of them"
        elif not pattern and expected is not None and name not in expected:
            pattern = "{name} is not one of the test clips; remove the line"
        first_line.setdefault(name, line)
        found += [(line, p, name, value) for p in (pattern, _value_problem(value, file)) if p]
    problems = [Problem(table.path, *texts) for texts in _once_a_kind(found)]
    missing = sorted((expected or frozenset()) - first_line.keys())
    if missing:
        what = f"{len(missing)} of {len(expected or ())} clips are missing, the first is "
        problems.append(Problem(table.path, None, f"{what}{missing[0]}; add a line for each"))
    elif not first_line:
        problems.append(Problem(table.path, None, "holds no clip; add a line for each"))
    return problems


def _once_a_kind(found: Iterable[tuple[int, str, str, str]]) -> list[tuple[int, str]]:
    """First line and text of every kind of problem, and which other lines have it."""
    kinds: dict[str, list[tuple[int, str, str]]] = {}
    for line, pattern, name, value in found:
        kinds.setdefault(pattern, []).append((line, name, value))
    texts = []
    for pattern, ((first, name, value), *others) in kinds.items():
        text = pattern.format(name=name, value=value)
        if len(others) > _FEW:
            text += f" (and {len(others)} more lines like it)"
        elif others:
            text += f" (also line {', '.join(str(line) for line, _, _ in others)})"
        texts.append((first, text))
    return sorted(texts)


def _form_problem(name: str, file: SectionFile, challenge: Challenge) -> str:
    """What is wrong with a clip's {name} in a file, "" if nothing is."""
    try:
        clip = parse_clip_name(name)
    except UserError:
        return "{name!r} is not the name of a clip; remove the line (there is no header)"
    if clip.label is not None:
        return "{name} tells a label; give the name that the clip has in test/"
    if clip.keyword != challenge.keyword or clip.section != file.section:
        place = f"{challenge.keyword} {file.section}"
        return f"{{name}} is not of {place}; move the line to its own file"
    if clip.domain != file.domain:
        return "{name} is not of this file's domain; move the line to its own file"
    return ""


def _value_problem(value: str, file: SectionFile) -> str:
    """What is wrong with a clip's {value}, "" if nothing is."""
    if file.is_decision:
        return "" if value in ("0", "1") else "the decision is {value!r}; write 0 or 1"
    is_number = parse_number(value) is not None
    return "" if is_number else "the score is {value!r}; write a finite decimal number"
