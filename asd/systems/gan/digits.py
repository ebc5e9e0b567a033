"""GAN and BiGAN on images of digits: the published MNIST experiment.

Zenati et al., arXiv 1802.06222. One digit is taken as anomalous and never learned from.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from asd.audio.features import Features
from asd.errors import UserError
from asd.systems.base import Epoch
from asd.systems.gan.parameters import ImageBiganParameters, ImageGanParameters
from asd.systems.gan.scoring import FM
from asd.systems.gan.system import ImageBiGAN, ImageGAN
from asd.systems.gan.tabular import MODELS, Table
from asd.systems.memory_run import MemoryRun

SIDE = 28
"""Height and width of an image."""

_SEED = 42  # of the published order of images


def load_mnist(file: Path | None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The 70,000 images of MNIST and their digits.

    Parameters
    ----------
    file
        An .npz file with arrays x_train, y_train, x_test, y_test and perhaps x_valid, y_valid, as
        the published program reads, or with x and y. None: scikit-learn downloads them once.

    Returns
    -------
    tuple
        Values from 0 to 1, shape (images, 784); digits, shape (images,).

    Raises
    ------
    UserError
        The file can't be read or is none of these, or the download failed.
    """
    images, digits = _download() if file is None else _read(file)
    images = images.reshape(len(images), -1).astype(np.float32)
    if images.shape[1] != SIDE**2 or len(images) != len(digits):
        raise UserError(
            f"{file or 'MNIST'}: expected images of {SIDE} x {SIDE} and a digit for each, got "
            f"{images.shape[1]} values and {len(digits)} digits for {len(images)} images"
        )
    if images.max() > 1:
        images /= 255
    return images, digits.astype(np.int64)


def _download() -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.datasets import fetch_openml

    try:
        data = fetch_openml("mnist_784", version=1, as_frame=False)
    except OSError as error:
        raise UserError(
            f"MNIST: the download through scikit-learn failed ({error}); check the internet "
            "connection, or give a local file with --file"
        ) from error
    return data.data, data.target


def _read(file: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            parts = [part for part in ("_train", "_test", "_valid", "") if f"x{part}" in arrays]
            if not parts:
                raise UserError(f"{file}: has no arrays x_train and y_train, nor x and y")
            found = [[arrays[f"{name}{part}"] for part in parts] for name in "xy"]
    except UserError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{file}: cannot be read as MNIST ({error}); give an .npz file with x_train, y_train, "
            "x_test, y_test"
        ) from None
    return np.concatenate(found[0]), np.concatenate(found[1])


def split_digits(images: NDArray[np.float32], digits: NDArray[np.int64], anomalous: int) -> Table:
    """Four fifths of the normal images to learn from; the others, and all anomalous ones, to test.

    The published program draws anew for the test, so that most of its normal test images are ones
    it has learned from; here none is.

    Raises
    ------
    UserError
        No image shows the anomalous digit, or too few show others.
    """
    normal = np.flatnonzero(digits != anomalous)
    if len(normal) == len(digits) or len(normal) < 5:
        known = ", ".join(map(str, np.unique(digits)))
        raise UserError(f"--label {anomalous}: expected one of the digits {known}")
    # RandomState: the published draw.
    normal = normal[np.random.RandomState(_SEED).permutation(len(normal))]
    first_test = int(len(normal) * 0.8)
    test = np.concatenate([normal[first_test:], np.flatnonzero(digits == anomalous)])
    return Table(images[normal[:first_test]], images[test], digits[test] == anomalous)


def score_digits(
    table: Table,
    *,
    model: str = "bigan",
    method: Literal["CROSS-E", "FM"] = FM,
    w: float = 0.1,
    d: float = 1,
    epochs: int = 50,
    batch_size: int = 100,
    learning_rate: float = 1e-5,
    seed: int = 42,
    cycle: float = 0.0,
    ema_warm_up: bool = False,
    search_steps: int = 500,
    device: str = "cpu",
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> NDArray[np.float64]:
    """Train the published network on a table's training images and score its test images.

    Parameters
    ----------
    model
        "bigan" or "gan".
    method, w, d, epochs, batch_size, learning_rate, cycle, ema_warm_up, search_steps
        As in `ImageBiganParameters` and `ImageGanParameters`; the defaults are published.
    device
        Where to compute.

    Returns
    -------
    NDArray
        Shape (test images,); higher is more anomalous.

    Raises
    ------
    UserError
        The model is not known, or training diverged.
    """
    if model not in MODELS:
        raise UserError(f"model {model!r} is not known; choose one of {', '.join(MODELS)}")
    shared: dict[str, Any] = {
        "frames": SIDE, "n_mels": SIDE, "epochs": epochs, "batch_size": batch_size,
        "learning_rate": learning_rate, "w": w, "d": d, "methods": (method,),
        "ema_warm_up": ema_warm_up, "scaling": "published", "target_share": 0.0,
    }  # fmt: skip
    system: ImageBiGAN | ImageGAN
    if model == "bigan":
        system = ImageBiGAN(ImageBiganParameters(**shared, cycle=cycle), device)
    else:
        system = ImageGAN(ImageGanParameters(**shared, search_steps=search_steps), device)
    run = MemoryRun(seed, lambda _, epoch: on_epoch(epoch))
    system.train(_images(table.x_train), run, np.zeros(len(table.x_train), dtype=bool))
    return system.score_features(_images(table.x_test))[method]


def _images(x: NDArray[np.float32]) -> Features:
    """Images as features: every one is a clip of as many frames as it is high."""
    lengths = np.full(len(x), SIDE, dtype=np.int64)
    rows = np.ascontiguousarray(x, dtype=np.float32).reshape(-1, SIDE)
    return Features(rows, np.arange(len(x)) * SIDE, lengths, sample_rate_hz=1)
