"""The command line, tiny data to train on, and reference outputs of the public baseline."""

import logging
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]
OFFICIAL = REPOSITORY / "tests" / "data" / "official"
PACK = REPOSITORY.parent / "shared" / "golden" / "official"


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def complaint(self):
        """The one line that the command ended with, after a user's mistake."""
        assert self.status == 2, self.err
        assert "Traceback" not in self.err
        line = self.err.rstrip("\n").splitlines()[-1]
        assert line.startswith("asd: error: ")
        return line.removeprefix("asd: error: ")


def _run(*words):
    logger = logging.getLogger("asd")
    before = logger.handlers, logger.level, logger.propagate
    threads = torch.get_num_threads()
    try:
        return main([str(word) for word in words])
    finally:  # or later tests would find no log lines, and small matrices slow
        logger.handlers, logger.level, logger.propagate = before
        torch.set_num_threads(threads)


@pytest.fixture
def asd(capfd):
    """Run a command in this process: asd("train", "-d", ...) -> Outcome."""

    def run(*words):
        capfd.readouterr()
        status = _run(*words)
        return Outcome(status, *capfd.readouterr())

    return run


@pytest.fixture
def without_pictures(monkeypatch):
    """Models and scores only: where other tests look at the pictures, they would take most time."""
    for module in ("testing", "training"):
        monkeypatch.setattr(f"asd.jobs.{module}._draw", lambda *_, **__: None)


@pytest.fixture(scope="session")
def asd_once():
    """The same for fixtures that outlive a test: the command must succeed."""

    def run(*words):
        assert _run(*words) == 0

    return run


@pytest.fixture
def start_asd():
    """Start a command in a process of its own, where signals and kills are real."""
    started = []

    def start(*words):
        command = [sys.executable, "-m", "asd", *map(str, words)]
        process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@dataclass
class TinyData:
    """Writes short clips of noise in the organisers' arrangement below `folder`.

    Target clips are louder than source clips, and anomalous ones louder than normal ones.
    """

    folder: Path
    write_wav: Callable
    samples: int = 6400
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def machine(self, machine, dataset="dcase2023t2", split="dev"):
        return self.folder / dataset / f"{split}_data" / "raw" / machine

    def clip(self, path, loudness=1.0, samples=None):
        noise = 0.05 * loudness * self._random.standard_normal(samples or self.samples)
        return self.write_wav(path, noise.clip(-1, 0.99))

    def train(self, machine, source=8, target=4, section="00", **where):
        folder = self.machine(machine, **where) / "train"
        for domain, count, loudness in (("source", source, 1), ("target", target, 1.5)):
            for i in range(count):
                name = f"section_{section}_{domain}_train_normal_{i:04}_a_{i}.wav"
                self.clip(folder / name, loudness)
        return folder

    def test(self, machine, per_group=3, section="00", **where):
        folder = self.machine(machine, **where) / "test"
        for domain in ("source", "target"):
            for label, loudness in (("normal", 1), ("anomaly", 3)):
                for i in range(per_group):
                    name = f"section_{section}_{domain}_test_{label}_{i:04}_a_{i}.wav"
                    self.clip(folder / name, loudness)
        return folder

    def unlabelled(self, machine, count=4, section="00", **where):
        folder = self.machine(machine, **where) / "test"
        for i in range(count):
            self.clip(folder / f"section_{section}_{i:04}.wav", 1 + i % 2)
        return folder


@pytest.fixture
def tiny(tmp_path, write_wav):
    return TinyData(tmp_path / "data", write_wav)


@pytest.fixture(scope="session")
def tiny_flags():
    """Flags for quick trainings on tiny data: with 16 mel bands, few windows are enough."""
    return ("--n_mels", 16, "--n_fft", 512, "--hop_length", 256, "--batch_size", 32)


@pytest.fixture(scope="session")
def shared_tiny(tmp_path_factory, write_wav):
    """A data set of fan and valve that tests only read."""
    data = TinyData(tmp_path_factory.mktemp("tiny") / "data", write_wav)
    for machine in ("fan", "valve"):
        data.train(machine)
        data.test(machine)
    return data


@dataclass(frozen=True)
class Case:
    """What the public baseline was given, and what it gave."""

    data: Path
    expected: Path

    @property
    def models(self):
        return self.expected / "models" / "saved_model" / "baseline"

    @property
    def gamma(self):
        return self.expected / "gamma.json"


def _unpack(archive, folder):
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "data"


@pytest.fixture(scope="session")
def official(tmp_path_factory):
    """The small copy of reference outputs that comes with the tests."""
    return Case(_unpack(OFFICIAL / "data.tar.xz", tmp_path_factory.mktemp("official")), OFFICIAL)


@pytest.fixture(scope="session")
def official_case(tmp_path_factory):
    """The whole pack of reference outputs, by case; skips where it is not there."""
    unpacked = {}

    def case(name):
        if not (PACK / name).is_dir():
            pytest.skip("the whole pack of reference outputs is not on this machine")
        if name not in unpacked:
            data = _unpack(PACK / name / "data.tar.xz", tmp_path_factory.mktemp(name))
            unpacked[name] = Case(data, PACK / name / "expected")
        return unpacked[name]

    return case


@pytest.fixture
def copy_tree(tmp_path):
    """A copy of a folder that a test may change."""

    def copy(folder, name="copy"):
        return Path(shutil.copytree(folder, tmp_path / name))

    return copy


@pytest.fixture
def script(tmp_path):
    """Run a script of the repository from another current directory, with the python3 of the
    tests in front of all others."""
    shim = tmp_path / "bin" / "python3"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    shim.chmod(0o755)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(name, *words):
        environment = {**os.environ, "PATH": f"{shim.parent}:/usr/bin:/bin"}
        command = [str(REPOSITORY / name), *map(str, words)]
        done = subprocess.run(
            command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
        )
        assert not list(elsewhere.iterdir())
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def distributed():
    """Dask's module; skips where it is not installed."""
    return pytest.importorskip("distributed", reason="needs the extra asd[cluster]")


@pytest.fixture
def cluster(distributed):
    """Two Dask workers in processes of their own on this machine."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as found:
        yield found
