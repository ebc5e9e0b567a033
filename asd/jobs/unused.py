"""Flags that a run was given and that have no effect on it."""

import inspect
import logging
from collections.abc import Container

from asd.config import Config
from asd.parameters import FEATURE_PARAMETERS, flags_of, parameter_fields
from asd.systems import REGISTRY, system_class

log = logging.getLogger(__name__)

_OF_SYSTEMS = ("features", "training", "gan")
"""Groups of parameters that some systems use and others do not."""

_OF_RUNS = ("channel", "restart", "checkpoint_path", "tensorboard", "train_only", "test_only")
"""Parameters in these groups that all systems heed, as runs do it for them."""


def warn_unused(config: Config, given: Container[str]) -> None:
    """Warn, in a line, of flags that the system does not heed.

    Parameters
    ----------
    given
        Names of the parameters that were given as flags. A file's values are not meant: one file
        serves several systems.
    """
    unused = _unused(config)
    flags = [flags_of(p)[-1] for p in parameter_fields() if p.name in unused and p.name in given]
    if flags:
        log.warning("%s: no effect on %s; leave out", ", ".join(flags), config.model)
    is_frame_form = "mahalanobis" in given and config.mahalanobis == "frame"
    if is_frame_form and config.score == "MSE":
        log.warning("--mahalanobis: no effect on --score MSE; add --score MAHALA")


def _unused(config: Config) -> set[str]:
    """Names of the parameters that the system does not heed."""
    cls = system_class(config.model)
    used = {*_OF_RUNS, *inspect.signature(cls).parameters}
    if cls.feature_kind == "logmel":
        used |= {*FEATURE_PARAMETERS} - {"frames", "frame_hop_length"}
    if config.model not in REGISTRY:  # a recipe holds these
        used |= {"epochs", "batch_size", "learning_rate"}
    names = {p.name for p in parameter_fields() if p.metadata["group"] in _OF_SYSTEMS} - used
    if len(cls.threshold_kinds) == 1:
        names.add("threshold_fit")
    if "MAHALA-FRAME" not in getattr(cls, "score_names", ()):
        names.add("mahalanobis")
    return names
