"""TEMP."""

import numpy as np

from asd.errors import UserError


def refuse_non_finite(scores, clips, what):
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise UserError(f"{clips[bad[0]].path}: {what} is not finite")
