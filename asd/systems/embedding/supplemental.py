"""Supplemental clips in a training: as classes of their own, and as noise for other clips."""

import numpy as np
import torch
from numpy.typing import NDArray

from asd.audio.clip_set import ClipSet
from asd.audio.features import Feature
from asd.clips import Clip
from asd.systems.embedding.crops import JoinedWaves, Waves
from asd.systems.embedding.labellers import TrainingClasses
from asd.systems.embedding.recipe_training import SupplementalRecipe
from asd.systems.embedding.training import Noise, TrainingSet


def with_supplemental(
    classes: TrainingClasses, clips: tuple[Clip, ...], recipe: SupplementalRecipe
) -> TrainingClasses:
    """Classes of training clips, then of supplemental clips if the recipe learns from them.

    Those of a machine type, section and kind (clean or noise) are a class, after all others.
    """
    if not recipe.classes or not clips:
        return classes
    names = [(clip.machine, clip.section, str(clip.label)) for clip in clips]
    known = {name: classes.count + i for i, name in enumerate(sorted(set(names)))}
    numbers = np.array([known[name] for name in names], dtype=np.int64)
    together = np.concatenate([classes.numbers, numbers])
    return TrainingClasses(together, classes.count + len(known))


def training_set(
    train: ClipSet,
    waveform: Feature,
    classes: TrainingClasses,
    recipe: SupplementalRecipe,
    width: int,
    device: torch.device,
) -> TrainingSet:
    """What a frontend learns from.

    Parameters
    ----------
    classes
        Of the training clips, and of the supplemental ones if these are learned from.
    width
        Samples of a crop.
    """
    own = Waves.place(train.features(waveform), device)
    numbers = torch.from_numpy(classes.numbers)
    if not recipe.is_used or not train.supplemental:
        return TrainingSet(own, numbers, classes.count, width)
    extra = Waves.place(train.extra().features(waveform), device)
    waves = JoinedWaves(own, extra) if recipe.classes else own
    noise = None
    if recipe.noise:
        members = noise_of_clips(train.clips, train.supplemental)
        rest = [members[0][:0]] * (len(numbers) - len(train))  # nothing is added to these
        parts = [torch.from_numpy(each) for each in [*members, *rest]]
        noise = Noise(extra, parts, recipe.noise, recipe.snr_db)
    return TrainingSet(waves, numbers, classes.count, width, noise)


def noise_of_clips(
    clips: tuple[Clip, ...], supplemental: tuple[Clip, ...]
) -> list[NDArray[np.int64]]:
    """For each clip, which supplemental clips are noise of its machine type (their indices)."""
    by_machine: dict[str, list[int]] = {}
    for number, clip in enumerate(supplemental):
        if clip.label == "noise":
            by_machine.setdefault(clip.machine, []).append(number)
    arrays = {machine: np.array(own, dtype=np.int64) for machine, own in by_machine.items()}
    none = np.empty(0, dtype=np.int64)
    return [arrays.get(clip.machine, none) for clip in clips]
