"""What an exported detector is checked on: windows of recordings, or made-up sounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asd.audio.channels import NOISE_REMOVAL, choose_channels, plain_channel
from asd.audio.clip_set import ClipSet
from asd.audio.recording import read_recording
from asd.audio.recordings import recordings
from asd.clips import Clip
from asd.errors import UserError
from asd.systems.occlusion import clips_of_waves

_MOST_CLIPS = 40


@dataclass(frozen=True)
class Heard:
    """What an exported detector hears.

    Parameters
    ----------
    machine
        Machine type of the clips.
    channel
        The one channel that is heard, see `asd.audio.channels.plain_channel`.
    rate_hz, samples
        Sampling rate and length of a window.
    """

    machine: str
    channel: str
    rate_hz: int
    samples: int

    def windows(self, paths: Sequence[Path]) -> tuple[NDArray[np.float32], ClipSet]:
        """The first window of each of at most 40 recordings, shape (n, samples), also as clips.

        Parameters
        ----------
        paths
            Recordings, or folders of them.
        """
        found = recordings(paths, machine=self.machine)
        every = max(1, -(-len(found) // _MOST_CLIPS))
        chosen = [found[i] for i in range(0, len(found), every)]
        waves = np.stack([self._window(clip.path) for clip in chosen])
        return waves, self._clips(chosen, waves)

    def made_up(self) -> tuple[NDArray[np.float32], ClipSet]:
        """Noise of several levels with a tone each, shape (8, samples), also as clips."""
        random = np.random.default_rng(0)
        time = np.arange(self.samples) / self.rate_hz
        waves = [
            random.normal(0, 0.1 / 2**i, self.samples)
            + 0.1 / 2**i * np.sin(2 * np.pi * 150 * (i + 1) * time)
            for i in range(8)
        ]
        clips = [Clip(Path(f"{i}.wav"), self.machine) for i in range(len(waves))]
        found = np.stack(waves).astype(np.float32)
        return found, self._clips(clips, found)

    def _window(self, path: Path) -> NDArray[np.float32]:
        wave = read_recording(path, rate_hz=self.rate_hz).wave
        return fitted(choose_channels(wave, self.channel)[0], self.samples)

    def _clips(self, clips: Sequence[Clip], waves: NDArray[np.float32]) -> ClipSet:
        return clips_of_waves(clips, [self._all_channels(w) for w in waves], self.rate_hz)

    def _all_channels(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """One channel's samples as a recording in which it is the channel that is heard."""
        count = {"left": 1, "mix": 1, "right": 2}.get(self.channel) or int(self.channel)
        return np.repeat(wave[None], count, axis=0)


def one_channel(channel: str) -> str:
    """A choice of one channel; the exported file's input has no more.

    Raises
    ------
    UserError
        Several are heard.
    """
    found = plain_channel(channel)
    if found in NOISE_REMOVAL or found == "all":
        raise UserError(
            f"a detector that hears several channels (--channel {found}) cannot be exported; train "
            "it with --channel left"
        )
    return found


def fitted(wave: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """The first samples of a waveform, repeated where it is shorter."""
    return np.tile(wave, -(-samples // len(wave)))[:samples]
