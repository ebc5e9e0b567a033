"""A set of clips and where their features come from."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from asd.clips import Clip

if TYPE_CHECKING:
    from asd.audio.features import Feature, Features

FeatureSource = Callable[[Sequence[Clip], "Feature"], "Features"]
"""Features of clips, in their order: from a store, or computed."""


class ClipSet(Sequence[Clip]):
    """Clips, and their features when they are asked for.

    Parameters
    ----------
    clips
        The clips, in an order that all arrays about them share.
    source
        Where features come from. Each feature is asked for once, for all clips of the set.
    label_only_clips
        Clips whose names count as classes too, though nothing is learned from their sound, such
        as test clips. Features of theirs come from `label_only()`.
    supplemental
        Clips of the clean machine or of noise alone (2025), labelled "machine" or "noise": no
        training clips, but a system may use them. Features of theirs come from `extra()`.
    year
        The challenge year, where there is one.

    Examples
    --------
    >>> import asd
    >>> from asd.audio.features import Waveform
    >>> pump = asd.recordings(getfixture("sounds"), machine="pump")
    >>> pump[:2]
    <2 clips of pump>
    >>> pump.select([0]).features(Waveform()).lengths
    array([3240])
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        source: FeatureSource,
        *,
        label_only_clips: Sequence[Clip] = (),
        supplemental: Sequence[Clip] = (),
        year: int | None = None,
    ) -> None:
        self.clips = tuple(clips)
        self.label_only_clips = tuple(label_only_clips)
        self.supplemental = tuple(supplemental)
        self.year = year
        self._source = source
        self._origin = source
        self._features: dict[Feature, Features] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> "ClipSet": ...
    def __getitem__(self, index: int | slice) -> "Clip | ClipSet":
        if isinstance(index, slice):
            return self.select(range(len(self))[index])
        return self.clips[index]

    def __repr__(self) -> str:
        machines = ", ".join(self.machines) or "no machine"
        return f"<{len(self)} clips of {machines}>"

    @property
    def machines(self) -> tuple[str, ...]:
        """Machine types, in the order of their first clips."""
        return tuple(dict.fromkeys(clip.machine for clip in self.clips))

    @property
    def is_target(self) -> NDArray[np.bool_]:
        """Whether each clip is of the target domain, shape (clips,)."""
        return np.array([clip.is_target for clip in self.clips], dtype=bool)

    @property
    def is_anomaly(self) -> NDArray[np.bool_]:
        """Whether each clip is known to be anomalous, shape (clips,)."""
        return np.array([clip.is_anomaly for clip in self.clips], dtype=bool)

    @property
    def sections(self) -> NDArray[np.int64]:
        """Section number of each clip, shape (clips,)."""
        return np.array([int(clip.section) for clip in self.clips], dtype=np.int64)

    def features(self, feature: "Feature") -> "Features":
        """The features of all clips, in their order.

        Raises
        ------
        UserError
            A clip cannot be used.
        """
        if feature not in self._features:
            self._features[feature] = self._source(self.clips, feature)
        return self._features[feature]

    def select(self, indices: Sequence[int] | NDArray[np.int64]) -> "ClipSet":
        """The clips at `indices`, in that order; features come from those of this set."""
        chosen = [int(i) for i in indices]

        def source(_: Sequence[Clip], feature: "Feature") -> "Features":
            return self.features(feature).select(chosen)

        found = ClipSet(
            [self.clips[i] for i in chosen],
            source,
            label_only_clips=self.label_only_clips,
            supplemental=self.supplemental,
            year=self.year,
        )
        found._origin = self._origin
        return found

    def extra(self) -> "ClipSet":
        """The supplemental clips as a set of their own."""
        return ClipSet(self.supplemental, self._origin, year=self.year)

    def label_only(self) -> "ClipSet":
        """The clips whose names count as classes too as a set of their own."""
        return ClipSet(self.label_only_clips, self._origin, year=self.year)

    def by_machine(self) -> dict[str, list[int]]:
        """Machine type -> indices of its clips."""
        members: dict[str, list[int]] = {}
        for index, clip in enumerate(self.clips):
            members.setdefault(clip.machine, []).append(index)
        return members
