"""Many autoencoders fitted at once against one after the other, with snapshots of either."""

import io
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.audio.clip_set import ClipSet
from asd.audio.features import Features
from asd.challenge.names import parse_clip
from asd.errors import UserError
from asd.systems.autoencoder import stacked
from asd.systems.autoencoder.parameters import AutoencoderParameters
from asd.systems.autoencoder.stacked_training import StackedTraining
from asd.systems.autoencoder.system import Autoencoder
from asd.systems.autoencoder.training import LOSSES
from asd.systems.base import MAIN_STAGE, Fit
from asd.systems.memory_run import MemoryRun

MELS, WIDTH, BATCH = 6, 2, 16


def make_features(lengths, seed, mels=MELS):
    draw = np.random.default_rng(seed)
    rows = draw.normal(-20, 4, (sum(lengths), mels)).astype(np.float32)
    starts = np.cumsum([0, *lengths[:-1]])
    return Features(rows, starts, np.asarray(lengths), 16000)


def make_fits(seeds=(0, 1, 0), epochs=2, resume=(None, None, None), log=None):
    """Two sections of a machine in one array of features, then another machine."""
    both = make_features([12, 9, 12, 12, 12, 11], 0)
    parts = [(range(3), both), (range(3, 6), both), (range(4), make_features([12] * 4, 1))]
    fits = []
    for i, (indices, features) in enumerate(parts):
        clips = [
            parse_clip(Path(f"section_0{i}_{domain}_train_normal_{n:04d}_m-n_W.wav"), "fan")
            for n, domain in zip(indices, itertools.cycle(["source", "source", "target"]))
        ]
        chosen = features.select(range(len(features))[: len(clips)] if i == 2 else indices)
        rows = [] if log is None else log.setdefault(i, [])
        snapshots = {} if resume[i] is None else {MAIN_STAGE: resume[i]}
        run = MemoryRun(seeds[i], Recorder(rows), snapshots)
        fits.append(Fit(new_system(epochs=epochs), as_clip_set(clips, chosen), run))
    return fits


def as_clip_set(clips, features):
    return ClipSet(clips, lambda *_: features)


def new_system(frames=WIDTH, epochs=2):
    return Autoencoder(AutoencoderParameters(frames=frames, batch_size=BATCH, epochs=epochs))


class Recorder:
    """Keeps an epoch's losses and its snapshot, which goes through a file."""

    def __init__(self, rows):
        self.rows = rows

    def __call__(self, _, epoch):
        file = io.BytesIO()
        torch.save(epoch.snapshot(), file)
        file.seek(0)
        snapshot = torch.load(file, weights_only=True)
        self.rows.append((epoch.number, epoch.total, dict(epoch.losses), snapshot))


def fit_alone(fits):
    for fit in fits:
        fit.run_alone()


def scores_of(fit):
    return {**fit.system.gamma_samples()["fan"], "score": fit.system.score(fit.train)}


def assert_same_systems(found, expected, rtol=1e-3):
    for one, other in zip(found, expected, strict=True):
        ours, theirs = scores_of(one), scores_of(other)
        for kind, scores in theirs.items():
            for name, values in scores.items():
                np.testing.assert_allclose(ours[kind][name], values, rtol=rtol, err_msg=name)


def test_fit_many_equals_fit():
    stacked_log, log = {}, {}
    fits, expected = make_fits(log=stacked_log), make_fits(log=log)
    assert Autoencoder.fit_many(fits) == [None] * 3
    fit_alone(expected)
    assert_same_systems(fits, expected)
    for i, rows in log.items():
        for ours, theirs in zip(stacked_log[i], rows, strict=True):
            assert ours[:2] == theirs[:2]
            assert list(ours[2]) == list(LOSSES)
            np.testing.assert_allclose(list(ours[2].values()), list(theirs[2].values()), rtol=1e-3)


@pytest.mark.parametrize(
    ("first", "second"), list(itertools.product([Autoencoder.fit_many, fit_alone], repeat=2))
)
def test_either_way_goes_on_from_the_others_snapshots(first, second):
    whole, begun, ended = {}, {}, {}
    uninterrupted = make_fits(epochs=3, log=whole)
    second(uninterrupted)
    first(make_fits(epochs=3, log=begun))
    resume = [begun[0][0][3], begun[1][1][3], None]  # after one epoch, after two, from the start
    fits = make_fits(epochs=3, resume=resume, log=ended)
    second(fits)
    assert [len(ended[i]) for i in range(3)] == [2, 1, 3]
    for i in range(3):
        for ours, theirs in zip(ended[i], whole[i][-len(ended[i]) :], strict=True):
            np.testing.assert_allclose(list(ours[2].values()), list(theirs[2].values()), rtol=1e-3)
    assert_same_systems(fits, uninterrupted, rtol=1e-2)


def test_resumed_when_all_epochs_are_done():
    log = {}
    fits = make_fits(log=log)
    Autoencoder.fit_many(fits)
    again = make_fits(resume=[log[i][-1][3] for i in range(3)])
    assert Autoencoder.fit_many(again) == [None] * 3
    assert_same_systems(again, fits, rtol=1e-6)


def test_one_failure_does_not_stop_the_others():
    fits, expected = make_fits(), make_fits()
    short = replace(fits[0], system=new_system(frames=50))

    def no_room(*_):
        raise UserError("disk is full")

    full = replace(fits[1], run=MemoryRun(1, no_room))
    errors = Autoencoder.fit_many([fits[0], short, full, fits[2]])
    assert errors[0] is None
    assert errors[3] is None
    assert "a window takes 50" in str(errors[1])
    assert str(errors[2]) == "disk is full"
    fit_alone(expected)
    assert_same_systems([fits[0], fits[2]], [expected[0], expected[2]])


def test_stops_when_all_have_failed():
    epochs = []

    def no_room(_, epoch):
        epochs.append(epoch.number)
        raise UserError("disk is full")

    fits = [replace(fit, run=MemoryRun(0, no_room)) for fit in make_fits(epochs=10**6)]
    assert [str(error) for error in Autoencoder.fit_many(fits)] == ["disk is full"] * 3
    assert epochs == [1, 1, 1]


def test_the_default_fits_one_after_the_other():
    fits, expected = make_fits(), make_fits()
    short = replace(fits[0], system=new_system(frames=50))
    base = super(Autoencoder, Autoencoder).fit_many
    errors = base([*fits, short])
    assert errors[:3] == [None] * 3
    assert isinstance(errors[3], UserError)
    fit_alone(expected)
    assert_same_systems(fits, expected, rtol=1e-7)


def test_little_memory_makes_several_stacks(monkeypatch):
    built = []

    class Spy(StackedTraining):
        def __init__(self, runs, data):
            built.append(len(runs))
            super().__init__(runs, data)

    fits, expected = make_fits(), make_fits()
    monkeypatch.setattr(stacked, "StackedTraining", Spy)
    members = [stacked._member(fit) for fit in fits]
    monkeypatch.setattr(stacked, "_budget", lambda _: stacked.bytes_needed(members[:2]))
    Autoencoder.fit_many(fits)
    assert built == [2, 1]
    fit_alone(expected)
    assert_same_systems(fits, expected)


def test_a_stack_that_runs_out_of_memory_is_halved(monkeypatch, caplog):
    built = []

    class TooLarge(StackedTraining):
        def __init__(self, runs, data):
            built.append(len(runs))
            if len(runs) > 1:
                raise torch.cuda.OutOfMemoryError
            super().__init__(runs, data)

    fits, expected = make_fits(), make_fits()
    monkeypatch.setattr(stacked, "StackedTraining", TooLarge)
    assert Autoencoder.fit_many(fits) == [None] * 3
    assert built == [3, 1, 2, 1, 1]
    assert "3 models do not fit into memory together" in caplog.text
    fit_alone(expected)
    assert_same_systems(fits, expected)


def test_an_unforeseen_error_in_a_stack_is_the_error_of_all_its_members(monkeypatch):
    class Broken(StackedTraining):
        def run_epoch(self):
            raise RuntimeError("no device")

    fits = make_fits()
    fits[2] = replace(fits[2], system=new_system(epochs=0))
    monkeypatch.setattr(stacked, "StackedTraining", Broken)
    errors = Autoencoder.fit_many(fits)
    assert [str(error) for error in errors[:2]] == ["no device"] * 2
    assert errors[2] is None


def test_fitted_systems_are_told_of_at_once():
    told = []
    fits = [replace(fit, on_fitted=lambda i=i: told.append(i)) for i, fit in enumerate(make_fits())]
    Autoencoder.fit_many(fits)
    super(Autoencoder, Autoencoder).fit_many(fits)
    assert told == [0, 1, 2] * 2


def test_memory_estimate_counts_shared_rows_once():
    first, second, other = (stacked._member(fit) for fit in make_fits())
    alone = stacked.bytes_needed([first])
    parameters = sum(p.numel() for p in first.run.network.parameters())
    rows = 4 * first.data.rows.numel()
    assert alone > rows + 4 * 8 * parameters
    assert stacked.bytes_needed([first, first]) == 2 * alone - rows
    assert stacked.bytes_needed([first, second]) < 2 * alone
    assert stacked.bytes_needed([first, other]) > stacked.bytes_needed([first, second])
