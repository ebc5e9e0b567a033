"""What there is to say about a parameter, read off dataclasses: the package's, and small ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.run_parameters import RunParameters
from asd.schema.parameters import (
    flat,
    parameter,
    parameters_of,
    plain,
    value_of,
    with_values,
)
from asd.schema.values import Count, Fraction
from asd.systems.registry import SYSTEMS, find_system

CLASSES = {
    "run": RunParameters,
    **{name: entry.parameters_class() for name, entry in SYSTEMS.items()},
    "recipe": find_system("raw_spec").parameters_class(),
}
DESCRIBED = {
    f"{owner}: {each.key}": each for owner, cls in CLASSES.items() for each in parameters_of(cls)
}


def of(owner):
    return {each.name: each for each in parameters_of(CLASSES[owner])}


def test_official_defaults():
    """The values of the public baseline v5.1.1's baseline.yaml and of its flags."""
    run, ae = RunParameters(), CLASSES["DCASE2023T2-AE"]()
    assert (ae.n_mels, ae.frames, ae.frame_hop_length, ae.n_fft) == (128, 5, 1, 1024)
    assert (ae.hop_length, ae.power, ae.fmin, ae.fmax, ae.win_length) == (512, 2.0, 0.0, None, None)
    assert (ae.batch_size, ae.epochs, ae.learning_rate, ae.shuffle) == (256, 100, 0.001, True)
    assert (ae.validation_split, run.seed, run.model) == (0.1, 13711, "DCASE2023T2-AE")
    assert (run.score, run.decision_threshold, run.max_fpr) == ("MSE", 0.9, 0.1)
    assert (run.export_dir, run.use_cuda, run.gpu_id) == ("baseline", True, (0,))
    assert (run.log_interval, run.is_auto_download) == (100, False)
    assert (run.restart, run.train_only, run.test_only) == (False, False, False)
    assert run.checkpoint_path is None


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_default_is_a_good_value(name):
    default = DESCRIBED[name].default
    assert DESCRIBED[name].convert(default) == default


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_default_is_read_back_from_text(name):
    default = DESCRIBED[name].default
    text = [str(v) for v in default] if isinstance(default, tuple) else str(default)
    assert DESCRIBED[name].convert(text) == default


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_parameter_is_explained(name):
    each = DESCRIBED[name]
    assert len(each.help.split()) > 1
    assert each.role in ("data", "features", "training", "scoring", "run")


def test_flags_are_the_names_and_the_official_short_forms():
    flags = {name: each.flags for name, each in (of("run") | of("DCASE2023T2-AE")).items()}
    assert flags["learning_rate"] == ("-lr", "--learning_rate")
    assert flags["model_name_suffix"] == ("-tag", "--model_name_suffix")
    assert flags["n_mels"] == ("--n_mels",)


@pytest.mark.parametrize("owner", CLASSES)
def test_no_flag_of_a_system_means_something_else_too(owner):
    described = [*parameters_of(RunParameters)] if owner != "run" else []
    described += parameters_of(CLASSES[owner])
    assert all(each.flags[-1] == each.flag for each in described)
    spelled = [flag for each in described for flag in each.flags]
    assert len(spelled) == len(set(spelled))


@pytest.mark.parametrize("owner", ["GAN", "recipe"])
def test_systems_mean_the_same_by_a_name_that_they_share(owner):
    """So a YAML file may name it before it is known which system it is for."""
    ours, baseline = of(owner), of("DCASE2023T2-AE")
    shared = set(ours) & set(baseline)
    assert {"epochs", "batch_size", "learning_rate", "channel"} <= shared
    for name in shared:
        assert (ours[name].kind, ours[name].flags) == (baseline[name].kind, baseline[name].flags)
        assert ours[name].role == baseline[name].role


SHOWN = {
    "DCASE2023T2-AE: epochs": "INT", "DCASE2023T2-AE: win_length": "INT", "run: use_ids": "INT",
    "DCASE2023T2-AE: fmin": "FLOAT", "DCASE2023T2-AE: fmax": "FLOAT", "run: use_cuda": "BOOL",
    "run: mono": "BOOL", "run: dataset": "NAME", "run: machine_types": "NAME",
    "run: model_name_suffix": "TEXT", "run: cluster": "ADDRESS",
    "run: dataset_directory": "FOLDER", "run: feature_directory": "FOLDER",
    "run: checkpoint_path": "FILE", "DCASE2023T2-AE: precision": "{float32,bfloat16}",
    "GAN: methods": "{CROSS-E,FM}", "recipe: training.epochs": "INT",
}  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_help_shows_the_kind_of_value(name):
    assert DESCRIBED[name].placeholder == SHOWN[name]


@pytest.mark.parametrize("name", DESCRIBED)
def test_the_choices_that_help_shows_are_all_there_are(name):
    shown = DESCRIBED[name].placeholder
    if shown.startswith("{"):
        for choice in shown.strip("{}").split(","):
            DESCRIBED[name].convert(choice)
        with pytest.raises(ValueError, match="one of"):
            DESCRIBED[name].convert("another")


def test_what_a_trained_model_holds():
    """Its input and what it learned with; epochs may be more when a training is resumed."""
    fixed = {name for name, each in of("DCASE2023T2-AE").items() if each.is_fixed}
    assert fixed == {*of("DCASE2023T2-AE")} - {"threshold_fit", "mahalanobis"}
    for name, each in DESCRIBED.items():
        assert each.is_resumable == (each.name == "epochs"), name
    run = {name for name, each in of("run").items() if each.is_fixed}
    assert run == {"model", "seed"}


def test_switches_take_no_value():
    assert {each.name for each in DESCRIBED.values() if each.is_switch} == {
        "restart", "train_only", "test_only",
    }  # fmt: skip


@dataclass(frozen=True)
class Inner:
    share: Fraction = parameter(0.5, "share", role="training", flags=("-s",), unit="%")
    hidden: int = 3


@dataclass(frozen=True)
class Outer:
    many: tuple[Literal["a", "b"], ...] = parameter(("a",), "letters", role="run")
    folder: Path = parameter(Path("data"), "where", role="data")
    inner: Inner = Inner()
    count: Count | None = parameter(None, "how many", role="features")


def test_parameters_of_dataclasses_within_are_found_in_order():
    found = parameters_of(Outer)
    assert [each.key for each in found] == ["many", "folder", "inner.share", "count"]
    many, folder, share, count = found
    assert (share.path, share.name, share.flag) == (("inner", "share"), "share", "--share")
    assert (share.flags, share.unit, share.default) == (("-s", "--share"), "%", 0.5)
    assert [each.takes_several for each in found] == [True, False, False, False]
    assert (many.placeholder, folder.placeholder, count.placeholder) == ("{a,b}", "FOLDER", "INT")


def test_values_are_found_and_changed_by_path():
    before = Outer()
    changes = {("inner", "share"): 0.25, ("count",): 2, ("inner", "hidden"): 4}
    after = with_values(before, changes)
    assert after == Outer(inner=Inner(0.25, 4), count=2)
    assert before == Outer()
    assert [value_of(after, path) for path in changes] == [0.25, 2, 4]
    assert with_values(before, {}) == before


@dataclass(frozen=True)
class Told:
    name: str

    def to_plain(self):
        return {"class": self.name, "sizes": (1, 2)}


def test_plain_values_are_what_json_and_yaml_hold():
    assert plain(Outer()) == {
        "many": ["a"], "folder": "data", "inner": {"share": 0.5, "hidden": 3}, "count": None,
    }  # fmt: skip
    assert plain({"x": (Told("T"), None)}) == {"x": [{"class": "T", "sizes": [1, 2]}, None]}


def test_dotted_keys_lead_to_every_value():
    given = {"a": {"b": 1, "c": [1, 2]}, "d": [{"e": None}, 3], "f": {}, "g": []}
    assert flat(given) == {
        "a.b": 1, "a.c": [1, 2], "d[0].e": None, "d[1]": 3, "f": {}, "g": [],
    }  # fmt: skip


keys = st.text("abc", min_size=1, max_size=2)
leaves = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(st.dictionaries(keys, inner, min_size=1), max_size=3)
        | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=10,
)


def at(tree, key):
    """The value at a dotted key, found by going down step by step."""
    for step in key.replace("[", ".[").split("."):
        tree = tree[int(step[1:-1])] if step.startswith("[") else tree[step]
    return tree


@given(st.dictionaries(keys, trees, min_size=1))
def test_every_dotted_key_leads_to_its_value(tree):
    for key, value in flat(tree).items():
        assert at(tree, key) == value


@pytest.mark.parametrize("owner", CLASSES)
def test_parameters_cannot_be_changed(owner):
    assert CLASSES[owner].__dataclass_params__.frozen
