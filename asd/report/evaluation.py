"""Pictures of evaluated submissions: their ranking, and metrics per machine type."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from asd.evaluation.metrics import harmonic_mean
from asd.report.page import DARK, FAINT, SMALL_SIZE, TEXT_SIZE, label, new_figure, style_axes
from asd.report.tables import draw_shaded_table, shade_limits
from asd.submission.evaluator import SystemEvaluation
from asd.submission.evaluator_files import official_score_of, ranked

_METRICS = ("AUC (source)", "AUC (target)", "pAUC")


def ranking_plot(systems: Sequence[SystemEvaluation], title: str = "") -> Figure:
    """The official score of each system in percent, the best on top.

    The bars are the 95 % intervals that leaving out one clip at a time gives for AUC and pAUC over
    all machine types together (`SystemEvaluation.jackknife95`).
    """
    order = ranked(systems)
    scores = 100 * np.array([official_score_of(system) for system in order])
    spreads = 100 * np.nan_to_num([system.jackknife95 for system in order])
    rows = np.arange(len(order))
    figure = new_figure(2.6 + 0.5 * len(order), title)
    axes = figure.add_subplot()
    style_axes(
        axes, "official score [%] (bars: 95 % jackknife interval of AUC and pAUC over all clips)"
    )
    axes.hlines(rows, 0.0, 100.0, color=FAINT, linewidth=0.6, zorder=0)
    axes.errorbar(
        scores, rows, xerr=spreads, fmt="o", color=DARK, markersize=4.5, linewidth=1.0, capsize=2.5
    )
    for row, score, spread in zip(rows, scores, spreads, strict=True):
        axes.annotate(
            f"{score:.2f}", (score + spread, row), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=SMALL_SIZE, bbox={"color": "white", "pad": 1.0},
        )  # fmt: skip
    low, high = np.min(scores - spreads, initial=100.0), np.max(scores + spreads, initial=0.0)
    margin = max(2.0, 0.1 * (high - low))
    axes.set_xlim(max(0.0, low) - margin, min(100.0, high) + 2 * margin)
    axes.set_ylim(max(len(order), 1) - 0.5, -0.5)
    axes.set_yticks(rows, [label(system.name, 40) for system in order], fontsize=TEXT_SIZE)
    return figure


def metrics_plot(systems: Sequence[SystemEvaluation], title: str = "") -> Figure:
    """AUC of both domains and pAUC per machine type: one panel per metric, one row per system.

    Systems are in the order of the ranking, and all panels share one scale, on which darker is
    better; several sections of a machine type are averaged harmonically.
    """
    order = ranked(systems)
    machines = list(dict.fromkeys(part.machine for system in order for part in system.sections))
    tables = [[[_mean(s, m, metric) for m in machines] for s in order] for metric in _METRICS]
    values = 100 * np.array(tables, dtype=float)  # (metrics, systems, machines)
    figure = new_figure(3.2 + len(_METRICS) * (0.9 + 0.42 * len(order)), title)
    panels = figure.subplots(len(_METRICS), 1, squeeze=False)[:, 0]
    names = [label(system.name) for system in order]
    for axes, metric, table in zip(panels, _METRICS, values, strict=True):
        texts = [[f"{value:.1f}" for value in row] for row in table]
        is_last = metric == _METRICS[-1]
        draw_shaded_table(
            axes, table, texts, names, machines if is_last else [], shade_limits(values)
        )
        axes.set_title(f"{metric} [%]", fontsize=TEXT_SIZE, loc="left")
    return figure


def _mean(system: SystemEvaluation, machine: str, metric: str) -> float:
    return harmonic_mean(p.metrics[metric] for p in system.sections if p.machine == machine)
