"""Memory kept during training."""

import resource
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the GNU C library")
def test_memory_of_large_arrays_is_reused():
    if memory._find("mallopt") is None:
        pytest.skip("another C library")
    plain = page_faults(8)
    with memory.reused_memory():
        page_faults(2)
        reused = page_faults(8)
    assert reused < plain / 4
    assert page_faults(8) > plain / 2  # given back afterwards


def test_without_the_gnu_c_library_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory, "_find", lambda _: None)
    with memory.reused_memory():
        assert np.zeros(3).sum() == 0
