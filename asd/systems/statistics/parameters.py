"""Parameters of the detector by statistics of log-mel bands."""

from dataclasses import dataclass

from asd.schema.parameters import parameter
from asd.schema.values import Share
from asd.systems.logmel import LogMelInput


@dataclass(frozen=True)
class StatisticsParameters(LogMelInput):
    """What a model of the band statistics is made with."""

    shrinkage: Share | None = parameter(
        None,
        "share of the identity in the covariance (null: as Ledoit and Wolf estimate it from the "
        "clips)",
        role="training",
    )
