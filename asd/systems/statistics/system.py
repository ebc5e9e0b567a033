"""Mean and spread of each mel band over time, compared with those of normal clips.

The mean spectrum tells of tones and noise that come or go; how far a band's level spreads over time
tells of knocks and rubbing, also in a spectrum that differs from clip to clip. AUC on synthetic
clips, 60 normal ones of 8 s of one machine to learn from, with noise of another colour in each clip
at a level against the clip's; means of four machines, of the autoencoder (20 epochs) of two:

| noise | stats | raw_spec KNN | ae MSE | ae MAHALA-FRAME |
|---|---:|---:|---:|---:|
| none | .987 | .994 | .895 | .920 |
| -10 dB | .972 | .882 | .818 | .910 |
| -5 dB | .949 | .719 | .729 | .779 |
| 0 dB | .842 | .583 | .604 | .622 |
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from asd.audio.clip_set import ClipSet
from asd.audio.features import Feature
from asd.backends.base import WHOLE_SET
from asd.backends.mahalanobis import Mahalanobis
from asd.clips import Clip
from asd.scores.explanation import Explanation
from asd.scores.table import ScoreTable
from asd.systems.base import Run, Scores, State, System
from asd.systems.statistics.explaining import contributions
from asd.systems.statistics.parameters import StatisticsParameters

MAHALA = "MAHALA"

_LEAST_SPREAD_DB = 0.1
"""What clips differ by at least, in each value: less is rounding, as in bands without any sound."""


_PARTS = 20
"""Parts of the training clips that are held out in turn."""


class LogMelStatistics(System):
    """Mahalanobis distance of a clip's band statistics from those of normal clips.

    Domains have a mean each and one covariance, as in `asd.backends.mahalanobis`.
    """

    Parameters: ClassVar[type] = StatisticsParameters
    scope: ClassVar[str] = "section"
    score_names = (MAHALA,)

    parameters: StatisticsParameters

    def __init__(self, parameters: StatisticsParameters, device: str = "cpu") -> None:
        super().__init__(parameters, device)
        self._mean = np.zeros(0)
        self._spread = np.zeros(0)
        self._backend: Mahalanobis | None = None
        self._clips: tuple[Clip, ...] = ()
        self._train = np.zeros((0, 0), dtype=np.float32)
        self._normal: ScoreTable | None = None

    def inputs(self) -> Mapping[str, Feature]:
        return {"logmel": self.parameters.feature()}

    def fit(self, train: ClipSet, run: Run) -> None:  # noqa: ARG002 - nothing is drawn
        """Learn means and covariance.

        Raises
        ------
        UserError
            There are too few clips, or all are equal.
        """
        found = self._statistics(train)
        self._mean = found.mean(axis=0)
        self._spread = np.maximum(found.std(axis=0), _LEAST_SPREAD_DB)
        scaled = self._scaled(found)
        self._backend = self._new_backend()
        self._backend.fit(scaled, train.is_target)
        self._clips, self._normal = train.clips, None
        self._train = scaled.astype(np.float32)

    def score(self, clips: ClipSet, names: Sequence[str] | None = None) -> Scores:  # noqa: ARG002
        if self._backend is None:
            raise RuntimeError("the statistics have neither been fitted nor loaded")
        return {MAHALA: self._backend.score(self._scaled(self._statistics(clips)))}

    def explain(self, clips: ClipSet, score: str = MAHALA) -> list[Explanation]:
        """What frames and mel bands add to the score of each clip, see `explaining`."""
        if self._backend is None:
            raise RuntimeError("the statistics have neither been fitted nor loaded")
        arrays = self._backend.learned[WHOLE_SET]
        features = clips.features(self.parameters.feature())
        rate, found = features.sample_rate_hz, []
        for i in range(len(clips)):
            log_mel = features.clip(i).astype(np.float64)
            statistics = band_statistics(log_mel)
            apart = self._scaled(statistics) - arrays["means"]
            white = apart @ arrays["whitening"]
            nearer = int(np.square(white).sum(axis=1).argmin())
            centre = self._mean + self._spread * arrays["means"][nearer]
            weights = arrays["whitening"] @ white[nearer] / self._spread
            values = contributions(log_mel, statistics, centre, weights)
            times_s = self.parameters.frame_edges_s(len(log_mel), rate)
            bands_hz = self.parameters.band_edges_hz(rate)
            found.append(Explanation(score, values, times_s, bands_hz))
        return found

    def module(self, score: str, samples: int, rate_hz: int, machine: str) -> nn.Module:  # noqa: ARG002
        """The score as a module, see `asd.systems.base.Exportable`."""
        from asd.systems.embedding.exporting.backends import backend_module  # slow to import
        from asd.systems.statistics.exporting import StatisticsScore

        if self._backend is None:
            raise RuntimeError("the statistics have neither been fitted nor loaded")
        mean, spread = torch.from_numpy(self._mean), torch.from_numpy(self._spread)
        distance = backend_module(self._backend, score)
        spectrogram = self.parameters.spectrogram()
        return StatisticsScore(spectrogram, rate_hz, mean, spread, distance).eval()

    def normal_scores(self) -> Mapping[str, ScoreTable]:
        """Scores of training clips by means and covariances of the others, a twentieth at a time.

        With more held out at a time, scores would be too low: the covariance of fewer clips is
        shrunk more, and distances by it are smaller.
        """
        if not self._clips:
            return {}
        if self._normal is None:
            self._normal = ScoreTable(self._clips, {MAHALA: self._held_out_scores()})
        return {self._normal.clips[0].machine: self._normal}

    def _held_out_scores(self) -> NDArray[np.float64]:
        part = np.arange(len(self._clips)) % _PARTS
        scores = np.empty(len(part))
        is_target = np.array([clip.is_target for clip in self._clips])
        for number in range(part.max() + 1):
            out = part == number
            backend = self._new_backend()
            backend.fit(self._train[~out], is_target[~out])
            scores[out] = backend.score(self._train[out])
        return scores

    def state(self) -> State:
        if self._backend is None:
            raise RuntimeError("the statistics have neither been fitted nor loaded")
        learned = self._backend.state()
        return {
            "mean": torch.from_numpy(self._mean),
            "spread": torch.from_numpy(self._spread),
            "backend": {name: torch.from_numpy(array) for name, array in learned.items()},
            "train": torch.from_numpy(self._train),
            "clips": ScoreTable(self._clips, {}).to_state(),
        }

    def load_state(self, state: State) -> None:
        self._mean, self._spread = state["mean"].numpy(), state["spread"].numpy()
        self._backend = self._new_backend()
        self._backend.load_state({name: t.numpy() for name, t in state["backend"].items()})
        self._train, self._normal = state["train"].numpy(), None
        self._clips = ScoreTable.from_state(state["clips"]).clips

    def _new_backend(self) -> Mahalanobis:
        return Mahalanobis(metric="euclidean", shrinkage=self.parameters.shrinkage)

    def _statistics(self, clips: ClipSet) -> NDArray[np.float64]:
        features = clips.features(self.parameters.feature())
        return np.stack([band_statistics(features.clip(i)) for i in range(len(clips))])

    def _scaled(self, statistics: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = (statistics - self._mean) / self._spread
        return scaled


def band_statistics(log_mel: NDArray[Any]) -> NDArray[np.float64]:
    """A clip's level, the level of each band against it, and each band's spread over time, in dB.

    Parameters
    ----------
    log_mel
        Shape (frames, mels), in dB.

    Returns
    -------
    NDArray
        Shape (1 + 2 * mels,). Loudness thus counts as one value, and does not move all others.
    """
    mean = log_mel.mean(axis=0, dtype=np.float64)
    level = mean.mean()
    return np.concatenate([[level], mean - level, log_mel.std(axis=0, dtype=np.float64)])
