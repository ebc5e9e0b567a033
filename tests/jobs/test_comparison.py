"""Several systems and seeds in one run, and the table that it ends in."""

import csv
import statistics

import pytest

pytestmark = pytest.mark.usefixtures("without_pictures")

RAW = """\
input_s: 0.4
frontend: {class: PooledSpectrogram, n_fft: 512, mels: 16, high_hz: 8000.0, pool: time_mean}
backends:
  KNN: {class: knn}
  K-TWO: {class: knn, k_source: 2, k_target: 2}
"""
GREEDY = f"{RAW[: RAW.index('  KNN')]}  KNN: {{class: knn, k_source: 99}}\n"
FAN = ("-d", "--machine_types", "fan")


@pytest.fixture
def recipe(tmp_path):
    """Write a recipe <name>.yaml and return its path."""

    def write(name, text=RAW):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def where(shared_tiny, tmp_path):
    data = ("--dataset_directory", shared_tiny.folder, "--feature_directory", tmp_path / "features")
    return (*data, "--result_directory", tmp_path / "results", "--decision_threshold", 0.8)


@pytest.fixture
def ae_flags(tiny_flags):
    return (*tiny_flags, "--epochs", 1)


def tables(results):
    """The comparison's CSV by system, its Markdown, and its picture's first bytes."""
    folder = results / "dev_data" / "comparison" / "summarize" / "DCASE2023T2"
    stem = folder / "DCASE2023T2_official_score"
    with open(stem.with_suffix(".csv"), newline="") as file:
        rows = {row["System"]: row for row in csv.DictReader(file)}
    return rows, stem.with_suffix(".md").read_text(), stem.with_suffix(".png").read_bytes()[:4]


def official_total(results, folder, seed, tmp_path, asd):
    """The score of one system and seed alone, by `summarize` on a copy of its files."""
    alone = tmp_path / f"alone{seed}"
    target = alone / "dev_data" / folder
    target.mkdir(parents=True)
    for path in (results / "dev_data" / folder).glob(f"*seed{seed}*"):
        (target / path.name).write_bytes(path.read_bytes())
    export_dir = folder.rpartition("_")[0]
    asd("summarize", "DCASE2023T2", "-d", "--result_directory", alone, "--export_dir", export_dir)
    stem = alone / "dev_data" / export_dir / "summarize" / "DCASE2023T2"
    with open(stem / "DCASE2023T2_official_score.csv", newline="") as file:
        (row,) = (row for row in csv.DictReader(file) if row["System"] == folder)
    return float(row["total"])


def test_systems_and_seeds_side_by_side(asd, where, ae_flags, recipe, tmp_path):
    results = tmp_path / "results"
    models = ("ae", recipe("raw"))
    outcome = asd("run", *FAN, *where, *ae_flags, "--model", *models, "--seeds", 3, 4)
    assert outcome.status == 0, outcome.err
    rows, markdown, picture = tables(results)
    assert set(rows) == {"ae_MSE", "ae_MAHALA", "ae_MAHALA-FRAME", "raw_KNN", "raw_K-TWO"}
    for name, row in rows.items():
        totals = [official_total(results, name, s, tmp_path / name, asd) for s in (3, 4)]
        assert float(row["total"]) == pytest.approx(statistics.mean(totals))
        assert float(row["total std"]) == pytest.approx(statistics.stdev(totals))
    one, other = (results / "dev_data" / "ae_MSE").glob("anomaly_score_*.csv")
    assert one.read_text() != other.read_text()
    assert outcome.out == markdown
    assert markdown.splitlines()[0] == "| System | total | fan |"
    assert picture == b"\x89PNG"


def test_other_results_stay_out_of_the_table(asd, where, recipe, tmp_path):
    """Of another system, of a system whose name begins alike, of another seed or score."""
    raw = recipe("raw")
    for model, seed in ((recipe("other"), 1), (recipe("raw_too"), 1), (raw, 9)):
        assert asd("run", *FAN, *where, "--model", model, "--seed", seed).status == 0
    outcome = asd("run", *FAN, *where, "--model", raw, "--seeds", 1, "--score", "KNN")
    assert outcome.status == 0, outcome.err
    rows, markdown, _ = tables(tmp_path / "results")
    assert set(rows) == {"raw_KNN"}
    assert rows["raw_KNN"]["total std"] == ""
    assert "±" not in markdown


def test_one_run_though_it_is_named_twice(asd, where, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--model", recipe("raw"), "raw.yaml", "--seeds", "1", "01")
    outcome = asd("run", *FAN, *where, *words)
    assert outcome.status == 0, outcome.err
    assert "run 1 of 1: " in outcome.err


def test_a_failure_does_not_stop_the_others(asd, where, recipe, tmp_path):
    greedy = recipe("greedy", GREEDY)
    outcome = asd("run", *FAN, *where, "--model", greedy, recipe("raw"), "--seeds", 1, 2)
    assert outcome.complaint == (
        "2 of 4 runs failed (see above); the others are done and in the table"
    )
    assert "k_source" in outcome.err
    rows, *_ = tables(tmp_path / "results")
    assert set(rows) == {"raw_KNN", "raw_K-TWO"}


def test_when_all_fail_there_is_no_table(asd, where, recipe, tmp_path):
    greedy = recipe("greedy", GREEDY)
    outcome = asd("run", *FAN, *where, "--model", greedy, "--seeds", 1, 2)
    assert outcome.complaint == "2 of 2 runs failed (see above); mend the first and run again"
    assert not (tmp_path / "results" / "dev_data" / "comparison").exists()


def test_goes_on_where_an_interrupted_run_stopped(asd, where, ae_flags, tmp_path):
    model = ("run", *FAN, *where, *ae_flags, "--model", "ae", "--seeds")
    assert asd(*model, 1).status == 0
    outcome = asd(*model, 1, 2, "--restart")
    assert outcome.status == 0, outcome.err
    logs = sorted((tmp_path / "results" / "models" / "ae").glob("*/log.csv"))
    assert [log.read_text().count("\n") for log in logs] == [2, 2]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--seed", "1", "--seeds", "2"), "--seed and --seeds: give the one or the other"),
        (("--seeds", "1", "x"), "--seed: expected a whole number, got 'x'"),
        (("--model", "ae", "raw_spek"), "'raw_spek' is unknown (did you mean raw_spec?)"),
        (("--model", "ae", "raw_spec", "--export_dir", "mine"),
         "ae and raw_spec would both write to the folders mine_*"),
    ],
)  # fmt: skip
def test_refusals(asd, where, flags, complaint):
    outcome = asd("run", *FAN, *where, *flags)
    assert complaint in outcome.complaint


@pytest.mark.parametrize("command", ["train", "test"])
def test_one_system_at_a_time_elsewhere(asd, command):
    assert "raw_spec" in asd(command, "-d", "--model", "ae", "raw_spec").complaint
    assert "--seeds" in asd(command, "-d", "--seeds", "1").complaint


def test_a_cluster_trains_all_seeds_at_once_with_the_same_results(
    asd, where, ae_flags, cluster, tmp_path
):
    model = ("run", *FAN, *where, *ae_flags, "--model", "ae", "--seeds", 1, 2)
    assert asd(*model).status == 0
    rows, *_ = tables(tmp_path / "results")
    elsewhere = ("--result_directory", tmp_path / "there", "--cluster", cluster.scheduler_address)
    outcome = asd(*model, *elsewhere)
    assert outcome.status == 0, outcome.err
    assert outcome.err.count("jobs go to") == 1
    assert tables(tmp_path / "there")[0] == rows


def test_a_run_that_fails_on_a_cluster_does_not_stop_the_others(
    asd, where, recipe, cluster, tmp_path
):
    words = ("--model", recipe("greedy", GREEDY), recipe("raw"), "--seeds", 1)
    outcome = asd("run", *FAN, *where, *words, "--cluster", cluster.scheduler_address)
    assert outcome.complaint == (
        "1 of 2 runs failed (see above); the others are done and in the table"
    )
    assert set(tables(tmp_path / "results")[0]) == {"raw_KNN", "raw_K-TWO"}
