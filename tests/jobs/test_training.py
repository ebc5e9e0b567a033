"""Training: the public baseline's numbers, checkpoints, kills, and jobs beside each other."""

import csv
import json
import math
import os
import shutil
import signal
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from asd.archives import load_archive, save_archive
from asd.jobs.folder_run import FolderRun

FAN = "DCASE2023T2-AE_DCASE2023T2fan_id(0_)_seed13711"
VALVE = FAN.replace("fan", "valve")
EPOCHS = 25


def model_folder(results, name=FAN):
    return results / "models" / "baseline" / name


def learned(results, name=FAN):
    """What a finished model holds: weights and normal scores in one flat dict."""
    state = load_archive(model_folder(results, name) / "model.pt", "")["state"]
    columns = state["normal_scores"]["columns"].items()
    scores = {f"clip {score}": torch.tensor(values) for score, values in columns}
    return {**state["network"], **state["batch_scores"], **scores}


def same_model(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def flags(shared_tiny, tiny_flags):
    return ("-d", "--dataset_directory", shared_tiny.folder, *tiny_flags)


@pytest.fixture(scope="module")
def finished(asd_once, flags, tmp_path_factory):
    """Results of fan and valve, trained without interruption one after the other."""
    results = tmp_path_factory.mktemp("finished")
    asd_once("train", *flags, "--machine_types", "fan", "valve", "--epochs", EPOCHS,
             "--result_directory", results, "--jobs", 1)  # fmt: skip
    return results


def wait_for(condition, process, seconds=60):
    """Wait until a running process has made the condition true."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.005)


def epochs_logged(results, name=FAN):
    log = model_folder(results, name) / "log.csv"
    return len(read(log)) - 1 if log.is_file() else 0


def test_trained_from_scratch_it_agrees_with_the_public_baseline(official, asd, tmp_path):
    """Rounding alone moves the public program's own numbers nearly as far as allowed here."""
    flags = ("-d", "--machine_types", "fan", "--dataset_directory", official.data,
             "--result_directory", tmp_path)  # fmt: skip
    assert asd("train", *flags, "--epochs", 4, "--use_cuda", "False").status == 0
    ours, (theirs,) = read(model_folder(tmp_path) / "log.csv"), official.expected.glob("logs/*/*/")
    theirs = read(theirs / "log.csv")
    assert ours[0] == theirs[0]
    column = ours[0].index("val_loss")
    found, expected = ([float(row[column]) for row in rows[1:]] for rows in (ours, theirs))
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    for score, tolerance in (("MSE", 5e-3), ("MAHALA", 3e-2)):
        assert asd("test", *flags, "--score", score).status == 0
        (file,) = (official.expected / f"results/dev_data/baseline_{score}").glob("anomaly*.csv")
        ours, theirs = read(tmp_path / "dev_data" / f"baseline_{score}" / file.name), read(file)
        assert [name for name, _ in ours] == [name for name, _ in theirs]
        scores = [[float(value) for _, value in rows] for rows in (ours, theirs)]
        np.testing.assert_allclose(*scores, rtol=tolerance)


def test_case5_a_last_batch_of_one_vector(official_case, asd, tmp_path):
    case = official_case("case5_dcase2026_dev")
    done = asd("train", "-d", "--dataset", "DCASE2026T2", "--machine_types", "fan", "--epochs", 3,
               "--batch_size", 66, "--dataset_directory", case.data, "--use_cuda", "False",
               "--result_directory", tmp_path)  # fmt: skip
    assert done.status == 0
    (log,) = case.expected.glob("logs/baseline/*/log.csv")
    expected = np.array(read(log)[1:], dtype=float)
    found = np.array(read(model_folder(tmp_path, log.parent.name) / "log.csv")[1:], dtype=float)
    # On another processor rounding alone moves the loss of the 9 target windows by 0.3 %.
    np.testing.assert_allclose(found, expected, rtol=5e-3)


def test_files_of_a_training(finished):
    for name in (FAN, VALVE):
        files = set(contents(model_folder(finished, name)))
        assert files == {"model.pt", "checkpoint.pt", "log.csv", "loss.png", "parameters.json"}
        assert epochs_logged(finished, name) == EPOCHS


def test_models_trained_at_once_are_the_same(finished, asd, flags, tmp_path):
    done = asd("train", *flags, "--machine_types", "fan", "valve", "--epochs", EPOCHS,
               "--result_directory", tmp_path, "--jobs", 2)  # fmt: skip
    assert done.status == 0, done.err
    for name in (FAN, VALVE):
        assert same_model(learned(tmp_path, name), learned(finished, name))
    assert not same_model(learned(tmp_path, FAN), learned(tmp_path, VALVE))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_training_goes_on(finished, asd, start_asd, flags, tmp_path, how):
    words = ("train", *flags, "--machine_types", "fan", "valve", "--epochs", EPOCHS,
             "--result_directory", tmp_path, "--jobs", 1)  # fmt: skip
    process = start_asd(*words)
    wait_for(lambda: epochs_logged(tmp_path) >= 3, process)
    process.send_signal(how)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert "Traceback" not in output
    assert not (model_folder(tmp_path) / "model.pt").exists()
    assert epochs_logged(tmp_path) < EPOCHS
    missing = asd("test", *flags, "--machine_types", "fan", "--result_directory", tmp_path)
    assert "no such model; train it first" in missing.complaint
    assert missing.complaint.endswith("--restart")

    again = asd(*words, "--restart")  # valve had not begun
    assert again.status == 0, again.err
    for name in (FAN, VALVE):
        assert same_model(learned(tmp_path, name), learned(finished, name))
        logs = [
            (model_folder(where, name) / "log.csv").read_text() for where in (tmp_path, finished)
        ]
        assert logs[0] == logs[1]


def test_ctrl_c_stops_trainings_in_other_processes(start_asd, flags, tmp_path):
    process = start_asd(
        "train", *flags, "--machine_types", "fan", "valve", "--epochs", 100000,
        "--result_directory", tmp_path, "--jobs", 2,
    )  # fmt: skip
    wait_for(lambda: min(epochs_logged(tmp_path, name) for name in (FAN, VALVE)) >= 1, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "add --restart to go on" in output
    for name in (FAN, VALVE):
        load_archive(model_folder(tmp_path, name) / "checkpoint.pt", "")
    stopped = [epochs_logged(tmp_path, name) for name in (FAN, VALVE)]
    time.sleep(0.5)
    assert [epochs_logged(tmp_path, name) for name in (FAN, VALVE)] == stopped


def test_two_trainings_at_once_on_fresh_data(finished, start_asd, flags, shared_tiny, tmp_path):
    data = shutil.copytree(shared_tiny.folder, tmp_path / "data",
                           ignore=shutil.ignore_patterns("processed"))  # fmt: skip
    words = ("train", *flags, "--dataset_directory", data, "--machine_types", "fan",
             "--epochs", EPOCHS, "--result_directory")  # fmt: skip
    folders = [tmp_path / name for name in ("first", "second")]
    processes = [start_asd(*words, folder) for folder in folders]
    for process, folder in zip(processes, folders, strict=True):
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        assert same_model(learned(folder), learned(finished))
    assert not list(tmp_path.rglob("*.part"))


@pytest.fixture
def half_done(asd, flags, tmp_path):
    """A training of two epochs, and the words to go on with it."""
    words = ("train", *flags, "--machine_types", "fan", "--result_directory", tmp_path)
    assert asd(*words, "--epochs", 2).status == 0
    return model_folder(tmp_path) / "checkpoint.pt", words


def test_more_epochs_go_on_from_a_finished_training(half_done, finished, asd, tmp_path):
    _, words = half_done
    assert asd(*words, "--restart", "--epochs", EPOCHS).status == 0
    assert same_model(learned(tmp_path), learned(finished))
    assert f'"epochs": {EPOCHS}' in (model_folder(tmp_path) / "parameters.json").read_text()


def test_a_log_that_a_kill_left_an_epoch_short_is_completed(half_done, asd):
    checkpoint, words = half_done
    log = checkpoint.with_name("log.csv")
    whole = log.read_text()
    log.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    assert asd(*words, "--restart", "--epochs", 2).status == 0
    assert log.read_text() == whole


def test_restart_with_other_parameters_is_refused(half_done, asd):
    checkpoint, words = half_done
    before = checkpoint.read_bytes()
    done = asd(*words, "--restart", "--epochs", 3, "-lr", 0.01, "--n_mels", 20, "--seed", 13711)
    assert done.complaint == (
        f"{checkpoint}: was trained with --n_mels 16 (now 20), --learning_rate 0.001 (now 0.01); "
        "train without --restart"
    )
    assert checkpoint.read_bytes() == before
    assert checkpoint.with_name("model.pt").exists()


def test_restart_with_fewer_epochs_is_refused(half_done, asd):
    _, words = half_done
    assert "has 2 epochs done, --epochs asks for 1" in asd(
        *words, "--restart", "--epochs", 1
    ).complaint  # fmt: skip


def test_a_checkpoint_of_another_machine_is_refused(half_done, asd, flags, tmp_path):
    checkpoint, _ = half_done
    done = asd("train", *flags, "--machine_types", "valve", "--result_directory", tmp_path,
               "--epochs", 3, "--restart", "--checkpoint_path", checkpoint)  # fmt: skip
    assert f"{checkpoint}: was trained with machines" in done.complaint
    assert "fan" in done.complaint
    assert "valve" in done.complaint


def test_a_checkpoint_elsewhere(half_done, finished, asd, flags, tmp_path):
    checkpoint, _ = half_done
    moved = checkpoint.rename(tmp_path / "kept.pt")
    done = asd("train", *flags, "--machine_types", "fan", "--result_directory", tmp_path / "new",
               "--epochs", EPOCHS, "--restart", "--checkpoint_path", moved)  # fmt: skip
    assert done.status == 0
    assert same_model(learned(tmp_path / "new"), learned(finished))
    assert epochs_logged(tmp_path / "new") == EPOCHS
    assert (model_folder(tmp_path / "new") / "parameters.json").is_file()


def test_files_that_are_no_checkpoint(half_done, asd, tmp_path):
    checkpoint, words = half_done
    restart = (*words, "--restart", "--epochs", 3)
    model = checkpoint.with_name("model.pt")
    done = asd(*restart, "--checkpoint_path", model)
    assert done.complaint == f"{model}: is no checkpoint; give a checkpoint.pt"
    older = tmp_path / "older.pt"
    save_archive(older, load_archive(checkpoint, "") | {"format": 1})
    assert "is of another version" in asd(*restart, "--checkpoint_path", older).complaint
    gone = tmp_path / "gone.pt"
    assert f"{gone}: no checkpoint" in asd(*restart, "--checkpoint_path", gone).complaint
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert asd(*restart).complaint == (
        f"{checkpoint}: is damaged or not a file of this program; train without --restart"
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--hop_length", 100000), "frames"),
        (("--learning_rate", 1e30, "--batch_size", 8), "training diverged, the loss of epoch 1 is"),
        (("--tensorboard", "board"), "tensorboard is not installed"),
        (("--restart", "--epochs", 3, "--seed", 13711, "--n_mels", 20), "was trained with"),
    ],
)
def test_a_training_that_fails_at_once_leaves_the_old_model(
    half_done, asd, words, complaint, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    checkpoint, train = half_done
    before = contents(checkpoint.parent)
    assert set(before) == {
        "model.pt", "checkpoint.pt", "log.csv", "loss.png", "parameters.json",
    }  # fmt: skip
    done = asd(*train, "--epochs", 3, *words)
    assert complaint in done.complaint
    assert "is kept" not in done.complaint
    assert contents(checkpoint.parent) == before


def contents(folder):
    """File name -> bytes, without the lock file, which stays."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


def test_a_divergence_after_some_epochs_leaves_their_checkpoint(half_done, asd, monkeypatch):
    """The older model has made way by then, and the parameters are those of the checkpoint."""
    checkpoint, words = half_done
    begin = FolderRun.stage

    def diverging_stage(self, *args):
        stage = begin(self, *args)
        report = stage.report

        def diverging_report(epoch):
            losses = epoch.losses if epoch.number == 1 else {"loss": math.nan}
            report(replace(epoch, losses=losses))

        stage.report = diverging_report
        return stage

    monkeypatch.setattr(FolderRun, "stage", diverging_stage)
    done = asd(*words, "--epochs", 3, "--learning_rate", 0.01, "--jobs", 1)
    assert done.complaint == (
        f"{FAN}: training diverged, the loss of epoch 2 is nan; set a smaller --learning_rate "
        "(the checkpoint of the epoch before is kept)"
    )
    assert set(contents(checkpoint.parent)) == {"checkpoint.pt", "log.csv", "parameters.json"}
    kept = load_archive(checkpoint, "")
    assert len(kept["rows"]) == 1
    assert kept["identity"]["learning_rate"] == 0.01
    described = json.loads(checkpoint.with_name("parameters.json").read_text())
    assert described["learning_rate"] == 0.01


def test_a_new_training_removes_the_old_model_after_its_first_epoch(half_done, start_asd):
    checkpoint, words = half_done
    process = start_asd(*words, "--epochs", 100000)
    log = checkpoint.with_name("log.csv")
    wait_for(lambda: log.is_file() and len(read(log)) > 3, process)
    process.kill()
    process.wait()
    assert {name for name in contents(checkpoint.parent) if not name.endswith(".part")} == {
        "checkpoint.pt", "log.csv", "parameters.json"
    }  # fmt: skip


def test_one_failing_job_does_not_stop_the_others(tiny, asd, flags, tmp_path):
    for machine in ("fan", "valve", "bearing"):
        tiny.train(machine)
    (bad,) = tiny.machine("valve").glob("train/*source*_0003_*")
    bad.write_bytes(b"")
    words = ("train", *flags, "--dataset_directory", tiny.folder, "--result_directory", tmp_path)
    machines = ("--machine_types", "fan", "valve", "bearing")
    done = asd(*words, "--epochs", 1, *machines)
    assert str(bad) in done.complaint
    assert (model_folder(tmp_path) / "model.pt").exists()
    assert (model_folder(tmp_path, FAN.replace("fan", "bearing")) / "model.pt").exists()
    # Now one that is found out in the job itself, by the side of another.
    tiny.clip(bad)
    for i in range(2):
        clip = tiny.machine("bearing") / f"train/section_00_source_train_normal_000{i}_a_{i}.wav"
        tiny.clip(clip, samples=700)
    done = asd(*words, "--epochs", 1, *machines, "--jobs", 2)
    assert "section_00_source_train_normal_0000_a_0.wav: has 3 frames" in done.complaint
    assert (model_folder(tmp_path, VALVE) / "model.pt").exists()


def test_several_failing_jobs_are_counted(tiny, asd, flags, tmp_path):
    tiny.train("fan")
    done = asd("train", *flags, "--dataset_directory", tiny.folder, "--result_directory", tmp_path,
               "--machine_types", "fan", "valve", "bearing", "--epochs", 1)  # fmt: skip
    assert done.complaint == (
        "2 of 3 jobs could not be done (see above); the others are done; to leave these out give "
        "--machine_types fan"
    )
    assert done.err.count("ERROR: ") == 2
    assert (model_folder(tmp_path) / "model.pt").exists()


@pytest.mark.parametrize("folder", ["a file", "a file/below", "/proc/1/none"])
def test_an_unwritable_results_folder(asd, flags, tmp_path, folder):
    (tmp_path / "a file").write_text("")
    where = tmp_path / folder
    done = asd("train", *flags, "--machine_types", "fan", "--result_directory", where)
    assert done.complaint.startswith(str(where))
    assert "; check the folder's permissions and free space" in done.complaint


def test_a_full_disk(start_asd, flags, tmp_path):
    """A limit on the size of files stands in for the end of the disk."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limit[1]))
    try:
        process = start_asd("train", *flags, "--machine_types", "fan", "--epochs", 2,
                            "--result_directory", tmp_path)  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    complaint = output.splitlines()[-1]
    assert "checkpoint.pt: cannot be written (File too large)" in complaint
    assert not list(model_folder(tmp_path).glob("*.pt"))
    assert [path.name for path in model_folder(tmp_path).glob(".*")] == [".training.lock"]


@pytest.mark.parametrize(
    ("source", "target"), [(1, 0), (1, 4), (0, 2), (2, 1)], ids=lambda count: str(count)
)
def test_few_clips_of_a_domain(tiny, asd, tiny_flags, tmp_path, source, target):
    """One source clip, no target clip, no source clip: scores are finite all the same."""
    tiny.train("fan", source, target)
    tiny.test("fan", per_group=1)
    flags = ("-d", "--machine_types", "fan", "--dataset_directory", tiny.folder,
             "--result_directory", tmp_path / "results", *tiny_flags)  # fmt: skip
    assert asd("train", *flags, "--epochs", 1).status == 0
    done = asd("test", *flags, "--score", "all")
    assert done.status == 0, done.err
    for score in ("MSE", "MAHALA", "MAHALA-FRAME"):
        files = (tmp_path / "results/dev_data" / f"baseline_{score}").glob("anomaly*.csv")
        values = [float(value) for file in files for _, value in read(file)]
        assert len(values) == 4
        assert np.isfinite(values).all()
        assert min(values) >= 0


def test_clips_of_several_lengths(tiny, asd, tiny_flags, tmp_path):
    """Every clip's score comes from its own frames: the same as when it is tested alone."""
    tiny.train("fan")
    for i, path in enumerate(sorted(tiny.machine("fan").glob("train/*.wav"))):
        tiny.clip(path, samples=4000 + 700 * i)
    tiny.test("fan", per_group=2)
    clips = sorted(tiny.machine("fan").glob("test/*.wav"))
    for i, path in enumerate(clips):
        tiny.clip(path, loudness=1 + i, samples=3000 + 900 * i)
    flags = ("-d", "--machine_types", "fan", "--dataset_directory", tiny.folder,
             "--result_directory", tmp_path, *tiny_flags, "--score", "all")  # fmt: skip
    assert asd("train", *flags, "--epochs", 2).status == 0
    assert asd("test", *flags).status == 0

    def scores():
        return {
            (file.parent.name, name): float(value)
            for file in tmp_path.glob("dev_data/*/anomaly*.csv")
            for name, value in read(file)
        }

    together = scores()
    assert len(together) == 3 * len(clips)
    kept = clips[2]
    for path in clips:
        if path != kept:
            path.unlink()
    assert asd("test", *flags).status == 0
    alone = scores()
    assert len(alone) == 3
    for key, value in alone.items():
        assert value == pytest.approx(together[key], rel=1e-4)


def test_too_few_windows(tiny, asd, tiny_flags, tmp_path):
    folder = tiny.train("fan", source=1, target=0)
    tiny.clip(next(folder.iterdir()), samples=5 * 256)
    done = asd("train", "-d", "--machine_types", "fan", "--dataset_directory", tiny.folder,
               "--result_directory", tmp_path, *tiny_flags)  # fmt: skip
    assert done.complaint.startswith(f"{folder}: 2 window(s) are too few")
