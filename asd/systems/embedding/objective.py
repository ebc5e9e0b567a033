"""The losses of a recipe, added up over what each is taken of."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from asd.systems.embedding.augmentation import STATISTICS_BLOCKS, feature_exchange
from asd.systems.embedding.recipe_parts import LossRecipe


class Objective(nn.Module):
    """The sum of the losses of a recipe; see `recipe.LossRecipe` for what each is taken of.

    Parameters
    ----------
    recipes
        The losses.
    sizes
        Width of each branch of an embedding.
    classes
        Number of classes.
    """

    def __init__(self, recipes: Sequence[LossRecipe], sizes: tuple[int, ...], classes: int) -> None:
        super().__init__()
        parts = {
            "embedding": _Whole,
            "branches": _Branches,
            "feature_exchange": _Exchange,
            "statistics_exchange": _Whole,
        }
        exchanges = any(recipe.on == "statistics_exchange" for recipe in recipes)
        blocks = STATISTICS_BLOCKS if exchanges else 1
        self.on_blocks = [recipe.on.endswith("exchange") for recipe in recipes]
        self.losses = nn.ModuleList(
            parts[recipe.on](recipe, sizes, blocks * classes if on_blocks else classes)
            for recipe, on_blocks in zip(recipes, self.on_blocks, strict=True)
        )
        self.weights = [recipe.weight for recipe in recipes]

    def forward(
        self, embeddings: Tensor, labels: Tensor, blocks: Tensor, generator: Generator
    ) -> Tensor:
        """Loss of a batch, a scalar.

        Parameters
        ----------
        embeddings
            Shape (N, sum of sizes).
        labels
            Shape (N, classes), one-hot or mixed.
        blocks
            The same as statistics exchange left them, shape (N, 3 * classes); `labels` where no
            loss is taken of that.
        generator
            Draws feature exchanges.
        """
        total = embeddings.new_zeros(())
        for weight, loss, on_blocks in zip(self.weights, self.losses, self.on_blocks, strict=True):
            total = total + weight * loss(embeddings, blocks if on_blocks else labels, generator)
        return total


class _Whole(nn.Module):
    def __init__(self, recipe: LossRecipe, sizes: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.loss = recipe.make(sum(sizes), classes)

    def forward(self, embeddings: Tensor, labels: Tensor, _: Generator) -> Tensor:
        loss: Tensor = self.loss(embeddings, labels)
        return loss


class _Branches(nn.Module):
    def __init__(self, recipe: LossRecipe, sizes: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.losses = nn.ModuleList(recipe.make(size, classes) for size in sizes)
        self.sizes = list(sizes)

    def forward(self, embeddings: Tensor, labels: Tensor, _: Generator) -> Tensor:
        branches = torch.split(embeddings, self.sizes, dim=1)
        pairs = zip(self.losses, branches, strict=True)
        return torch.stack([loss(branch, labels) for loss, branch in pairs]).sum()


class _Exchange(nn.Module):
    """Classes: C for untouched embeddings, and C for each branch that a label can come from."""

    def __init__(self, recipe: LossRecipe, sizes: tuple[int, ...], classes: int) -> None:
        super().__init__()
        blocks = 1 + len(sizes)
        self.loss = recipe.make(sum(sizes), blocks * classes)
        self.branches = len(sizes)
        self.probability = recipe.probability

    def forward(self, embeddings: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        exchanged, blocks = feature_exchange(
            embeddings, labels, self.branches, self.probability, generator
        )
        loss: Tensor = self.loss(exchanged, blocks)
        return loss
