"""The page of a challenge run: clips of the tests that were made, tables of metrics, figures."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asd.config import Config
from asd.errors import UserError
from asd.evaluation.metrics import official_mean, official_score
from asd.evaluation.results import result_table
from asd.evaluation.summary import Summary, official_rows
from asd.jobs.data import find_clips
from asd.jobs.jobs import Job
from asd.jobs.testing import DoneTest, load_detector, picture_stem
from asd.pages.clip_page import PageText, ScoredSet, write_clip_page
from asd.report.clip_page import Picture, Table

log = logging.getLogger(__name__)

_FIGURES = ("anm_score", "roc")


def write_run_page(path: Path, done: Sequence[DoneTest], summary: Summary | None = None) -> None:
    """Write the page of the tests of a run; of several scores, clips are ranked by the first.

    Parameters
    ----------
    summary
        Results of several systems or seeds, to stand first among the tables.

    Raises
    ------
    UserError
        Nothing was tested, or the file cannot be written.
    """
    if not done:
        raise UserError(f"{path}: nothing was tested, so there is no page to write")
    config, score = done[0].job.config, done[0].test.score
    scores = list(dict.fromkeys(each.test.score for each in done))
    sets = [_scored_set(each) for each in done if each.test.score == score]
    notes = []
    if len(scores) > 1:
        notes.append(f"Clips are ranked by {score}; --score names another of {', '.join(scores)}.")
    tables = [] if summary is None else [_official_table(summary)]
    tables += _metric_tables(done)
    figures = [] if summary is None else _summary_figures(summary)
    for each in done:
        figures += _figures(each)
    title = f"{config.dataset} {config.split}: {config.entry.label}"
    text = PageText(title, _facts(config, score, sets), tuple(notes), tuple(tables), tuple(figures))
    write_clip_page(path, sets, text)
    log.info("page: %s", path)


def _scored_set(done: DoneTest) -> ScoredSet:
    """The clips that the job's model knows the sections of, with the training clips beside."""
    job, test = done.job, done.test
    own = [
        i for i, clip in enumerate(done.clips) if not job.sections or clip.section in job.sections
    ]
    train = find_clips(job.config, test.machine, "train")
    return ScoredSet(
        load_detector(job),
        done.clips.select(own),
        test.score,
        test.table[test.score][own],
        {} if test.threshold is None else {test.machine: test.threshold},
        normal_clips=[clip for clip in train if _is_own(job, clip.section)],
    )


def _is_own(job: Job, section: str) -> bool:
    """Whether a model is the one of a section."""
    return not job.sections or section in job.sections


def _facts(config: Config, score: str, sets: Sequence[ScoredSet]) -> tuple[tuple[str, str], ...]:
    clips = sum(len(each.clips) for each in sets)
    facts = [("score", score), ("seed", str(config.seed)), ("clips", str(clips))]
    decided = [np.sum(each.values > limit) for each in sets for limit in each.thresholds.values()]
    if decided:
        facts.append(("decided anomalous", str(int(sum(decided)))))
    return tuple(facts)


def _metric_tables(done: Sequence[DoneTest]) -> list[Table]:
    """Official scores by machine type, and metrics by machine type, score and section."""
    labelled = [each for each in done if each.test.is_labelled]
    if not labelled:
        return []
    config = labelled[0].job.config
    columns: list[str] = []
    lines: list[tuple[tuple[str, ...], dict[str, float]]] = []
    official: dict[str, dict[str, list[dict[str, float]]]] = {}
    for each in labelled:
        test, label = each.test, f"{each.test.machine} {each.test.score}"
        table, parts = result_table(test.sections(), config.max_fpr, label)
        columns += [name for name in table.columns if name not in columns]
        own = [
            i
            for i, s in enumerate(table.sections)
            if not each.job.sections or s in each.job.sections
        ]
        for i in own:
            values = dict(zip(table.columns, map(float, table.values[i]), strict=True))
            lines.append(((test.machine, test.score, table.sections[i]), values))
        by_machine = official.setdefault(test.score, {})
        known = [parts[table.sections[i]] for i in own if table.sections[i] in parts]
        by_machine.setdefault(test.machine, []).extend(known)
    rows = [(*names, *(_cell(values.get(c, np.nan)) for c in columns)) for names, values in lines]
    metrics = Table("Metrics", ("machine", "score", "section", *columns), tuple(rows), texts=3)
    return [_official_of_machines(config, official), metrics]


def _official_of_machines(
    config: Config, official: dict[str, dict[str, list[dict[str, float]]]]
) -> Table:
    rule = config.challenge.official_score
    machines = list(dict.fromkeys(m for found in official.values() for m in found))
    rows = []
    for score, found in official.items():
        values = {m: official_score(rule, parts) for m, parts in found.items()}
        cells = [_cell(values.get(m, np.nan)) for m in machines]
        rows.append((score, *cells, _cell(official_mean(rule, list(values.values())))))
    return Table("Official score", ("score", *machines, "all"), tuple(rows))


def _official_table(summary: Summary) -> Table:
    header, *rows = official_rows(summary)
    cells = tuple(tuple(_rounded(cell) for cell in row) for row in rows)
    return Table("Official scores of all systems", tuple(header), cells)


def _rounded(cell: str) -> str:
    try:
        return _cell(float(cell)) if "." in cell else cell
    except ValueError:
        return cell


def _summary_figures(summary: Summary) -> list[Picture]:
    path = summary.folder / f"{summary.challenge.name}_official_score.png"
    return [Picture("Official scores", path.read_bytes())] if path.is_file() else []


def _figures(done: DoneTest) -> list[Picture]:
    """The figures that the test has drawn."""
    stem = picture_stem(done.job, done.test)
    paths = [stem.with_name(f"{stem.name}_{kind}.png") for kind in _FIGURES]
    label = f"{done.test.machine} {done.test.score}"
    names = ("scores", "ROC curves")
    return [
        Picture(f"{label}: {name}", path.read_bytes())
        for name, path in zip(names, paths, strict=True)
        if path.is_file()
    ]


def _cell(value: float) -> str:
    return f"{value:.4f}" if np.isfinite(value) else ""
