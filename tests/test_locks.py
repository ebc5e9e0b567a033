import errno
import logging
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from asd import locks
from asd.errors import UserError
from asd.locks import exclusive_lock

fcntl = pytest.importorskip("fcntl")


@contextmanager
def held_elsewhere(path):
    """Another process holds the lock until it is killed; yields that process."""
    program = """
import sys, time
from pathlib import Path
from asd.locks import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), "training"):
    print("held", flush=True)
    time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(locks.__file__).parents[1])}
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def test_who_does_not_wait_is_told_which_process_holds_the_lock(tmp_path):
    path = tmp_path / "model" / ".lock"
    with held_elsewhere(path) as process:
        with pytest.raises(UserError) as caught, exclusive_lock(path, "training", wait=False):
            raise AssertionError("the lock is held")
        assert str(caught.value) == (
            f"{path.parent}: the training is being done here by process {process.pid} on "
            f"{socket.gethostname()}; wait for its end, or end it"
        )


def test_a_killed_process_leaves_nothing_locked(tmp_path):
    with held_elsewhere(tmp_path / ".lock") as process:
        process.kill()
        process.wait()
    with exclusive_lock(tmp_path / ".lock", "training", wait=False):
        pass


def test_who_waits_is_told_for_whom_and_gets_the_lock(tmp_path, caplog):
    caplog.set_level(logging.INFO, "asd")
    with held_elsewhere(tmp_path / ".lock") as process:
        threading.Timer(0.2, process.kill).start()
        with exclusive_lock(tmp_path / ".lock", "download"):
            process.wait(timeout=10)
            assert f"waiting for process {process.pid} on" in caplog.text
            assert "does the download here" in caplog.text


@pytest.mark.parametrize("text", [b"", b"\xff", b"a\nb", b"process 1\nERROR: forged"])
def test_a_holder_who_did_not_sign_is_another_process(tmp_path, text):
    path = tmp_path / ".lock"
    with held_elsewhere(path):
        path.write_bytes(text)
        with (
            pytest.raises(UserError, match="by another process;"),
            exclusive_lock(path, "x", False),
        ):
            pass


def test_the_signature_goes_with_the_lock(tmp_path):
    with exclusive_lock(tmp_path / ".lock", "training"):
        pass
    assert (tmp_path / ".lock").read_bytes() == b""


def test_threads_of_one_process_exclude_each_other(tmp_path):
    inside, most = [], []

    def work():
        with exclusive_lock(tmp_path / ".lock", "training"):
            inside.append(1)
            threading.Event().wait(0.005)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8

    refused = []

    def ask():
        try:
            with exclusive_lock(tmp_path / ".lock", "training", wait=False):
                pass
        except UserError as error:
            refused.append(str(error))

    with exclusive_lock(tmp_path / ".lock", "training"):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert len(refused) == 1
    assert "by another thread of this process;" in refused[0]


@pytest.mark.parametrize("number", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
@pytest.mark.parametrize("wait", [True, False])
def test_without_locks_of_the_file_system_the_task_goes_on(
    tmp_path, monkeypatch, caplog, number, wait
):
    def refuse(*_):
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    done = []
    with exclusive_lock(tmp_path / ".lock", "training", wait):
        done.append(1)
    assert done
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert f"{tmp_path}: the file system has no locks" in record.message
    assert os.strerror(getattr(errno, number)) in record.message


def test_other_faults_of_locking_are_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with (
        pytest.raises(UserError, match=r"\.lock: cannot be locked .*Input/output error"),
        exclusive_lock(tmp_path / ".lock", "training"),
    ):
        pass


def test_errors_of_the_task_pass_and_free_the_lock(tmp_path):
    with pytest.raises(OSError, match="mine"), exclusive_lock(tmp_path / ".lock", "training"):
        raise OSError("mine")
    with exclusive_lock(tmp_path / ".lock", "training", wait=False):
        pass


def test_a_file_in_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(UserError, match="x"), exclusive_lock(tmp_path / "x" / ".lock", "training"):
        pass


def test_a_full_disk_locks_all_the_same(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "ftruncate", full)
    with exclusive_lock(tmp_path / ".lock", "training"):
        pass
