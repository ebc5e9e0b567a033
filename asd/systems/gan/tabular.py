"""GAN and BiGAN on tables of numbers: the published KDD Cup 99 experiment.

Zenati et al., arXiv 1802.06222. The split, the labels and the decision follow the authors' code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from asd.audio.features import Features
from asd.errors import UserError
from asd.systems.base import Epoch
from asd.systems.gan.judging import Detection, judge
from asd.systems.gan.parameters import BiganParameters, GanParameters
from asd.systems.gan.scoring import FM
from asd.systems.gan.system import GAN, BiGAN
from asd.systems.memory_run import MemoryRun

ANOMALY_RATE = 0.2
"""Share of anomalies in the test table, and of the test rows that are called anomalies."""

MODELS = ("bigan", "gan")

_CATEGORIES = (1, 2, 3, 6, 11, 20, 21)
"""Columns of KDD Cup 99 that are one-hot coded: protocol_type, service, flag, land, logged_in,
is_host_login, is_guest_login."""
_SEED = 42  # of the published split and draw of anomalies


@dataclass(frozen=True)
class Table:
    """Rows to learn from and rows to judge.

    Parameters
    ----------
    x_train
        Normal rows, shape (rows, columns), float32.
    x_test
        Shape (test rows, columns), float32.
    y_test
        Whether each test row is an anomaly, shape (test rows,).
    """

    x_train: NDArray[np.float32]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.bool_]


def run_table(
    x_train: NDArray[np.float32],
    x_test: NDArray[np.float32],
    y_test: NDArray[np.bool_],
    *,
    model: str = "bigan",
    method: Literal["CROSS-E", "FM"] = FM,
    w: float = 0.1,
    d: float = 1,
    epochs: int = 50,
    batch_size: int = 50,
    learning_rate: float = 1e-5,
    seed: int = 42,
    scale: bool = True,
    device: str = "cpu",
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Detection:
    """Train the published network on `x_train` and look for the anomalies in `x_test`.

    Parameters
    ----------
    x_train, x_test, y_test
        As in `Table`.
    model
        One of `MODELS`.
    method, w, d, epochs, batch_size, learning_rate
        As in `BiganParameters`; the defaults are published.
    device
        Where to compute.
    scale
        Bring each column to 0 ... 1 over the training rows, as the authors meant to. Their code
        drops the result, so False is what it does.

    Raises
    ------
    UserError
        The model is not known, or training diverged.
    """
    if model not in MODELS:
        raise UserError(f"model {model!r} is not known; choose one of {', '.join(MODELS)}")
    if scale:
        x_train, x_test = scale_columns(x_train, x_test)
    shared: dict[str, Any] = {
        "frames": 1, "network": "kdd", "epochs": epochs, "batch_size": batch_size,
        "learning_rate": learning_rate, "w": w, "d": d, "methods": (method,),
        "ema_warm_up": False, "scaling": "none", "target_share": 0.0,
    }  # fmt: skip
    system: BiGAN | GAN
    if model == "bigan":
        system = BiGAN(BiganParameters(**shared, cycle=0.0), device)
    else:
        system = GAN(GanParameters(**shared), device)
    run = MemoryRun(seed, lambda _, epoch: on_epoch(epoch))
    system.train(_rows(x_train), run, np.zeros(len(x_train), dtype=bool))
    return judge(system.score_features(_rows(x_test))[method], y_test, ANOMALY_RATE)


def scale_columns(
    x_train: NDArray[np.float32], x_test: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Bring each column to 0 ... 1 over the training rows; a constant column becomes 0 there."""
    low, high = x_train.min(axis=0), x_train.max(axis=0)
    span = np.where(high > low, high - low, 1)
    return (x_train - low) / span, (x_test - low) / span


def load_kdd() -> Table:
    """KDD Cup 99, the 10 percent file, downloaded once by scikit-learn (needs the internet).

    Raises
    ------
    UserError
        The download failed.
    """
    from sklearn.datasets import fetch_kddcup99

    try:
        data = fetch_kddcup99(percent10=True)
    except OSError as error:
        raise UserError(
            f"KDD Cup 99: the download through scikit-learn failed ({error}); check the internet "
            "connection, or put the data where sklearn.datasets.fetch_kddcup99 looks for it"
        ) from error
    return split_kdd(data.data, data.target)


def split_kdd(records: NDArray[np.object_], labels: NDArray[np.object_]) -> Table:
    """The published use of KDD Cup 99.

    Attacks are the majority, so they are taken as normal and "normal." records as anomalies. Half
    of the records is for training, of which only the attacks are used. Of the other half all
    attacks are tested, with as many anomalies, drawn at random, as make `ANOMALY_RATE`.

    Parameters
    ----------
    records
        Shape (records, 41), numbers and texts.
    labels
        Names of attacks, or b"normal.", shape (records,).
    """
    x, is_anomaly = encode_kdd(records), labels == b"normal."
    # RandomState: the published draws, in the published order, so that the same rows come out.
    chosen = np.random.RandomState(_SEED).choice(len(x), round(len(x) / 2), replace=False)
    training = np.zeros(len(x), dtype=bool)
    training[chosen] = True
    random = np.random.RandomState(_SEED)
    attacks = np.flatnonzero(~training & ~is_anomaly)
    anomalies = random.permutation(np.flatnonzero(~training & is_anomaly))
    wanted = int(len(attacks) * ANOMALY_RATE / (1 - ANOMALY_RATE))
    test = random.permutation(np.concatenate([attacks, anomalies[:wanted]]))
    # The authors' training rows stay in the order drawn, the others in the file's.
    return Table(x[chosen[~is_anomaly[chosen]]], x[test], is_anomaly[test])


def encode_kdd(records: NDArray[np.object_]) -> NDArray[np.float32]:
    """Numbers, then the one-hot coded columns: (records, 41) -> (records, 121) in the real data."""
    numbers = np.delete(records, _CATEGORIES, axis=1).astype(np.float32)
    parts = [numbers]
    for column in _CATEGORIES:
        values, which = np.unique(records[:, column], return_inverse=True)
        parts.append(np.eye(len(values), dtype=np.float32)[which])
    return np.concatenate(parts, axis=1)


def _rows(x: NDArray[np.float32]) -> Features:
    """A table as features: every row is a clip of one frame."""
    count = len(x)
    ones = np.ones(count, dtype=np.int64)
    return Features(np.asarray(x, dtype=np.float32), np.arange(count), ones, sample_rate_hz=1)
