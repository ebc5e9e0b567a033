"""The backends that are not made of others, by name."""

from collections.abc import Iterable, Mapping

from asd.backends.base import Backend
from asd.backends.beam import Beam
from asd.backends.domain_scaled import DomainScaledKnn
from asd.backends.gmm import Gmm
from asd.backends.kmeans import KMeans
from asd.backends.knn import Knn
from asd.backends.mahalanobis import Mahalanobis
from asd.backends.mem_mixup import MemMixup
from asd.backends.pca_residual import PcaResidual
from asd.backends.rescale import RescaledKnn
from asd.backends.standardised import StandardisedKnn
from asd.errors import UserError
from asd.extensions import entry_points_of, is_reference, load_class
from asd.words import closest

SINGLE: dict[str, type[Backend]] = {
    "knn": Knn,
    "kmeans": KMeans,
    "rescaled_knn": RescaledKnn,
    "standardised_knn": StandardisedKnn,
    "beam": Beam,
    "domain_scaled_knn": DomainScaledKnn,
    "mem_mixup": MemMixup,
    "mahalanobis": Mahalanobis,
    "pca_residual": PcaResidual,
    "gmm": Gmm,
}
"""Name in a recipe -> class."""


def find_backend(name: str, known: Mapping[str, type[Backend]]) -> type[Backend]:
    """The class of a name in `known`, of "file.py:Class", or of an entry point's name.

    Raises
    ------
    UserError
        There is none.
    """
    if name in known:
        return known[name]
    reference = entry_points_of("asd.backends").get(name, name)
    if not is_reference(reference):
        raise UserError(f"backend: unknown name {name!r}, {nearest_of(name, known)}")
    return load_class(reference, Backend, "backend")


def nearest_of(word: str, known: Iterable[str]) -> str:
    """The known word that is most like a wrong one, and all that there are."""
    words = list(known)
    return f"did you mean {closest(str(word), words, cutoff=0.0)!r}? Known: {', '.join(words)}"
