"""Submissions to the challenge, checked against the year's rules.

A submission is a folder named <author>_<institute>_task2_<index> with a meta.yaml and one or two
CSV files per section (and, in 2021, domain), without header:

    anomaly_score_<machine>_section_NN_test.csv       clip,score
    decision_result_<machine>_section_NN_test.csv     clip,0|1

Their names by year stand in catalog.yaml. Sources: dcase.community, challenge2020-2026, page
"Submission"; the read-me files of the organisers' evaluators.
"""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from asd.challenge.catalog import Challenge
from asd.challenge.labels import find_local_list, read_label_list
from asd.challenge.layout import machine_folder
from asd.challenge.names import parse_clip_name
from asd.errors import UserError

_LABEL = re.compile(r"[^_]+_[^_]+_task2_\d+")
KINDS = ("anomaly_score_", "decision_result_")
"""How the names of files begin."""


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
        return f"{where}: {self.what}"


@dataclass(frozen=True)
class KnownClips:
    """File names of the evaluation clips by machine type, and a text about where they are from.

    A machine type that is not in `names` is checked for the form of its clips' names only.
    """

    names: Mapping[str, frozenset[str]]
    text: str


@dataclass(frozen=True)
class SubmissionText:
    """A file's text and the path to name in messages."""

    path: Path
    lines: Sequence[str]


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


# --- check ----------------------------------------------------------------------------------------


def check_submission(folder: Path, challenge: Challenge, clips: KnownClips) -> list[Problem]:
    """All problems of the submission in a folder; none if it can be sent.

    Raises
    ------
    UserError
        There is no such folder, or it holds nothing of a submission.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name the one with the CSV files")
    found = sorted(path for path in folder.glob("*.csv") if path.name.startswith(KINDS))
    if not found:
        raise UserError(
            f"{folder}: no anomaly_score_*.csv in it; name the folder that holds the CSV files "
            "of one system"
        )
    wanted = section_files(challenge)
    problems = _name_problems(found, wanted, challenge)
    given = {file.name for file in wanted} & {path.name for path in found}
    problems += [
        Problem(folder, None, f"{file.name} is missing; add it")
        for file in wanted
        if file.name not in given
    ]
    texts = {file.name: read_lines(folder / file.name) for file in wanted if file.name in given}
    problems += text_problems(texts, wanted, challenge, clips)
    return problems + _meta_problems(folder)


def read_lines(path: Path) -> SubmissionText:
    """The lines of a file; what is no text in it is replaced, and found to be wrong later.

    Raises
    ------
    UserError
        It cannot be read.
    """
    text = read_enclosure(path).decode("utf-8-sig", errors="replace")
    return SubmissionText(path, text.splitlines())


def _name_problems(
    found: Sequence[Path], wanted: Sequence[SectionFile], challenge: Challenge
) -> list[Problem]:
    names = [file.name for file in wanted]
    problems = []
    for path in found:
        # The test step's own result files may lie beside those of the submission.
        is_result = any(path.name.startswith(f"{kind}{challenge.name}") for kind in KINDS)
        if path.name not in names and not is_result:
            near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.94)
            way = f"rename it to {near[0]} or remove it" if near else "remove it"
            problems.append(Problem(path, None, f"no such file in {challenge.name}; {way}"))
    return problems


def _meta_problems(folder: Path) -> list[Problem]:
    """A folder that is named as a submission must hold its meta.yaml."""
    label = folder.resolve().name
    if not _LABEL.fullmatch(label):
        return []
    path = folder / f"{label}.meta.yaml"
    if not path.is_file():
        return [Problem(path, None, "is missing; asd submission pack makes a skeleton")]
    fault = meta_fault(read_enclosure(path), label)
    return [Problem(path, None, fault)] if fault else []


def meta_fault(content: bytes, label: str) -> str:
    """What is wrong with the content of a meta file, "" if nothing is."""
    try:
        meta = yaml.safe_load(content)
        found = meta["submission"]["label"]
    except (yaml.YAMLError, UnicodeDecodeError):
        return "is not valid YAML; mend it"
    except (KeyError, TypeError):
        return f"has no submission label; give it the label {label}"
    return "" if found == label else f"its label is {found!r}; write {label}"


def text_problems(
    texts: Mapping[str, SubmissionText],
    wanted: Sequence[SectionFile],
    challenge: Challenge,
    clips: KnownClips,
) -> list[Problem]:
    """Problems of the lines of files, by file name; files that are not there are passed over."""
    problems: list[Problem] = []
    score_clips: dict[tuple[str, str, str | None], frozenset[str]] = {}
    for file in wanted:
        if file.name not in texts:
            continue
        place = (file.machine, file.section, file.domain)
        expected = _expected_clips(clips, file, challenge)
        if expected is None and file.is_decision:
            expected = score_clips.get(place) or None
        seen, found = _check_lines(texts[file.name], file, challenge, expected)
        if not file.is_decision:
            score_clips[place] = seen
        problems += found
    return problems


def _expected_clips(
    clips: KnownClips, file: SectionFile, challenge: Challenge
) -> frozenset[str] | None:
    if file.machine not in clips.names:
        return None
    return frozenset(n for n in clips.names[file.machine] if not _form_problem(n, file, challenge))


def _check_lines(
    text: SubmissionText, file: SectionFile, challenge: Challenge, expected: frozenset[str] | None
) -> tuple[frozenset[str], list[Problem]]:
    """The clips of a file, and its problems."""
    first_line: dict[str, int] = {}
    problems = []
    for number, line in enumerate(text.lines, start=1):
        if not line:
            continue
        name, comma, value = line.partition(",")
        if not comma or "," in value:
            problems.append(Problem(text.path, number, f"{line!r} is not 'clip,value'; mend it"))
            continue
        wrong = [_form_problem(name, file, challenge), _value_problem(value, file)]
        if name in first_line:
            wrong[0] = f"{name} stands in line {first_line[name]} already; keep one of them"
        elif not wrong[0] and expected is not None and name not in expected:
            wrong[0] = f"{name} is not one of the test clips; remove the line"
        first_line.setdefault(name, number)
        problems += [Problem(text.path, number, what) for what in wrong if what]
    missing = sorted((expected or frozenset()) - first_line.keys())
    if missing:
        what = f"{len(missing)} of {len(expected or ())} clips are missing, the first is "
        problems.append(Problem(text.path, None, f"{what}{missing[0]}; add a line for each"))
    elif not first_line:
        problems.append(Problem(text.path, None, "holds no clip; add a line for each"))
    return frozenset(first_line), problems


def _form_problem(name: str, file: SectionFile, challenge: Challenge) -> str:
    """What is wrong with a clip's name in a file, "" if nothing is."""
    try:
        clip = parse_clip_name(name)
    except UserError:
        return f"{name!r} is not the name of a clip; remove the line (there is no header)"
    if clip.label is not None:
        return f"{name} tells a label; give the name that the clip has in test/"
    if clip.keyword != challenge.keyword or clip.section != file.section:
        return f"{name} is not of {challenge.keyword} {file.section}; move the line to its own file"
    if clip.domain != file.domain:
        return f"{name} is not of this file's domain; move the line to its own file"
    return ""


def _value_problem(value: str, file: SectionFile) -> str:
    if file.is_decision:
        return "" if value in ("0", "1") else f"the decision is {value!r}; write 0 or 1"
    try:
        is_finite = math.isfinite(float(value))
    except ValueError:
        return f"the score {value!r} is not a number; write one"
    return "" if is_finite else f"the score is {value}; write a finite number"


def read_enclosure(path: Path) -> bytes:
    """The content of a file that goes with a submission.

    Raises
    ------
    UserError
        It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name another file") from None
