"""Commands ended at any moment: nothing half written is used or lost, a rerun succeeds.

Moments are drawn with a seed, over the time that the command takes on this machine. ASD_KILLS says
how many times as many as in the suite.
"""

import importlib.util
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.archives import load_archive
from asd.challenge.catalog import load_challenge

pytestmark = pytest.mark.skipif(
    not (hasattr(os, "fork") and Path("/proc/self/stat").exists()), reason="needs fork and /proc"
)

KILLS = int(os.environ.get("ASD_KILLS", "1"))
TOLD = 128 + signal.SIGTERM
SIGNALS = (signal.SIGTERM, signal.SIGKILL)
SIZE = ("--epochs", 2, "--n_mels", 16, "--frames", 2, "--batch_size", 32)
PATIENCE_S = 60
YEAR = load_challenge("DCASE2023T2")

# Loads the libraries once, then starts each command as a process forked from here: a command of
# its own would spend most of its time, and most of the moments, importing them.
LAUNCHER = """
import atexit, json, os, sys, threading
from functools import partial
import asd.cli, asd.jobs.pipeline, asd.jobs.embeddings, asd.report.figures, asd.submission.package
from asd.challenge.download import dataset, zenodo

for line in sys.stdin:
    order = json.loads(line)
    number = os.fork()
    if number == 0:
        os.setsid()
        for stream, path in enumerate((os.devnull, order["log"], order["log"])):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), stream)
        os.chdir(order["folder"])
        dataset.download = partial(dataset.download, base_url=order["zenodo"])
        status = asd.cli.main(order["words"])
        threading._shutdown()
        atexit._run_exitfuncs()
        os._exit(status)  # what is left of sys.exit: a second to take the libraries apart
    print(number, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), flush=True)
"""


class Launcher:
    """Runs commands in a folder, each in a session of its own."""

    def __init__(self, folder):
        self.folder, self.log, self.zenodo = folder, folder / "log.txt", ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip

    def start(self, *words):
        """Begin a command; its process number."""
        self.log.write_text("")
        order = {"words": [str(word) for word in words], "log": str(self.log)}
        order |= {"folder": str(self.folder), "zenodo": self.zenodo}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def wait(self):
        """Exit status of the command; minus the signal's number if one killed it."""
        return int(self._process.stdout.readline())

    def run(self, *words):
        """Seconds that a command took, which must succeed."""
        begin = time.monotonic()
        self.start(*words)
        assert self.wait() == 0, self.log.read_text()
        return time.monotonic() - begin

    def end(self, number, sign):
        """Signal a command that began, and see that it leaves no process behind; its exit status.

        One that was about to end may do so, and one that has begun to exit dies of the signal.
        """
        with suppress(ProcessLookupError):  # it was faster
            os.kill(number, sign)
        status = self.wait()
        assert status in (0, -sign, TOLD), self.log.read_text()
        end = time.monotonic() + PATIENCE_S
        while session(number):
            assert time.monotonic() < end, f"still there: {session(number)}"
            time.sleep(0.05)
        assert "Traceback" not in self.log.read_text(), self.log.read_text()
        return status

    def close(self):
        """End the launcher, which waits for no command."""
        self._process.kill()
        self._process.communicate()


def session(leader):
    """Processes of a session that run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, number = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has just ended
            continue
        if int(number) == leader and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    found = Launcher(tmp_path_factory.mktemp("kill"))
    yield found
    found.close()


def visible(folder):
    """Path -> content of the files below a folder that a user sees."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        path.as_posix(): (folder / path).read_bytes()
        for path in paths
        if path.suffix != ".part" and not any(part.startswith(".") for part in path.parts)
    }


def moments(took_s, seed, count=KILLS):
    """Seconds after which to end a command that takes `took_s`, spread over all of it."""
    rng = random.Random(seed)
    return [(i + rng.random()) / count * took_s for i in range(count)]


def end_at_many_moments(launcher, output, words, times=2, passing=None):
    """End a command that writes to a folder, over an earlier result and over none.

    What was there must still be there, as the same run writes the same bytes; what is written anew
    must be whole; and the next run must write the rest.

    Parameters
    ----------
    times
        Moments for each signal.
    passing
        Files that come and go again in a whole run: path -> content.
    """
    shutil.rmtree(output, ignore_errors=True)
    took_s = launcher.run(*words)
    whole = visible(output)
    assert whole
    for sign in SIGNALS:
        for number, after_s in enumerate(moments(took_s, f"{words[0]} {sign}", times * KILLS)):
            is_fresh = (number + SIGNALS.index(sign)) % 2 == 1
            if is_fresh:
                shutil.rmtree(output)
            command = launcher.start(*words)
            time.sleep(after_s)
            status = launcher.end(command, sign)
            assert status != TOLD or not list(output.rglob(".*.part"))
            left = visible(output)
            assert left.items() <= {**whole, **(passing or {})}.items()
            if is_fresh:
                launcher.run(*words)
            assert visible(output) == whole


# --- models ---


@pytest.fixture(scope="module")
def flags(tiny_data, launcher):
    folder = launcher.folder
    where = ("--dataset_directory", tiny_data, "--result_directory", folder / "results")
    return ("-d", *where, "--feature_directory", folder / "features", "--jobs", 1)


@pytest.fixture(scope="module")
def trained(launcher, flags):
    """Flags of a finished training of one machine type, and the seconds it took."""
    words = (*flags, *SIZE, "--machine_types", "fan")
    return words, launcher.run("train", *words)


def tensors(value):
    """All tensors within nested dicts and lists, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for item in value for t in tensors(item)] if isinstance(value, list | tuple) else []


def check_model_folder(folder, whole):
    """Each file is whole: that of a finished training, or of one that can go on."""
    for name, content in visible(folder).items():
        if name.endswith(".pt"):
            load_archive(folder / name, "")
        elif name.endswith(".json"):
            json.loads(content)
        elif name.endswith("log.csv"):
            assert whole[name].startswith(content)
            assert content.endswith(b"\n")
        elif name in whole:
            assert content == whole[name], name


@pytest.mark.parametrize("sign", SIGNALS, ids=lambda sign: sign.name)
def test_a_training_goes_on_after_its_end(launcher, trained, sign):
    """With --restart and without, in turn."""
    words, took_s = trained
    models = launcher.folder / "results" / "models"
    whole = visible(models)
    model = next(name for name in whole if name.endswith("model.pt"))
    wanted = tensors(load_archive(models / model, ""))
    assert wanted
    for turn, after_s in enumerate(moments(took_s, f"train {sign}"), SIGNALS.index(sign)):
        number = launcher.start("train", *words)
        time.sleep(after_s)
        launcher.end(number, sign)
        check_model_folder(models, whole)
        left = visible(models)
        assert model in left or any(name.endswith("checkpoint.pt") for name in left)
        launcher.run("train", *words, *(("--restart",) if turn % 2 else ()))
        found = tensors(load_archive(models / model, ""))
        assert len(found) == len(wanted)
        assert all(map(torch.equal, found, wanted))
        again = visible(models)
        assert again.keys() == whole.keys()
        assert all(again[name] == whole[name] for name in whole if name.endswith(".csv"))


@pytest.mark.parametrize("sign", SIGNALS, ids=lambda sign: sign.name)
def test_no_worker_trains_on(launcher, flags, sign):
    results = launcher.folder / f"workers {sign.name}"
    words = (*flags, *SIZE, "--epochs", 100_000, "--jobs", 2, "--result_directory", results)
    number = launcher.start("train", *words, "--machine_types", "fan", "ToyCar")
    end = time.monotonic() + PATIENCE_S * 2
    while len(list(results.rglob("checkpoint.pt"))) < 2:
        assert time.monotonic() < end, launcher.log.read_text()
        time.sleep(0.05)
    assert len(session(number)) > 2
    assert launcher.end(number, sign) == (TOLD if sign == signal.SIGTERM else -sign)
    for path in results.rglob("checkpoint.pt"):
        load_archive(path, "")


def test_a_training_that_cannot_be_watched_leaves_a_model(launcher, trained, monkeypatch):
    results = launcher.folder / "unwatched"
    monkeypatch.setattr(launcher, "log", Path("/dev/full"))
    launcher.run("train", *trained[0], "--result_directory", results)
    assert len(list(results.rglob("model.pt"))) == 1


def test_results_of_a_test_are_whole_or_not_there(launcher, trained):
    output = launcher.folder / "results" / "dev_data"
    end_at_many_moments(launcher, output, ("test", *trained[0]), times=1)


RECIPE = """\
input_s: 0.4
frontend: {class: PooledSpectrogram, n_fft: 512, mels: 16, high_hz: 8000.0, pool: time_mean}
backends:
  KNN: {class: knn}
"""


def test_embeddings_are_whole_or_not_there(launcher, flags):
    recipe = launcher.folder / "pooled.yaml"
    recipe.write_text(RECIPE)
    without_jobs = flags[: flags.index("--jobs")]
    words = (*without_jobs, "--machine_types", "fan", "--model", recipe)
    launcher.run("train", *words)
    output = launcher.folder / "embeddings"
    words = ("embed", *words, "--out", output / "clips.npz")
    end_at_many_moments(launcher, output, words)


# --- files of the challenge ---


def test_a_package_is_whole_or_not_there(launcher):
    folder = launcher.folder / "results" / "eval_data" / "baseline_MSE"
    folder.mkdir(parents=True)
    clips = [f"section_00_{number:04}.wav" for number in range(200)]
    scores = np.random.default_rng(0).uniform(size=len(clips))
    for machine in YEAR.eval.sections:
        for kind, values in (("anomaly_score", scores), ("decision_result", scores > 0.5)):
            lines = [f"{clip},{value * 1}\n" for clip, value in zip(clips, values, strict=True)]
            path = folder / f"{kind}_{machine}_section_00_test.csv"
            path.write_text("".join(lines))
    output = launcher.folder / "packages"
    words = ("submission", "pack", "--author", "A", "--institute", "B", "--dataset", YEAR.name)
    words = (*words, "--out", output / "a.zip", "--result_directory", launcher.folder / "results")
    end_at_many_moments(launcher, output, words)


def add_clips(launcher, count):
    """Unlabelled evaluation clips, and the organisers' list about them."""
    data = launcher.folder / "data"
    folder = data / YEAR.name.lower() / "eval_data" / "raw" / "shaker" / "test"
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["shaker"]
    for number in range(count):
        path = folder / f"section_00_{number:04}.wav"
        path.write_bytes(os.urandom(20_000))
        label = ("normal", "anomaly")[number % 2]
        lines.append(f"{path.name},section_00_source_test_{label}_{number:04}_a_1.wav")
    table = launcher.folder / "list.csv"
    table.write_text("".join(f"{line}\n" for line in lines))
    return folder, ("--dataset", YEAR.name, "--dataset_directory", data, "--list", table)


def test_clips_are_renamed_all_or_none(launcher):
    test, words = add_clips(launcher, 100)
    end_at_many_moments(launcher, test.parent / "test_rename", ("rename", *words))
    launcher.run("rename", *words)  # clears away what the last kill left
    assert not [path for path in test.parent.iterdir() if path.name.startswith(".test")]


def test_a_tree_is_brought_together(launcher):
    test, words = add_clips(launcher, 100)
    shutil.copytree(test, test.parent / "train", dirs_exist_ok=True)
    for path in (test.parent / "train").iterdir():
        path.rename(path.with_name(path.name.replace("00_", "00_source_train_normal_")))
    output = launcher.folder / "tree"
    words = ("format", "-e", *words, "--machine_types", "shaker", "--output", output)
    end_at_many_moments(launcher, output, words)


@pytest.fixture
def archive(launcher):
    """A server that stands in for Zenodo, with one archive of clips; names of these."""
    place = Path(__file__).parent / "challenge" / "conftest.py"
    spec = importlib.util.spec_from_file_location("zenodo_server", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server = module.ZenodoServer()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for split in ("train", "test"):
            for number in range(100):
                name = f"section_00_source_{split}_normal_{number:04}_a_1.wav"
                packed.writestr(f"fan/{split}/{name}", os.urandom(50_000))
    server.add_file("/record/7882613/files/dev_fan.zip", stream.getvalue())
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    launcher.zenodo = server.url
    yield packed.namelist(), stream.getvalue()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_download_goes_on(launcher, archive):
    data = launcher.folder / "downloads"
    output = data / YEAR.name.lower() / "dev_data" / "raw"
    words = ("download", "-d", "--dataset", YEAR.name, "--dataset_directory", data)
    names, content = archive
    words = (*words, "--machine_types", "fan")
    end_at_many_moments(launcher, output, words, passing={"dev_fan.zip": content})
    assert set(names) <= visible(output).keys()
