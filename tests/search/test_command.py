"""The command, from its words to the files that it leaves."""

import logging
import re
from pathlib import Path

import pytest

from asd.cli import main

KNOWN = Path(__file__).parents[1] / "helpers" / "known_system.py"


@pytest.fixture
def search(four_machines, tmp_path, monkeypatch, capfd):
    """Run it in an empty folder: search("--trials", 2) -> (status, output, last line of errors)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text("x: {low: 0.0, high: 1.0}\nscore: [SCORE, WORSE]\n")

    def run(*words, machines=("fan", "valve"), model=f"{KNOWN}:Known"):
        logging.getLogger("asd").handlers.clear()
        status = main(
            [
                *("search", model, "-d", "--dataset_directory", str(four_machines)),
                *("--machine_types", *machines, "--jobs", "1", *map(str, words)),
            ]
        )
        out, err = capfd.readouterr()
        return status, out, err.strip().splitlines()[-1] if err.strip() else ""

    return run


def test_a_search_leaves_a_recipe_a_table_and_a_page(search, tmp_path):
    status, out, _ = search("--space", "space.yaml", "--trials", 3, "--folds", 2)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith("3 trials (")
    assert lines[2].startswith("nested estimate: ")
    assert re.fullmatch(r"fan \d+\.\d, valve \d+\.\d", lines[3])
    folder = tmp_path / "results" / "search" / "Known"
    assert lines[4:] == [
        str(Path("results", "search", "Known", name))
        for name in ("best.yaml", "trials.csv", "search.html")
    ]
    assert (folder / "study.db").is_file()
    assert "--x:" in (folder / "best.yaml").read_text()


def test_a_single_machine_type_has_no_nested_estimate(search):
    status, out, _ = search("--space", "space.yaml", "--trials", 1, machines=("fan",))
    assert status == 0
    assert "no nested estimate" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--trials", 3), "required: --space"),
        (("--space", "none.yaml"), "none.yaml: cannot be read"),
        (("--space", "space.yaml", "--trials", "many"), "--trials: expected"),
        (("--space", "space.yaml", "--trials", "0"), "--trials: expected at least 1"),
        (("--space", "space.yaml", "--folds", "5"), "--folds: expected 2 to 2, got 5"),
        (("--space", "space.yaml", "--objective", "best"), "unknown 'best'"),
        (("--space", "space.yaml", "--study", "here"), "--study here: cannot be used"),
        (
            ("--space", "space.yaml", "--study", "no://me:secret@host/db"),
            "--study no://me:***@host/db: cannot be used",
        ),
        (("--space", "space.yaml", "--use_ids", "0"), "unknown argument '--use_ids'"),
        (("--space", "space.yaml", "--set", "y=1"), "has no parameter 'y'"),
    ],
)
def test_a_mistake_is_told_in_one_line(search, words, told, tmp_path):
    status, _, line = search(*words)
    assert status == 2
    assert line.startswith("asd: error: ")
    assert told in line
    assert not (tmp_path / "results" / "search" / "Known" / "trainings").exists()


def test_an_unknown_system_is_told(search):
    status, _, line = search("--space", "space.yaml", model="raw_spek")
    assert status == 2
    assert "did you mean raw_spec" in line


def test_ctrl_c_tells_how_to_go_on(search, monkeypatch):
    import asd.search.searching as searching

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(searching, "run_study", interrupt)
    status, _, line = search("--space", "space.yaml")
    assert status == 130
    assert line == "asd: interrupted; start the same search again to go on with it"
