"""Clips: sound files and what is known about them."""

from dataclasses import dataclass
from pathlib import Path

LABELS = ("normal", "anomaly")

NO_ATTRIBUTE = "noAttribute"
"""The organisers' word for a clip whose attributes are not told."""


@dataclass(frozen=True)
class Clip:
    """A sound file of a machine and what is known about it.

    Parameters
    ----------
    path
        The file.
    machine
        Machine type, "fan"; clips of one machine type are compared with each other.
    section
        Two digits, "00": one machine, or one kind of domain shift, of the machine type.
    domain
        "source" or "target"; "source" where it is not known, as in the public baseline.
    label
        "normal" or "anomaly"; of supplemental clips "machine" or "noise"; None where not known.
    attributes
        What else is known, as one text: "car_A1_spd_28V".

    Examples
    --------
    >>> import asd
    >>> from pathlib import Path
    >>> clip = asd.Clip(Path("monday.wav"), "pump", label="normal")
    >>> clip.file_name, clip.domain, clip.is_anomaly
    ('monday.wav', 'source', False)
    """

    path: Path
    machine: str
    section: str = "00"
    domain: str = "source"
    label: str | None = None
    attributes: str = NO_ATTRIBUTE

    @property
    def file_name(self) -> str:
        """The file's name without its folder."""
        return self.path.name

    @property
    def is_target(self) -> bool:
        """Whether the clip is of the target domain."""
        return self.domain == "target"

    @property
    def is_anomaly(self) -> bool:
        """Whether the clip is known to be anomalous."""
        return self.label == "anomaly"
