"""Fitted backends as modules from embeddings (n, dim) to scores (n,)."""

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from asd.backends.base import WHOLE_SET, Array, Backend
from asd.backends.beam import Beam
from asd.backends.domain_scaled import SMALLEST_SCALE, DomainScaledKnn
from asd.backends.kmeans import KMeans
from asd.backends.knn import Knn
from asd.backends.mahalanobis import Mahalanobis
from asd.backends.mem_mixup import MemMixup
from asd.backends.pca_residual import PcaResidual
from asd.backends.rescale import SMALLEST_DENSITY, RescaledKnn
from asd.backends.standardised import StandardisedKnn
from asd.backends.z_min import ZMin, of_member
from asd.errors import UserError
from asd.systems.embedding.exporting.neighbours import NearestMixtures, NearestReferences, single

Arrays = Mapping[str, Array]


class NearestMean(nn.Module):
    """Squared distance of whitened rows to the nearer of some means."""

    def __init__(self, means: Array, whitening: Array) -> None:
        super().__init__()
        # Seen from one of the means: what is left of large numbers would be lost.
        self.register_buffer("centre", single(means[0]))
        self.register_buffer("whitening", single(whitening))
        self.register_buffer("means", single((means - means[0]) @ whitening))

    def forward(self, rows: Tensor) -> Tensor:
        """Scores of rows (n, dim), shape (n,)."""
        white = (rows - self.get_buffer("centre")) @ self.get_buffer("whitening")
        apart = white[:, None] - self.get_buffer("means")
        return apart.square().sum(dim=2).amin(dim=1)


class ResidualLength(nn.Module):
    """Length of what principal components leave of rows, see `PcaResidual`."""

    def __init__(self, mean: Array, components: Array) -> None:
        super().__init__()
        self.register_buffer("mean", single(mean))
        self.register_buffer("components", single(components))

    def forward(self, rows: Tensor) -> Tensor:
        """Scores of rows (n, dim), shape (n,)."""
        centred, components = rows - self.get_buffer("mean"), self.get_buffer("components")
        # With a bias the exporter stores the matrix once, not turned over beside it.
        shares = linear(centred, components, components.new_zeros(len(components)))
        return (centred - shares @ components).square().sum(dim=1).sqrt()


class OfUnitLength(nn.Module):
    """The score, by another module, of rows brought to unit length."""

    def __init__(self, score: nn.Module) -> None:
        super().__init__()
        self.score = score

    def forward(self, rows: Tensor) -> Tensor:
        """Scores of rows (n, dim), shape (n,)."""
        length = rows.square().sum(dim=1, keepdim=True).sqrt().clamp_min(1e-30)
        found: Tensor = self.score(rows / length)
        return found


class Smallest(nn.Module):
    """The smallest of several scores of rows."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, rows: Tensor) -> Tensor:
        """Scores of rows (n, dim), shape (n,)."""
        found: Tensor = reduce(torch.minimum, [part(rows) for part in self.parts])
        return found


class Standardised(nn.Module):
    """A score less its mean, in units of its deviation."""

    def __init__(self, score: nn.Module, mean: float, deviation: float) -> None:
        super().__init__()
        self.score, self.mean, self.deviation = score, mean, deviation

    def forward(self, rows: Tensor) -> Tensor:
        """Scores of rows (n, dim), shape (n,)."""
        found: Tensor = (self.score(rows) - self.mean) / self.deviation
        return found


class MeanOfBands(nn.Module):
    """Mean of the scores of bands of one width, which lie side by side in a row."""

    def __init__(self, bands: Sequence[nn.Module]) -> None:
        super().__init__()
        self.bands = nn.ModuleList(bands)

    def forward(self, rows: Tensor) -> Tensor:
        """Scores of rows (n, bands * width), shape (n,)."""
        parts = rows.chunk(len(self.bands), dim=1)
        scores = [band(part) for band, part in zip(self.bands, parts, strict=True)]
        return torch.stack(scores, dim=1).mean(dim=1)


def backend_module(backend: Backend, name: str) -> nn.Module:
    """A fitted backend as a module.

    Parameters
    ----------
    name
        Of the score, for messages.

    Raises
    ------
    UserError
        There is no export of this backend.
    """
    if list(backend.learned) != [WHOLE_SET]:
        raise UserError(f"{name}: a backend with a reference set per section cannot be exported")
    return _module(backend, backend.learned[WHOLE_SET], name)


def _module(backend: Backend, arrays: Arrays, name: str) -> nn.Module:
    """What a backend makes of one reference set: scores of embeddings as they are."""
    if type(backend) is ZMin:
        return _z_min(backend, arrays, name)
    if type(backend) is Beam:
        return _beam(backend, arrays)
    return _prepared(backend, _of_prepared(backend, arrays, name))


def _prepared(backend: Backend, score: nn.Module) -> nn.Module:
    return score if backend.metric == "euclidean" else OfUnitLength(score)


def _of_prepared(backend: Backend, arrays: Arrays, name: str) -> nn.Module:
    """Scores of rows that are of unit length, where the metric wants that."""
    if type(backend) is Knn:
        return _nearest_domain(backend, arrays)
    if type(backend) is KMeans:
        return _nearest_centre(backend, arrays["references"])
    if type(backend) is RescaledKnn:
        return _rescaled(backend, arrays["references"], arrays["local_distance"])
    if type(backend) is StandardisedKnn:
        nearest = NearestReferences(arrays["references"], backend.metric, backend.k)
        return Standardised(nearest, *map(float, arrays["scale"]))
    if type(backend) is DomainScaledKnn:
        return _domain_scaled(backend, arrays)
    if type(backend) is MemMixup:
        return _mixed(backend, arrays)
    if type(backend) is Mahalanobis:
        return NearestMean(arrays["means"], arrays["whitening"])
    if type(backend) is PcaResidual:
        return ResidualLength(arrays["mean"], arrays["components"])
    raise UserError(f"{name}: the backend {type(backend).__name__} cannot be exported")


def _nearest_domain(backend: Knn, arrays: Arrays) -> Smallest:
    domains = (("source", backend.k_source), ("target", backend.k_target))
    return Smallest(
        [
            NearestReferences(arrays[domain], backend.metric, k)
            for domain, k in domains
            if len(arrays[domain])
        ]
    )


def _nearest_centre(backend: KMeans, references: Array) -> NearestReferences:
    if backend.metric != "cosine" or backend.unit_centres:
        return NearestReferences(references, backend.metric, 1)
    # 1 - row · centre, for a row of unit length, is d²/2 - (|centre|² - 1) / 2.
    offset = ((references**2).sum(axis=1) - 1) / 2
    return NearestReferences(references, "cosine", 1, offset=offset)


def _rescaled(backend: RescaledKnn, references: Array, local: Array) -> NearestReferences:
    if backend.form == "plain":
        return NearestReferences(references, backend.metric, backend.k)
    if backend.form in ("difference", "varmin"):
        return NearestReferences(references, backend.metric, backend.k, offset=local)
    local = local.clip(SMALLEST_DENSITY * local.mean()) if local.any() else local + 1
    is_log = backend.form == "log_varmin"
    return NearestReferences(references, backend.metric, backend.k, scale=1 / local, is_log=is_log)


def _domain_scaled(backend: DomainScaledKnn, arrays: Arrays) -> Smallest:
    shifts, units = arrays["scales"].T
    units = units.clip(SMALLEST_SCALE * units.max()) if units.any() else units + 1
    domains = (("source", backend.k_source), ("target", backend.k_target))
    return Smallest(
        [
            Standardised(
                NearestReferences(arrays[domain], backend.metric, k), float(shift), float(unit)
            )
            for (domain, k), shift, unit in zip(domains, shifts, units, strict=True)
            if len(arrays[domain])
        ]
    )


def _mixed(backend: MemMixup, arrays: Arrays) -> Smallest:
    source, target = arrays["source"], arrays["target"]
    parts: list[nn.Module] = [NearestReferences(source, backend.metric, backend.k_source)]
    if len(target):
        pairs = backend.mixtures(arrays)
        parts.append(NearestMixtures(pairs, backend.metric, backend.k_target))
    return Smallest(parts)


def _beam(backend: Beam, arrays: Arrays) -> MeanOfBands:
    banks = zip(backend.split(arrays["references"]), arrays["local_distance"].T, strict=True)
    return MeanOfBands(
        [_prepared(backend, _rescaled(backend, band, local)) for band, local in banks]
    )


def _z_min(backend: ZMin, arrays: Arrays, name: str) -> Smallest:
    members = enumerate(zip(backend.members(), arrays["scales"], strict=True))
    return Smallest(
        [
            Standardised(_module(member, of_member(arrays, number), name), *map(float, scale))
            for number, (member, scale) in members
        ]
    )
