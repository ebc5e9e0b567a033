"""Frame vectors for other programs, and the published table experiment of GAN and BiGAN."""

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from asd.audio.store import available_cores
from asd.config import Config
from asd.jobs.data import ClipSet, check_dataset, find_clips, find_features
from asd.jobs.training import device
from asd.parameters import parameter_fields
from asd.systems.base import Epoch
from asd.systems.gan.export import export_arrays, export_paths, write_npy
from asd.systems.gan.tabular import Detection, load_kdd, run_table


def export_features(config: Config, folder: Path) -> Iterator[Path]:
    """Write the frame vectors of all machine types, sections and sets; yields the files.

    Raises
    ------
    UserError
        Clips can't be used, or the folder can't be written to.
    """
    check_dataset(config)
    sets: tuple[ClipSet, ...] = ("train", "test")
    for machine in config.machines:
        for clip_set in sets:
            clips = find_clips(config, machine, clip_set)
            features = find_features(config, clips, available_cores())
            for section in sorted({clip.section for clip in clips}):
                chosen = [i for i, clip in enumerate(clips) if clip.section == section]
                arrays = export_arrays(
                    [clips[i] for i in chosen],
                    features.select(chosen),
                    config.frames,
                    config.frame_hop_length,
                )
                paths = export_paths(folder, clip_set, machine, section)
                write_npy(paths[0], arrays[0])
                write_npy(paths[1], arrays[1])
                yield from paths


def run_kdd(model: str, config: Config, flags: Container[str], scale: bool) -> Detection:
    """The published experiment on KDD Cup 99.

    Parameters
    ----------
    model
        "gan" or "bigan".
    config
        Of its w, d, methods (the first counts), epochs, batch_size, learning_rate and seed, those
        that `flags` names or that are not at their defaults take the place of the published.
    flags
        Names of parameters that were given as flags.
    scale
        Bring the columns to 0 ... 1.

    Raises
    ------
    UserError
        The data can't be downloaded, there is no such CUDA device, or training diverged.
    """
    options = _unlike_published(config, flags)
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


def _unlike_published(config: Config, flags: Container[str]) -> dict[str, Any]:
    """Arguments of `run_table` that the user has set.

    A file's values at their defaults are not: the official baseline.yaml names them all.
    """
    values = {
        parameter.name: getattr(config, parameter.name)
        for parameter in parameter_fields()
        if parameter.name in flags or getattr(config, parameter.name) != parameter.default
    }
    names = ("w", "d", "epochs", "batch_size", "learning_rate", "seed")
    options = {name: values[name] for name in names if name in values}
    if "methods" in values:
        options["method"] = values["methods"][0].upper()
    return options
