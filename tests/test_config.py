import dataclasses
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from asd.config import file_model, load_config
from asd.errors import UserError
from asd.run_parameters import RunParameters
from asd.schema.parameters import plain
from asd.systems.registry import find_system

ROOT = Path(__file__).parent.parent

OFFICIAL = """\
--dataset_directory: ./data
--result_directory: ./results
--export_dir: baseline

--use_cuda: True
--log_interval: 100
--model: DCASE2023T2-AE
--score: MSE
--seed: 13711
--is_auto_download: False

--max_fpr: 0.1
--decision_threshold: 0.9

# feature
--n_mels: 128
--frames: 5
--frame_hop_length: 1
--n_fft: 1024
--hop_length: 512
--power: 2.0
--fmin: 0.0
--fmax: null
--win_length: null

# fit
--batch_size: 256
--epochs: 100
-lr: 0.001
--shuffle: True
--validation_split: 0.1
"""

FURTHER_OFFICIAL = """\
--gpu_id: [0, 1]
--dataset: DCASE2023T2fan
--use_ids: [0]
--mono: True
-tag: id(0_)
--restart: True
--checkpoint_path: other/checkpoint
--train_only: False
--test_only: True
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Stand in an empty folder: no test may find the repository's own baseline.yaml."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture
def put(tmp_path):
    def write(text, name="my.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def differing(config):
    """Parameters, the system's too, that are not at their defaults."""
    return {
        field.name: getattr(values, field.name)
        for values, cls in ((config, RunParameters), (config.system, type(config.system)))
        for field in dataclasses.fields(cls)
        if getattr(values, field.name) != field.default
    }


def setting(config, name):
    """A parameter of the run, or of its system."""
    return getattr(config, name) if hasattr(config, name) else getattr(config.system, name)


def test_without_file_and_flags_all_is_at_its_default():
    config = load_config(None, {})
    assert differing(config) == {}
    assert config.split == "dev"
    assert config.challenge.name == "DCASE2023T2"
    assert config.machines == (
        "ToyCar", "ToyTrain", "fan", "gearbox", "bearing", "slider", "valve",
    )  # fmt: skip


def test_the_official_file_loads_and_says_what_the_defaults_say(put, tmp_path):
    config = load_config(put(OFFICIAL), {})
    assert differing(config) == {
        "dataset_directory": tmp_path / "data",
        "result_directory": tmp_path / "results",
    }


def test_the_official_flags_are_keys_too(put, tmp_path):
    config = load_config(put(OFFICIAL + FURTHER_OFFICIAL), {})
    assert config.gpu_id == (0, 1)
    assert (config.dataset, config.machine_types) == ("DCASE2023T2", ("fan",))
    assert config.use_ids == (0,)
    assert config.mono is True
    assert config.model_name_suffix == "id(0_)"
    assert (config.restart, config.train_only, config.test_only) == (True, False, True)
    assert config.checkpoint_path == tmp_path / "other" / "checkpoint"


def test_our_file_has_the_official_keys_with_the_official_values():
    ours = yaml.safe_load((ROOT / "baseline.yaml").read_text(encoding="utf-8"))
    assert ours == yaml.safe_load(OFFICIAL)


def test_our_file_and_the_defaults_agree():
    config = load_config(ROOT / "baseline.yaml", {})
    assert set(differing(config)) == {"dataset_directory", "result_directory"}
    assert config.dataset_directory == ROOT / "data"
    assert config.result_directory == ROOT / "results"


def test_a_file_in_the_current_folder_is_taken(put):
    Path("baseline.yaml").write_text("--epochs: 7\n")
    assert load_config(None, {}).system.epochs == 7
    assert load_config(None, {}, use_default_file=False).system.epochs == 100
    assert load_config(put("--n_mels: 64\n"), {}).system.epochs == 100  # the named one in its place


def test_flags_win_over_the_file(put):
    file = put("--epochs: 7\n--n_mels: 64\n--machine_types: [fan, valve]\n")
    config = load_config(file, {"epochs": "9", "machine_types": ["ToyCar"]}, "eval")
    assert (config.system.epochs, config.system.n_mels) == (9, 64)
    assert config.machine_types == ("ToyCar",)
    assert config.split == "eval"


def test_relative_paths_start_at_the_file_or_at_the_current_folder(put, tmp_path):
    text = "--result_directory: ../r\n--dataset_directory: /d\n--feature_directory: f\n"
    config = load_config(put(text), {"feature_directory": "g"})
    assert config.result_directory == tmp_path / ".." / "r"
    assert config.dataset_directory == Path("/d")
    assert config.feature_directory == Path("g")


def test_a_recipe_is_a_path_too_and_becomes_absolute(put, tmp_path):
    recipe = (
        "frontend: {class: PooledSpectrogram}\ntraining: {epochs: 5}\nbackends: {KNN: {class: knn}}"
    )
    Path("mine.yml").write_text(recipe)
    by_flag = load_config(None, {"model": "mine.yml"})
    assert by_flag.model == str(tmp_path / "elsewhere" / "mine.yml")
    assert (by_flag.export_dir, by_flag.system.epochs) == ("mine", 0)  # nothing is learned
    assert by_flag.system.training.epochs == 5
    file = put("--model: elsewhere/mine.yml\n--epochs: 7\n")
    in_file = load_config(file, {})
    assert in_file.model == by_flag.model
    assert in_file.system.training.epochs == 7
    # The recipe that the file names already, though in other words: the file's values hold.
    assert load_config(file, {"model": "mine.yml"}) == in_file
    assert load_config(None, {"model": "ae"}).model == "ae"


def test_dashes_are_optional_and_comments_and_byte_order_marks_allowed(put):
    config = load_config(put("\ufeffepochs: 5  # few\r\n--lr: 0.1\r\n# end\r\n"), {})
    assert (config.system.epochs, config.system.learning_rate) == (5, 0.1)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("-lr: 1e-3", "learning_rate", 0.001),
        ("--learning_rate: 1", "learning_rate", 1.0),
        ("--export_dir: 007", "export_dir", "007"),
        ("--export_dir: 2023-01-01", "export_dir", "2023-01-01"),
        ("--epochs: 5.0", "epochs", 5),
        ("--shuffle: no", "shuffle", False),
        ("--shuffle: full", "shuffle", True),
        ("--machine_types:", "machine_types", ()),
        ("--machine_types: fan", "machine_types", ("fan",)),
        ("--machine_types: fan valve", "machine_types", ("fan", "valve")),
        ("--use_ids: [00, 08]", "use_ids", (0, 8)),
        ("--use_ids: 0 1", "use_ids", (0, 1)),
        ("--use_ids: []", "use_ids", ()),
        ("--fmax:", "fmax", None),
        ("--fmax: ~", "fmax", None),
        ("--win_length: null", "win_length", None),
        ("--mono: False", "mono", False),
        ("--model_name_suffix: null", "model_name_suffix", ""),
    ],
)
def test_values_are_read_as_they_are_written(put, text, name, expected):
    found = setting(load_config(put(text + "\n"), {}), name)
    assert found == expected
    assert type(found) is type(expected)


BROKEN = {
    "--epocs: 5": ":1: --epocs: unknown key; did you mean --epochs?",
    "--n_mels: 1\n-rl: 5": ":2: -rl: unknown key",
    "--tags: x": ":1: --tags: unknown key; did you mean -tag?",
    "--wholly_other: 5": ":1: --wholly_other: unknown key; see asd train --help",
    "--epochs: 5\n--n_mels: 3\n--epochs: 6": ":3: --epochs: stands twice; remove one",
    "-lr: 1\n--learning_rate: 1": ":2: --learning_rate: stands twice, in two spellings; remove one",
    "epochs: 1\n--epochs: 1": ":2: --epochs: stands twice, in two spellings; remove one",
    "--epochs: five": ":1: --epochs: expected a whole number, got 'five'",
    "# a\n\n--epochs: 0": ":3: --epochs: expected at least 1, got '0'",
    "--epochs:": ":1: --epochs: expected a whole number, got nothing",
    "--epochs: [1, 2]": ":1: --epochs: expected a whole number, got [1, 2]",
    "--epochs: {a: 1}": ":1: --epochs: expected one value or a list of values",
    "--use_ids: [[1], 2]": ":1: --use_ids[0]: expected a whole number, got [1]",
    "--use_ids: [0, x]": ":1: --use_ids[1]: expected a whole number, got 'x'",
    "--epochs: 2023-13-45": ":1: --epochs: expected a whole number, got '2023-13-45'",
    "--epochs: !!int abc": ":1: --epochs: expected a whole number, got 'abc'",
    "--epochs: !!python/name:os.system x": ":1: --epochs: expected a whole number",
    "-lr: .nan": ":1: -lr: expected a number, got '.nan'",
    "--power: .inf": ":1: --power: expected a number, got '.inf'",
    "--shuffle: maybe": ":1: --shuffle: expected True or False, got 'maybe'",
    "--result_directory:": ":1: --result_directory: expected a path",
    "--validation_split: 1": ":1: --validation_split: expected a number above 0 and below 1",
    "--epochs: [1": "not valid YAML (",
    '--epochs: "1': "not valid YAML (",
    "\t--epochs: 1": ":1: not valid YAML (",
    "--epochs: 1\n n_mels: 2": ":2: not valid YAML (",
    "--epochs: *a": ":1: not valid YAML (",
    "--epochs: 1\n---\n--epochs: 2": "not valid YAML (",
    "--epochs: \x00": "not valid YAML (",
    "--epochs 5": ":1: expected lines such as '--epochs: 100'",
    "- --epochs\n- 5": ":1: expected lines such as '--epochs: 100'",
    "? [a, b]\n: 3": ":1: expected lines such as '--epochs: 100'",
}


@pytest.mark.parametrize("text", BROKEN)
def test_errors_in_a_file_name_file_line_and_key(put, text):
    file = put(text + "\n")
    with pytest.raises(UserError) as caught:
        load_config(file, {})
    message = str(caught.value)
    assert message.startswith(f"{file}:")
    assert BROKEN[text] in message
    assert "\n" not in message


def test_files_that_cannot_be_read(put, tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read \(No such file"):
        load_config(tmp_path / "none.yaml", {})
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        load_config(tmp_path, {})
    with pytest.raises(UserError, match=r"my\.yaml: cannot be read \(not a text file\)"):
        load_config(put(b"\xff\xfe\x00epochs"), {})


def test_an_empty_file_says_nothing(put):
    assert differing(load_config(put(""), {})) == {}
    assert differing(load_config(put("# nothing\n"), {})) == {}


def test_bad_flags_are_named():
    with pytest.raises(UserError, match=r"^--epochs: expected a whole number, got 'x'$"):
        load_config(None, {"epochs": "x"})
    with pytest.raises(UserError, match=r"^--learning_rate: expected a number above 0, got '-1'$"):
        load_config(None, {"learning_rate": "-1"})


def test_year_and_machine_type_in_one_word():
    config = load_config(None, {"dataset": "DCASE2023T2ToyCar"})
    assert (config.dataset, config.machines) == ("DCASE2023T2", ("ToyCar",))
    config = load_config(None, {"dataset": "DCASE2023T2fan", "machine_types": ["fan"]})
    assert config.machines == ("fan",)


def test_unknown_years_and_machine_types():
    year = (
        r"^--dataset: challenge year 'DCASE2032T2' is unknown \(did you mean DCASE202\dT2\?\); .*T2"
    )
    with pytest.raises(UserError, match=year):
        load_config(None, {"dataset": "DCASE2032T2"})
    machine = (
        "machine type 'ToyCra' is not in the dev data of DCASE2023T2 (did you mean ToyCar?); "
        "it has ToyCar, ToyTrain, fan, gearbox, bearing, slider, valve"
    )
    with pytest.raises(UserError, match=f"^{re.escape(f'--dataset: {machine}')}$"):
        load_config(None, {"dataset": "DCASE2023T2ToyCra"})
    with pytest.raises(UserError, match=f"^{re.escape(f'--machine_types: {machine}')}$"):
        _ = load_config(None, {"machine_types": ["fan", "ToyCra"]}).machines


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"dataset": "DCASE2023T2ToyCar", "machine_types": ["fan"]}, "give the one or the other"),
        ({"train_only": True, "test_only": True}, "--train_only and --test_only exclude"),
        ({"win_length": "1025"}, r"--win_length: expected at most --n_fft \(1024\), got 1025"),
        ({"fmin": "500", "fmax": "500"}, r"--fmax: expected more than --fmin \(500 Hz\), got 500"),
        ({"checkpoint_path": "c"}, "--checkpoint_path: only --restart reads it"),
    ],
)
def test_values_that_do_not_fit_each_other(flags, expected):
    with pytest.raises(UserError, match=expected):
        load_config(None, flags)


def test_values_that_just_fit_each_other():
    load_config(None, {"win_length": "1024"})
    load_config(None, {"fmin": "499", "fmax": "500"})
    load_config(None, {"checkpoint_path": "c", "restart": True})


# The parameters of systems


def test_a_system_s_parameters_are_its_own():
    config = load_config(None, {"model": "BiGAN", "w": "0.3", "epochs": "7", "seed": "2"})
    assert type(config.system) is find_system("BiGAN").parameters_class()
    assert (config.system.w, config.system.epochs, config.seed) == (0.3, 7, 2)
    assert not hasattr(config, "w")
    assert config.given == {"w", "epochs"}  # what a trained model must not contradict


def test_a_flag_of_another_system_is_refused():
    with pytest.raises(UserError, match=r"^--w: DCASE2023T2-AE has no such parameter; leave it o"):
        load_config(None, {"w": "0.3"})
    with pytest.raises(UserError, match=r"^--n_mels: raw_spec has no such parameter; leave it out"):
        load_config(None, {"model": "raw_spec", "n_mels": "64"})


def test_a_file_may_hold_parameters_of_other_systems(put):
    """So one baseline.yaml serves all: a system takes what is its own."""
    file = put("--n_mels: 64\n--w: 0.3\n--epochs: 7\n")
    assert load_config(file, {}).system.n_mels == 64
    gan = load_config(file, {"model": "BiGAN"})
    assert (gan.system.n_mels, gan.system.w) == (64, 0.3)


def test_a_system_that_a_flag_names_brings_its_own_values_along(put):
    """Those of the official file are meant for the official autoencoder."""
    file = put(OFFICIAL)
    gan = load_config(file, {"model": "BiGAN"})
    own = find_system("BiGAN").defaults()
    assert own.epochs != 100
    assert (gan.system.epochs, gan.system.learning_rate) == (own.epochs, own.learning_rate)
    assert gan.score == "all"
    assert (gan.export_dir, gan.system.n_mels, gan.seed) == ("BiGAN", 128, 13711)
    recipe = load_config(file, {"model": "dis_spec_scac_fixed"})
    assert (recipe.system.training.epochs, recipe.system.training.batch_size) == (16, 64)
    again = load_config(file, {"model": "DCASE2023T2-AE"})  # the file's own: its values hold
    assert again == load_config(file, {})


def test_a_bad_value_of_a_system_is_told_by_file_and_line(put):
    with pytest.raises(UserError, match=r"my\.yaml:2: --w: expected 0 to 1, got '2'$"):
        load_config(put("--model: BiGAN\n--w: 2\n"), {})
    with pytest.raises(UserError, match=r"^--w: expected 0 to 1, got '2'$"):
        load_config(None, {"model": "BiGAN", "w": "2"})
    with pytest.raises(UserError, match=r"^--methods: expected at least one value, got ''$"):
        load_config(None, {"model": "BiGAN", "methods": []})


def test_flags_reach_into_recipes():
    system = load_config(
        None, {"model": "dis_spec_scac_fixed", "epochs": "3", "learning_rate": "0.5"}
    ).system
    assert (system.training.epochs, system.epochs, system.training.learning_rate) == (3, 3, 0.5)


def set_on(model, *set_values, **flags):
    return load_config(None, {"model": model, **flags}, set_values=set_values)


def test_any_entry_of_a_recipe_can_be_set():
    before = load_config(None, {"model": "dis_spec_scac_trainable"}).system
    assert before.losses[0].parameters["subclusters"] == 16
    config = set_on(
        "dis_spec_scac_trainable",
        *("losses[0].subclusters=8", "training.epochs=3", "augmentation.spec_augment={}"),
        *("backends.NEAR={class: knn, k_source: 2}", "input_s=2"),
    )
    system = config.system
    assert system.losses[0].parameters == {**before.losses[0].parameters, "subclusters": 8}
    assert (system.training.epochs, system.input_s) == (3, 2.0)
    assert system.augmentation.spec_augment is not None
    assert list(system.backends.by_name) == [*before.backends.by_name, "NEAR"]
    assert config.given == {
        "losses[0].subclusters", "training.epochs", "augmentation.spec_augment", "backends.NEAR",
        "input_s",
    }  # fmt: skip


def test_a_block_whose_class_changes_begins_with_the_new_defaults():
    sets = "backends.KNN-SMOTE.class=gmm", "backends.KNN-SMOTE.n_components=3"
    for given in (sets, sets[::-1]):
        backends = set_on("raw_spec", *given).system.backends.by_name
        assert plain(backends["KNN-SMOTE"]) == {"class": "gmm", "n_components": 3}
        assert plain(backends["KNN"])["k_source"] == 1  # other blocks stay
    labels = set_on("unlabelled_pattr_bic_pre", "labels.class=NameLabeller").system.labels
    assert plain(labels) == {"class": "NameLabeller"}


def test_a_block_that_is_set_whole_comes_before_what_is_set_within_it():
    whole = "backends.Z={class: z_min, of: [{class: knn, smote_ratio: 0.2}, {class: knn}]}"
    found = set_on("raw_spec", "backends.Z.of[0].class=gmm", whole).system.backends.by_name["Z"]
    assert plain(found)["of"] == [{"class": "gmm"}, {"class": "knn"}]


def test_a_class_that_is_set_to_what_it_is_keeps_its_block():
    for model, key in (
        ("raw_spec", "backends.KNN-SMOTE.class=knn"),
        ("unlabelled_subloss_0256_4096", "labels.class=NameLabeller"),
    ):
        assert set_on(model, key).system == load_config(None, {"model": model}).system


def test_a_loss_of_another_class_is_taken_of_what_it_was_taken_of():
    before = load_config(None, {"model": "dis_spec_featex"}).system.losses[1]
    assert (before.on, before.parameters["subclusters"]) == ("feature_exchange", 16)
    sets = "losses[1].class=ArcFace", "losses[1].probability=0.25"
    after = set_on("dis_spec_featex", *sets).system.losses[1]
    assert after == dataclasses.replace(before, kind="ArcFace", parameters={}, probability=0.25)


def test_a_key_that_the_new_class_needs_is_asked_for_by_the_flag():
    with pytest.raises(UserError) as caught:
        set_on("dis_beats_2026", "labels.class=FileLabeller")
    assert str(caught.value) == (
        "--set labels.class=FileLabeller: labels: key 'file' is missing; add it"
    )


def test_a_flag_wins_over_set_and_set_over_the_file(put):
    file = put("--model: dis_spec_scac_fixed\n--epochs: 7\n")
    assert load_config(file, {}, set_values=["training.epochs=3"]).system.epochs == 3
    both = load_config(file, {"epochs": "5"}, set_values=["training.epochs=3"])
    assert both.system.epochs == 5


def test_parameters_of_other_systems_can_be_set_too():
    system = set_on("BiGAN", "w=0.3", "methods=[fm]", "latent_dim=null").system
    assert (system.w, system.methods, system.latent_dim) == (0.3, ("FM",), None)


@pytest.mark.parametrize(
    ("model", "entry", "message"),
    [
        ("BiGAN", "v=1", "--set v=1: BiGAN has no parameter 'v'"),
        ("BiGAN", "w=2", "--set w=2: expected 0 to 1, got '2'"),
        ("BiGAN", "w", "--set w: expected key=value"),
        ("ae", "epoch=1", "--set epoch=1: ae has no parameter 'epoch' (did you mean epochs?)"),
        ("ae", "seed=1", "--set seed=1: ae has no parameter 'seed'"),
        ("raw_spec", "frontend.mells=9", "--set frontend.mells=9: frontend.mells: unknown key (di"),
        ("raw_spec", "losses[3].x=9", "--set losses[3].x=9: losses[3].x: there is nothing"),
        ("raw_spec", "training.epochs=0", "--set training.epochs=0: training.epochs: expected at"),
        ("raw_spec", "backends.KNN.class=kn", "--set backends.KNN.class=kn: backends.KNN.class: "),
    ],
)
def test_what_cannot_be_set_is_told_by_the_flag(model, entry, message):
    with pytest.raises(UserError) as caught:
        set_on(model, entry)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


SYSTEM = """\
from dataclasses import dataclass

from asd.schema.parameters import parameter
from asd.systems.base import System


@dataclass(frozen=True)
class MyParameters:
    width: int = parameter(3, "a width", role="training")


class MySystem(System):
    Parameters = MyParameters
    score_names = ("MINE",)

    def inputs(self): return {}
    def fit(self, train, run): pass
    def score(self, clips, names=None): return {}
    def normal_scores(self): return {}
    def state(self): return {}
    def load_state(self, state): pass
"""


def test_a_class_in_a_file_is_a_system(put, tmp_path):
    file = put(SYSTEM, "own.py")
    config = load_config(None, {"model": f"{file}:MySystem", "width": "5"})
    assert (config.system.width, config.export_dir, config.score) == (5, "MySystem", "all")
    Path("near.py").write_text(SYSTEM)  # in the current folder, which others may not share
    assert load_config(None, {"model": "near.py:MySystem"}).model == (
        f"{tmp_path / 'elsewhere' / 'near.py'}:MySystem"
    )
    assert set_on(f"{file}:MySystem", "width=7").system.width == 7
    in_file = load_config(put("--model: own.py:MySystem\n"), {})
    assert in_file.model == config.model


def test_unknown_systems_and_classes_are_told(put):
    def message(model):
        with pytest.raises(UserError) as caught:
            load_config(None, {"model": model})
        return str(caught.value)

    assert message("BiGUN").startswith("--model: 'BiGUN' is unknown (did you mean BiGAN?); choose")
    file = put(SYSTEM + "raise OSError('no luck')\n", "bad.py")
    assert message(f"{file}:MySystem") == (
        f"system {file}:MySystem: cannot be imported (OSError: no luck); mend the file"
    )
    file = put(SYSTEM, "own.py")
    assert f"{file} has no MySystm (did you mean MySystem?)" in message(f"{file}:MySystm")
    assert "is no subclass of asd.systems.base.System" in message(f"{file}:MyParameters")
    assert message("none_such.py:My").startswith(
        "system none_such.py:My: there is no such file and no such module; check the path"
    )


def models(put):
    recipe = put("frontend: {class: PooledSpectrogram}\nbackends: {K: {class: knn}}", "r.yaml")
    return [
        ("ae", ()), ("BiGAN", ("w=0.3",)),
        ("dis_spec_scac_trainable", ("losses[0].subclusters=8",)),
        (str(recipe), ("backends.K.k_source=2",)),
        (f"{put(SYSTEM, 'own.py')}:MySystem", ("width=7",)),
    ]  # fmt: skip


def test_a_config_goes_to_other_processes_whole(put):
    """Another process has not loaded the file that a system is of, nor seen what was set."""
    files, expected = [], []
    for number, (model, set_values) in enumerate(models(put)):
        config = load_config(None, {"model": model, "seed": "5"}, "eval", set_values)
        assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301
        files.append(put(pickle.dumps(config), f"{number}.pickle"))
        name = config.entry.system_class().__name__
        expected.append(f"{config.system} 5 eval {sorted(config.given)} {name}")
    code = (
        "import pickle, sys\n"
        "for file in sys.argv[1:]:\n"
        "    c = pickle.load(open(file, 'rb'))\n"
        "    print(c.system, c.seed, c.split, sorted(c.given), c.entry.system_class().__name__)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, *files], capture_output=True, text=True, check=True
    )
    assert told.stdout.splitlines() == expected


def test_help_finds_the_model_of_a_file_whatever_else_is_wrong_with_it(put):
    assert file_model(None) == "DCASE2023T2-AE"
    assert file_model(put("--model: BiGAN\n--epochs: many\n")) == "BiGAN"
    assert file_model(put("--model: BiGAN\n--epocs: 3\n")) == "DCASE2023T2-AE"


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_config(None, {}).seed = 3  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_config(None, {}).system.epochs = 3


def test_score_names_tell_the_frame_form_apart():
    def name(**flags):
        return load_config(None, flags).score_name

    assert name() == "MSE"
    assert name(score="MAHALA") == "MAHALA"
    assert name(score="MAHALA", mahalanobis="frame") == "MAHALA-FRAME"
    assert name(score="MSE", mahalanobis="frame") == "MSE"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(put):
    file = put("--epochs: 5\n")
    file.chmod(0)
    with pytest.raises(UserError, match=r"my\.yaml: cannot be read \(Permission denied\)"):
        load_config(file, {})
