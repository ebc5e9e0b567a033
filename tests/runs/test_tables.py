import numpy as np
import pytest

from asd.cli import main
from asd.systems.gan.tabular import Table


@pytest.fixture
def small_data(tmp_path):
    data = tmp_path / "data"
    flags = ["--train_source", "3", "--train_target", "1", "--test", "1", "--seconds", "0.5"]
    where = ["--machine_types", "fan", "--dataset_directory", str(data)]
    assert main(["synthesize", "-d", *where, *flags]) == 0
    return data


def test_exported_vectors_are_windows_of_the_clips_with_their_labels(small_data, tmp_path, capsys):
    output = tmp_path / "out"
    where = ["--machine_types", "fan", "--dataset_directory", str(small_data)]
    assert main(["features", "export", "-d", *where, "--output", str(output)]) == 0
    listed = capsys.readouterr().out.split()
    assert sorted(listed) == sorted(str(path) for path in output.iterdir())
    train = np.load(output / "x_train_fan_section_00.npy")
    vectors = 16 - 4  # 0.5 s: 1 + 8000 // 512 frames
    assert train.shape == (4 * vectors, 640)
    # A vector's last four frames are the next one's first four.
    np.testing.assert_array_equal(train[0, 128:], train[1, :512])
    labels = np.load(output / "y_test_fan_section_00.npy")
    # Source and target normals, then source and target anomalies.
    assert labels.tolist() == [0] * 2 * vectors + [1] * 2 * vectors


def test_kdd_prints_how_well_the_anomalies_are_found(monkeypatch, capsys):
    random = np.random.default_rng(0)
    normal = random.normal(size=(400, 3)).astype(np.float32)
    far = (random.normal(size=(50, 3)) + 20).astype(np.float32)
    test = np.concatenate([normal[200:], far])
    table = Table(normal[:200], test, np.repeat([False, True], [200, 50]))
    monkeypatch.setattr("asd.runs.tables.load_kdd", lambda: table)
    assert (
        main(
            ["gan", "bigan", "kdd", "run", "--nb_epochs=3", "--w=0.1", "--m=fm", "--d=2", "--rd=1"]
        )
        == 0
    )
    words = capsys.readouterr().out.split()
    assert words[0::2] == ["precision", "recall", "F1"]
    assert float(words[5]) == 1.0  # far away in all three columns


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("--m=wgan", "--methods: expected cross-e, fm, or both"), ("--w=2", "--w: expected"),
     ("--d=0", "--d: expected a number above 0")],
)  # fmt: skip
def test_bad_values_are_refused_in_one_line(flags, expected, capsys):
    assert main(["gan", "bigan", "dcase", "run", flags]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("model", "folder"), [("bigan", "BiGAN"), ("gan", "GAN")])
def test_training_and_testing_end_to_end(model, folder, small_data, tmp_path):
    where = ["--machine_types", "fan", "--dataset_directory", str(small_data)]
    size = ["--nb_epochs=1", "--search_steps=2", "--rd=7", "--w=0.2", "--d=2"]
    results = ["--result_directory", str(tmp_path / "results")]
    assert main(["gan", model, "dcase", "run", *where, *results, *size]) == 0
    for score in ("CROSS-E", "FM"):
        found = tmp_path / "results" / "dev_data" / f"{folder}_{score}"
        ending = "test_seed7_id(0_)"
        path = found / f"anomaly_score_DCASE2023T2fan_section_00_{ending}.csv"
        scores = [float(line.split(",")[1]) for line in path.read_text().splitlines()]
        assert len(scores) == 4  # one per domain and label
        assert np.all(np.isfinite(scores))
        assert len(set(scores)) == 4
        assert (found / f"result_DCASE2023T2fan_{ending}_roc.csv").is_file()
    # Thresholds hold for the scoring rule of training: another is refused, and named.
    assert main(["test", "-d", "--model", folder, *where, *results, "--rd=7", "--d=1"]) == 2
