"""What a frontend learns from where classes are brought to one size."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from asd.systems.embedding.fill_up import Augment, changing, seeded
from asd.systems.embedding.oversampling import OversamplingRecipe, class_neighbours, rows_to_copy
from asd.systems.embedding.recipe import Recipe
from asd.systems.embedding.training import TrainingSet
from asd.systems.embedding.tuned import FULL_SCALE


@dataclass(frozen=True)
class OversampledSet:
    """Clips, copies and what lies between them; see `oversampling.OversamplingRecipe`.

    Rows are the clips of `clips`, then the copies.

    Parameters
    ----------
    clips
        The clips, cut once.
    copies
        Samples of the copies, shape (copies, width), on the CPU.
    copied
        Which clip each is a copy of, shape (copies,).
    neighbours
        Of each row, shape (rows, neighbours).
    length
        Rows of an epoch.
    """

    clips: TrainingSet
    copies: Tensor
    copied: Tensor
    neighbours: Tensor
    length: int

    @classmethod
    def of(
        cls,
        clips: TrainingSet,
        recipe: OversamplingRecipe,
        make_augment: Callable[[], Augment],
        batch_size: int,
        seed: int,
    ) -> "OversampledSet":
        """Make the copies and find the neighbours.

        Parameters
        ----------
        make_augment
            Gives what changes copies; not called where none is needed.
        batch_size
            Clips of a training step: an epoch whose last batch would be of one has one row more.

        Raises
        ------
        UserError
            `make_augment` cannot.
        """
        clips = clips.cut_once(seed)
        picked = rows_to_copy(
            clips.classes.numpy(), recipe.neighbours + 1, np.random.RandomState(seed)
        )
        copied = torch.from_numpy(picked)
        copies = _copies(clips, copied, make_augment, seed)
        sizes = torch.cat([clips.classes, clips.classes[copied]]).bincount()
        length = int(recipe.len_factor * int((sizes > 0).sum() * sizes.max()))
        length += length % batch_size == 1
        made = cls(clips, copies, copied, torch.empty(0), max(2, length))
        near = class_neighbours(made._pieces, made._classes, clips.width, recipe.neighbours)
        return replace(made, neighbours=near)

    @property
    def _classes(self) -> Tensor:
        """Class of each row."""
        return torch.cat([self.clips.classes, self.clips.classes[self.copied]])

    def order(self, generator: Generator) -> Tensor:
        """Rows of an epoch and the neighbours that they are mixed with, shape (length, 2).

        A clip as it is has itself for a neighbour. Draws: classes, rows, which of them stay as
        they are, neighbours.
        """
        classes = self._classes
        by_class, sizes = classes.argsort(stable=True), classes.bincount()
        first, present = sizes.cumsum(0) - sizes, sizes.nonzero()[:, 0]
        n = self.length
        drawn = present[_places(torch.full((n,), len(present)), generator)]
        rows = by_class[first[drawn] + _places(sizes[drawn], generator)]
        stays = torch.rand(n, generator=generator) < sizes[drawn] / sizes.max()
        columns = _places(torch.full((n,), self.neighbours.shape[1]), generator)
        others = torch.where(stays, rows, self.neighbours[rows, columns])
        return torch.stack([rows, others], dim=1)

    def batch(self, rows: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Waves of shape (n, width) and one-hot labels, of n pairs that `order` has drawn."""
        own, others = rows.unbind(dim=1)
        waves = self._pieces(own, 0, self.clips.width)
        shares = torch.rand(len(rows), generator=generator)
        mixed = (own != others).nonzero()[:, 0]
        if len(mixed):
            near = self._pieces(others[mixed], 0, self.clips.width)
            where = mixed.to(waves.device)
            waves[where] = torch.lerp(waves[where], near, shares[mixed, None].to(waves))
        if self.clips.noise is not None:
            waves = self.clips.noise.add_to(waves, self.clips_of(rows)[:, 0], generator)
        return waves, one_hot(self._classes[own], self.clips.class_count).float()

    def clips_of(self, rows: Tensor) -> Tensor:
        """The clips that rows were made of, shape (n, 2)."""
        return torch.cat([torch.arange(len(self.clips.classes)), self.copied])[rows]

    def _pieces(self, rows: Tensor, first: int, samples: int) -> Tensor:
        count = len(self.clips.classes)
        if int(rows.max()) < count:
            return self.clips.pieces(rows, first, samples)
        found = self.clips.pieces(rows.clamp(max=count - 1), first, samples)
        late = (rows >= count).nonzero()[:, 0]
        values = self.copies[rows[late] - count, first : first + samples]
        found[late.to(found.device)] = values.to(found)
        return found


def cut_or_oversampled(
    clips: TrainingSet, recipe: Recipe, rate_hz: int, seed: int
) -> TrainingSet | OversampledSet:
    """The clips as the recipe has them: cut anew each epoch or once, or in classes of one size.

    Raises
    ------
    UserError
        Classes have to be filled up and audiomentations is not installed.
    """
    if recipe.oversampling is None:
        return clips.cut_once(seed) if recipe.training.crop == "once" else clips
    full_scale = FULL_SCALE.get(recipe.frontend.parameters.get("input_scale", "unit"), 1.0)
    return OversampledSet.of(
        clips,
        recipe.oversampling,
        lambda: changing(rate_hz, full_scale),
        recipe.training.batch_size,
        seed,
    )


def _copies(
    clips: TrainingSet, copied: Tensor, make_augment: Callable[[], Augment], seed: int
) -> Tensor:
    found = torch.empty((len(copied), clips.width))
    if len(copied):
        augment = make_augment()
        with seeded(seed):
            for copy, row in zip(found, copied, strict=True):
                samples = clips.pieces(row[None], 0, clips.width)[0].cpu().numpy()
                copy.copy_(torch.from_numpy(augment(samples)))
    return found


def _places(counts: Tensor, generator: Generator) -> Tensor:
    """A whole number below each of `counts`, all alike."""
    shares = torch.rand(len(counts), generator=generator, dtype=torch.float64)
    return (shares * counts).long()
