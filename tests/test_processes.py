import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from asd.processes import (
    TerminatedError,
    end_with_parent,
    exit_status,
    terminated_as_interrupted,
    undisturbed,
)

LONG_S = 60


def run_python(program, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def is_running(number):
    """Whether a process runs; one that has ended but was not waited for does not."""
    stat = Path(f"/proc/{number}/stat")
    if stat.parent.parent.joinpath("self").exists():
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition, at_most_s=LONG_S):
    end = time.monotonic() + at_most_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


# --- signals ---


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_signals_end_as_an_interrupt_with_a_status_of_their_own(name, status):
    def be_told():
        with terminated_as_interrupted():
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(LONG_S)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as caught:
        be_told()
    assert exit_status(caught.value) == status
    assert isinstance(caught.value, TerminatedError) == (name != "SIGINT")
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_second_signal_does_not_break_off_the_cleaning_up():
    cleaned = []

    def be_told_twice():
        with terminated_as_interrupted():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(LONG_S)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGHUP)
                cleaned.append(True)

    with pytest.raises(TerminatedError):
        be_told_twice()
    assert cleaned


def test_an_error_in_the_cleaning_up_does_not_hide_the_signal():
    def end_badly():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        finally:
            raise AttributeError

    with pytest.raises(TerminatedError, match="SIGTERM"), terminated_as_interrupted():
        end_badly()
    with pytest.raises(AttributeError), terminated_as_interrupted():
        raise AttributeError


def test_an_ignored_signal_stays_ignored():
    """As nohup wants it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminated_as_interrupted():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_handlers_stay_as_they_are():
    seen = []

    def look():
        with terminated_as_interrupted():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


# --- the parent's end ---

PARENT = f"""
import os, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())])
print(worker.pid, flush=True)
time.sleep({LONG_S})
"""
WORKER = """
import sys, time
from asd.processes import end_with_parent
for _ in range(3):
    end_with_parent(int(sys.argv[1]))
{work}
"""
SLEEP = f"time.sleep({LONG_S})"
COMPUTE = f"end = time.monotonic() + {LONG_S}\nwhile time.monotonic() < end: pass"


@pytest.mark.parametrize("work", [SLEEP, COMPUTE], ids=["sleep", "compute"])
def test_a_worker_ends_when_its_parent_is_killed(work):
    parent = run_python(PARENT, WORKER.format(work=work))
    worker = int(parent.stdout.readline())
    time.sleep(0.5)
    assert is_running(worker)
    parent.kill()
    parent.wait()
    wait_until(lambda: not is_running(worker), at_most_s=LONG_S / 2)


def test_a_worker_whose_parent_ended_before_it_began_ends_too():
    ended = subprocess.Popen(["true"])
    ended.wait()
    worker = run_python(WORKER.format(work=SLEEP), ended.pid)
    assert worker.wait(timeout=LONG_S / 2) == 1


def test_a_worker_goes_on_while_its_parent_runs():
    worker = run_python(WORKER.format(work="time.sleep(1.5)"), os.getpid())
    assert worker.wait() == 0


def test_work_within_the_parent_watches_nothing():
    threads = threading.active_count()
    end_with_parent(os.getpid())
    assert threading.active_count() == threads


def test_a_signal_waits_for_the_end_of_an_undisturbed_block():
    done = []

    def write():
        with undisturbed():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            done.append("block")
        done.append("behind")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert done == ["block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
