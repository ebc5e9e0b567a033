"""Models of the public baseline, imported: its scores, decisions, metrics and file names."""

import csv
import io
import json
import math
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.usefixtures("without_pictures")

SCORES_AGREE = 1e-4  # relative; the reference's own float32 inverse resolves 2e-5
METRICS_AGREE = 1e-9
FAN = "DCASE2023T2-AE_DCASE2023T2fan_id(0_)_seed13711"


def read(path):
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))


def csv_files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*.csv")}


def assert_close_tables(found, expected, tolerance):
    """Same text in every cell, but for numbers within a relative tolerance."""
    assert [len(row) for row in found] == [len(row) for row in expected]
    for ours, theirs in zip(found, expected, strict=True):
        for mine, reference in zip(ours, theirs, strict=True):
            try:
                number = float(reference)
            except ValueError:
                assert mine == reference
            else:
                assert float(mine) == pytest.approx(number, rel=tolerance, abs=tolerance)


def by_column(rows):
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]}


def assert_same_summary(found, expected):
    """Equal by column name, but for the reference's slip: see the last line of `is_slip`."""

    def is_slip(name):
        domain_pauc = "pAUC (source)" in name or "pAUC (target)" in name
        return domain_pauc and ("mean_" in name or (name.startswith("ALL") and "hmean" not in name))

    ours, theirs = by_column(read(found)), by_column(read(expected))
    assert ours.keys() == theirs.keys()
    for system, values in theirs.items():
        assert ours[system].keys() == values.keys()
        for name, text in values.items():
            if not is_slip(name):
                assert_close_tables([[ours[system][name]]], [[text]], METRICS_AGREE)


def assert_same_results(found, expected, models=None):
    """All result files of the reference are there and equal; `models` are text in their names."""
    names = {n for n in csv_files(expected) if models is None or any(m in n for m in models)}
    assert names
    assert names <= csv_files(found)
    for name in names:
        kind = Path(name).name
        if kind.startswith("decision_result"):
            assert (found / name).read_bytes() == (expected / name).read_bytes(), name
        elif kind.endswith("_auc_pauc.csv"):
            assert_same_summary(found / name, expected / name)
        else:
            scores = kind.startswith("anomaly_score")
            tolerance = SCORES_AGREE if scores else METRICS_AGREE
            assert_close_tables(read(found / name), read(expected / name), tolerance)
            assert (found / name).read_bytes().endswith(b"\n")
            assert b"\r" not in (found / name).read_bytes()


@pytest.fixture
def bring(asd, tmp_path):
    """Import a case's models, and score in both modes."""
    results = tmp_path / "results"

    def run(case, *flags, split="-d", data=None):
        done = asd("import-baseline", case.models, "--gamma", case.gamma,
                   "--result_directory", results)  # fmt: skip
        assert done.status == 0, done.err
        outcome = None
        for score in ("MSE", "MAHALA"):
            outcome = asd("test", split, "--dataset_directory", data or case.data, *flags,
                          "--result_directory", results, "--score", score)  # fmt: skip
        return results, outcome

    return run


def summarize(asd, dataset, split, results):
    outcome = asd("summarize", dataset, split, "--result_directory", results)
    assert outcome.status == 0, outcome.err


@pytest.fixture(scope="module")
def copy(official, tmp_path_factory):
    """A copy of the reference model's folders that tests may add files to."""
    return lambda: Path(
        shutil.copytree(official.expected / "models", tmp_path_factory.mktemp("models") / "models")
    )


def test_scripts_give_the_public_results(official, asd, script, tmp_path):
    """The whole way of a user of the public baseline, on the copy that comes with the tests."""
    where = ("--result_directory", tmp_path / "results")
    done = asd("import-baseline", official.models, "--gamma", official.gamma, *where)
    assert done.out == f"{FAN}\n"
    for name in ("02a_test.sh", "02b_test.sh"):
        done = script(name, "-d", "--dataset_directory", official.data, *where,
                      "--machine_types", "fan")  # fmt: skip
        assert done.status == 0, done.err
    done = script("03_summarize_results.sh", "DCASE2023T2", "-d", *where)
    assert done.status == 0, done.err
    assert "baseline_MAHALA" in done.out
    assert "INFO" not in done.out
    assert len(csv_files(official.expected / "results")) == 8
    assert_same_results(tmp_path / "results", official.expected / "results")


def test_case1_every_machine(official_case, bring, asd):
    case = official_case("case1_dcase2023_dev")
    results, done = bring(case, "--machine_types", "fan", "ToyCar")
    assert done.status == 0
    summarize(asd, "DCASE2023T2", "-d", results)
    assert_same_results(results, case.expected / "results")


def test_case2_renamed_clips(official_case, bring, asd):
    case = official_case("case2_dcase2023_eval")
    results, done = bring(case, "--machine_types", "bandsaw", split="-e")
    assert done.status == 0
    summarize(asd, "DCASE2023T2", "-e", results)
    assert_same_results(results, case.expected / "results")


def test_case2_unlabelled_clips(official_case, bring, copy_tree):
    case = official_case("case2_dcase2023_eval")
    data = copy_tree(case.data)
    shutil.rmtree(data / "dcase2023t2/eval_data/raw/bandsaw/test_rename")
    results, done = bring(case, "--machine_types", "bandsaw", split="-e", data=data)
    assert done.status == 0
    expected = case.expected.with_name("expected_test_only") / "results"
    assert_same_results(results, expected, ["anomaly_score", "decision_result"])
    assert not [name for name in csv_files(results) if "_roc" in name]
    for score in ("MSE", "MAHALA"):
        folder = results / "eval_data" / f"baseline_{score}"
        for kind in ("anomaly_score", "decision_result"):
            submission = folder / f"{kind}_bandsaw_section_00_test.csv"
            long_name = f"{kind}_DCASE2023T2bandsaw_section_00_test_seed13711_id(0_)_Eval.csv"
            assert submission.read_bytes() == (folder / long_name).read_bytes()


def test_case3_a_model_per_section(official_case, bring, asd):
    case = official_case("case3_dcase2022_dev")
    results, done = bring(case, "--dataset", "DCASE2022T2", "--machine_types", "valve")
    assert done.status == 0
    summarize(asd, "DCASE2022T2", "-d", results)
    assert_same_results(results, case.expected / "results")


def test_case4_ids_without_domains(official_case, bring, asd):
    case = official_case("case4_dcase2020_dev")
    flags = ("--dataset", "DCASE2020T2", "--machine_types", "pump")
    results, done = bring(case, *flags, "--use_ids", 0)
    assert done.status == 0
    assert_same_results(results, case.expected / "results", ["_id(0_)"])
    # Of the other ids there is no model: told for each, and what can be done is done.
    shutil.rmtree(results / "dev_data")
    done = asd("test", "-d", *flags, "--dataset_directory", case.data,
               "--result_directory", results)  # fmt: skip
    assert done.complaint.startswith("3 of 4 jobs could not be done")
    for number in (2, 4, 6):
        assert f"pump id({number}_)" in done.err
    assert done.err.count("no such model; train it first") == 3
    expected = case.expected / "results" / "dev_data" / "baseline_MSE"
    assert_same_results(results / "dev_data" / "baseline_MSE", expected, ["_id(0_)"])


def test_case5_two_channels(official_case, bring, asd):
    case = official_case("case5_dcase2026_dev")
    flags = ("--dataset", "DCASE2026T2", "--machine_types", "fan", "--mono", "False")
    results, done = bring(case, *flags)
    assert done.status == 0
    summarize(asd, "DCASE2026T2", "-d", results)
    assert_same_results(results, case.expected / "results")


@pytest.mark.parametrize("number", [float, np.float64, np.float32])
def test_thresholds_from_pickles(official, asd, copy, number):
    models = copy()
    entry = json.loads(official.gamma.read_text())[FAN]
    for key in ("mse", "mahala"):
        values = [number(entry[key][name]) for name in ("shape", "loc", "scale")]
        path = models / "saved_model" / "baseline" / f"score_distr_{FAN}_{key}.pickle"
        path.write_bytes(pickle.dumps(values))
    results = models.parent / "results"
    done = asd("import-baseline", models / "saved_model/baseline", "--result_directory", results)
    assert done.status == 0
    assert done.out == f"{FAN}\n"
    stored = torch.load(results / "models/baseline" / FAN / "model.pt", weights_only=True)
    for key, name in (("mse", "MSE"), ("mahala", "MAHALA")):
        expected = [float(number(entry[key][part])) for part in ("shape", "loc", "scale")]
        assert stored["gammas"]["fan"]["batch"][name] == expected


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("made by a pickle",)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (pickle.dumps([Malicious(), 1.0, 2.0]), "mkdir"),
        (pickle.dumps([1.0, 2.0]), "no pickled list of three numbers"),
        (pickle.dumps(["a", "b", "c"]), "no pickled list of three numbers"),
        (pickle.dumps([1.0, 2.0, 3.0])[:-3], "no pickled list of three numbers"),
        (b"", "no pickled list of three numbers"),
        (None, "no such file"),
        (pickle.dumps("123"), "no pickled list of three numbers"),
        (pickle.dumps([1.0, 2.0, True]), "no pickled list of three numbers"),
        (pickle.dumps([1.0, 2.0, 3.0]) + bytes(10**6), "no pickled list of three numbers"),
        (pickle.dumps([-1.0, 2.0, 3.0]), "shape is -1.0, expected a number above 0; give the"),
        (pickle.dumps([1, math.nan, 3]), "loc is nan, expected a number; give the right one"),
        (pickle.dumps([1.0, 2.0, np.float64("inf")]), "scale is inf, expected a number above 0"),
        (pickle.dumps([1.0, 2.0, 0.0]), "scale is 0.0, expected a number above 0"),
    ],
    ids=[
        "a call",
        "two numbers",
        "texts",
        "cut off",
        "empty",
        "missing",
        "text",
        "bool",
        "long",
        "negative shape",
        "NaN",
        "infinite scale",
        "no scale",
    ],
)
def test_refuses_other_pickles(asd, copy, tmp_path, monkeypatch, content, complaint):
    monkeypatch.chdir(tmp_path)
    folder = copy() / "saved_model" / "baseline"
    path = folder / f"score_distr_{FAN}_mse.pickle"
    if content is not None:
        path.write_bytes(content)
    found = asd("import-baseline", folder, "--result_directory", tmp_path / "results").complaint
    assert str(path) in found
    assert complaint in found
    assert not any(tmp_path.glob("made by a pickle"))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("gamma", "complaint"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "expected a JSON object"),
        ("{}", f"has no entry for {FAN}"),
        (json.dumps({FAN: 3}), "lacks a number"),
        (json.dumps({FAN: {"mse": [1, 2, 3]}}), "lacks a number"),
        (json.dumps({FAN: {"mse": {"shape": 1, "loc": 2}}}), "lacks a number"),
        (json.dumps({FAN: {"mse": {"shape": 1, "loc": 2, "scale": None}}}), "lacks a number"),
        (json.dumps({FAN: {"mse": {"shape": "1", "loc": 2, "scale": 3}}}), "lacks a number"),
        (json.dumps({FAN: {"mse": {"shape": True, "loc": 2, "scale": 3}}}), "lacks a number"),
        (json.dumps({FAN: {"mse": {"shape": 10**400, "loc": 2, "scale": 3}}}), "lacks a number"),
        (
            json.dumps({FAN: {"mse": {"shape": math.nan, "loc": 2, "scale": 3}}}),
            f"--gamma: {FAN}: mse: shape is nan, expected a number above 0; give the right one",
        ),
        (
            json.dumps({FAN: {"mahala": {"shape": 1, "loc": -2, "scale": -3}}}),
            f"--gamma: {FAN}: mahala: scale is -3.0, expected a number above 0; give the right one",
        ),
        ("[" * 100_000, "cannot be read as JSON"),
    ],
    ids=lambda text: text[:60],
)
def test_refuses_a_bad_gamma_file(official, asd, tmp_path, gamma, complaint):
    file = tmp_path / "gamma.json"
    file.write_text(gamma)
    done = asd("import-baseline", official.models, "--gamma", file,
               "--result_directory", tmp_path / "results")  # fmt: skip
    assert complaint in done.complaint


def other_network():
    return {"encoder.0.weight": torch.zeros(128, 640), "cov_source": torch.zeros(128, 128)}


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (FAN, b"not weights", "is damaged or no file of weights"),
        (FAN, [1, 2], "is damaged or no file of weights"),
        (FAN, {}, "is no autoencoder of the public baseline"),
        (FAN, other_network(), "is no autoencoder of the public baseline"),
        ("my_model", other_network(), "not a model name of the public baseline"),
    ],
)
def test_refuses_other_weights(official, asd, tmp_path, name, content, complaint):
    path = tmp_path / f"{name}.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    done = asd("import-baseline", tmp_path, "--gamma", official.gamma,
               "--result_directory", tmp_path / "results")  # fmt: skip
    assert done.complaint.startswith(str(path))
    assert complaint in done.complaint


def weights_of(official):
    return torch.load(official.models / f"{FAN}.pth", weights_only=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encoder.0.weight", math.nan),
        ("cov_target", math.inf),
        ("decoder.1.running_var", -math.inf),
    ],
)
def test_weights_that_are_not_finite_are_refused(official, asd, tmp_path, name, value):
    weights = weights_of(official)
    weights[name].flatten()[-1:].fill_(value)
    torch.save(weights, tmp_path / f"{FAN}.pth")
    done = asd("import-baseline", tmp_path, "--gamma", official.gamma,
               "--result_directory", tmp_path / "results")  # fmt: skip
    assert done.complaint == (
        f"{tmp_path / FAN}.pth: {name} has values that are not finite, so all scores would be; "
        "copy it again, or train that model anew"
    )
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"encoder.0.weight": torch.zeros(1).expand(128, 640)},
        {"encoder.0.weight": torch.zeros(1).expand(128, 128 * 10**8)},
        {"cov_source": torch.zeros(0, 0), "cov_target": torch.zeros(0, 0)},
        {"cov_source": torch.zeros(127, 127), "cov_target": torch.zeros(127, 127)},
        {"epoch": 3},
        {3: torch.zeros(3)},
    ],
    ids=[
        "more than the file has",
        "terabytes",
        "no mels",
        "mels that do not divide the input",
        "a number",
        "no name",
    ],
)
def test_weights_of_other_shapes_are_refused(official, asd, tmp_path, change):
    torch.save({**weights_of(official), **change}, tmp_path / f"{FAN}.pth")
    done = asd("import-baseline", tmp_path, "--gamma", official.gamma,
               "--result_directory", tmp_path / "results")  # fmt: skip
    is_claimed = any(isinstance(v, torch.Tensor) and 0 in v.stride() for v in change.values())
    what = (
        "is damaged or no file of weights; copy it again"
        if is_claimed
        else "is no autoencoder of the public baseline v5.1.1"
    )
    assert done.complaint.endswith(what)


def test_one_bad_model_leaves_none_half_imported(official, asd, tmp_path):
    shutil.copy(official.models / f"{FAN}.pth", tmp_path)
    (tmp_path / f"{FAN[:-1]}2.pth").write_bytes(b"not weights")  # the next seed
    done = asd("import-baseline", tmp_path, "--gamma", official.gamma,
               "--result_directory", tmp_path / "results")  # fmt: skip
    assert "is damaged or no file of weights" in done.complaint
    assert not (tmp_path / "results").exists()


def test_a_folder_without_models(asd, tmp_path):
    assert "no .pth file" in asd("import-baseline", tmp_path).complaint


def test_parameters_come_from_args_json(official, asd, copy, tmp_path):
    models = copy()
    args_file = models / "checkpoint" / "baseline" / FAN / "args.json"
    args = json.loads(args_file.read_text())
    args_file.write_text(json.dumps({**args, "power": 1.0}))
    results = tmp_path / "results"
    done = asd("import-baseline", models / "saved_model/baseline", "--gamma", official.gamma,
               "--result_directory", results)  # fmt: skip
    assert done.status == 0
    test = ("test", "-d", "--machine_types", "fan", "--dataset_directory", official.data,
            "--result_directory", results)  # fmt: skip
    assert "was trained with --power 1.0 (now 2.0)" in asd(*test, "--power", 2).complaint
    assert asd(*test).status == 0

    args_file.write_text(json.dumps({**args, "power": "loud"}))
    done = asd("import-baseline", models / "saved_model/baseline", "--gamma", official.gamma)
    assert done.complaint.startswith(str(args_file))
    assert "power" in done.complaint


def test_only_what_was_imported_can_be_decided(official, bring, asd):
    results, _ = bring(official, "--machine_types", "fan")
    flags = ("test", "-d", "--machine_types", "fan", "--dataset_directory", official.data,
             "--result_directory", results)  # fmt: skip
    assert "has no clip distribution of MSE" in asd(*flags, "--threshold_fit", "clip").complaint
    frame_form = asd(*flags, "--score", "MAHALA", "--mahalanobis", "frame").complaint
    assert "has no batch distribution of MAHALA-FRAME" in frame_form
