"""A feature of your own, for a system of the package: the autoencoder on PCEN in place of log-mel.

asd run -d --machine_types fan --model examples/own_feature.py:PcenAutoencoder --smoothing 0.05

Per-channel energy normalization divides each mel band by its own recent level: steady noise goes,
changes stay (Wang et al., "Trainable frontend for robust and far-field keyword spotting", 2017).
"""

from dataclasses import dataclass

from scipy.signal import lfilter

from asd.audio.features import LogMelFeature
from asd.schema.parameters import parameter
from asd.schema.values import Fraction
from asd.systems.autoencoder.parameters import AutoencoderParameters
from asd.systems.autoencoder.system import Autoencoder

GAIN, BIAS, ROOT, FLOOR = 0.98, 2.0, 0.5, 1e-6


@dataclass(frozen=True)
class Pcen:
    """Normalized mel energies, shape (frames, mels)."""

    logmel: LogMelFeature
    smoothing: float
    kind = "pcen"  # ends the names of stored files

    def key(self):
        """All that the values depend on: with another key they are computed anew."""
        return {"pcen": self.smoothing, **self.logmel.key()}

    def compute(self, wave, rate_hz):
        """Of a recording of shape (channels, samples)."""
        energy = 10 ** (self.logmel.compute(wave, rate_hz) / 10)
        before = (1 - self.smoothing) * energy[:1]  # as if the first frame had gone on for ever
        level, _ = lfilter([self.smoothing], [1, self.smoothing - 1], energy, axis=0, zi=before)
        normalized = energy / (FLOOR + level) ** GAIN
        return ((normalized + BIAS) ** ROOT - BIAS**ROOT).astype("float32")


@dataclass(frozen=True)
class PcenParameters(AutoencoderParameters):
    smoothing: Fraction = parameter(0.025, "share of a frame in the recent level", role="features")

    def feature(self):
        return Pcen(super().feature(), self.smoothing)


class PcenAutoencoder(Autoencoder):
    Parameters = PcenParameters
