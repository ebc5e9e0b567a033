"""Classes that a frontend learns to tell apart, from what the clips' names say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asd.clips import NO_ATTRIBUTE, Clip
from asd.errors import UserError

Part = Literal["machine", "section", "attributes", "domain"]

ALL_PARTS: tuple[Part, ...] = ("machine", "section", "attributes", "domain")

ClassName = tuple[str, ...]


class OneClassError(UserError):
    """All training clips are of one class."""


@dataclass(frozen=True)
class Classes:
    """Numbered classes: each is a combination of values of `parts`, in sorted order.

    A clip without attributes has the attribute text "noAttribute", so that a machine without
    attributes has one class per section and domain.
    """

    parts: tuple[Part, ...]
    names: tuple[ClassName, ...]

    def __len__(self) -> int:
        return len(self.names)

    def numbers(self, clips: Sequence[Clip]) -> NDArray[np.int64]:
        """Class of each clip, shape (clips,).

        Raises
        ------
        UserError
            A clip is of a class that is not among them.
        """
        number = {name: i for i, name in enumerate(self.names)}
        names = [class_name(clip, self.parts) for clip in clips]
        for clip, name in zip(clips, names, strict=True):
            if name not in number:
                raise UserError(f"{clip.path}: its class ({', '.join(name)}) was not trained on")
        return np.array([number[name] for name in names], dtype=np.int64)


def has_attributes(clip: Clip) -> bool:
    """Whether a clip's attributes are known."""
    return clip.attributes not in (NO_ATTRIBUTE, "")


def class_name(clip: Clip, parts: Sequence[Part]) -> ClassName:
    """The clip's values of `parts`."""
    return tuple(str(getattr(clip, part)) for part in parts)


def find_classes(
    clips: Sequence[Clip], parts: Sequence[Part], label_only_clips: Sequence[Clip] = ()
) -> Classes:
    """The classes of the clips.

    Parameters
    ----------
    clips
        Training clips.
    parts
        What of a clip makes its class: "machine", "section", "attributes", "domain".
    label_only_clips
        Clips whose names count as classes too, though nothing is learned from them. The public
        toolkit counts the test clips this way (225 classes in 2024, 148 of them in training),
        which changes the losses' scale sqrt(2) log(C - 1).

    Raises
    ------
    OneClassError
        The training clips are all of one class.
    """
    trained = {class_name(clip, parts) for clip in clips}
    if len(trained) < 2:
        name = ", ".join(next(iter(trained), ("no clips",)))
        raise OneClassError(
            f"labels: all training clips are of one class ({name}), but a frontend learns by "
            f"telling classes apart; add machine types or name more than {', '.join(parts)}"
        )
    names = trained | {class_name(clip, parts) for clip in label_only_clips}
    return Classes(tuple(parts), tuple(sorted(names)))
