"""The notebook of the examples, executed cell by cell."""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np

NOTEBOOK = Path(__file__).parent.parent / "examples" / "first_steps.ipynb"


def code_cells():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_every_cell_runs_and_the_faults_are_found():
    mpl.use("Agg")
    names = {"__name__": "notebook"}
    for number, source in enumerate(code_cells(), 1):
        exec(compile(source, f"cell {number}", "exec"), names)
    assert names["found"].metric("AUC (source)", "fan", "MSE") > 0.8
    assert np.array_equal(names["table"]["MSE"], names["scores"]["MSE"][:3])


def test_no_output_is_stored():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell.get("outputs") for cell in cells)
