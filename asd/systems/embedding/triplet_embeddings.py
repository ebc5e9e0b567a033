"""Embeddings of a triplet network that was trained on a machine type's clips."""

import numpy as np
import torch
from numpy.typing import NDArray

from asd.audio.clip_set import ClipSet
from asd.audio.features import Waveform
from asd.systems.base import Run, resume_stage
from asd.systems.embedding.crops import Waves
from asd.systems.embedding.labellers import Embed
from asd.systems.embedding.triplet import (
    TripletClips,
    TripletNetwork,
    TripletSettings,
    TripletTraining,
)


def triplet_embeddings(
    train: ClipSet,
    machine: str,
    run: Run,
    stage_name: str,
    epochs: int,
    *,
    channel: str,
    width: int,
    rate_hz: int,
    device: torch.device,
) -> Embed:
    """Train a triplet network on a machine type's clips, the others' as noise, in a stage.

    Parameters
    ----------
    channel
        What it hears of a clip.
    width
        Samples of its input.

    Raises
    ------
    UserError
        The machine type has a single clip, or the input is too short.
    """
    training = TripletTraining(
        lambda: TripletNetwork(width, rate_hz, affine=True, padding="reflect"),
        TripletSettings(epochs=epochs),
        seed=run.seed,
        device=device,
    )
    stage = run.stage(stage_name, epochs)
    resume_stage(stage, training.load_snapshot)
    feature = Waveform(channel)
    is_machine = torch.tensor([clip.machine == machine for clip in train])
    clips = TripletClips(
        Waves.place(train.features(feature), device),
        is_machine.nonzero()[:, 0],
        (~is_machine).nonzero()[:, 0],
        width,
    )
    training.run(clips, stage.report)

    def embed(chosen: ClipSet) -> NDArray[np.float32]:
        waves = Waves.place(chosen.features(feature), device)
        found: NDArray[np.float32] = training.embed(waves, width).numpy()
        return found

    return embed
