"""The KDD Cup 99 experiment on a small stand-in, and the export of frame vectors."""

from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets

from asd.audio.features import Features
from asd.challenge.names import parse_clip
from asd.errors import UserError
from asd.systems.gan.export import export_arrays, export_paths, image_groups, write_npy
from asd.systems.gan.tabular import (
    encode_kdd,
    load_kdd,
    run_table,
    scale_columns,
    split_kdd,
)


def stand_in(count=3000, seed=0):
    """Records in the form of KDD Cup 99: objects, texts as bytes; three tenths are "normal."."""
    random = np.random.default_rng(seed)
    normal = random.random(count) < 0.3
    records = np.empty((count, 41), dtype=object)
    for column in range(41):
        records[:, column] = (random.random(count) * 5 + 20 * normal * (column % 5 == 0)).tolist()
    records[:, 1] = random.choice([b"tcp", b"udp", b"icmp"], count)
    records[:, 2] = np.where(normal, b"http", random.choice([b"ecr_i", b"private"], count))
    records[:, 3] = random.choice([b"SF", b"S0"], count)
    for column in (6, 11, 20, 21):
        records[:, column] = random.integers(0, 2, count).tolist()
    records[:, 20] = 0  # constant in the 10 percent file too
    attacks = random.choice([b"smurf.", b"neptune."], count)
    return records, np.where(normal, b"normal.", attacks).astype(object)


def test_encoding():
    records, _ = stand_in(50)
    x = encode_kdd(records)
    assert x.shape == (50, 34 + 3 + 3 + 2 + 2 + 2 + 1 + 2)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[:, 0], records[:, 0].astype(float), rtol=1e-6)
    is_udp = records[:, 1] == b"udp"
    np.testing.assert_array_equal(x[:, 36], is_udp)  # icmp, tcp, udp in alphabetical order
    assert (x[:, 34:].sum(axis=1) == 7).all()


def test_split_has_the_published_shares():
    records, labels = stand_in()
    records[:, 0] = np.arange(len(records))  # a number to know each record by
    table = split_kdd(records, labels)
    assert table.y_test.mean() == pytest.approx(0.2, abs=0.001)
    is_normal = labels == b"normal."
    train, test = table.x_train[:, 0].astype(int), table.x_test[:, 0].astype(int)
    assert not is_normal[train].any()
    np.testing.assert_array_equal(is_normal[test], table.y_test)
    assert not set(train) & set(test)
    assert len(set(train)) + len(set(test[~table.y_test])) == (~is_normal).sum()
    # Half of all records were drawn for training.
    assert len(train) == pytest.approx(0.5 * (~is_normal).sum(), rel=0.1)


def test_scaling_uses_training_rows_only():
    train, test = scale_columns(
        np.array([[1, 5], [3, 5]], dtype=np.float32), np.array([[5, 6]], dtype=np.float32)
    )
    np.testing.assert_array_equal(train, [[0, 0], [1, 0]])
    np.testing.assert_array_equal(test, [[2, 1]])


@pytest.mark.parametrize(("model", "epochs"), [("bigan", 3), ("gan", 1)])
def test_run_finds_the_anomalies(model, epochs):
    table = split_kdd(*stand_in(600))
    numbers = []
    detection = run_table(
        table.x_train,
        table.x_test,
        table.y_test,
        model=model,
        epochs=epochs,
        learning_rate=1e-3,
        on_epoch=lambda epoch: numbers.append(epoch.number),
    )
    assert detection.precision > 0.9
    assert detection.recall > 0.9
    assert numbers == list(range(1, epochs + 1))


def test_unknown_model():
    x = np.zeros((3, 2), dtype=np.float32)
    with pytest.raises(UserError, match="'vae' is not known; choose one of bigan, gan"):
        run_table(x, x, np.zeros(3, dtype=bool), model="vae")


def test_failed_download_is_explained(monkeypatch):
    def refuse(**_):
        raise OSError("no route to host")

    monkeypatch.setattr(sklearn.datasets, "fetch_kddcup99", refuse)
    with pytest.raises(UserError, match=r"failed \(no route to host\); check the internet"):
        load_kdd()


def test_export(tmp_path):
    names = ["source_test_normal_0000_a.wav", "target_test_anomaly_0001_a.wav", "0002.wav"]
    clips = [parse_clip(Path(f"section_00_{name}"), "fan") for name in names]
    rows = np.arange(24, dtype=np.float32).reshape(12, 2)
    features = Features(rows, np.array([0, 4, 9]), np.array([4, 5, 3]), 16000)
    x, y = export_arrays(clips, features, frames=3, hop=1)
    assert y.tolist() == [0, 0, 1, 1, 1, -1]
    assert x.shape == (6, 6)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[3], rows[5:8].ravel())
    paths = export_paths(tmp_path / "npy", "test", "fan", "00")
    assert [path.name for path in paths] == [
        "x_test_fan_section_00.npy",
        "y_test_fan_section_00.npy",
    ]
    write_npy(paths[0], x)
    np.testing.assert_array_equal(np.load(paths[0]), x)
    assert [path.name for path in paths[0].parent.iterdir()] == [paths[0].name]


def test_images_are_grouped_as_the_program_that_reads_them_wants():
    names = [
        "section_01_target_test_anomaly_0001_a.wav",
        "section_00_source_test_anomaly_0002_a.wav",
        "section_00_source_test_normal_0003_a.wav",
        "section_00_target_test_normal_0004_a.wav",
    ]
    clips = [parse_clip(Path(name), "fan") for name in names]
    assert image_groups(clips, "test") == {
        "section_00_source": [2, 1],  # normal clips first
        "section_00_target": [3],
        "section_01_target": [0],
    }
    assert image_groups(clips, "train") == {"section_0": [1, 2, 3], "section_1": [0]}
