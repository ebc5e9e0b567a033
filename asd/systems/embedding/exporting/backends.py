"""An embedding system's score as a module from waveforms, for `asd export`."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from asd.backends.base import WHOLE_SET, Array, Backend
from asd.backends.domain_scaled import SMALLEST_SCALE, DomainScaledKnn
from asd.backends.kmeans import KMeans
from asd.backends.knn import Knn
from asd.backends.mahalanobis import Mahalanobis
from asd.backends.rescale import SMALLEST_DENSITY, RescaledKnn
from asd.errors import UserError
from asd.systems.embedding.frontends import Frontend, PooledSpectrogram, SpectralNetwork
from asd.systems.exporting import FourierTransform, PowerSpectrogram

_LARGEST_FACTOR = 4096
"""A Fourier transform of a length without a factor near its root would need a huge matrix."""


class EmbeddingScore(nn.Module):
    """Waveforms of shape (n, samples) to scores of shape (n,).

    Parameters
    ----------
    frontend
        In evaluation mode.
    backend
        Gives scores of embeddings, see `backend_module`.
    samples, width
        Samples of the waveforms, and of the frontend's input.

    Raises
    ------
    UserError
        There is no export of this frontend, or not of this length.
    """

    def __init__(self, frontend: Frontend, backend: nn.Module, samples: int, width: int) -> None:
        super().__init__()
        self.repeats, self.width = -(-width // samples), width
        self.frontend = _with_scales(copy.deepcopy(frontend).cpu().eval())
        self.spectra = _spectra(self.frontend, width)
        self.backend = backend

    def forward(self, waves: Tensor) -> Tensor:
        """Scores of waveforms; longer ones are cut, shorter ones repeated."""
        waves = waves.repeat(1, self.repeats)[:, : self.width]
        found: Tensor = self.backend(self.frontend.embed(self.spectra(waves)))
        return found


class ClipSpectrum(nn.Module):
    """Magnitudes of the Fourier transform of whole clips."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.transform = FourierTransform(samples)
        if self.transform.rows > _LARGEST_FACTOR:
            raise UserError(
                f"an input of {samples} samples cannot be exported, as the number has no factor "
                "near its root; train with an input_s of whole seconds"
            )

    def forward(self, waves: Tensor) -> Tensor:
        """From (n, samples) to (n, samples // 2 + 1)."""
        real, imaginary = self.transform(waves)
        magnitudes: Tensor = (real * real + imaginary * imaginary).sqrt()
        return magnitudes


class BranchSpectra(nn.Module):
    """What the branches of a `SpectralNetwork` are given."""

    def __init__(self, frontend: SpectralNetwork, samples: int) -> None:
        super().__init__()
        self.whole = None if frontend.clip_net is None else ClipSpectrum(samples)
        windows = [frontend.get_buffer(f"window{i}") for i in range(len(frontend.bins))]
        self.has_wave = frontend.wave_net is not None
        self.bins, self.mean_free = list(frontend.bins), list(frontend.mean_free)
        reflects = frontend.padding == "reflect"
        self.spectrograms = nn.ModuleList(
            PowerSpectrogram(w, len(w) // 2, reflects) for w in windows
        )

    def forward(self, waves: Tensor) -> list[Tensor]:
        """As `SpectralNetwork.features`."""
        found = [] if self.whole is None else [self.whole(waves)]
        found += [waves] if self.has_wave else []
        for spectrogram, (first, end), is_free in zip(
            self.spectrograms, self.bins, self.mean_free, strict=True
        ):
            x = spectrogram(waves)[:, :, first:end].sqrt().transpose(1, 2)
            found.append(x - x.mean(dim=2, keepdim=True) if is_free else x)
        return found


class MelMagnitudes(nn.Module):
    """What a `PooledSpectrogram` pools."""

    def __init__(self, frontend: PooledSpectrogram) -> None:
        super().__init__()
        window = frontend.get_buffer("window")
        self.spectrogram = PowerSpectrogram(window, len(window) // 2)
        self.register_buffer("filters", frontend.get_buffer("filters").clone())

    def forward(self, waves: Tensor) -> list[Tensor]:
        """Mel magnitudes, shape (n, frames, mels)."""
        return [self.spectrogram(waves).sqrt() @ self.get_buffer("filters")]


def _with_scales(frontend: Frontend) -> Frontend:
    """Batch normalisation with a scale of 1 and a shift of 0 in place of none.

    The ONNX exporter takes the number of channels from them.
    """
    for layer in frontend.modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) and not layer.affine:
            layer.affine = True
            layer.weight = nn.Parameter(torch.ones(layer.num_features))
            layer.bias = nn.Parameter(torch.zeros(layer.num_features))
    return frontend.requires_grad_(False)


def check_frontend(kind: str) -> None:
    """Refuse frontends that there is no export of, told by the class that a recipe names.

    Raises
    ------
    UserError
        There is none, whatever the backend.
    """
    exported = [SpectralNetwork.__name__, PooledSpectrogram.__name__]
    if kind not in exported:
        raise UserError(
            f"the frontend {kind} cannot be exported, {' and '.join(exported)} can; asd embed "
            "writes embeddings, asd score needs the detector itself"
        )


def _spectra(frontend: Frontend, width: int) -> nn.Module:
    if type(frontend) is SpectralNetwork:
        return BranchSpectra(frontend, width)
    assert type(frontend) is PooledSpectrogram
    return MelMagnitudes(frontend)


class NearestReferences(nn.Module):
    """Mean of the k smallest of scale · distance - offset, then (mean - shift) / unit.

    With `is_log`, the mean of their logarithms.

    Parameters
    ----------
    references
        Shape (n_references, dim).
    metric
        See `asd.backends.neighbours.measure`.
    scale, offset
        Shape (n_references,), or None for 1 and 0.
    """

    def __init__(
        self,
        references: Array,
        metric: str,
        k: int,
        scale: Array | None = None,
        offset: Array | None = None,
        shift: float = 0.0,
        unit: float = 1.0,
        is_log: bool = False,
    ) -> None:
        super().__init__()
        self.metric, self.k, self.shift, self.unit = metric, k, shift, unit
        self.is_log = is_log
        centre = references.mean(axis=0)
        centred = references - centre
        self.register_buffer("centre", _single(centre))
        self.register_buffer("references", _single(centred))
        self.register_buffer("lengths", _single((centred**2).sum(axis=1)))
        count = len(references)
        self.register_buffer("scale", _single(np.ones(count) if scale is None else scale))
        self.register_buffer("offset", _single(np.zeros(count) if offset is None else offset))

    def forward(self, rows: Tensor) -> Tensor:
        """Scores of rows (n, dim), shape (n,).

        As in `Neighbours`, products tell which references are nearest, seen from their mean, and
        differences how near they are.
        """
        references, scale, offset = map(self.get_buffer, ("references", "scale", "offset"))
        rows = rows - self.get_buffer("centre")
        squared = rows.square().sum(dim=1, keepdim=True) + self.get_buffer("lengths")
        squared = squared - 2 * rows @ references.T
        values = self._measure(squared.clamp_min(0.0)) * scale - offset
        chosen = values.topk(self.k, dim=1, largest=False).indices
        exact = (rows[:, None] - references[chosen]).square().sum(dim=2)
        values = self._measure(exact) * scale[chosen] - offset[chosen]
        if self.is_log:
            values = values.clamp_min(SMALLEST_DENSITY).log()
        return (values.mean(dim=1) - self.shift) / self.unit

    def _measure(self, squared: Tensor) -> Tensor:
        if self.metric == "cosine":
            return squared / 2
        return squared.sqrt() / 2 if self.metric == "half_chord" else squared.sqrt()


class NearestMean(nn.Module):
    """Squared distance of whitened rows to the nearer of some means."""

    def __init__(self, means: Array, whitening: Array) -> None:
        super().__init__()
        self.register_buffer("whitening", _single(whitening))
        self.register_buffer("means", _single(means @ whitening))

    def forward(self, rows: Tensor) -> Tensor:
        """Scores of rows (n, dim), shape (n,)."""
        white = rows @ self.get_buffer("whitening")
        apart = white[:, None] - self.get_buffer("means")
        return apart.square().sum(dim=2).amin(dim=1)


class BackendScore(nn.Module):
    """The smallest of several scores of embeddings.

    Parameters
    ----------
    is_unit
        Whether embeddings are brought to unit length first.
    """

    def __init__(self, parts: Sequence[nn.Module], is_unit: bool) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.is_unit = is_unit

    def forward(self, rows: Tensor) -> Tensor:
        """Scores of embeddings (n, dim), shape (n,)."""
        if self.is_unit:
            rows = rows / rows.square().sum(dim=1, keepdim=True).sqrt().clamp_min(1e-30)
        scores = [part(rows) for part in self.parts]
        smallest: Tensor = scores[0]
        for each in scores[1:]:
            smallest = torch.minimum(smallest, each)
        return smallest


def backend_module(backend: Backend, name: str) -> BackendScore:
    """A fitted backend as a module.

    Raises
    ------
    UserError
        There is no export of this backend.
    """
    if list(backend.learned) != [WHOLE_SET]:
        raise UserError(f"{name}: a backend with a reference set per section cannot be exported")
    arrays, metric = backend.learned[WHOLE_SET], backend.metric
    parts: list[nn.Module]
    if type(backend) is Knn:
        domains = (("source", backend.k_source), ("target", backend.k_target))
        parts = [
            NearestReferences(arrays[domain], metric, k) for domain, k in domains
            if len(arrays[domain])
        ]  # fmt: skip
    elif type(backend) is KMeans:
        parts = [_nearest_centre(backend, arrays["references"])]
    elif type(backend) is RescaledKnn:
        parts = [_rescaled(backend, arrays["references"], arrays["local_distance"])]
    elif type(backend) is DomainScaledKnn:
        parts = _domain_scaled(backend, arrays)
    elif type(backend) is Mahalanobis:
        parts = [NearestMean(arrays["means"], arrays["whitening"])]
    else:
        raise UserError(f"{name}: the backend {type(backend).__name__} cannot be exported")
    return BackendScore(parts, metric != "euclidean")


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


def _domain_scaled(backend: DomainScaledKnn, arrays: dict[str, Array]) -> list[nn.Module]:
    shifts, units = arrays["scales"].T
    units = units.clip(SMALLEST_SCALE * units.max()) if units.any() else units + 1
    domains = (("source", backend.k_source), ("target", backend.k_target))
    return [
        NearestReferences(arrays[domain], backend.metric, k, shift=float(shift), unit=float(unit))
        for (domain, k), shift, unit in zip(domains, shifts, units, strict=True)
        if len(arrays[domain])
    ]


def _single(array: Array) -> Tensor:
    return torch.from_numpy(array).float()
