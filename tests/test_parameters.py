from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.parameters import (
    FEATURE_PARAMETERS,
    SWITCHES,
    Parameters,
    convert,
    flags_of,
    parameter_fields,
    placeholder_of,
)

BY_NAME = {parameter.name: parameter for parameter in parameter_fields()}


def test_official_defaults():
    """The values of the public baseline v5.1.1's baseline.yaml and of its flags."""
    p = Parameters()
    assert (p.n_mels, p.frames, p.frame_hop_length, p.n_fft, p.hop_length) == (128, 5, 1, 1024, 512)
    assert (p.power, p.fmin, p.fmax, p.win_length) == (2.0, 0.0, None, None)
    assert (p.batch_size, p.epochs, p.learning_rate, p.shuffle) == (256, 100, 0.001, True)
    assert (p.validation_split, p.seed, p.model, p.score) == (0.1, 13711, "DCASE2023T2-AE", "MSE")
    assert (p.decision_threshold, p.max_fpr, p.export_dir) == (0.9, 0.1, "baseline")
    assert (p.use_cuda, p.gpu_id, p.log_interval, p.is_auto_download) == (True, (0,), 100, False)
    assert (p.restart, p.train_only, p.test_only, p.checkpoint_path) == (False, False, False, None)


@pytest.mark.parametrize("name", BY_NAME)
def test_every_default_is_a_good_value(name):
    default = BY_NAME[name].default
    assert convert(BY_NAME[name], default) == default


@pytest.mark.parametrize("name", BY_NAME)
def test_every_default_is_read_back_from_text(name):
    default = BY_NAME[name].default
    text = [str(v) for v in default] if isinstance(default, tuple) else str(default)
    assert convert(BY_NAME[name], text) == default


def test_flags_are_the_names_and_the_official_short_forms():
    flags = {name: flags_of(parameter) for name, parameter in BY_NAME.items()}
    assert flags["learning_rate"] == ("-lr", "--learning_rate")
    assert flags["model_name_suffix"] == ("-tag", "--model_name_suffix")
    assert flags["n_mels"] == ("--n_mels",)
    assert all(found[-1] == f"--{name}" for name, found in flags.items())
    spelled = [flag for found in flags.values() for flag in found]
    assert len(spelled) == len(set(spelled))


SHOWN = {
    "epochs": "INT", "win_length": "INT", "use_ids": "INT", "fmin": "FLOAT", "fmax": "FLOAT",
    "use_cuda": "BOOL", "mono": "BOOL", "dataset": "NAME", "machine_types": "NAME",
    "model_name_suffix": "TEXT", "cluster": "ADDRESS", "dataset_directory": "FOLDER",
    "feature_directory": "FOLDER", "checkpoint_path": "FILE", "channel": "{left,right,mix}",
    "methods": "{cross-e,fm}",
}  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_help_shows_the_kind_of_value(name):
    assert placeholder_of(BY_NAME[name]) == SHOWN[name]


@pytest.mark.parametrize("name", BY_NAME)
def test_the_choices_that_help_shows_are_all_there_are(name):
    shown = placeholder_of(BY_NAME[name])
    if shown.startswith("{"):
        for choice in shown.strip("{}").split(","):
            convert(BY_NAME[name], choice)
        with pytest.raises(ValueError, match=r"one of|or both"):
            convert(BY_NAME[name], "another")


def test_lists_of_names_name_parameters():
    assert set(SWITCHES) <= set(BY_NAME)
    assert set(FEATURE_PARAMETERS) <= set(BY_NAME)
    assert all(BY_NAME[name].metadata["meaning"] for name in BY_NAME)


GOOD = [
    ("epochs", "5", 5), ("epochs", "5.0", 5), ("epochs", "1e2", 100), ("epochs", 7, 7),
    ("learning_rate", "1e-3", 0.001), ("learning_rate", 1, 1.0),
    ("fmax", "null", None), ("fmax", "None", None), ("fmax", "", None), ("fmax", "8000", 8000.0),
    ("win_length", "512.0", 512), ("win_length", None, None),
    ("use_cuda", "true", True), ("use_cuda", "False", False), ("use_cuda", "1", True),
    ("use_cuda", "off", False), ("shuffle", "full", True), ("shuffle", "simple", True),
    ("mono", "null", None), ("mono", "False", False),
    ("use_ids", ["0", "02"], (0, 2)), ("use_ids", "0 1", (0, 1)), ("use_ids", 3, (3,)),
    ("use_ids", None, ()), ("use_ids", 0, (0,)), ("machine_types", "fan ToyCar", ("fan", "ToyCar")),
    ("machine_types", ["fan"], ("fan",)), ("machine_types", [], ()),
    ("export_dir", "007", "007"), ("model_name_suffix", None, ""),
    ("checkpoint_path", "", None), ("result_directory", "a/b", Path("a/b")),
    ("seed", "4294967295", 2**32 - 1), ("max_fpr", "1", 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "expected"), GOOD)
def test_good_values(name, given, expected):
    found = convert(BY_NAME[name], given)
    assert found == expected
    assert type(found) is type(expected)


BAD = [
    ("epochs", "0", "1 or more"), ("epochs", "1.5", "a whole number"),
    ("epochs", "x", "a whole number"), ("epochs", None, "a whole number"),
    ("epochs", ["1", "2"], "a whole number"), ("epochs", True, "a whole number"),
    ("epochs", "inf", "a whole number"), ("epochs", "nan", "a whole number"),
    ("learning_rate", "nan", "a number"), ("learning_rate", "inf", "a number"),
    ("learning_rate", "0", "a number above 0"), ("learning_rate", "-1", "a number above 0"),
    ("learning_rate", True, "a number"), ("power", "-inf", "a number"),
    ("fmax", "0", "a number above 0"), ("fmax", "half", "a number"), ("fmin", "-1", "0 or more"),
    ("validation_split", "1", "between 0 and 1"), ("validation_split", "0", "between 0 and 1"),
    ("decision_threshold", "1.5", "between 0 and 1"), ("max_fpr", "0", "above 0 and at most 1"),
    ("max_fpr", "1.01", "above 0 and at most 1"), ("use_cuda", "maybe", "True or False"),
    ("use_cuda", None, "True or False"), ("channel", "middle", "one of left, right, mix"),
    ("threshold_fit", "frame", "one of batch, clip"), ("mahalanobis", "", "one of mean, frame"),
    ("use_ids", ["0", "x"], "a whole number"), ("seed", "-1", "0 to 4294967295"),
    ("seed", "4294967296", "0 to 4294967295"), ("batch_size", "1", "2 or more"),
    ("export_dir", "a/b", "without /"), ("export_dir", "", "a folder's name"),
    ("model_name_suffix", "a/b", "without /"), ("result_directory", "", "a path"),
    ("dataset", ["a", "b"], "a text"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "expected"), BAD)
def test_bad_values_tell_what_was_expected(name, given, expected):
    with pytest.raises(ValueError, match=expected):
        convert(BY_NAME[name], given)


@given(st.sampled_from(sorted(BY_NAME)), st.text() | st.none() | st.lists(st.text()))
def test_any_text_is_a_value_or_a_value_error(name, given):
    try:
        value = convert(BY_NAME[name], given)
    except ValueError:
        return
    assert convert(BY_NAME[name], value) == value


def test_a_home_folder_is_found(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert convert(BY_NAME["result_directory"], "~/r") == Path("/home/someone/r")
