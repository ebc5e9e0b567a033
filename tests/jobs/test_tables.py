import inspect
from pathlib import Path

import numpy as np
import pytest

from asd.cli import main
from asd.cli.gan import KDD_PARAMETERS, MNIST_PARAMETERS
from asd.jobs.tables import AblationRow, SingleImages, ablation_table
from asd.systems.gan.digits import score_digits
from asd.systems.gan.judging import Detection
from asd.systems.gan.tabular import Table, run_table

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


def test_kdd_is_as_published_unless_a_flag_says_otherwise(kdd_arguments, tmp_path):
    published = {"device": "cpu", "seed": 42}
    assert kdd_arguments("--config", BASELINE) == published
    file = tmp_path / "mine.yaml"
    file.write_text("--epochs: 3\n--w: 0.2\n--methods: [fm, cross-e]\n--n_mels: 4\n")
    assert kdd_arguments("--config", file) == published
    # A flag is meant as it stands, also at what is a default elsewhere.
    flags = ("--nb_epochs=100", "--batch_size=256", "--m=cross-e", "--rd=13711")
    assert kdd_arguments("--config", file, *flags) == {
        "device": "cpu", "epochs": 100, "method": "CROSS-E", "batch_size": 256, "seed": 13711,
    }  # fmt: skip


def test_kdd_runs_where_it_is_told(kdd_arguments, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert kdd_arguments()["device"] == "cuda:0"
    assert kdd_arguments("--gpu_id=1")["device"] == "cuda:1"
    assert kdd_arguments("--use_cuda=False")["device"] == "cpu"


@pytest.mark.parametrize(
    ("data", "parameters", "experiment"),
    [("kdd", KDD_PARAMETERS, run_table), ("mnist", MNIST_PARAMETERS, score_digits)],
)
def test_experiments_offer_only_what_they_use_and_tell_the_published_values(
    data, parameters, experiment, capsys
):
    published = inspect.signature(experiment).parameters
    for name, value in parameters.items():
        if name == "methods":
            assert value == (published["method"].default,)
        else:
            assert value == published[name].default, name
    with pytest.raises(SystemExit):
        main(["gan", "bigan", data, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "passes over the training data (default: 50)" in text
    assert main(["gan", "bigan", data, "run", "--n_mels=4"]) == 2
    assert "unknown argument '--n_mels=4'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("--m=wgan", "--methods: expected one of CROSS-E, FM, got 'wgan'"), ("--w=2", "--w: expected"),
     ("--d=0", "--d: expected a number above 0")],
)  # fmt: skip
def test_bad_values_are_refused_in_one_line(flags, expected, capsys):
    assert main(["gan", "bigan", "dcase", "run", flags]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def run_dcase(model, data, results, *flags):
    where = ["--machine_types", "fan", "--dataset_directory", str(data)]
    results = ["--result_directory", str(results)]
    rate = "--decision_threshold=0.7"  # no more can be promised by four clips
    return main(["gan", model, "dcase", "run", *where, *results, rate, "--rd=7", *flags])


@pytest.mark.parametrize(("model", "folder"), [("bigan", "BiGAN"), ("gan", "GAN")])
def test_training_and_testing_end_to_end(model, folder, small_data, tmp_path):
    size = ["--nb_epochs=1", "--w=0.2", "--d=2", "--vectors"]
    if model == "gan":
        size.append("--search_steps=2")
    assert run_dcase(model, small_data, tmp_path / "results", *size) == 0
    for score in ("CROSS-E", "FM"):
        found = tmp_path / "results" / "dev_data" / f"{folder}_{score}"
        ending = "test_seed7_id(0_)"
        path = found / f"anomaly_score_DCASE2023T2fan_section_00_{ending}.csv"
        scores = [float(line.split(",")[1]) for line in path.read_text().splitlines()]
        assert len(scores) == 4  # one per domain and label
        assert np.all(np.isfinite(scores))
        assert len(set(scores)) == 4
        assert (found / f"result_DCASE2023T2fan_{ending}_roc.csv").is_file()


def test_images_end_to_end_with_the_figures_of_single_images(small_data, tmp_path, capsys):
    size = ["--frames=8", "--frame_hop_length=4", "--n_mels=16", "--latent_dim=4"]
    flags = [*size, "--nb_epochs=1", "--m=fm", "--label=1", "--batch_size=4"]
    assert run_dcase("bigan", small_data, tmp_path / "results", *flags) == 0
    lines = capsys.readouterr().out.splitlines()
    # 0.5 s are 16 frames: 3 images a clip, of one normal and one anomalous clip in each domain.
    for line, domain in zip(lines, ("source", "target"), strict=True):
        assert line.startswith(f"fan section 00 {domain} FM: 6 images: area under the precision-")
        assert "(a constant score gets 0.7500)" in line
    log = next((tmp_path / "results").glob("models/BiGAN-IMAGE/*/log.csv")).read_text()
    assert log.splitlines()[0].split(",")[-2:] == ["cycle_loss", "reconstruction_ratio"]


def test_published_settings_are_those_of_the_program_unless_a_flag_says_otherwise(
    monkeypatch, small_data, tmp_path
):
    told = []
    monkeypatch.setattr("asd.jobs.pipeline.train_and_test", told.append)
    run_dcase("bigan", small_data, tmp_path, "--published", "--train_only", "--cycle=2")
    system = told[0].system
    found = (system.learning_rate, system.scaling, system.cycle, system.ema_warm_up)
    assert found == (1e-5, "published", 2.0, False)
    assert (system.batch_size, system.latent_dim, system.ema_decay) == (50, 200, 0.999)
    assert (system.frames, system.frame_hop_length, system.n_mels) == (64, 8, 128)
    assert system.target_share == 0
    run_dcase("gan", small_data, tmp_path, "--published", "--train_only")
    assert told[1].entry.name == "GAN-IMAGE"
    assert told[1].system.scaling == "published"


def test_images_are_exported_under_the_names_of_the_program_that_reads_them(
    small_data, tmp_path, capsys
):
    where = ["--machine_types", "fan", "--dataset_directory", str(small_data)]
    size = ["--frames=8", "--frame_hop_length=4", "--n_mels=16"]
    output = ["--output", str(tmp_path / "out")]
    assert main(["features", "export", "-d", "--images", *where, *size, *output]) == 0
    names = sorted(Path(line).name for line in capsys.readouterr().out.split())
    assert names == [
        "x_test_fan_section_00_source.npy",
        "x_test_fan_section_00_target.npy",
        "x_train_fan_section_0.npy",
        "y_test_fan_section_00_source.npy",
        "y_test_fan_section_00_target.npy",
        "y_train_fan_section_0.npy",
    ]
    assert np.load(tmp_path / "out" / names[2]).shape == (4 * 3, 8 * 16)
    assert np.load(tmp_path / "out" / names[3]).tolist() == [0] * 3 + [1] * 3
    assert np.load(tmp_path / "out" / names[5]).tolist() == [0] * 12


def test_mnist_prints_what_its_figure_is(monkeypatch, tmp_path, capsys):
    random = np.random.default_rng(0)
    digits = np.repeat(np.arange(3), 10)
    file = tmp_path / "mnist.npz"
    np.savez(file, x=random.random((30, 784)), y=digits)
    told = {}

    def score(table, **options):
        told.update(options)
        return table.y_test.astype(float)

    monkeypatch.setattr("asd.jobs.tables.score_digits", score)
    words = ["gan", "bigan", "mnist", "run", "--label=2", "--nb_epochs=3", "--m=cross-e", "--w=0.2"]
    assert main([*words, "--d=2", "--rd=5", "--file", str(file), "--use_cuda=False"]) == 0
    # 20 normal images: 4 of them are tested, and all 10 of the digit 2.
    assert capsys.readouterr().out == (
        "14 images: area under the precision-recall curve 1.0000 (a constant score gets 0.8571), "
        "pAUC 1.0000\n"
    )
    del told["on_epoch"]
    assert told == {
        "model": "bigan", "device": "cpu", "epochs": 3, "w": 0.2, "d": 2.0, "method": "CROSS-E",
        "seed": 5,
    }  # fmt: skip


def test_the_figures_of_single_images_by_hand():
    figures = SingleImages.of(np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, False, True, True]))
    assert (figures.images, figures.area, figures.constant, figures.pauc) == (4, 1.0, 0.75, 1.0)


def test_ablation_shows_all_four_and_stores_nothing(small_data, tmp_path, capsys):
    where = ["--machine_types", "fan", "--dataset_directory", str(small_data)]
    flags = ["--nb_epochs=2", "--batch_size=16", "--n_mels=16", "--m=fm", "--seeds", "1", "2"]
    assert main(["gan", "ablate", "-d", *where, *flags]) == 0
    head, *lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert head[:2] == ["machine", "section"]
    assert [" ".join(line[2:-6]) for line in lines] == [
        "adversary alone", "cycle alone", "both", "neither",
    ]  # fmt: skip
    for line in lines:
        assert line[-6:-4] == ["FM", "2"]
        assert all(0 <= float(cell) <= 1 for cell in line[-4:-1])
    assert lines[-1][-1] == "-"
    assert float(lines[1][-1]) > 0
    assert not (tmp_path / "elsewhere" / "results").exists()


def test_the_ablation_table_has_means_over_seeds():
    rows = [
        AblationRow("fan", "00", "both", "FM", seed, *values)
        for seed, values in ((1, (0.9, 0.6, 0.5, 0.7)), (2, (0.8, 0.7, np.nan, 0.5)))
    ]
    head, line = ablation_table(rows).splitlines()
    assert head.split()[-1] == "mean's"
    assert line.split() == ["fan", "00", "both", "FM", "2", "0.850", "0.650", "0.500", "0.600"]
