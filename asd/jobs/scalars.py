"""Losses for TensorBoard, of every system; needs the optional extra asd[tensorboard]."""

from collections.abc import Callable
from pathlib import Path

from asd.errors import UserError
from asd.systems.base import Epoch

OnEpoch = Callable[[Epoch], None]


def scalar_writer(folder: Path | None, name: str) -> OnEpoch | None:
    """What writes an epoch's losses to TensorBoard's files in <folder>/<name>; None without one.

    What is written is in the file when an epoch is over.

    Raises
    ------
    UserError
        TensorBoard is not installed.
    """
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "--tensorboard: tensorboard is not installed; pip install 'asd[tensorboard]', "
            "or leave the flag out (log.csv holds the same losses)"
        ) from None
    scalars = SummaryWriter(folder / name)

    def write(epoch: Epoch) -> None:
        for column, value in epoch.losses.items():
            scalars.add_scalar(column, value, epoch.number)
        scalars.flush()
        if epoch.number == epoch.total:
            scalars.close()

    return write
