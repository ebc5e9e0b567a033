import dataclasses
import os
import re
from pathlib import Path

import pytest
import yaml

from asd.config import load_config
from asd.errors import UserError
from asd.parameters import Parameters

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
    """Parameters that are not at their defaults."""
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(Parameters)
        if getattr(config, field.name) != field.default
    }


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
    assert load_config(None, {}).epochs == 7
    assert load_config(put("--n_mels: 64\n"), {}).epochs == 100  # the named one in its place


def test_flags_win_over_the_file(put):
    file = put("--epochs: 7\n--n_mels: 64\n--machine_types: [fan, valve]\n")
    config = load_config(file, {"epochs": "9", "machine_types": ["ToyCar"]}, "eval")
    assert (config.epochs, config.n_mels, config.machine_types) == (9, 64, ("ToyCar",))
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
    assert (by_flag.export_dir, by_flag.epochs) == ("mine", 5)
    file = put("--model: elsewhere/mine.yml\n--epochs: 7\n")
    in_file = load_config(file, {})
    assert in_file.model == by_flag.model
    # The recipe that the file names already, though in other words: the file's values hold.
    assert load_config(file, {"model": "mine.yml"}) == in_file
    assert load_config(None, {"model": "ae"}).model == "ae"


def test_dashes_are_optional_and_comments_and_byte_order_marks_allowed(put):
    config = load_config(put("\ufeffepochs: 5  # few\r\n--lr: 0.1\r\n# end\r\n"), {})
    assert (config.epochs, config.learning_rate) == (5, 0.1)


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
    found = getattr(load_config(put(text + "\n"), {}), name)
    assert found == expected
    assert type(found) is type(expected)


BROKEN = {
    "--epocs: 5": ":1: unknown key '--epocs'; did you mean --epochs?",
    "--n_mels: 1\n-rl: 5": ":2: unknown key '-rl'",
    "--tags: x": ":1: unknown key '--tags'; did you mean -tag?",
    "--wholly_other: 5": ":1: unknown key '--wholly_other'; see asd train --help",
    "--epochs: 5\n--n_mels: 3\n--epochs: 6": ":3: --epochs is given twice",
    "-lr: 1\n--learning_rate: 1": ":2: --learning_rate is given twice",
    "epochs: 1\n--epochs: 1": ":2: --epochs is given twice",
    "--epochs: five": ":1: --epochs: expected a whole number, got 'five'",
    "# a\n\n--epochs: 0": ":3: --epochs: expected 1 or more, got '0'",
    "--epochs:": ":1: --epochs: expected a whole number, got None",
    "--epochs: [1, 2]": ":1: --epochs: expected a whole number, got '1 2'",
    "--epochs: {a: 1}": ":1: --epochs: expected one value or a list of values",
    "--use_ids: [[1], 2]": ":1: --use_ids: expected one value or a list of values",
    "--use_ids: [0, x]": ":1: --use_ids: expected a whole number, got '0 x'",
    "--epochs: 2023-13-45": ":1: --epochs: expected a whole number, got '2023-13-45'",
    "--epochs: !!int abc": ":1: --epochs: expected a whole number, got 'abc'",
    "--epochs: !!python/name:os.system x": ":1: --epochs: expected a whole number",
    "-lr: .nan": ":1: -lr: expected a number, got '.nan'",
    "--power: .inf": ":1: --power: expected a number, got '.inf'",
    "--shuffle: maybe": ":1: --shuffle: expected True or False, got 'maybe'",
    "--result_directory:": ":1: --result_directory: expected a path",
    "--validation_split: 1": ":1: --validation_split: expected a number between 0 and 1",
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


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_config(None, {}).epochs = 3  # type: ignore[misc]


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
