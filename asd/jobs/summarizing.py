"""Summary tables of what is there, and their figures."""

import logging
from typing import Literal

from asd.config import Config
from asd.evaluation.metrics import arithmetic_mean
from asd.evaluation.published import unlabeledasd_rows, write_unlabeledasd
from asd.evaluation.summary import Summary, format_summary, official_scores, write_summary
from asd.evaluation.summary import summarize as read_summary

log = logging.getLogger(__name__)


Columns = Literal["official", "unlabeledasd"]
"""Columns of tables: the public baseline's, or also those of unlabeledasd."""


def summarize(config: Config, all_systems: bool = True, columns: Columns = "official") -> None:
    """Write the summary tables and their figures, and print the tables.

    With `all_systems` those of every `export_dir` stand side by side, else those of the
    configured one. From two systems or scores on, their official scores are drawn, too.

    Parameters
    ----------
    columns
        "unlabeledasd" also writes tables of that form, see `asd.evaluation.published`.

    Raises
    ------
    UserError
        There are no results, a score file is damaged, or the folder can't be written to; or the
        columns are not for this year.
    """
    where = config.result_directory, config.challenge, config.split, config.export_dir
    rows = unlabeledasd_rows(*where, all_systems) if columns == "unlabeledasd" else []
    summary = read_summary(*where, all_systems)
    write_summary(summary)
    _tell_seeds(summary)
    print(format_summary(summary))
    _draw_metrics(summary)
    if len(summary.systems) > 1:
        draw_official_scores(summary)
    log.info("tables and figures: %s", summary.folder)
    if rows:
        paths = write_unlabeledasd(summary.folder / "unlabeledasd", rows)
        log.info("%d tables with the columns of unlabeledasd: %s", len(paths), paths[0].parent)


def _tell_seeds(summary: Summary) -> None:
    """Say of each row over how many seeds it is: their values are pooled."""
    for system in summary.systems:
        if len(system.seeds) > 1:
            shown = ", ".join(map(str, system.seeds))
            log.info("%s: over %d seeds (%s)", system.name, len(system.seeds), shown)


def draw_official_scores(summary: Summary) -> None:
    """Write the heat map of official scores, systems by machine types, beside their tables.

    Raises
    ------
    UserError
        The folder can't be written to.
    """
    from asd.report.page import save_figure  # slow to import
    from asd.report.tables import heat_map

    scores = official_scores(summary).present()
    path = summary.folder / f"{summary.challenge.name}_official_score.png"
    title = f"{summary.challenge.name} {summary.split}"
    figure = heat_map(scores.mean, scores.systems, scores.columns, title, std=scores.std)
    save_figure(figure, path)


def _draw_metrics(summary: Summary) -> None:
    from asd.report.page import save_figure  # slow to import
    from asd.report.tables import summary_plot

    values = {
        system.name: {
            machine: {name: arithmetic_mean(found.pooled(name)) for name in found.metrics}
            for machine, found in system.machines.items()
        }
        for system in summary.systems
    }
    shown = {name for machine in summary.machines for name in summary.metrics(machine)}
    metrics = [name for name in ("AUC", "AUC (source)", "AUC (target)", "pAUC") if name in shown]
    if metrics:
        path = summary.folder / f"{summary.challenge.name}_auc_pauc.png"
        title = f"{summary.challenge.name} {summary.split}"
        save_figure(summary_plot(values, title, metrics), path)
