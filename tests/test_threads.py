"""How many cores are used: what is asked for, else OMP_NUM_THREADS, else all that may be."""

import os

import pytest

from asd.threads import available_cores, thread_count

ALL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.mark.parametrize(
    ("value", "cores"), [("3", 3), ("5,2", 5), ("", ALL), ("0", ALL), ("-1", ALL), ("many", ALL)]
)
def test_the_environment_says_how_many_cores(monkeypatch, value, cores):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert available_cores() == thread_count(0) == cores
    assert thread_count(7) == 7


def test_without_a_word_all_cores_that_this_process_may_run_on_are_used(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert available_cores() == ALL
