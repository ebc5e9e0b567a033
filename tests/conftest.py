import logging
import os
import sys
import wave
from pathlib import Path

# Before torch is imported, and for the programs that tests start: last bits depend on the number
# of threads, and two threads on a busy processor take far longer than one.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
from hypothesis import settings

from asd.challenge.catalog import load_challenge
from asd.challenge.names import parse_clip
from asd.synthetic.dataset import SyntheticCounts, synthesize

settings.register_profile("asd", deadline=None)  # busy machines must not fail a test
settings.load_profile("asd")


@pytest.fixture(autouse=True)
def logging_as_before():
    """What a command sets up for its log must not be the next test's."""
    logger = logging.getLogger("asd")
    before = logger.level, list(logger.handlers)
    yield
    logger.setLevel(before[0])
    logger.handlers = before[1]


@pytest.fixture(autouse=True)
def threads_as_before():
    """Commands set torch's threads; several on a busy machine take ten times as long."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def data_folder():
    """Folder of the files that tests compare with."""
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def write_wav():
    """Write samples of shape (n,) or (n, channels) in [-1, 1) as 16 bit, by the standard library's
    writer, which shares no code with our reader."""

    def write(path, samples, rate_hz=16000):
        samples = np.asarray(samples, dtype=np.float64)
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
            file.setsampwidth(2)
            file.setframerate(rate_hz)
            file.writeframes(np.round(samples * 32768).astype("<i2").tobytes())
        return path

    return write


@pytest.fixture
def make_clips(tmp_path, write_wav, rng):
    """Write noise clips of the given numbers of samples to <tmp_path>/fan/train."""

    def make(*lengths, channels=1, rate_hz=16000):
        clips = []
        for index, length in enumerate(lengths):
            name = f"section_00_source_train_normal_{index:04d}_m-n_W.wav"
            shape = (length, channels) if channels > 1 else length
            path = write_wav(
                tmp_path / "fan" / "train" / name, rng.uniform(-0.5, 0.5, shape), rate_hz
            )
            clips.append(parse_clip(path, "fan"))
        return clips

    return make


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """A DCASE-2023-shaped development data set of two machine types; not to be changed."""
    folder = tmp_path_factory.mktemp("data")
    synthesize(
        folder,
        load_challenge("DCASE2023T2"),
        "dev",
        ["fan", "ToyCar"],
        clips=SyntheticCounts(train_source=6, train_target=2, test_per_group=2),
        seconds=(0.5, 0.5),
    )
    return folder


@pytest.fixture(scope="session")
def tiny_encoders(tmp_path_factory):
    """Architecture -> file of a tiny encoder with random weights, in its published layout."""
    import torch
    from tiny_encoders import beats, eat, efficientat, openl3, panns

    folder = tmp_path_factory.mktemp("weights")
    found = {}
    made = {"beats": beats(), "eat": eat(), "mn": efficientat()}
    for name, content in {**made, "panns": panns(), "openl3": openl3()}.items():
        found[name] = folder / f"tiny_{name}.pt"
        torch.save(content, found[name])
    return found


@pytest.fixture(scope="session")
def tiny_beats(tiny_encoders):
    """File of a tiny BEATs: 2 layers of 16."""
    return tiny_encoders["beats"]
