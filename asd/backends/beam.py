"""Distances band by band, each to its own nearest training clip."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Array, Arrays, Scorer, unit_rows
from asd.backends.rescale import Form, RescaledKnn
from asd.errors import UserError
from asd.schema.values import Count


@dataclass(kw_only=True)
class Beam(RescaledKnn):
    """Mean over bands of the distance in each, with a bank of training clips for each band.

    An embedding is taken as `bands` vectors of one width, side by side: those of an encoder's
    frequency bands, if its tokens were pooled with `over: band`. Each band is compared for itself,
    with "cosine" and "half_chord" at unit length, so that loud bands do not outweigh others, and
    each finds its own nearest clip. Source: arXiv 2603.13749 ("plain"); with VarMin, a factor alpha
    for each band: kasahart/asd-experiments.

    Parameters
    ----------
    bands
        Number of bands.
    form
        What is taken of each band's distances, see `RescaledKnn`.
    """

    bands: Count = 8
    form: Form = "plain"

    @property
    def smallest_dim(self) -> int:
        """One value a band."""
        return self.bands

    def prepared(self, embeddings: NDArray[np.floating]) -> Array:
        """Float64 as they are: it is the bands that are brought to unit length."""
        return embeddings.astype(np.float64)

    def learn(self, rows: Array, is_target: NDArray[np.bool_]) -> Arrays:
        """All rows, and the local distances of each band, shape (clips, bands)."""
        learned = [RescaledKnn.learn(self, band, is_target) for band in self.split(rows)]
        local = [each["local_distance"] for each in learned]
        return {"references": rows, "local_distance": np.stack(local, axis=1)}

    def scorer(self, arrays: Mapping[str, Array]) -> Scorer:
        """Means over bands, in the units of `RescaledKnn`."""
        banks = zip(self.split(arrays["references"]), arrays["local_distance"].T, strict=True)
        scorers = [
            RescaledKnn.scorer(self, {"references": band, "local_distance": local})
            for band, local in banks
        ]

        def scores(rows: Array) -> Array:
            pairs = zip(scorers, self.split(rows), strict=True)
            found: Array = np.mean([scorer(band) for scorer, band in pairs], axis=0)
            return found

        return scores

    def split(self, rows: Array) -> list[Array]:
        """The rows of each band, shape (clips, dim / bands) each."""
        dim = rows.shape[1]
        if dim % self.bands:
            raise UserError(
                f"embeddings of {dim} values are not {self.bands} bands of one width; set bands to "
                "the number of bands that the encoder gives"
            )
        parts = np.split(rows, self.bands, axis=1)
        return parts if self.metric == "euclidean" else [unit_rows(part) for part in parts]
