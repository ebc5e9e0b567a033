"""Frame vectors for other programs, and the published table experiment of GAN and BiGAN."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from asd.config import Config
from asd.jobs.data import Part, check_dataset, machine_clips
from asd.jobs.training import device
from asd.systems.base import Epoch
from asd.systems.gan.export import export_arrays, export_paths, write_npy
from asd.systems.gan.tabular import Detection, load_kdd, run_table
from asd.threads import thread_count


def export_features(config: Config, folder: Path) -> Iterator[Path]:
    """Write the frame vectors of all machine types, sections and sets; yields the files.

    Raises
    ------
    UserError
        Clips can't be used, or the folder can't be written to.
    """
    check_dataset(config)
    parts: tuple[Part, ...] = ("train", "test")
    feature = config.system.feature()
    for machine in config.machines:
        for part in parts:
            clips = machine_clips(config, machine, part, thread_count(config.threads))
            for section in sorted({clip.section for clip in clips}):
                chosen = clips.select([i for i, c in enumerate(clips) if c.section == section])
                arrays = export_arrays(
                    chosen.clips,
                    chosen.features(feature),
                    config.system.frames,
                    config.system.frame_hop_length,
                )
                paths = export_paths(folder, part, machine, section)
                write_npy(paths[0], arrays[0])
                write_npy(paths[1], arrays[1])
                yield from paths


def run_kdd(model: str, options: Mapping[str, Any], scale: bool, config: Config) -> Detection:
    """The published experiment on KDD Cup 99.

    Parameters
    ----------
    model
        "gan" or "bigan".
    options
        Arguments of `run_table` in place of the published ones.
    scale
        Bring the columns to 0 ... 1.
    config
        Of its device.

    Raises
    ------
    UserError
        The data can't be downloaded, there is no such CUDA device, or training diverged.
    """
    where = device(config)
    table = load_kdd()
    with tqdm(desc="training", unit="epoch") as bar:

        def show(epoch: Epoch) -> None:
            bar.total = epoch.total
            bar.update(epoch.number - bar.n)

        return run_table(
            table.x_train,
            table.x_test,
            table.y_test,
            model=model,
            scale=scale,
            device=where,
            on_epoch=show,
            **options,
        )
