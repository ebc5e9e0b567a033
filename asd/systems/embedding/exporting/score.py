"""An embedding system's score as a module from waveforms, for `asd export`."""

import torch
from torch import Tensor, nn

from asd.errors import UserError
from asd.systems.embedding.exporting.encoders import AdaptedEmbedding, FrozenEmbedding, copied
from asd.systems.embedding.exporting.spectra import BranchSpectra, MelMagnitudes, add_scales
from asd.systems.embedding.frontends import Frontend, PooledSpectrogram, SpectralNetwork
from asd.systems.embedding.pretrained import AdaptedEncoder, FrozenEncoder
from asd.systems.embedding.tuned import TunedEncoder

_EXPORTED = (SpectralNetwork, PooledSpectrogram, FrozenEncoder, AdaptedEncoder, TunedEncoder)


class EmbeddingScore(nn.Module):
    """Waveforms of shape (n, samples) to scores of shape (n,).

    Parameters
    ----------
    embedding
        Gives embeddings of waveforms of `width` samples, see `embedding_module`.
    backend
        Gives scores of embeddings, see `asd.systems.embedding.exporting.backends`.
    samples
        Of the waveforms.
    """

    def __init__(self, embedding: nn.Module, backend: nn.Module, samples: int, width: int) -> None:
        super().__init__()
        self.repeats, self.width = -(-width // samples), width
        self.embedding, self.backend = embedding.eval().requires_grad_(False), backend

    def forward(self, waves: Tensor) -> Tensor:
        """Scores of waveforms; longer ones are cut, shorter ones repeated."""
        waves = waves.repeat(1, self.repeats)[:, : self.width]
        found: Tensor = self.backend(self.embedding(waves))
        return found


class NetworkEmbedding(nn.Module):
    """Waveforms (n, samples) to the embeddings of a network, or a pooling, of spectrograms."""

    def __init__(self, frontend: SpectralNetwork | PooledSpectrogram, samples: int) -> None:
        super().__init__()
        self.frontend = copied(frontend)
        add_scales(self.frontend)
        self.spectra: nn.Module
        if isinstance(self.frontend, SpectralNetwork):
            self.spectra = BranchSpectra(self.frontend, samples)
        else:
            self.spectra = MelMagnitudes(self.frontend)

    def forward(self, waves: Tensor) -> Tensor:
        """Shape (n, dim)."""
        found: Tensor = self.frontend.embed(self.spectra(waves))
        return found


def check_frontend(kind: str, precision: str) -> None:
    """Refuse frontends that there is no export of, whatever the backend.

    Parameters
    ----------
    kind
        The class that the recipe names.
    precision
        What a frozen encoder computes in; "" of others. The distances of nearly equal embeddings,
        and so normal scores, change by half with 16 bits in place of 32.

    Raises
    ------
    UserError
        There is no export of it.
    """
    exported = [each.__name__ for each in _EXPORTED]
    if kind not in exported:
        raise UserError(
            f"the frontend {kind} cannot be exported, {', '.join(exported)} can; asd embed "
            "writes embeddings, asd score needs the detector itself"
        )
    if precision == "bfloat16":
        raise UserError(
            "an encoder that computes in bfloat16 cannot be exported, as its scores in single "
            "precision are others; train with --set frontend.precision=float32"
        )


@torch.no_grad()
def embedding_module(frontend: Frontend | FrozenEncoder, samples: int, rate_hz: int) -> nn.Module:
    """A frontend that `check_frontend` lets pass, as a module from waveforms to embeddings.

    Parameters
    ----------
    samples, rate_hz
        Of the frontend's input.

    Raises
    ------
    UserError
        There is no export of its encoder or pooling, or not of this length or rate.
    """
    if isinstance(frontend, FrozenEncoder):
        found: nn.Module = FrozenEmbedding(frontend, samples, rate_hz)
    elif isinstance(frontend, (AdaptedEncoder, TunedEncoder)):
        found = AdaptedEmbedding(frontend, samples)
    else:
        assert isinstance(frontend, (SpectralNetwork, PooledSpectrogram))
        return NetworkEmbedding(frontend, samples)
    found.requires_grad_(False)
    found(torch.zeros(1, samples))  # BEATs keeps its position bias, so that it is not traced
    _store_buffers(found)
    return found


def _store_buffers(module: nn.Module) -> None:
    """Make all buffers part of the state: the exporter stores others wherever they are used."""
    stored = module.state_dict().keys()
    for name, values in list(module.named_buffers()):
        if name not in stored:
            module.register_buffer(name.replace(".", "_"), values)
