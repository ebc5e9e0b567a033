"""Features that are larger than the memory that a process may take."""

import subprocess
import sys

import numpy as np
import pytest

# Trains on 128 MB of frames. With a limit, the process may take 48 MB beside what it has once torch
# is loaded; pages of a read-only file, which the system can drop at any time, don't count.
PROGRAM = """
import hashlib, resource, sys
from pathlib import Path
import numpy as np, torch
from asd.audio.clip_set import ClipSet
from asd.audio.features import Features
from asd.challenge.names import parse_clip
from asd.systems.autoencoder.parameters import AutoencoderParameters
from asd.systems.autoencoder.system import Autoencoder
from asd.systems.memory_run import MemoryRun

path, limited, copied = sys.argv[1], "limited" in sys.argv, "copied" in sys.argv
torch.set_num_threads(1)
rows = np.memmap(path, dtype=np.float32, mode="r", shape=(250_000, 128))
lengths = np.full(25, 10_000)
names = [f"section_00_source_train_normal_{i:04d}_a_1.wav" for i in range(25)]
clips = [parse_clip(Path(name), "fan") for name in names]
p = AutoencoderParameters(epochs=1, batch_size=64, frame_hop_length=100)
system = Autoencoder(p)
few = Features(np.array(rows[:1000]), np.arange(0, 1000, 40), np.full(25, 40), 16000)
warm = Autoencoder(AutoencoderParameters(epochs=1, batch_size=2))
warm.fit(ClipSet(clips, lambda *_: few), MemoryRun(1))
if limited:
    status = dict(line.split(":") for line in open("/proc/self/status"))
    most = (int(status["VmData"].split()[0]) + 48 * 1024) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
if copied:
    rows = np.array(rows)
features = Features(rows, np.arange(25) * 10_000, lengths, 16000)
system.fit(ClipSet(clips, lambda *_: features), MemoryRun(1))
weights = system.state()["network"]
print(hashlib.sha256(b"".join(w.numpy().tobytes() for w in weights.values())).hexdigest())
"""


def train(path, *words):
    command = [sys.executable, "-c", PROGRAM, str(path), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc are those of Linux")
def test_training_under_a_memory_limit_gives_the_same_model(tmp_path):
    path = tmp_path / "rows"
    random = np.random.default_rng(0)
    with path.open("wb") as file:
        for _ in range(25):
            file.write((random.standard_normal((10_000, 128), dtype="f4") * 10 - 40).tobytes())
    free, limited = train(path), train(path, "limited")
    assert limited.returncode == 0, limited.stderr
    assert limited.stdout == free.stdout != ""
    copied = train(path, "limited", "copied")  # the limit is one: features in memory exceed it
    assert copied.returncode != 0
    assert "MemoryError" in copied.stderr
