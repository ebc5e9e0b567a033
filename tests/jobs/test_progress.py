"""The bar of a training: epochs of this training alone, models where there are no epochs."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest
from tqdm import tqdm

from asd.config import load_config
from asd.files import write_text
from asd.jobs.jobs import plan_jobs
from asd.jobs.progress import training_progress


@pytest.fixture
def bars(monkeypatch):
    made = []

    class Bar(tqdm):
        def __init__(self, **options):
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr("asd.jobs.progress.tqdm", Bar)
    return made


def jobs_of(tmp_path, *machines, **flags):
    found = {"machine_types": machines, "result_directory": tmp_path, **flags}
    return plan_jobs(load_config(None, found, use_default_file=False))


@pytest.mark.parametrize(("restart", "at_first"), [(False, 0), (True, 3)])
def test_progress_counts_no_epoch_of_an_earlier_training(tmp_path, bars, restart, at_first):
    jobs = [
        replace(job, config=replace(job.config, restart=restart))
        for job in jobs_of(tmp_path, "fan", "valve")
    ]
    log = jobs[0].folder.log
    write_text(log, "loss\n1\n1\n1\n")
    with training_progress(jobs):
        pass
    with training_progress(jobs):
        write_text(log, "loss\n1\n")
        write_text(jobs[1].folder.log, "loss\n1\n1\n")
    assert [bar.n for bar in bars] == [at_first, 3]


def test_models_are_counted_where_a_system_learns_in_no_epochs(tmp_path, bars):
    jobs = jobs_of(tmp_path, "fan", "valve", model="stats")
    assert len(jobs) == 2
    write_text(jobs[1].folder.model, "of an earlier training")
    with training_progress(jobs):
        write_text(jobs[0].folder.model, "trained")
    (bar,) = bars
    assert (bar.n, bar.total, bar.unit) == (1, 2, "model")


def test_a_file_system_that_fails_for_a_while_ends_no_training(tmp_path, bars, monkeypatch):
    jobs = jobs_of(tmp_path, "fan")
    write_text(jobs[0].folder.log, "loss\n1\n")

    def stale(*_, **__):
        raise OSError(errno.ESTALE, "Stale file handle")

    with training_progress(jobs):
        monkeypatch.setattr(Path, "stat", stale)
        monkeypatch.setattr(Path, "glob", stale)
    assert bars[0].n == 0


def test_epochs_of_stages_before_the_main_one_are_told_beside(tmp_path, bars):
    jobs = jobs_of(tmp_path, "fan", model="unlabelled_pattr_bic_pre")
    write_text(jobs[0].folder.log_of("labels"), "loss\n1\n1\n1\n")
    with training_progress(jobs):
        write_text(jobs[0].folder.log_of("network"), "loss\n1\n1\n")
    (bar,) = bars
    assert (bar.n, bar.total) == (0, 16)
    assert bar.postfix == "2 epochs of earlier stages"
