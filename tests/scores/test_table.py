"""Score tables: selected, joined, compared, stored and written without losing a clip's facts."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.clips import Clip
from asd.csvfiles import read_rows
from asd.errors import UserError
from asd.scores.table import ScoreTable


def table(names=("MSE", "MAHALA")):
    clips = [
        Clip(Path("data/fan/a.wav"), "fan", "00", "source", "normal", "car_A, fast"),
        Clip(Path("data/fan/b.wav"), "fan", "01", "target", "anomaly"),
        Clip(Path("data/valve/a.wav"), "valve", "00"),
        Clip(Path("data/fan/c.wav"), "fan", "00", "source", "normal"),
    ]
    scores = np.array([0.1, 2.5, -3.0, 1e-5])
    return ScoreTable(tuple(clips), {name: scores * (i + 1) for i, name in enumerate(names)})


def test_columns_are_float64_that_cannot_be_written_to():
    given = np.array([1, 2, 3, 4], dtype=np.float32)
    own = ScoreTable(table().clips, {"MSE": given})
    given[0] = 9
    assert own["MSE"].dtype == np.float64
    assert own["MSE"][0] == 1
    with pytest.raises(ValueError, match="read-only"):
        own["MSE"][0] = 2
    with pytest.raises(ValueError, match="MSE: shape"):
        ScoreTable(table().clips, {"MSE": np.zeros(3)})


def test_an_unknown_column_names_those_that_there_are():
    with pytest.raises(UserError, match="score 'MES' is unknown; choose from MSE, MAHALA"):
        table()["MES"]


def test_indices_keep_their_order_and_masks_that_of_the_table():
    chosen = table().select([3, 0])
    assert [clip.file_name for clip in chosen.clips] == ["c.wav", "a.wav"]
    np.testing.assert_array_equal(chosen["MAHALA"], [2e-5, 0.2])
    masked = table().select(np.array([True, False, False, True]))
    assert masked == table().select([0, 3])
    assert len(table().select([])) == 0
    assert len(table().select(np.zeros(4, bool))) == 0
    with pytest.raises(ValueError, match="a mask"):
        table().select(np.array([True, False]))


def test_parts_by_machine_and_section_hold_every_clip_once():
    machines = dict(table().by_machine())
    assert {machine: len(part) for machine, part in machines.items()} == {"fan": 3, "valve": 1}
    sections = dict(table().by_section())
    assert list(sections) == [("fan", "00"), ("fan", "01"), ("valve", "00")]
    np.testing.assert_array_equal(sections["fan", "00"]["MSE"], [0.1, 1e-5])
    assert ScoreTable.concat(machines.values()) == table().select([0, 1, 3, 2])


def test_tables_of_other_columns_are_not_joined():
    joined = ScoreTable.concat([table(), table()])
    assert len(joined) == 8
    np.testing.assert_array_equal(joined["MSE"], np.tile(table()["MSE"], 2))
    with pytest.raises(ValueError, match="tables of columns"):
        ScoreTable.concat([table(), table(["MSE"])])


def test_rounded_scores_are_those_of_result_files():
    np.testing.assert_array_equal(table().rounded()["MSE"], np.float32([0.1, 2.5, -3.0, 1e-5]))
    assert table().rounded() != table()
    assert table().rounded().rounded() == table().rounded()


def test_equal_means_the_same_clips_and_values():
    assert table() == ScoreTable(table().clips, dict(reversed(table().columns.items())))
    assert table() != table(["MSE"])
    assert table() != table().select([1, 0, 2, 3])
    assert table() != "a table"


def test_different_clips_are_told_apart():
    table().check_same_clips(table(["KNN"]))
    with pytest.raises(UserError, match=r"clip 0 is a\.wav and b\.wav\); score the same clips"):
        table().check_same_clips(table().select([1, 0, 2, 3]))
    with pytest.raises(UserError, match="4 and 3 clips"):
        table().check_same_clips(table().select([0, 1, 2]))


def test_its_repr_is_a_line_that_says_what_is_in_it():
    assert repr(table()) == "<ScoreTable: 4 clips of fan, valve; MSE, MAHALA>"


def test_a_state_survives_torch_without_unpickling():
    state = table().to_state()
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    again = ScoreTable.from_state(torch.load(file, weights_only=True))
    assert again == table()
    assert again.clips[0].path == Path("a.wav")
    assert again.clips[2].label is None


@pytest.mark.parametrize(
    "state",
    [
        {},
        None,
        {"clips": [["a.wav"]], "columns": {}},
        {"clips": [["a.wav", "fan", "00", "source", None, 5]], "columns": {}},
        {"clips": [[None, "fan", "00", "source", None, ""]], "columns": {}},
        {"clips": [], "columns": {"MSE": [1.0]}},
        {"clips": [], "columns": {7: []}},
        {"clips": [], "columns": {"MSE": ["x"]}},
    ],
)
def test_a_state_of_something_else_is_refused(state):
    with pytest.raises(UserError, match="stored scores are not as they were written"):
        ScoreTable.from_state(state)


def test_the_csv_file_has_a_row_per_clip(tmp_path):
    table(["MSE"]).write(tmp_path / "scores.csv")
    rows = [row.cells for row in read_rows(tmp_path / "scores.csv")]
    assert rows[0] == ["file_name", "machine", "section", "domain", "label", "attributes", "MSE"]
    assert rows[1] == ["a.wav", "fan", "00", "source", "normal", "car_A, fast", "0.1"]
    assert rows[3] == ["a.wav", "valve", "00", "source", "", "noAttribute", "-3.0"]
    assert [float(row[-1]) for row in rows[1:]] == table()["MSE"].tolist()
