"""Losses for TensorBoard, of every system; needs the optional extra asd[tensorboard]."""

from collections.abc import Callable
from pathlib import Path

from asd.errors import UserError
from asd.systems.base import Epoch

OnEpoch = Callable[[Epoch], None]


def with_scalars(on_epoch: OnEpoch, folder: Path | None, name: str) -> OnEpoch:
    """`on_epoch`, and then the epoch's losses to TensorBoard's files in <folder>/<name>.

    Without a folder only `on_epoch`. What is written is in the file when an epoch is over.

    Raises
    ------
    UserError
        TensorBoard is not installed.
    """
    if folder is None:
        return on_epoch
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "--tensorboard: tensorboard is not installed; pip install 'asd[tensorboard]', "
            "or leave the flag out (log.csv holds the same losses)"
        ) from None
    scalars = SummaryWriter(folder / name)

    def write(epoch: Epoch) -> None:
        on_epoch(epoch)
        for column, value in epoch.losses.items():
            scalars.add_scalar(column, value, epoch.number)
        scalars.flush()
        if epoch.number == epoch.total:
            scalars.close()

    return write
