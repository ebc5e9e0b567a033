"""Tables that a training leaves beside its model, and pictures of them."""

from collections.abc import Mapping

import numpy as np

from asd.csvfiles import write_rows
from asd.jobs.jobs import ModelFolder
from asd.systems.base import System, Table, Tabulator

_PLACE = {"machine", "section", "domain", "cluster", "x", "y"}
"""Columns of a table of clusters, which can be drawn as a map."""


def write_tables(folder: ModelFolder, system: System, model_name: str) -> None:
    """Write the system's tables, if it leaves any, in place of those of an older training.

    Raises
    ------
    UserError
        The folder cannot be written to.
    """
    tables = system.tables() if isinstance(system, Tabulator) else {}
    for stale in folder.table_files():
        stale.unlink(missing_ok=True)
    if not tables:
        return
    folder.tables.mkdir(exist_ok=True)
    for name, table in tables.items():
        write_rows(folder.tables / f"{name}.csv", [table.columns, *table.rows])
        if set(table.columns) >= _PLACE:
            _draw_maps(folder, name, table, model_name)


def _draw_maps(folder: ModelFolder, name: str, table: Table, model_name: str) -> None:
    """A map of the clusters of each machine type."""
    from asd.report.clusters import cluster_map  # slow to import, and only needed at the end
    from asd.report.page import save_figure

    columns = dict(zip(table.columns, zip(*table.rows, strict=True), strict=False))
    for machine in dict.fromkeys(columns["machine"]):
        chosen = [i for i, own in enumerate(columns["machine"]) if own == machine]
        points = np.array([[columns["x"][i], columns["y"][i]] for i in chosen], dtype=np.float64)
        clusters = _cluster_names(columns, chosen)
        truth = [str(columns["truth"][i]) for i in chosen] if "truth" in columns else [""]
        figure = cluster_map(points, clusters, truth, f"{model_name} {machine}")
        save_figure(figure, folder.tables / f"{name}_{machine}.png")


def _cluster_names(columns: Mapping[str, tuple[object, ...]], chosen: list[int]) -> list[str]:
    """Name of each clip's cluster; the section is told where there are several."""
    words = ["domain", "cluster"]
    if len({columns["section"][i] for i in chosen}) > 1:
        words.insert(0, "section")
    return [" ".join(str(columns[word][i]) for word in words) for i in chosen]
