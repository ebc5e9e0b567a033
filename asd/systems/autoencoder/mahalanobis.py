"""The selective Mahalanobis score: covariances, their inverses, distances.

A *row* is one block of `mels` values of the difference between a window's reconstruction and the
window; a window of 5 frames has 5 rows. With D the rows of a clip, the public baseline (v5.1.1)
takes the mean of all entries of D C^-1 D^T. That equals d^T C^-1 d with d the mean row, which
needs one vector in place of a matrix of rows times rows. The textbook form is the mean over rows
of each row's own distance, the diagonal of that matrix alone. Distances are squared ones.
"""

import logging

import torch
from torch import Tensor

log = logging.getLogger(__name__)

MAX_CONDITION = 1e7
"""Above this condition number nothing is left of a float32 inverse (float32 resolves 6e-8)."""

REGULARISED_CONDITION = 1e6
"""The condition number that a regularised covariance gets."""


class CovarianceSum:
    """Covariance of difference rows as the public baseline accumulates it.

    The sum over batches b of (R_b - m_b)^T (R_b - m_b), divided by N - 1, with R_b the rows of
    one domain's windows in the batch, m_b their mean, and N the number of *windows*. So means are
    removed per batch, and with 5 rows a window the result is about 5 times the covariance of the
    rows. Scores depend on both, so they are kept.
    """

    def __init__(self, block_size: int, device: torch.device) -> None:
        self.total = torch.zeros(block_size, block_size, device=device)
        self.windows = 0

    def add(self, difference: Tensor) -> None:
        """Add the windows of a batch, shape (windows, frames * mels)."""
        if len(difference) == 0:
            return
        rows = difference.reshape(-1, len(self.total))
        centred = rows - rows.mean(dim=0)
        self.total += centred.T @ centred
        self.windows += len(difference)

    def covariance(self) -> Tensor:
        """The covariance, shape (mels, mels), float32; not finite for fewer than two windows."""
        return self.total / (self.windows - 1)


def invert_covariance(covariance: Tensor, name: str) -> Tensor:
    """Inverse of a covariance in float32, as the public baseline's.

    A singular covariance (too few target frames, silence, a constant band) would give arbitrary,
    even negative scores. Then, and only then, a multiple of the identity is added that brings the
    condition number to 1e6, and a warning with the numbers is logged.

    Parameters
    ----------
    covariance
        Shape (mels, mels), float32.
    name
        Whose covariance it is, for the warning.
    """
    finite = torch.nan_to_num(covariance.double(), nan=0.0, posinf=0.0, neginf=0.0)
    eigenvalues = torch.linalg.eigvalsh(finite)
    low, high = eigenvalues[0].item(), eigenvalues[-1].item()
    if low > 0 and high / low <= MAX_CONDITION:
        return torch.inverse(covariance)
    # A matrix of zeros (silence) has no scale of its own; 1 dB^2 stands in for it.
    ridge = (high if high > 0 else 1.0) / REGULARISED_CONDITION
    condition = f"{high / low:.1e}" if low > 0 else "infinite"
    log.warning(
        "%s covariance is singular (condition number %s, eigenvalues %.1e to %.1e): "
        "using a regularised inverse (%.1e added to its diagonal)",
        *(name, condition, low, high, ridge),
    )
    identity = torch.eye(len(finite), dtype=finite.dtype, device=finite.device)
    return torch.inverse(finite + (ridge - min(low, 0.0)) * identity).float()


def squared_distances(rows: Tensor, inverse: Tensor) -> Tensor:
    """r^T C^-1 r of every row r, shape (rows,), of rows of shape (rows, mels)."""
    return torch.sum((rows @ inverse) * rows, dim=-1)
