"""Pictures of one model: losses over epochs, anomaly scores of test clips, ROC curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from asd.evaluation.metrics import auc, partial_auc, roc_curve
from asd.report.page import (
    DARK,
    FAINT,
    PALE,
    SMALL_SIZE,
    STRONG,
    TEXT_SIZE,
    new_figure,
    save_figure,
    style_axes,
)

FloatArray = npt.NDArray[np.float64]

_LOSS_STYLES: tuple[tuple[str, str, str, str], ...] = (
    (DARK, "-", "o", "full"),
    (STRONG, "--", "s", "full"),
    (DARK, ":", "^", "none"),
    (STRONG, "-.", "v", "none"),
    ("black", "-", "D", "none"),
)
"""Colour, line, marker and its filling, one after the other for each column of the log."""

_LABEL_STYLES = {
    "normal": (PALE, "o", -0.2),
    "anomaly": (STRONG, "x", 0.2),
    "unlabelled": (FAINT, ".", 0.0),
}
"""Label -> colour of the box, marker of the clips, place of the box beside the group's."""

_DOMAIN_STYLES = {"source": (DARK, "-"), "target": (STRONG, "--")}


@dataclass(frozen=True)
class ScoreGroup:
    """Anomaly scores of the test clips of one section and domain.

    Parameters
    ----------
    is_anomaly
        Shape (clips,), or None where the labels are not known.
    scores
        Shape (clips,); higher is more anomalous.
    """

    section: str
    domain: str
    is_anomaly: npt.NDArray[np.bool_] | None
    scores: FloatArray

    def of_label(self, label: str) -> FloatArray:
        """The finite scores of "normal", "anomaly" or "unlabelled" clips."""
        if self.is_anomaly is None:
            chosen = self.scores if label == "unlabelled" else self.scores[:0]
        elif label == "unlabelled":
            chosen = self.scores[:0]
        else:
            chosen = self.scores[np.asarray(self.is_anomaly, dtype=bool) == (label == "anomaly")]
        return chosen[np.isfinite(chosen)]


def loss_curve(log: Mapping[str, Sequence[float]], path: Path, title: str = "") -> None:
    """Write the picture of `draw_loss_curve`."""
    save_figure(draw_loss_curve(log, title), path)


def draw_loss_curve(log: Mapping[str, Sequence[float]], title: str = "") -> Figure:
    """The columns of a training log over epochs.

    Parameters
    ----------
    log
        Column name -> one value per epoch. Columns without a finite value are left out, and so is
        a column "epoch".
    """
    figure = new_figure(7.0, title)
    axes = figure.add_subplot()
    style_axes(axes, "epoch", "loss")
    shown = {name: np.asarray(values, dtype=float) for name, values in log.items()}
    shown = {n: v for n, v in shown.items() if n != "epoch" and np.isfinite(v).any()}
    for index, (name, values) in enumerate(shown.items()):
        colour, line, marker, filling = _LOSS_STYLES[index % len(_LOSS_STYLES)]
        epochs = np.flatnonzero(np.isfinite(values)) + 1
        axes.plot(
            epochs,
            values[epochs - 1],
            color=colour,
            linestyle=line,
            marker=marker,
            fillstyle=filling,
            markersize=3.5,
            markevery=max(1, len(epochs) // 12),
            linewidth=1.2,
            label=name,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(0.5, max([1, *map(len, shown.values())]) + 0.5)
    _scale_axis(axes, np.concatenate([np.empty(0), *shown.values()]))
    if shown:
        axes.legend(fontsize=TEXT_SIZE, frameon=False)
    return figure


def score_plot(
    groups: Sequence[ScoreGroup],
    path: Path,
    title: str = "",
    threshold: float | None = None,
) -> None:
    """Write the picture of `draw_score_plot`."""
    save_figure(draw_score_plot(groups, title, threshold), path)


def draw_score_plot(
    groups: Sequence[ScoreGroup],
    title: str = "",
    threshold: float | None = None,
) -> Figure:
    """Anomaly scores per section and domain: a box and every clip, normal beside anomalous.

    Above each group stands its AUC, of its normal clips against all anomalies of its section. The
    axis is logarithmic where scores span decades.

    Parameters
    ----------
    groups
        In the order to be shown.
    threshold
        Decision threshold of all sections; None leaves it out.
    """
    figure = new_figure(8.0, title)
    axes = figure.add_subplot()
    style_axes(axes, "", "anomaly score")
    generator = np.random.default_rng(0)  # spreads the clips sideways, the same way every time
    for place, group in enumerate(groups):
        for label in _LABEL_STYLES:
            _draw_box(axes, place, label, group.of_label(label), generator)
        area = auc(*_against(group, groups))
        if np.isfinite(area):
            axes.annotate(
                f"AUC\n{area:.3f}",
                (place, 1.0),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                fontsize=SMALL_SIZE,
            )
    finite = np.concatenate([np.empty(0), *(g.scores[np.isfinite(g.scores)] for g in groups)])
    _draw_threshold(axes, len(groups), threshold)
    _scale_axis(axes, finite)
    _name_groups(axes, groups)
    handles, labels = axes.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    order = [name for name in (*_LABEL_STYLES, "decision threshold") if name in named]
    if order:
        figure.legend(
            [named[name] for name in order], order, loc="outside lower center", ncols=4,
            fontsize=TEXT_SIZE, frameon=False,
        )  # fmt: skip
    return figure


def roc_plot(
    groups: Sequence[ScoreGroup],
    path: Path,
    title: str = "",
    *,
    max_fpr: float = 0.1,
) -> None:
    """Write the picture of `draw_roc_plot`."""
    save_figure(draw_roc_plot(groups, title, max_fpr=max_fpr), path)


def draw_roc_plot(
    groups: Sequence[ScoreGroup],
    title: str = "",
    *,
    max_fpr: float = 0.1,
) -> Figure:
    """ROC curves, one panel per section, one line per domain.

    A curve is of the domain's normal clips against all anomalies of the section, as AUC is; pAUC
    is of the domain's own clips. Both are those of the result table. The strip of false positive
    rates that pAUC is taken over is shaded. Parameters as in `draw_score_plot`.
    """
    sections = list(dict.fromkeys(group.section for group in groups)) or [""]
    columns = min(3, len(sections))
    rows = -(-len(sections) // columns)
    figure = new_figure(1.0 + rows * (7.5 if columns < 3 else 5.4), title)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for axes, section in zip(panels, sections, strict=False):
        _draw_roc_panel(axes, section, [g for g in groups if g.section == section], max_fpr)
    for axes in panels[len(sections) :]:
        axes.remove()
    return figure


def _draw_roc_panel(axes: Axes, section: str, groups: Sequence[ScoreGroup], max_fpr: float) -> None:
    style_axes(axes, "false positive rate", "true positive rate")
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), aspect="equal")
    axes.set(xticks=[0.0, 0.5, 1.0], yticks=[0.0, 0.5, 1.0])
    axes.label_outer()
    axes.axvspan(0.0, max_fpr, color=FAINT, linewidth=0, zorder=0)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.6, linestyle=(0, (1, 3)))
    axes.set_title(f"section {section}" if section else "", fontsize=TEXT_SIZE)
    for group in groups:
        truth, scores = _against(group, groups)
        curve = roc_curve(truth, scores)
        colour, line = _DOMAIN_STYLES.get(group.domain, ("black", "-."))
        if curve is None:
            axes.plot([], [], color=colour, linestyle=line, label=f"{group.domain}: one class only")
            continue
        part = partial_auc(*_against(group, [group]), max_fpr)
        label = f"{group.domain}: AUC {auc(truth, scores):.3f}"
        label += f", pAUC {part:.3f}" if np.isfinite(part) else ", no pAUC"
        axes.plot(*curve, color=colour, linestyle=line, linewidth=1.3, label=label)
    if groups:
        axes.legend(  # off the frame, along which the worst curves run
            fontsize=SMALL_SIZE - 1, loc="lower right", bbox_to_anchor=(0.95, 0.05),
            borderaxespad=0.0, framealpha=0.9, edgecolor="none", handlelength=1.8,
        )  # fmt: skip


def _against(
    group: ScoreGroup, groups: Sequence[ScoreGroup]
) -> tuple[npt.NDArray[np.bool_], FloatArray]:
    """Truth and finite scores that a group's ROC curve is made of."""
    normal = group.of_label("normal")
    pooled = [g.of_label("anomaly") for g in groups if g.section == group.section]
    anomalous = np.concatenate(pooled)
    truth = np.repeat([False, True], [len(normal), len(anomalous)])
    return truth, np.concatenate([normal, anomalous])


def _draw_box(
    axes: Axes, place: float, label: str, scores: FloatArray, generator: np.random.Generator
) -> None:
    if scores.size == 0:
        return
    colour, marker, offset = _LABEL_STYLES[label]
    drawn = axes.boxplot(
        [scores],
        positions=[place + offset],
        widths=0.3,
        patch_artist=True,
        showfliers=False,
        manage_ticks=False,
        boxprops={"facecolor": colour, "linewidth": 0.6},
        medianprops={"color": "black", "linewidth": 1.2},
        whiskerprops={"linewidth": 0.6},
        capprops={"linewidth": 0.6},
    )
    drawn["boxes"][0].set_label(label)
    axes.plot(
        place + offset + generator.uniform(-0.12, 0.12, scores.size),
        scores,
        linestyle="none",
        marker=marker,
        markersize=2.6,
        markeredgewidth=0.6,
        color="black",
        markerfacecolor="white",
        alpha=0.7,
        zorder=3,
    )


def _draw_threshold(axes: Axes, groups: int, threshold: float | None) -> None:
    if groups == 0 or threshold is None or not np.isfinite(threshold):
        return
    axes.plot(
        [-0.5, groups - 0.5],
        [threshold, threshold],
        color="black",
        linestyle="--",
        linewidth=1.0,
        zorder=2,
        label="decision threshold",
    )


def _name_groups(axes: Axes, groups: Sequence[ScoreGroup]) -> None:
    """Domains below the groups, the section below its first; a thin line between sections."""
    axes.set_xlim(-0.6, max(len(groups), 1) - 0.4)
    axes.set_xticks(range(len(groups)))
    names = []
    for place, group in enumerate(groups):
        starts = place == 0 or groups[place - 1].section != group.section
        name = _domain_text(group, groups)
        names.append(f"{name}\nsection {group.section}" if starts else name)
        if starts and place > 0:
            axes.axvline(place - 0.5, color=FAINT, linewidth=0.6, zorder=0)
    size = TEXT_SIZE if len(groups) <= 8 else SMALL_SIZE
    axes.set_xticklabels(names, fontsize=size)


def _domain_text(group: ScoreGroup, groups: Sequence[ScoreGroup]) -> str:
    """The domain; "unlabelled" where names tell neither it nor the label.

    Clips whose names tell no domain count as source: it is known where the section has both.
    """
    domains = {g.domain for g in groups if g.section == group.section}
    return "unlabelled" if group.is_anomaly is None and domains == {"source"} else group.domain


def _scale_axis(axes: Axes, values: FloatArray) -> None:
    """A logarithmic axis where values span decades, symmetric about 0 if some are not positive."""
    values = values[np.isfinite(values)]
    if values.size == 0:
        return
    if values.min() > 0:
        if values.max() > 100 * values.min():
            axes.set_yscale("log")
        return
    usual = float(np.median(np.abs(values)))
    if np.abs(values).max() > 100 * usual > 0:
        axes.set_yscale("symlog", linthresh=usual)
