"""Testing: which files come out, decisions against an independent threshold, wrong input."""

import csv
import shlex
import shutil

import matplotlib.image
import numpy as np
import pytest
import scipy.stats
import torch

from asd.archives import load_archive
from asd.report.page import save_figure
from asd.report.tables import heat_map

FAN = "DCASE2023T2-AE_DCASE2023T2fan_id(0_)_seed13711"
SCORES = ("MSE", "MAHALA", "MAHALA-FRAME")


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def flags(shared_tiny, tiny_flags):
    return ("-d", "--machine_types", "fan", "--dataset_directory", shared_tiny.folder,
            *tiny_flags)  # fmt: skip


@pytest.fixture(scope="module")
def tested(asd_once, flags, tmp_path_factory):
    """Results of fan, trained and tested with every score."""
    results = tmp_path_factory.mktemp("tested")
    where = ("--result_directory", results)
    asd_once("run", *flags, *where, "--epochs", 2, "--score", "all")
    asd_once("summarize", "DCASE2023T2", "-d", *where)
    return results


@pytest.fixture
def model(tested, copy_tree):
    """A model that a test may damage."""
    return copy_tree(tested / "models", "models") / "baseline" / FAN / "model.pt"


def test_files_of_a_test(tested):
    label = "DCASE2023T2fan"
    expected = {
        f"anomaly_score_{label}_section_00_test_seed13711_id(0_).csv",
        f"decision_result_{label}_section_00_test_seed13711_id(0_).csv",
        f"result_{label}_test_seed13711_id(0_)_roc.csv",
        f"job_{label}_test_seed13711_id(0_).json",
        f"{FAN}_anm_score.png",
        f"{FAN}_roc.png",
    }
    for score in SCORES:
        folder = tested / "dev_data" / f"baseline_{score}"
        assert {path.name for path in folder.iterdir()} == expected


def test_figures_show_something(tested):
    figures = sorted(tested.rglob("*.png"))
    assert len(figures) == 1 + 2 * len(SCORES) + 2  # losses, scores and ROC, summary
    seen = set()
    for path in figures:
        image = matplotlib.image.imread(path)
        assert min(image.shape[:2]) > 200
        colours = np.round(image[::3, ::3, :3] * 255).astype(int) @ (65536, 256, 1)
        assert len(np.unique(colours)) > 20, path
        ink = (image[..., :3].min(axis=2) < 0.9).mean()
        assert 0.005 < ink < 0.9, path
        seen.add(path.read_bytes())
    assert len(seen) == len(figures)


def test_summarize_draws_the_official_scores(tested, tmp_path):
    stem = tested / "dev_data" / "baseline" / "summarize" / "DCASE2023T2"
    with open(stem / "DCASE2023T2_official_score.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    values = [[float(row["total"]), float(row["fan"])] for row in rows]
    names = [f"baseline_{score}" for score in SCORES]
    assert sorted(row["System"] for row in rows) == sorted(names)
    drawn = tmp_path / "drawn.png"
    systems = [row["System"] for row in rows]
    save_figure(heat_map(values, systems, ["total", "fan"], "DCASE2023T2 dev"), drawn)
    picture = stem / "DCASE2023T2_official_score.png"
    assert np.array_equal(matplotlib.image.imread(picture), matplotlib.image.imread(drawn))


def test_one_score_needs_no_map_of_scores(tested, copy_tree, asd):
    results = copy_tree(tested)
    shutil.rmtree(results / "dev_data" / "baseline")
    for score in SCORES[1:]:
        shutil.rmtree(results / "dev_data" / f"baseline_{score}")
    assert asd("summarize", "DCASE2023T2", "-d", "--result_directory", results).status == 0
    pictures = {path.name for path in (results / "dev_data" / "baseline").rglob("*.png")}
    assert pictures == {"DCASE2023T2_auc_pauc.png"}


def normal_scores(results):
    """Kind -> score -> what thresholds are fitted to, as the model's file holds it."""
    state = load_archive(results / "models/baseline" / FAN / "model.pt", "")["state"]
    return {"batch": state["batch_scores"], "clip": state["normal_scores"]["columns"]}


def decisions_of(results, score):
    folder = results / "dev_data" / f"baseline_{score}"
    (file,) = folder.glob("anomaly_score_*.csv")
    (decided,) = folder.glob("decision_result_*.csv")
    scores, decisions = dict(read(file)), dict(read(decided))
    assert list(scores) == list(decisions)
    return np.array(list(scores.values()), dtype=float), list(map(int, decisions.values()))


@pytest.mark.parametrize("kind", ["batch", "clip"])
@pytest.mark.parametrize("quantile", [0.9, 0.2])
def test_decisions_follow_the_gamma_quantile(tested, asd, flags, tmp_path, kind, quantile):
    (tmp_path / "models").symlink_to(tested / "models")
    done = asd("test", *flags, "--result_directory", tmp_path, "--score", "MAHALA",
               "--threshold_fit", kind, "--decision_threshold", quantile)  # fmt: skip
    assert done.status == 0, done.err
    shape, loc, scale = scipy.stats.gamma.fit(np.array(normal_scores(tested)[kind]["MAHALA"]))
    threshold = scipy.stats.gamma.ppf(quantile, shape, loc, scale)
    scores, decisions = decisions_of(tmp_path, "MAHALA")
    assert decisions == (scores > threshold).astype(int).tolist()
    assert quantile == 0.9 or sum(decisions) > 0


def test_normal_scores_are_of_training_clips_or_batches(tested):
    samples = normal_scores(tested)
    windows = 12 * (6400 // 256 + 1 - 4)  # all clips, 22 windows each
    held_out = -(-windows // 10)
    batches = -(-(windows - held_out) // 32) + -(-held_out // 32)
    for score in SCORES:
        assert len(samples["clip"][score]) == 12
        assert len(samples["batch"][score]) == batches


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        (("--n_mels", 20), "--n_mels 16 (now 20)"),
        (("--frames", 4, "--power", 1), "--power 2.0 (now 1.0), --frames 5 (now 4)"),
        (("--fmax", 7000, "--win_length", 400), "--fmax null (now 7000.0), --win_length null (now"),
        (("--frame_hop_length", 2), "--frame_hop_length 1 (now 2)"),
        (("--batch_size", 7, "-lr", 1), "--batch_size 32 (now 7), --learning_rate 0.001 (now 1.0)"),
        (("--set", "frames=4"), "--frames 5 (now 4)"),
    ],
)
def test_flags_that_contradict_the_model_are_refused(tested, asd, flags, changed, complaint):
    done = asd("test", *flags, *changed, "--result_directory", tested)
    assert f"{FAN}/model.pt: was trained with {complaint}" in done.complaint
    assert done.complaint.endswith("leave the flag out, as the model knows, or train again")


def test_epochs_may_differ_as_training_can_go_on(tested, asd, flags):
    done = asd("test", *flags, "--epochs", 9, "--result_directory", tested)
    assert done.status == 0, done.err


def scores_in(folder):
    return {path.name: path.read_text() for path in folder.glob("dev_data/*/*.csv")}


def test_a_model_knows_what_it_was_trained_with(asd, shared_tiny, tiny_flags, tmp_path):
    where = ("-d", "--machine_types", "fan", "--dataset_directory", shared_tiny.folder,
             "--result_directory", tmp_path, "--export_dir", "m16")  # fmt: skip
    own = (*tiny_flags, "--frames", 4)
    assert asd("train", *where, *own, "--epochs", 2).status == 0
    assert asd("test", *where, *own).status == 0
    expected = scores_in(tmp_path)
    shutil.rmtree(tmp_path / "dev_data")
    done = asd("test", *where)
    assert done.status == 0, done.err
    assert "WARNING" not in done.err
    assert scores_in(tmp_path) == expected
    (model,) = tmp_path.glob("models/m16/*/model.pt")
    assert asd("test", *where, "--frames", 5).complaint == (
        f"{model}: was trained with --frames 4 (now 5); leave the flag out, as the model knows, or "
        "train again"
    )


def test_a_file_that_contradicts_the_model_is_told_and_the_model_holds(
    tested, asd, shared_tiny, tmp_path
):
    """A file is meant for many models, and was perhaps changed since."""
    file = tmp_path / "own.yaml"
    values = {"n_mels": 20, "n_fft": 512, "hop_length": 256, "batch_size": 32, "epochs": 2}
    file.write_text("".join(f"--{name}: {value}\n" for name, value in values.items()))
    (tmp_path / "models").symlink_to(tested / "models")
    done = asd("test", "-d", "--machine_types", "fan", "--dataset_directory", shared_tiny.folder,
               "--config", file, "--result_directory", tmp_path)  # fmt: skip
    assert done.status == 0, done.err
    scores = (
        "dev_data/baseline_MSE/anomaly_score_DCASE2023T2fan_section_00_test_seed13711_id(0_).csv"
    )
    assert (tmp_path / scores).read_text() == (tested / scores).read_text()


def test_another_sampling_rate_is_refused(tested, asd, flags, tiny, write_wav):
    for path in tiny.test("fan", per_group=1).iterdir():
        write_wav(path, np.zeros(8000), rate_hz=8000)
    done = asd("test", *flags, "--dataset_directory", tiny.folder, "--result_directory", tested)
    assert "is sampled at 8000 Hz, the model was trained at 16000 Hz; resample" in done.complaint


def test_a_missing_model(asd, flags, tmp_path):
    done = asd("test", *flags, "--result_directory", tmp_path, "--seed", 5)
    path = tmp_path / "models/baseline" / FAN.replace("seed13711", "seed5") / "model.pt"
    assert done.complaint.startswith(f"{path}: no such model; train it first: asd train -d")


def test_the_hint_trains_the_model_that_is_missing(asd, flags, tmp_path):
    others = ("--result_directory", tmp_path / "my results", "--seed", 5, "--use_ids", 0,
              "--export_dir", "mine", "--model", "ae")  # fmt: skip
    missing = asd("test", *flags, *others).complaint
    command = missing.partition("train it first: ")[2]
    program, *words = shlex.split(command)
    assert program == "asd"
    assert asd(*words, "--epochs", 1, "--use_cuda", "False").status == 0
    assert asd("test", *flags, *others).status == 0


def test_the_hint_names_only_what_is_unusual(asd, shared_tiny, tmp_path):
    """A recipe's own parameters are not, and its model is of all the machine types asked for."""
    words = ("-d", "--dataset_directory", shared_tiny.folder, "--result_directory", tmp_path,
             "--machine_types", "fan", "valve", "--model", "raw_spec", "--seed", 5)  # fmt: skip
    assert asd("test", *words, "--score", "KNN").complaint.partition("train it first: ")[2] == (
        "asd train -d --dataset DCASE2023T2 --machine_types fan valve "
        f"--dataset_directory {shared_tiny.folder} --result_directory {tmp_path} "
        "--model raw_spec --seed 5"
    )


def test_the_log_tells_models_of_sections_apart(tiny, asd, tiny_flags, tmp_path):
    where = {"dataset": "dcase2022t2"}
    for section in ("00", "01"):
        tiny.train("fan", section=section, **where)
    tiny.test("fan", per_group=1, **where)
    words = ("-d", "--dataset", "DCASE2022T2", "--machine_types", "fan", "--dataset_directory",
             tiny.folder, "--result_directory", tmp_path / "results", *tiny_flags)  # fmt: skip
    for number in (0, 1):
        done = asd("run", *words, "--use_ids", number, "--epochs", 1)
        folder = tmp_path / "results" / "dev_data" / "baseline_MSE"
        assert f"fan, model of section 0{number}, MSE: scores and decisions in {folder}" in done.err


def damaged(model):
    whole = model.read_bytes()
    checkpoint = model.with_name("checkpoint.pt").read_bytes()
    return {
        "empty": (b"", "is damaged or not a file of this program"),
        "cut off": (whole[: len(whole) // 2], "is damaged or not a file of this program"),
        "text": (b"a model", "is damaged or not a file of this program"),
        "checkpoint": (checkpoint, "is of another version of this program"),
    }


@pytest.mark.parametrize("name", ["empty", "cut off", "text", "checkpoint"])
def test_a_damaged_model(asd, flags, model, name):
    content, complaint = damaged(model)[name]
    model.write_bytes(content)
    done = asd("test", *flags, "--result_directory", model.parents[3])
    assert done.complaint.startswith(f"{model}: {complaint}")
    assert not (model.parents[3] / "dev_data").exists()


def test_unknown_score(tested, asd, flags):
    done = asd("test", *flags, "--result_directory", tested, "--score", "MSEE")
    assert done.complaint.startswith("--score: 'MSEE' is unknown")
    assert "MAHALA-FRAME" in done.complaint


def test_an_unwritable_results_folder(asd, flags, model):
    (model.parents[3] / "dev_data").write_text("a file in the way")
    done = asd("test", *flags, "--result_directory", model.parents[3])
    assert "anomaly_score_DCASE2023T2fan_section_00" in done.complaint
    assert "cannot be written" in done.complaint


def test_a_model_that_is_missing_does_not_stop_the_others(tested, asd, flags, tmp_path):
    (tmp_path / "models").symlink_to(tested / "models")
    done = asd("test", *flags, "--machine_types", "fan", "valve", "--result_directory", tmp_path)
    assert "fan_" not in done.complaint
    assert "valve" in done.complaint
    assert decisions_of(tmp_path, "MSE")[1]


def test_sections_together_and_apart(tiny, asd, tiny_flags, tmp_path):
    """2022: a model per section by default, one for several with --use_ids; all score all."""
    where = {"dataset": "dcase2022t2"}
    for section in ("00", "01", "02"):
        tiny.train("valve", section=section, **where)
        tiny.test("valve", section=section, per_group=1, **where)
    flags = ("-d", "--dataset", "DCASE2022T2", "--machine_types", "valve", *tiny_flags,
             "--dataset_directory", tiny.folder, "--result_directory", tmp_path)  # fmt: skip
    assert asd("run", *flags, "--epochs", 1, "--use_ids", 0, 1).status == 0
    folder = tmp_path / "dev_data" / "baseline_MSE"
    names = {path.name for path in folder.glob("*.csv")}
    label, tag = "DCASE2022T2valve", "test_seed13711_id(0_1_)"
    assert names == {
        f"result_{label}_{tag}_roc.csv",
        *(f"{kind}_{label}_section_0{section}_{tag}.csv" for section in range(3)
          for kind in ("anomaly_score", "decision_result")),
    }  # fmt: skip
    together = tmp_path / "models/baseline" / f"DCASE2023T2-AE_{label}_id(0_1_)_seed13711"
    assert together.is_dir()
    table = read(folder / f"result_{label}_{tag}_roc.csv")
    assert [row[0] for row in table if row] == [
        "section", "00", "01", "02", "arithmetic mean", "harmonic mean"
    ]  # fmt: skip

    assert asd("train", *flags, "--epochs", 1, "--use_ids", 1).status == 0
    weights = [
        load_archive(folder / "model.pt", "")["state"]["network"]["encoder.0.weight"]
        for folder in (together, together.with_name(together.name.replace("0_1_", "1_")))
    ]
    assert not torch.equal(*weights)
    done = asd("train", *flags, "--use_ids", 0, 7)
    assert done.complaint.startswith("--use_ids: valve has no section 07")
    done = asd("train", *flags, "-tag", "mine")
    assert done.complaint.startswith("--model_name_suffix: 'mine' would name the models of several")


def test_a_section_without_clips(tiny, asd, tiny_flags, tmp_path):
    tiny.train("valve", dataset="dcase2022t2", section="01")
    done = asd("train", "-d", "--dataset", "DCASE2022T2", "--machine_types", "valve", *tiny_flags,
               "--dataset_directory", tiny.folder, "--result_directory", tmp_path,
               "--epochs", 1, "--jobs", 1)  # fmt: skip
    assert done.complaint == "2 of 3 jobs could not be done (see above); the others are done"
    assert "valve: no training clip of section 00" in done.err
    assert [path.parent.name for path in tmp_path.rglob("model.pt")] == [
        "DCASE2023T2-AE_DCASE2022T2valve_id(1_)_seed13711"
    ]


def test_where_all_jobs_fail_none_is_said_to_be_done(shared_tiny, asd, tmp_path):
    done = asd("test", "-d", "--machine_types", "fan", "valve", "--result_directory", tmp_path,
               "--dataset_directory", shared_tiny.folder)  # fmt: skip
    assert done.complaint == "2 of 2 jobs could not be done (see above)"
    assert done.err.count("no such model; train it first") == 2


def test_one_class_or_one_domain(tested, asd, flags, tiny, tmp_path):
    """The single-domain header; an empty cell with a reason; never a traceback."""
    (tmp_path / "models").symlink_to(tested / "models")
    flags = ("test", *flags, "--dataset_directory", tiny.folder, "--result_directory", tmp_path)
    folder = tiny.test("fan")
    for path in folder.glob("*target*"):
        path.unlink()
    assert asd(*flags).status == 0
    (file,) = (tmp_path / "dev_data/baseline_MSE").glob("result*.csv")
    assert read(file)[0] == ["section", "AUC", "pAUC", "precision", "recall", "F1 score"]
    for path in folder.glob("*anomaly*"):
        path.unlink()
    done = asd(*flags)
    assert done.status == 0
    assert "fan MSE section 00: no anomalous clips; left empty: AUC" in done.err
    assert read(file)[1] == ["00", "", "", "", "", ""]


def test_an_unknown_score_is_refused_before_training(asd, tiny_data, tmp_path):
    where = ("--dataset_directory", tiny_data, "--result_directory", tmp_path)
    done = asd("run", "-d", "--machine_types", "fan", "--epochs", 1, *where, "--score", "MES")
    assert done.complaint == "--score: 'MES' is unknown; choose from MSE, MAHALA, MAHALA-FRAME, all"
    assert not list(tmp_path.rglob("*"))
