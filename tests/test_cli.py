import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from asd.cli import _parser, main
from asd.errors import UserError
from asd.run_parameters import RunParameters
from asd.schema.parameters import parameters_of
from asd.systems.registry import SYSTEMS, find_system, system_names

COMMANDS = _parser()._subparsers._group_actions[0].choices
RUN_COMMANDS = ("train", "test", "run")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Stand in an empty folder: no test may find the repository's own baseline.yaml or data."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


@pytest.fixture
def refused(capsys):
    """Run a command line that must fail; gives its one line of complaint."""

    def run(*words):
        assert main(list(map(str, words))) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("asd: error: ")
        assert captured.err.count("\n") == 1
        assert captured.err.endswith("\n")
        return captured.err.removeprefix("asd: error: ").rstrip("\n")

    return run


@pytest.fixture
def failed(capsys):
    """Run a command line that must fail at work; gives its complaint, below a progress bar."""

    def run(*words):
        assert main(list(map(str, words))) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "Traceback" not in captured.err
        last = captured.err.splitlines()[-1]
        assert last.startswith("asd: error: ")
        return last.removeprefix("asd: error: ")

    return run


def help_of(capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--help"])
    assert stopped.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_help_lists_every_command(capsys):
    text = help_of(capsys)
    assert {"train", "test", "run", "summarize", "synthesize", "download"} <= set(COMMANDS)
    assert all(f" {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_all_its_flags(capsys, command):
    text = help_of(capsys, command)
    for action in COMMANDS[command]._actions:
        assert action.help or action.choices, action.dest
        assert all(flag in text for flag in action.option_strings)


def parameters(model):
    """What a system and all runs have."""
    return (*parameters_of(RunParameters), *parameters_of(find_system(model).parameters_class()))


@pytest.mark.parametrize("model", [*SYSTEMS, "raw_spec"])
@pytest.mark.parametrize("command", RUN_COMMANDS)
def test_run_commands_take_and_explain_the_parameters_of_the_chosen_system(capsys, command, model):
    text = help_of(capsys, command, "--model", model)
    for each in parameters(model):
        assert all(f"{flag} " in text for flag in each.flags), each.name
        assert each.help in text
        if not each.is_switch and each.name != "model":
            shown = re.escape(each.placeholder)
            assert re.search(rf"{each.flags[-1]} \[?{shown}[] ,]", text), each.name


def test_help_shows_no_flags_of_other_systems(capsys):
    assert "--w " not in help_of(capsys, "train")
    assert "--w " in help_of(capsys, "train", "--model", "BiGAN")
    assert "--w " in help_of(capsys, "train", "--model=BiGAN")
    assert "--precision " in help_of(capsys, "train")
    assert "--precision " not in help_of(capsys, "train", "--model", "BiGAN")
    recipe = help_of(capsys, "train", "--model", "raw_spec")
    assert "--n_mels " not in recipe
    assert "--set KEY=VALUE" in recipe


def test_help_is_of_the_system_that_the_file_names(capsys, tmp_path):
    (tmp_path / "own.yaml").write_text("--model: BiGAN\n--epochs: many\n")
    assert "--w " in help_of(capsys, "train", "--config", str(tmp_path / "own.yaml"))
    (tmp_path / "elsewhere" / "baseline.yaml").write_text("--model: raw_spec\n")
    assert "--n_mels " not in help_of(capsys, "train")
    assert "--n_mels " in help_of(capsys, "train", "--model", "ae")


def test_help_of_several_systems_has_the_flags_of_all(capsys):
    text = help_of(capsys, "run", "--model", "ae", "BiGAN")
    assert "--w " in text
    assert "--precision " in text


def test_help_of_a_system_from_a_file_has_its_flags(capsys):
    examples = Path(__file__).parent.parent / "examples"
    text = help_of(capsys, "train", "--model", f"{examples / 'own_system.py'}:LevelDetector")
    assert "--percentile INT percentile of a clip's levels (default: 50)" in text


def test_help_of_a_system_that_is_not_there_is_one_line(refused):
    assert "'BiGUN' is unknown (did you mean BiGAN?)" in refused("train", "--model", "BiGUN", "-h")


def test_help_shows_official_defaults(capsys):
    text = help_of(capsys, "train")
    for part in ("number of mel bands (default: 128)", "random seed (default: 13711)",
                 "step size of Adam (default: 0.001)"):  # fmt: skip
        assert part in text


@pytest.mark.parametrize("command", RUN_COMMANDS)
def test_help_lists_every_system_and_score(capsys, command):
    text = help_of(capsys, command)
    scores = ("MSE", "MAHALA", "MAHALA-FRAME", "CROSS-E", "FM")
    for word in (*system_names(), *scores):
        assert re.search(rf"\W{re.escape(word)}\W", text), word


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("asd 0.")


MISTAKES = {
    "": "required: COMMAND; see asd --help",
    "--vers": "unknown argument '--vers'; did you mean --version?; see asd --help",
    "-version": "unknown argument '-version'; did you mean --version?; see asd --help",
    "--verison show": "unknown argument '--verison'; did you mean --version?; see asd --help",
    "train --epocs=3": "unknown argument '--epocs=3'; did you mean --epochs?; see asd train --help",
    "watch --jbos 2": "unknown argument '--jbos'",
    "trian -d": "COMMAND: unknown 'trian'; did you mean train?; choose from learn, score",
    "train": "one of the arguments -d/--dev -e/--eval is required; see asd train --help",
    "train -d -e": "-e/--eval: not allowed with argument -d/--dev",
    "train -d --epocs 3": "unknown argument '--epocs'; did you mean --epochs?; see asd train",
    "train -d --epocs=3": "unknown argument '--epocs=3'; did you mean --epochs?",
    "train -d --epoch 3": "unknown argument '--epoch'; did you mean --epochs?",
    "train -d --tag x": "unknown argument '--tag'; did you mean -tag?",
    "train -d more": "unknown argument 'more'",
    "test -d fan": "'fan'; machine types are given with --machine_types; see asd test --help",
    "train -d epochs": "unknown argument 'epochs'; did you mean --epochs?",
    "summarize DCASE2023T2 -d fan": "unknown argument 'fan'; see asd summarize --help",
    "train -d --epochs": "--epochs/--nb_epochs: expected one argument",
    "train -d --epochs x": "--epochs: expected a whole number, got 'x'",
    "train -d --epochs 1.5": "--epochs: expected a whole number, got '1.5'",
    "train -d --epochs 0": "--epochs: expected at least 1, got '0'",
    "train -d -lr -1": "--learning_rate: expected a number above 0, got '-1'",
    "train -d --power inf": "--power: expected a number, got 'inf'",
    "train -d --seed 5000000000": "--seed: expected 0 to 4294967295, got '5000000000'",
    "train -d --use_cuda maybe": "--use_cuda: expected True or False, got 'maybe'",
    "train -d --use_ids 0 x": "--use_ids: expected a whole number, got '0 x'",
    "train -d --export_dir a/b": "--export_dir: expected a folder's name, without /, got 'a/b'",
    "train -d --win_length 2048": "--win_length: expected at most --n_fft (1024), got 2048",
    "train -d --test_only": "--test_only: contradicts train; use asd test",
    "test -d --train_only": "--train_only: contradicts test; use asd train",
    "run -d --train_only --test_only": "--train_only and --test_only exclude each other",
    "train -d --config none.yaml": "none.yaml: cannot be read (No such file or directory)",
    "train -d --dataset DCASE2032T2": "--dataset: challenge year 'DCASE2032T2' is unknown (did you",
    "train -d --dataset dcase2023t2": "'dcase2023t2' is unknown (did you mean DCASE2023T2?)",
    "summarize DCASE2032T2 -d": "--dataset: challenge year 'DCASE2032T2' is unknown (did you",
    "synthesize -e --machine_types fan": "--machine_types: machine type 'fan' is not in the eval",
    "format -d --machine_types fna --output o": "--machine_types: machine type 'fna' is not in the",
    "train -d --dataset DCASE2023T2fan --machine_types valve": "give the one or the other",
    "summarize -d": "the following arguments are required: dataset; see asd summarize --help",
    "summarize DCASE2023T2 -d --epochs 3": "unknown argument '--epochs'",
    "synthesize -d --test x": "--test: invalid int value: 'x'; see asd synthesize --help",
    "download -d --parts trian": "--parts: unknown 'trian'; did you mean train?; choose from train",
    "gan bgan kdd run": "SYSTEM: unknown 'bgan'; did you mean bigan?; choose from gan, "
    "bigan, ablate",
    "gan bigan dcas run": "DATA: unknown 'dcas'; did you mean dcase?; choose from dcase, "
    "mnist, kdd",
    "gan bigan": "the following arguments are required: DATA; see asd gan bigan --help",
    "import-baseline": "the following arguments are required: FOLDER",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_on_the_command_line_is_one_line_and_status_2(refused, line):
    assert MISTAKES[line] in refused(*line.split())


@pytest.mark.parametrize("command", [("train", "-d"), ("show", "DCASE2023T2")])
def test_a_missing_data_folder_is_named_with_the_command_that_fills_it(refused, tmp_path, command):
    data = tmp_path / "no data"
    message = refused(*command, "--dataset_directory", data)
    assert message == (
        f"{data}/dcase2023t2/dev_data/raw: no such folder; download the dev data of DCASE2023T2 "
        f"(asd download --dataset DCASE2023T2 -d --dataset_directory '{data}'), or name another "
        "--dataset_directory"
    )


def test_an_unknown_machine_type_is_named_with_the_nearest(refused, tiny_data):
    message = refused("train", "-d", "--dataset_directory", tiny_data, "--machine_types", "fna")
    assert message.startswith(
        "--machine_types: machine type 'fna' is not in the dev data of DCASE2023T2 (did you mean "
        "fan?); it has ToyCar, "
    )


@pytest.mark.parametrize("kind", ["result", "feature"])
def test_a_folder_that_is_a_file_is_one_line(failed, fan, tmp_path, kind):
    (tmp_path / "file").touch()
    message = failed(*fan[1], f"--{kind}_directory", tmp_path / "file" / "folder")
    assert message.startswith(f"{tmp_path}/file/folder/")
    assert "Not a directory" in message


@pytest.fixture
def fan(tiny_data, tmp_path):
    """The folder of one machine type's training clips, a copy to spoil, and words to train it."""
    shutil.copytree(tiny_data, tmp_path / "data")
    train = tmp_path / "data" / "dcase2023t2" / "dev_data" / "raw" / "fan" / "train"
    words = [
        "train", "-d", "--machine_types", "fan", "--epochs", "1",
        "--dataset_directory", tmp_path / "data", "--result_directory", tmp_path / "r",
    ]  # fmt: skip
    return train, words


def spoil_nothing_there(train):
    shutil.rmtree(train)
    return "fan/train: no such folder"


def spoil_empty_folder(train):
    for path in train.iterdir():
        path.unlink()
    return "fan/train: no .wav file in it"


def spoil_name(train):
    first = min(train.iterdir())
    first.rename(train / "noise.wav")
    return "fan/train/noise.wav: not a clip name"


def spoil_zero_bytes(train):
    min(train.iterdir()).write_bytes(b"")
    return ".wav: is empty (0 bytes)"


def spoil_truncated(train):
    path = max(train.iterdir())
    path.write_bytes(path.read_bytes()[:-100])
    return f"{path.name}: is truncated, 100 of 16000 bytes of sound are missing"


def spoil_text(train):
    path = max(train.iterdir())
    path.write_text("no sound")
    return f"{path.name}: is not a wav file"


def spoil_link(train):
    path = max(train.iterdir())
    path.unlink()
    path.symlink_to("nowhere")
    return f"{path.name}: is not a file (but a folder, a pipe, a device or a link to nothing)"


SPOILERS = [
    spoil_nothing_there, spoil_empty_folder, spoil_name, spoil_zero_bytes, spoil_truncated,
    spoil_text, spoil_link,
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda f: f.__name__.removeprefix("spoil_"))
def test_unusable_training_data_is_one_line_and_leaves_no_model(failed, fan, tmp_path, spoil):
    train, words = fan
    expected = spoil(train)
    assert expected in failed(*words)
    assert not list((tmp_path / "r").rglob("*.pt"))


def test_unusable_features_are_one_line(failed, fan):
    _, words = fan
    message = failed(*words, "--fmin", "8000")
    assert message == "--fmin: expected less than half the sampling rate (8000 Hz), got 8000"


def test_debug_shows_where_an_error_came_from():
    with pytest.raises(UserError, match="whole number"):
        main(["train", "-d", "--epochs", "x", "--debug"])
    with pytest.raises(UserError):
        main(["--debug", "train", "-d", "--epochs", "x"])


def test_interrupting_is_status_130_and_says_how_to_go_on(monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("asd.cli.models.read_config", interrupt)
    assert main(["train", "-d"]) == 130
    assert "--restart" in capsys.readouterr().err


def test_an_unforeseen_file_error_is_one_line_but_a_bug_is_not_hidden(monkeypatch, refused):
    def fail(error):
        def read_config(*_):
            raise error

        monkeypatch.setattr("asd.cli.models.read_config", read_config)

    fail(PermissionError(13, "Permission denied", "/some/file"))
    assert refused("train", "-d").startswith("/some/file: Permission denied; check")
    with pytest.raises(PermissionError):
        main(["train", "-d", "--debug"])
    fail(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        main(["train", "-d"])


def test_synthesize_makes_what_it_is_told(tmp_path):
    words = ["synthesize", "-e", "--dataset", "DCASE2024T2", "--machine_types", "HairDryer",
             "--train_source", "2", "--train_target", "1", "--test", "1", "--seconds", "0.1",
             "--dataset_directory", str(tmp_path / "data")]  # fmt: skip
    assert main(words) == 0
    machine = tmp_path / "data" / "dcase2024t2" / "eval_data" / "raw" / "HairDryer"
    assert len(list((machine / "train").iterdir())) == 3
    assert len(list((machine / "test").iterdir())) == 4


def python_m_asd(*words):
    return subprocess.run([sys.executable, "-m", "asd", *words], capture_output=True, text=True)


def test_as_a_program():
    done = python_m_asd("train", "-d", "--epochs", "x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "asd: error: --epochs: expected a whole number, got 'x'\n"
    done = python_m_asd("train", "-d", "--epochs", "x", "--debug")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "expected a whole number, got 'x'" in done.stderr
