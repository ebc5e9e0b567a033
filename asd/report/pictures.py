"""Small pictures for the page: spectrograms, and what raised a score laid over them, as PNG."""

import io
from functools import cache

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]

_SHADES = 40
"""Levels of a spectrogram: as many as are told apart, few enough for small files."""

_RANGE_DB = 60.0
"""Levels further below the loudest are all black."""


def spectrogram_png(levels_db: FloatArray, loudest_db: float) -> bytes:
    """A spectrogram with time to the right and low frequencies at the bottom.

    Parameters
    ----------
    levels_db
        Shape (times, bands).
    loudest_db
        The level of the brightest shade; pictures to be compared share it.
    """
    from PIL import Image

    share = 1 + (levels_db.T[::-1] - loudest_db) / _RANGE_DB
    shades = np.clip(np.round(share * (_SHADES - 1)), 0, _SHADES - 1).astype(np.uint8)
    image = Image.fromarray(shades, mode="P")
    image.putpalette(_palette())
    return _png(image)


def heat_png(values: FloatArray) -> bytes:
    """What raises a score, to be laid over a spectrogram: transparent where nothing does.

    Parameters
    ----------
    values
        Shape (times, bands); all that is not above 0 is transparent.
    """
    from PIL import Image

    peak = float(values.max(initial=0.0))
    if peak <= 0:
        return b""
    levels = np.clip(values.T[::-1] / peak, 0, 1)
    alpha = np.round(levels * 7).astype(np.uint8)
    image = Image.fromarray(alpha, mode="P")
    image.putpalette([0, 255, 190] * 8)  # a green that the palette of spectrograms lacks
    transparency = bytes(round(215 * i / 7) for i in range(8))
    return _png(image, transparency=transparency)


@cache
def _palette() -> list[int]:
    from matplotlib import colormaps

    colours = colormaps["inferno"](np.linspace(0, 1, _SHADES))[:, :3]
    return [int(value) for value in np.round(colours * 255).ravel()]


def _png(image: object, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True, **options)  # type: ignore[attr-defined]
    return file.getvalue()
