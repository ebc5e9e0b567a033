"""asd show: what a data set holds, as a table and as a page."""

import re

import numpy as np
import pytest

from asd.challenge.catalog import load_challenge
from asd.cli import main
from asd.synthetic.dataset import SyntheticCounts, synthesize


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two machine types of 2024, of which names of one tell no attributes."""
    folder = tmp_path_factory.mktemp("data")
    counts = SyntheticCounts(train_source=6, train_target=2, test_per_group=3)
    year = load_challenge("DCASE2024T2")
    synthesize(folder, year, "dev", ["ToyCar", "ToyTrain"], clips=counts, seconds=(0.3, 0.3))
    return folder


def show(capsys, *words):
    """Exit status, and the lines that are printed, as cells."""
    status = main(["show", *map(str, words)])
    lines = capsys.readouterr().out.splitlines()
    return status, [re.split(r"\s{2,}", line) for line in lines]


def test_clips_are_counted_by_kind_and_hidden_attributes_too(data, capsys, caplog):
    with caplog.at_level("INFO"):
        status, lines = show(capsys, "DCASE2024T2", "--dataset_directory", data)
    assert status == 0
    assert lines[0] == [
        "machine", "section", "set", "domain", "label", "attributes", "clips", "seconds",
    ]  # fmt: skip
    assert ["ToyCar", "00", "train", "source", "normal", "3 different", "6", "0.3"] in lines
    assert ["ToyTrain", "00", "train", "source", "normal", "3 different", "6", "0.3"] in lines
    assert ["ToyTrain", "00", "test", "target", "anomaly", "2 different", "3", "0.3"] in lines
    assert len(lines) == 1 + 2 * 6 + 1
    assert lines[-1][0].startswith("DCASE2024T2 dev: machine types 2, clips 40, length 12 s")
    assert "not there: fan, gearbox" in caplog.text


def test_each_attribute_is_counted_when_asked(data, capsys):
    words = "--attributes", "--machine_types", "ToyTrain", "--dataset_directory", data
    _, lines = show(capsys, "DCASE2024T2", *words)
    rows = [line for line in lines if line[2:5] == ["train", "source", "normal"]]
    assert [row[6] for row in rows] == ["2", "2", "2"]
    assert len({row[5] for row in rows}) == 3
    assert all("_n_" in row[5] or "_f-n_" in row[5] or "_m-n_" in row[5] for row in rows)


def test_the_page_plays_a_few_clips_of_each_kind(data, tmp_path, capsys):
    page = tmp_path / "data.html"
    words = "--page", page, "--each", 2, "--machine_types", "ToyCar", "--dataset_directory", data
    assert show(capsys, "DCASE2024T2", *words)[0] == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("<audio") == 6 * 2
    assert text.count("data:image/png;base64,") == 6 * 2
    assert "<script" not in text
    shown = re.findall(r"<h3>(\w+_\d+_[\w-]+_[AB])</h3>", text)
    assert shown[0] != shown[1]  # clips of different attributes


def test_own_recordings_are_counted_by_folder(tmp_path, write_wav, capsys, caplog):
    rng = np.random.default_rng(0)
    folder = tmp_path / "pump <b>"
    for name, seconds in (("normal/monday.wav", 1), ("normal/friday.wav", 2), ("broken/x.wav", 1)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(folder / name, 0.1 * rng.standard_normal(seconds * 8000), 8000)
    (folder / "noise.wav").write_text("nothing")
    page = tmp_path / "pump.html"
    status, lines = show(capsys, folder, "--page", page)
    assert status == 0
    assert ["machine", "set", "clips", "seconds"] in lines
    assert ["pump <b>", "normal", "2", "1 to 2"] in lines
    assert ["pump <b>", "broken", "1", "1"] in lines
    assert lines[-1][0].endswith("sampling rate 8000 Hz, channels 1, cannot be read 1")
    assert "noise.wav: cannot be read" in caplog.text
    text = page.read_text(encoding="utf-8")
    assert "pump &lt;b&gt;" in text
    assert "<b>pump" not in text
    assert text.count("<audio") == 3
    assert "2 clips" in text
    assert "1 clip<" in text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["DCASE2023"], "DCASE2023: neither a folder nor a challenge year (did you mean DCASE2023"),
        (["DCASE2023T2", "--dataset_directory", "none"], "none/dcase2023t2/dev_data/raw: no such"),
        ([".", "--each", "0"], "--each: expected a number of clips of 1 or more, got 0"),
        ([".", "--page", "."], "--page: . is a folder"),
        (["."], ".: no sound file there"),
        ([".", "--machine_types", "fan"], "--machine_types: . is a folder of recordings"),
    ],
)
def test_what_cannot_be_shown_is_said(words, complaint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["show", *words]) == 2
    assert capsys.readouterr().err.startswith(f"asd: error: {complaint}")


def test_a_machine_type_that_was_asked_for_must_be_there(data, capsys):
    words = "--machine_types", "fan", "--dataset_directory", str(data)
    assert main(["show", "DCASE2024T2", *words]) == 2
    assert "fan/train: no such folder" in capsys.readouterr().err
