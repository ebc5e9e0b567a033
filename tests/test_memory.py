"""Memory kept in the process."""

import resource
import subprocess
import sys

import numpy as np
import pytest

from asd import memory

LARGE = 64 * 2**20 // 4  # above what the GNU C library keeps


def page_faults(rounds: int) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        np.empty(LARGE, dtype=np.float32).fill(1.0)  # plain malloc, without alignment
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


KEEPING = """
import importlib.util, sys
from asd import memory
spec = importlib.util.spec_from_file_location("tests_of_memory", sys.argv[1])
tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
plain = tests.page_faults(8)
memory.keep_freed_memory()
tests.page_faults(2)
print(plain, tests.page_faults(8))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the GNU C library")
def test_memory_of_large_arrays_is_reused():
    if memory._find("mallopt") is None:
        pytest.skip("another C library")
    command = [sys.executable, "-c", KEEPING, __file__]  # kept for good, so in a process of its own
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    plain, kept = map(int, done.stdout.split())
    assert kept < plain / 4


def test_without_the_gnu_c_library_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory, "_find", lambda _: None)
    memory.keep_freed_memory()
