import inspect
from pathlib import Path

import numpy as np
import pytest

from asd.cli import main
from asd.cli.gan import KDD_PARAMETERS
from asd.systems.gan.tabular import Detection, Table, run_table

BASELINE = Path(__file__).parents[2] / "baseline.yaml"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Stand in an empty folder: no test may find the repository's own baseline.yaml."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


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
    monkeypatch.setattr("asd.jobs.tables.load_kdd", lambda: table)
    assert (
        main(
            ["gan", "bigan", "kdd", "run", "--nb_epochs=3", "--w=0.1", "--m=fm", "--d=2", "--rd=1"]
        )
        == 0
    )
    words = capsys.readouterr().out.split()
    assert words[0::2] == ["precision", "recall", "F1"]
    assert float(words[5]) == 1.0  # far away in all three columns


@pytest.fixture
def kdd_arguments(monkeypatch):
    """Run the experiment's command without the experiment; gives what run_table would be told."""
    told = {}

    def run_table(*_, **options):
        told.update(options)
        return Detection(0.5, 0.5, 0.5)

    monkeypatch.setattr("asd.jobs.tables.load_kdd", lambda: Table(*(np.zeros((1, 1)),) * 3))
    monkeypatch.setattr("asd.jobs.tables.run_table", run_table)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    def run(*flags):
        told.clear()
        assert main(["gan", "bigan", "kdd", "run", *map(str, flags)]) == 0
        return {name: told[name] for name in told if name not in ("model", "scale", "on_epoch")}

    return run


def test_kdd_is_as_published_unless_told_otherwise(kdd_arguments, tmp_path):
    assert kdd_arguments("--config", BASELINE) == {"device": "cpu"}  # all at their defaults there
    file = tmp_path / "mine.yaml"
    file.write_text("--epochs: 3\n--w: 0.2\n--methods: [fm, cross-e]\n--n_mels: 4\n")
    expected = {"device": "cpu", "epochs": 3, "w": 0.2, "method": "FM"}
    assert kdd_arguments("--config", file) == expected
    # A flag is meant as it stands, also at what is a default elsewhere.
    flags = ("--nb_epochs=100", "--batch_size=256", "--m=cross-e", "--rd=13711")
    assert kdd_arguments("--config", file, *flags) == {
        "device": "cpu", "epochs": 100, "w": 0.2, "method": "CROSS-E", "batch_size": 256,
        "seed": 13711,
    }  # fmt: skip


def test_kdd_runs_where_it_is_told(kdd_arguments, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert kdd_arguments() == {"device": "cuda:0"}
    assert kdd_arguments("--gpu_id=1") == {"device": "cuda:1"}
    assert kdd_arguments("--use_cuda=False") == {"device": "cpu"}


def test_kdd_offers_only_what_it_uses_and_tells_the_published_values(capsys):
    published = inspect.signature(run_table).parameters
    for name, value in KDD_PARAMETERS.items():
        if name == "methods":
            assert value == (published["method"].default,)
        elif name in published:
            assert value == published[name].default, name
    with pytest.raises(SystemExit):
        main(["gan", "bigan", "kdd", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "passes over the training data (default: 50)" in text
    assert main(["gan", "bigan", "kdd", "run", "--n_mels=4"]) == 2
    assert "unknown argument '--n_mels=4'" in capsys.readouterr().err


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
