import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from asd.archives import load_archive
from asd.cli import main
from asd.config import load_config
from asd.errors import UserError
from asd.jobs.folder_run import epochs_done
from asd.jobs.jobs import Job, plan_jobs
from asd.jobs.parallel import (
    _ClusterWatch,
    _connect,
    default_at_once,
    run_jobs,
)
from asd.jobs.training import train_together


def touch_own_file(job: Job, threads: int) -> None:
    folder = job.config.result_directory
    (folder / f"{job.machines[0]}.{os.getpid()}.{threads}").touch()
    if job.machines[0] == "fan":
        raise UserError("the fan is out of order")
    if job.machines[0] == "valve":
        raise ZeroDivisionError("no valve")


def die_at_first(job: Job, threads: int) -> None:
    marker = job.config.result_directory / f"{job.machines[0]}.begun"
    if job.machines[0] == "fan" and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    touch_own_file(job, threads)


def always_die(job: Job, threads: int) -> None:  # noqa: ARG001
    os.kill(os.getpid(), signal.SIGKILL)


def note_log_level(job: Job, threads: int) -> None:  # noqa: ARG001
    level = logging.getLogger("asd").getEffectiveLevel()
    (job.config.result_directory / f"{job.machines[0]}.{os.getpid()}").write_text(str(level))


def jobs_of(tmp_path, *machines):
    return plan_jobs(config_of(machine_types=machines, result_directory=tmp_path))


def config_of(**flags):
    return load_config(None, flags, use_default_file=False)


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_failed_job_is_reported_and_does_not_stop_the_others(tmp_path, at_once):
    jobs = jobs_of(tmp_path, "ToyCar", "fan", "slider", "valve")
    failures = run_jobs(touch_own_file, jobs, at_once)
    assert {failure.job.machines[0]: failure.reason for failure in failures} == {
        "fan": "the fan is out of order",
        "valve": "valve id(0_): failed with ZeroDivisionError: no valve",
    }
    assert len(list(tmp_path.iterdir())) == 4


def test_several_jobs_at_once_run_in_other_processes(tmp_path):
    run_jobs(touch_own_file, jobs_of(tmp_path, "ToyCar", "slider"), 2)
    assert not [path for path in tmp_path.iterdir() if f".{os.getpid()}." in path.name]


def test_jobs_of_a_killed_process_are_done_again(tmp_path):
    failures = run_jobs(die_at_first, jobs_of(tmp_path, "ToyCar", "fan", "slider"), 2)
    assert [failure.reason for failure in failures] == ["the fan is out of order"]


def test_a_job_that_kills_its_process_each_time_is_reported(tmp_path):
    (failure,) = run_jobs(always_die, [*jobs_of(tmp_path, "fan")], 2)
    assert "its process was killed, more than once" in failure.reason


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_other_processes_log_what_this_one_does(tmp_path, caplog, level):
    with caplog.at_level(level, "asd"):
        run_jobs(note_log_level, jobs_of(tmp_path, "ToyCar", "slider"), 2)
    assert not list(tmp_path.glob(f"*.{os.getpid()}"))
    assert [path.read_text() for path in tmp_path.iterdir()] == [str(level)] * 2


def test_debugging_shows_where_a_job_failed(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG, "asd"):
        run_jobs(touch_own_file, jobs_of(tmp_path, "fan", "valve"), 1)
    shown = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert shown == ["the fan is out of order", "no valve"]


def test_default_number_of_jobs(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    jobs = jobs_of(tmp_path, "ToyCar", "fan", "slider")
    assert default_at_once(jobs) == 2
    assert default_at_once(jobs[:1]) == 1
    few = [replace(job, config=replace(job.config, threads=1)) for job in jobs]
    assert default_at_once(few) == 1
    asked = [replace(job, config=replace(job.config, jobs=3)) for job in few]
    assert default_at_once(asked) == 3


def train(data, results, *flags):
    where = ["--dataset_directory", str(data), "--result_directory", str(results)]
    size = ["--epochs", "30", "--batch_size", "16", "--machine_types", "fan", "ToyCar"]
    return main(["train", "-d", *where, *size, *flags])


def kill_a_worker_in_mid_training(cluster, results, killed):
    """Wait for the first epochs of a model, then kill its worker."""
    while not any(epochs_done(log) > 1 for log in results.glob("models/*/*/log.csv")):
        time.sleep(0.02)
    worker = cluster.workers[0]
    os.kill(worker.pid, signal.SIGKILL)
    killed.append(worker.pid)


def test_a_cluster_trains_the_same_models_though_a_worker_is_killed(tmp_path, tiny_data, cluster):
    assert train(tiny_data, tmp_path / "here") == 0
    killed = []
    arguments = (cluster, tmp_path / "there", killed)
    killer = threading.Thread(target=kill_a_worker_in_mid_training, args=arguments)
    killer.start()
    assert train(tiny_data, tmp_path / "there", "--cluster", cluster.scheduler_address) == 0
    killer.join()
    assert killed
    models = sorted((tmp_path / "here").glob("models/*/*/model.pt"))
    assert len(models) == 2
    for path in models:
        other = tmp_path / "there" / path.relative_to(tmp_path / "here")
        one, two = (load_archive(p, "")["state"]["network"] for p in (path, other))
        assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.usefixtures("distributed")
def test_no_scheduler_at_the_address(tmp_path, tiny_data, monkeypatch, capsys):
    monkeypatch.setattr("asd.jobs.parallel._CONNECT_S", 1)
    assert train(tiny_data, tmp_path, "--cluster", "tcp://127.0.0.1:9") == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err


def wait_for_a_sign(job: Job, threads: int) -> None:  # noqa: ARG001
    folder = job.config.result_directory
    (folder / f"{job.machines[0]}.begun").touch()
    while not (folder / "go").exists():
        time.sleep(0.05)


@pytest.fixture
def scheduler(distributed, tmp_path):  # noqa: ARG001
    """A Dask scheduler in a process of its own: the process and its address."""
    place = tmp_path / "scheduler.json"
    words = ["--port", "0", "--no-dashboard", "--scheduler-file", str(place)]
    with started("distributed.cli.dask_scheduler", "--host", "127.0.0.1", *words) as process:
        while not place.exists():
            assert process.poll() is None
            time.sleep(0.05)
        yield process, json.loads(place.read_text())["address"]


@contextmanager
def started(module, *words):
    process = subprocess.Popen(
        [sys.executable, "-m", module, *words], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_killed_scheduler_ends_the_wait(tmp_path, scheduler):
    process, address = scheduler
    results = tmp_path / "results"
    results.mkdir()
    ended = threading.Event()

    def kill_it_in_mid_job():
        while not list(results.glob("*.begun")) and not ended.wait(0.05):
            pass
        process.kill()

    words = ["--nthreads", "1", "--no-nanny", "--no-dashboard"]
    with started("distributed.cli.dask_worker", address, *words):
        killer = threading.Thread(target=kill_it_in_mid_job)
        killer.start()
        try:
            with pytest.raises(UserError, match=f"lost the Dask scheduler at {address}.*restart"):
                run_jobs(wait_for_a_sign, jobs_of(results, "fan", "valve"), 1, address)
        finally:
            ended.set()
            killer.join()
    assert list(results.glob("*.begun"))


def test_a_silent_scheduler_ends_the_wait(scheduler):
    process, address = scheduler
    client = _connect(address)
    watch = _ClusterWatch(client, address, timeout_s=1)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    begin = time.monotonic()
    with pytest.raises(UserError, match=f"lost the Dask scheduler at {address}"):
        watch.look(waiting=1)
    assert time.monotonic() - begin < 20
    process.send_signal(signal.SIGCONT)
    client.close()


def test_a_scheduler_without_workers_ends_the_wait(scheduler):
    _, address = scheduler
    client = _connect(address)
    watch = _ClusterWatch(client, address, timeout_s=10)
    watch.look(waiting=1)  # too early to ask
    watch.timeout_s = 0.1
    time.sleep(0.2)
    with pytest.raises(UserError, match=f"{address} has had no worker for 0.1 s; start some with"):
        watch.look(waiting=1)
    watch.look(waiting=0)  # nothing to wait for
    client.close()


def test_models_trained_together_equal_those_trained_one_by_one(tmp_path, tiny_data):
    results = tmp_path / "one"
    assert train(tiny_data, results, "--epochs", "2", "--jobs", "1") == 0
    config = config_of(
        machine_types=("fan", "ToyCar"), dataset_directory=tiny_data, epochs=2, batch_size=16,
        result_directory=tmp_path / "together",
    )  # fmt: skip
    assert train_together(plan_jobs(config), threads=1) == []
    logs = [sorted((tmp_path / name).glob("models/*/*/log.csv")) for name in ("one", "together")]
    assert len(logs[0]) == 2
    for one, two in zip(*logs, strict=True):
        # loss and val_loss; sums of float32 in another order move them, and Adam moves them more.
        np.testing.assert_allclose(read_log(one)[:, :2], read_log(two)[:, :2], rtol=2e-3)
        assert (two.parent / "model.pt").is_file()


def test_one_that_cannot_be_trained_does_not_stop_those_trained_together(tmp_path, tiny_data):
    config = config_of(
        machine_types=("fan", "slider"), dataset_directory=tiny_data, epochs=1,
        result_directory=tmp_path,
    )  # fmt: skip
    ((job, error),) = train_together(plan_jobs(config), threads=1)
    assert job.machines == ("slider",)
    assert "no such folder" in str(error)
    assert len(list(tmp_path.glob("models/*/*fan*/model.pt"))) == 1


def read_log(path):
    return np.genfromtxt(path, delimiter=",", skip_header=1)
