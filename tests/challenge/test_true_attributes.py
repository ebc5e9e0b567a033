"""Tables of attributes that names do not tell."""

import hashlib
from dataclasses import replace

import pytest

from asd.challenge.catalog import AttributeFile, challenge_names, load_challenge
from asd.challenge.true_attributes import (
    fetch_true_attributes,
    table_name,
    true_attributes,
    true_attributes_folder,
)
from asd.errors import UserError

HEAD = "source_file_name,target_file_name\n"
TRAIN = (
    "section_00_source_train_normal_0033_car_B1_spd_7_mic_1.wav,"
    "section_00_source_train_normal_0033_noAttribute.wav\n"
)
TEST = "section_00_source_test_anomaly_0001_ac_0.03_.wav,section_00_0095.wav\n"


def test_tables_of_training_and_test_clips_are_read_together(tmp_path):
    assert true_attributes(tmp_path / "none") == {}
    (tmp_path / table_name("00", "train")).write_text(HEAD + TRAIN)
    (tmp_path / table_name("00", "test")).write_text(HEAD + TEST)
    assert true_attributes(tmp_path) == {
        "section_00_source_train_normal_0033_noAttribute.wav": "car_B1_spd_7_mic_1",
        "section_00_0095.wav": "ac_0.03_",
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("file_name,d1p\n", "no table of attributes, which begins with source_file_name"),
        (HEAD + TRAIN + "section_00_0001.wav\n", "line 3: a single cell"),
        (HEAD + "pump.wav,section_00_0001.wav\n", "line 2: pump.wav: not a clip name"),
        (HEAD + "section_00_0001.wav,section_00_0001.wav\n", "line 2: .*tells no attributes"),
        (HEAD + TRAIN + TRAIN.replace("_7_", "_8_"), "line 3: .*has other attributes above"),
    ],
)
def test_a_table_that_is_none_is_told_with_its_line(tmp_path, text, complaint):
    path = tmp_path / table_name("00", "train")
    path.write_text(text)
    with pytest.raises(UserError, match=complaint) as caught:
        true_attributes(tmp_path)
    assert str(caught.value).startswith(str(path))


def test_the_catalog_knows_the_tables_of_2024_and_2025():
    known = {
        (name, split): {m: [f.name for f in files] for m, files in published.items()}
        for name in challenge_names()
        for split in ("dev", "eval")
        if (published := load_challenge(name).split(split).attributes)
    }
    assert set(known) == {(f"DCASE{y}T2", s) for y in (2024, 2025) for s in ("dev", "eval")}
    both = [table_name("00", "train"), table_name("00", "test")]
    assert known["DCASE2024T2", "dev"] == dict.fromkeys(("ToyTrain", "gearbox", "slider"), both)
    assert known["DCASE2024T2", "eval"]["BrushlessMotor"] == both[:1]
    for name, split in known:
        challenge = load_challenge(name)
        for machine, files in challenge.split(split).attributes.items():
            assert machine in challenge.split(split).sections
            for file in files:
                assert f"/{split}_data/{machine}/{file.name}" in file.url
                assert len(file.sha256) == 64


def published(zenodo, content):
    """A year whose development data have one table, at the server."""
    digest = hashlib.sha256(content).hexdigest()
    file = AttributeFile(table_name("00", "train"), f"{zenodo.url}/table.csv", digest)
    year = load_challenge("DCASE2024T2")
    return replace(year, dev=replace(year.dev, attributes={"ToyTrain": (file,)}))


def test_a_table_is_fetched_once_and_checked(tmp_path, zenodo, patience):
    content = (HEAD + TRAIN).encode()
    year = published(zenodo, content)
    zenodo.files["/table.csv"] = b"<html>"
    with pytest.raises(UserError, match="has changed"):
        fetch_true_attributes(tmp_path, year, "dev", patience=patience)
    zenodo.files["/table.csv"] = content
    for _ in range(2):
        (path,) = fetch_true_attributes(tmp_path, year, "dev", ["ToyTrain", "fan"], patience)
    assert path.parent == true_attributes_folder(tmp_path, year, "dev", "ToyTrain")
    assert len(true_attributes(path.parent)) == 1
    assert zenodo.count("/table.csv") == 2


def test_what_is_not_published_is_told(tmp_path):
    year = load_challenge("DCASE2024T2")
    with pytest.raises(UserError, match="DCASE2023T2 dev: no attributes are published apart"):
        fetch_true_attributes(tmp_path, load_challenge("DCASE2023T2"), "dev")
    with pytest.raises(UserError, match="of fan; they are of ToyTrain, gearbox, slider"):
        fetch_true_attributes(tmp_path, year, "dev", ["fan"])
