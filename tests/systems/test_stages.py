"""A system of several stages: resumed in any of them, with epochs that are kept."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.audio.clip_set import ClipSet
from asd.audio.features import Features, Waveform
from asd.clips import Clip
from asd.errors import UserError
from asd.jobs.folder_run import FolderRun
from asd.jobs.jobs import ModelFolder
from asd.systems.base import MAIN_STAGE, Epoch, System
from asd.systems.memory_run import MemoryRun

RATE = 16000
ENCODER_EPOCHS, HEAD_EPOCHS, KEPT = 3, 2, (1, 3)


@dataclass(frozen=True)
class NoParameters:
    pass


class Killed(BaseException):
    """What no handler of errors may hold up, as a kill would not."""


class TwoStages(System):
    """Random walks: an encoder, whose kept epochs are averaged, then a head that starts there."""

    Parameters = NoParameters
    score_names = ("DISTANCE",)
    encoder_epochs = ENCODER_EPOCHS

    def inputs(self):
        return {"waveform": Waveform()}

    def fit(self, train, run):
        power = torch.tensor(train.features(Waveform()).rows.std())
        encoder = run.stage("encoder", self.encoder_epochs, KEPT)
        walk(encoder, power, run.seed, self.encoder_epochs)
        start = torch.stack([state["weight"] for state in encoder.kept().values()]).mean()
        self.weight = walk(run.stage(MAIN_STAGE, HEAD_EPOCHS), start, run.seed + 1, HEAD_EPOCHS)

    def score(self, clips, names=None):  # noqa: ARG002
        features = clips.features(Waveform())
        return {"DISTANCE": np.abs(features.lengths - float(self.weight))}

    def normal_scores(self):
        return {}

    def state(self):
        return {"weight": self.weight}

    def load_state(self, state):
        self.weight = state["weight"]


def walk(stage, weight, seed, total):
    """Add a random number to a weight in each epoch of a stage."""
    generator, done = torch.Generator().manual_seed(seed), 0
    if (found := stage.resume) is not None:
        weight, done = found["weight"], found["done"]
        generator.set_state(found["generator"])
    for number in range(done + 1, total + 1):
        weight = weight + torch.randn((), generator=generator)
        snapshot = {"weight": weight, "done": number, "generator": generator.get_state()}
        stage.report(Epoch(number, total, {"loss": float(weight)}, snapshot.copy))
    return weight


def train_clips():
    def source(clips, _):
        rows = np.random.default_rng(3).standard_normal(10 * len(clips)).astype(np.float32)
        starts = np.arange(len(clips)) * 10
        return Features(rows, starts, np.full(len(clips), 10), RATE)

    return ClipSet([Clip(Path(f"{i}.wav"), "fan") for i in range(4)], source)


def fitted(run, encoder_epochs=ENCODER_EPOCHS):
    system = TwoStages(NoParameters())
    system.encoder_epochs = encoder_epochs
    system.fit(train_clips(), run)
    return system


@pytest.fixture
def folder(tmp_path):
    return ModelFolder(tmp_path / "model")


def folder_run(folder, stop_after=None, **options):
    """A run that is killed once so many epochs, of all stages, are stored."""
    done = []

    def count(_):
        done.append(None)
        if len(done) == stop_after:
            raise Killed

    run = FolderRun(folder, 5, {"clips": 4}, {"seed": 5}, on_epoch=count, **options)
    run.prepare_folder()
    run.done = done
    return run


def weight_of(folder, **options):
    run = folder_run(folder, **options)
    weight = fitted(run).weight
    run.finish()
    return weight, len(run.done)


def test_a_folder_and_memory_make_no_difference(folder):
    epochs = []
    memory = MemoryRun(5, lambda stage, epoch: epochs.append((stage, epoch.number)))
    weight, done = weight_of(folder)
    assert torch.equal(fitted(memory).weight, weight)
    assert epochs == [("encoder", n) for n in (1, 2, 3)] + [(MAIN_STAGE, n) for n in (1, 2)]
    assert done == 5


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4, 5])
def test_resumed_in_any_epoch_of_any_stage_it_ends_with_the_same_bits(folder, tmp_path, stop_after):
    expected, _ = weight_of(ModelFolder(tmp_path / "whole"))
    with pytest.raises(Killed):
        fitted(folder_run(folder, stop_after))
    weight, done = weight_of(folder, restart=True)
    assert torch.equal(weight, expected)
    assert done == 5 - stop_after


def test_every_stage_has_a_log_a_checkpoint_and_kept_epochs(folder):
    weight_of(folder)
    assert {path.name for path in folder.path.iterdir()} >= {
        "log_encoder.csv", "checkpoint_encoder.pt", "checkpoint_encoder_epoch1.pt",
        "checkpoint_encoder_epoch3.pt", "log.csv", "checkpoint.pt", "parameters.json",
    }  # fmt: skip
    assert not (folder.path / "checkpoint_encoder_epoch2.pt").exists()
    assert (folder.path / "log_encoder.csv").read_text().splitlines()[0] == "loss"
    assert len((folder.path / "log_encoder.csv").read_text().splitlines()) == 4


def test_what_an_older_training_left_of_other_stages_goes(folder):
    folder.path.mkdir()
    stale = [folder.checkpoint_of("labels"), folder.log_of("labels")]
    for path in stale:
        path.write_text("old")
    weight_of(folder)
    assert not any(path.exists() for path in stale)


def test_a_later_stage_of_an_older_training_is_not_gone_on_from(folder, tmp_path):
    """Its encoder had fewer epochs: what came after it is of no use to this one."""
    fitted(folder_run(folder), encoder_epochs=2)
    expected, _ = weight_of(ModelFolder(tmp_path / "whole"))
    more, done = weight_of(folder, restart=True)
    assert done == 1 + HEAD_EPOCHS
    assert torch.equal(more, expected)


def test_a_later_stage_that_an_interrupted_training_did_not_reach_is_gone(folder, tmp_path):
    fitted(folder_run(folder), encoder_epochs=2)
    with pytest.raises(Killed):
        fitted(folder_run(folder, stop_after=ENCODER_EPOCHS))  # from the start, without --restart
    expected, _ = weight_of(ModelFolder(tmp_path / "whole"))
    weight, done = weight_of(folder, restart=True)
    assert done == HEAD_EPOCHS
    assert torch.equal(weight, expected)


def test_a_named_checkpoint_leads_to_those_of_later_stages(folder, tmp_path):
    elsewhere = ModelFolder(tmp_path / "elsewhere")
    expected, _ = weight_of(ModelFolder(tmp_path / "whole"))
    with pytest.raises(Killed):
        fitted(folder_run(elsewhere, stop_after=4))
    checkpoint = elsewhere.checkpoint_of("encoder")
    weight, done = weight_of(folder, restart=True, checkpoint=checkpoint)
    assert torch.equal(weight, expected)
    assert done == 1


def test_beside_a_named_checkpoint_too_what_came_after_fewer_epochs_is_not_gone_on_from(
    folder, tmp_path
):
    elsewhere = ModelFolder(tmp_path / "elsewhere")
    fitted(folder_run(elsewhere), encoder_epochs=2)
    expected, _ = weight_of(ModelFolder(tmp_path / "whole"))
    weight, done = weight_of(folder, restart=True, checkpoint=elsewhere.checkpoint_of("encoder"))
    assert torch.equal(weight, expected)
    assert done == 1 + HEAD_EPOCHS


def test_a_checkpoint_of_another_stage_is_refused(folder):
    weight_of(folder)
    with pytest.raises(UserError) as caught:
        weight_of(folder, restart=True, checkpoint=folder.checkpoint)
    assert str(caught.value) == (
        f"{folder.checkpoint}: is a checkpoint of the stage training, not of encoder; "
        "train without --restart"
    )


def test_a_kept_epoch_that_is_missing_is_told_before_training(folder):
    with pytest.raises(Killed):
        fitted(folder_run(folder, stop_after=2))
    kept = folder.path / "checkpoint_encoder_epoch1.pt"
    kept.unlink()
    run = folder_run(folder, restart=True)
    with pytest.raises(UserError) as caught:
        fitted(run)
    assert str(caught.value) == f"{kept}: no such checkpoint; train without --restart"
    assert not run.done


def test_a_stage_that_has_more_epochs_done_is_refused(folder):
    weight_of(folder)
    with pytest.raises(UserError, match=r"checkpoint_encoder\.pt: has 3 epochs done, --epochs ask"):
        fitted(folder_run(folder, restart=True), encoder_epochs=2)
