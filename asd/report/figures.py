"""Pictures of one model: anomaly scores of test clips, ROC curves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asd.evaluation.metrics import auc, partial_auc, roc_curve
from asd.report.page import (
    DARK,
    FAINT,
    PALE,
    SMALL_SIZE,
    STRONG,
    TEXT_SIZE,
    label,
    legend_below,
    new_figure,
    same_jitter,
    scale_axis,
    style_axes,
)

FloatArray = npt.NDArray[np.float64]

_LABELS = {"normal": PALE, "anomaly": STRONG, "unlabelled": FAINT}
"""Label -> colour of its boxes, in the order in which they stand side by side."""

_DOMAINS = {"source": (DARK, ""), "target": (STRONG, (4, 2))}
"""Domain -> colour and dashes of its curves."""


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

    @property
    def labels(self) -> npt.NDArray[np.str_]:
        """Normal, anomaly or unlabelled, shape (clips,)."""
        if self.is_anomaly is None:
            return np.full(len(self.scores), "unlabelled")
        return np.where(self.is_anomaly, "anomaly", "normal")

    def of_label(self, name: str) -> FloatArray:
        """The finite scores of "normal", "anomaly" or "unlabelled" clips."""
        chosen: FloatArray = self.scores[(self.labels == name) & np.isfinite(self.scores)]
        return chosen


# --- scores ---------------------------------------------------------------------------------------


def score_plot(
    groups: Sequence[ScoreGroup], title: str = "", threshold: float | None = None
) -> Figure:
    """Anomaly scores per section and domain: a box and every clip, normal beside anomalous.

    Above each group stands its AUC, of its normal clips against all anomalies of its section. The
    axis is logarithmic where scores span decades; boxes are then those of the logarithms.

    Parameters
    ----------
    groups
        In the order to be shown.
    threshold
        Decision threshold of all sections; None leaves it out.
    """
    figure = new_figure(8.0, title)
    axes = figure.add_subplot()
    table = pd.DataFrame({
        "group": np.repeat(np.arange(len(groups)), [len(group.scores) for group in groups]),
        "score": np.concatenate([np.empty(0), *(group.scores for group in groups)]),
        "label": np.concatenate([np.empty(0, dtype=str), *(group.labels for group in groups)]),
    })  # fmt: skip
    table = table[np.isfinite(table["score"])]
    scale_axis(axes, table["score"].to_numpy())
    if len(table):
        _draw_boxes(axes, table, len(groups))
    for place, group in enumerate(groups):
        area = auc(*_against(group, groups))
        if np.isfinite(area):
            axes.annotate(
                f"AUC\n{area:.3f}", (place, 1.0), xycoords=("data", "axes fraction"), ha="center",
                va="bottom", fontsize=SMALL_SIZE,
            )  # fmt: skip
    if groups and threshold is not None and np.isfinite(threshold):
        axes.plot(
            [-0.5, len(groups) - 0.5], [threshold, threshold], color="black", linestyle="--",
            linewidth=1.0, zorder=2, label="decision threshold",
        )  # fmt: skip
    style_axes(axes, "", "anomaly score")
    _name_groups(axes, groups)
    legend_below(figure, axes, columns=4)
    return figure


def _draw_boxes(axes: Axes, table: pd.DataFrame, groups: int) -> None:
    """Boxes and clips of a table with columns group, score and label."""
    present = [name for name in _LABELS if (table["label"] == name).any()]
    order = range(groups)
    drawn = {"x": "group", "y": "score", "hue": "label", "hue_order": present, "order": order}
    sns.boxplot(
        table, **drawn, ax=axes, palette=_LABELS, saturation=1, width=0.8 if present[1:] else 0.4,
        gap=0.1, linewidth=0.7, linecolor="black", showfliers=False,
        medianprops={"linewidth": 1.4},
    )  # fmt: skip
    with same_jitter():
        sns.stripplot(
            table, **drawn, ax=axes, palette=["white"] * len(present), legend=False, dodge=True,
            jitter=0.12, size=2.6 if groups <= 6 else 1.8, linewidth=0.5, edgecolor="black",
            alpha=0.7,
        )  # fmt: skip


def _name_groups(axes: Axes, groups: Sequence[ScoreGroup]) -> None:
    """Domains below the groups, the section below its first; a thin line between sections."""
    axes.set_xlim(-0.6, max(len(groups), 1) - 0.4)
    names = []
    for place, group in enumerate(groups):
        starts = place == 0 or groups[place - 1].section != group.section
        name = _domain_text(group, groups)
        names.append(f"{name}\nsection {label(group.section)}" if starts else name)
        if starts and place > 0:
            axes.axvline(place - 0.5, color=FAINT, linewidth=0.6, zorder=0)
    size = TEXT_SIZE if len(groups) <= 8 else SMALL_SIZE
    axes.set_xticks(range(len(groups)), names, fontsize=size)


def _domain_text(group: ScoreGroup, groups: Sequence[ScoreGroup]) -> str:
    """The domain; "unlabelled" where names tell neither it nor the label.

    Clips whose names tell no domain count as source: it is known where the section has both.
    """
    domains = {g.domain for g in groups if g.section == group.section}
    is_told = group.is_anomaly is not None or domains != {"source"}
    return label(group.domain) if is_told else "unlabelled"


# --- ROC curves -----------------------------------------------------------------------------------


def roc_plot(groups: Sequence[ScoreGroup], title: str = "", *, max_fpr: float = 0.1) -> Figure:
    """ROC curves, one panel per section, one line per domain.

    A curve is of the domain's normal clips against all anomalies of the section, as AUC is; pAUC
    is of the domain's own clips. Both are those of the result table. The strip of false positive
    rates that pAUC is taken over is shaded. Parameters as in `score_plot`.
    """
    sections = list(dict.fromkeys(group.section for group in groups)) or [""]
    columns = min(3, len(sections))
    rows = -(-len(sections) // columns)
    figure = new_figure(1.0 + rows * (7.5 if columns < 3 else 5.4), title)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    comma = ", " if columns < 3 else ",\n"
    for axes, section in zip(panels, sections, strict=False):
        own = [group for group in groups if group.section == section]
        names = [f"{label(g.domain)}: {comma.join(_roc_texts(g, own, max_fpr))}" for g in own]
        axes.axvspan(0.0, max_fpr, color=FAINT, linewidth=0, zorder=0)
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.6, linestyle=(0, (1, 3)))
        if own:
            _draw_curves(axes, own, names)
        style_axes(axes, "false positive rate", "true positive rate")
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), aspect="equal")
        axes.set(xticks=[0.0, 0.5, 1.0], yticks=[0.0, 0.5, 1.0])
        axes.label_outer()
        axes.set_title(f"section {label(section)}" if section else "", fontsize=TEXT_SIZE)
    for axes in panels[len(sections) :]:
        axes.remove()
    return figure


def _draw_curves(axes: Axes, groups: Sequence[ScoreGroup], names: Sequence[str]) -> None:
    """The curves of a section's domains, and their legend."""
    curves = []
    for group, name in zip(groups, names, strict=True):
        x, y = roc_curve(*_against(group, groups)) or ([np.nan], [np.nan])
        curves.append(pd.DataFrame({"x": x, "y": y, "curve": name}))
    looks = [_DOMAINS.get(group.domain, ("black", (5, 1, 1, 1))) for group in groups]
    sns.lineplot(
        pd.concat(curves), x="x", y="y", hue="curve", style="curve", ax=axes, linewidth=1.3,
        hue_order=names, style_order=names, estimator=None, sort=False,
        palette=[colour for colour, _ in looks], dashes=[dashes for _, dashes in looks],
    )  # fmt: skip
    axes.legend(  # off the frame, along which the worst curves run
        fontsize=SMALL_SIZE - 1, loc="lower right", bbox_to_anchor=(0.95, 0.05),
        borderaxespad=0.0, framealpha=0.9, edgecolor="none", handlelength=1.8,
    )  # fmt: skip


def _roc_texts(group: ScoreGroup, groups: Sequence[ScoreGroup], max_fpr: float) -> list[str]:
    area = auc(*_against(group, groups))
    part = partial_auc(*_against(group, [group]), max_fpr)
    if not np.isfinite(area):
        return ["one class only"]
    return [f"AUC {area:.3f}", f"pAUC {part:.3f}" if np.isfinite(part) else "no pAUC"]


def _against(
    group: ScoreGroup, groups: Sequence[ScoreGroup]
) -> tuple[npt.NDArray[np.bool_], FloatArray]:
    """Truth and finite scores that a group's ROC curve is made of."""
    normal = group.of_label("normal")
    pooled = [g.of_label("anomaly") for g in groups if g.section == group.section]
    anomalous = np.concatenate(pooled)
    truth = np.repeat([False, True], [len(normal), len(anomalous)])
    return truth, np.concatenate([normal, anomalous])
