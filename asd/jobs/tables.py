"""The experiments of GAN and BiGAN beside challenges, and arrays for other programs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from asd.audio.clip_set import ClipSet
from asd.clips import LABELS
from asd.config import Config
from asd.errors import UserError
from asd.evaluation.metrics import arithmetic_mean, domain_metrics, partial_auc
from asd.jobs.data import Part, check_dataset, machine_clips
from asd.jobs.jobs import plan_jobs
from asd.jobs.testing import load_detector
from asd.jobs.training import device
from asd.systems.base import Epoch
from asd.systems.gan.ablation import VARIANTS, score_variant
from asd.systems.gan.digits import load_mnist, score_digits, split_digits
from asd.systems.gan.export import export_arrays, export_paths, image_groups, write_npy
from asd.systems.gan.judging import Detection, constant_score_area, precision_recall_area
from asd.systems.gan.system import AdversarialSystem, BiGAN, ImageBiGAN
from asd.systems.gan.tabular import load_kdd, run_table
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


def export_images(config: Config, folder: Path) -> Iterator[Path]:
    """Write log-mel images under the names that the program of the image networks reads.

    Those are x_train_<machine>_section_<number>.npy, and for each domain of the test clips
    x_test_<machine>_section_<NN>_<domain>.npy, normal clips first; with a label for each image
    under y_. Yields the files.

    Raises
    ------
    UserError
        Clips can't be used, or the folder can't be written to.
    """
    check_dataset(config)
    parts: tuple[Part, ...] = ("train", "test")
    for machine in config.machines:
        for part in parts:
            clips = machine_clips(config, machine, part, thread_count(config.threads))
            for name, chosen in image_groups(clips.clips, part).items():
                listed = clips.select(chosen)
                x, y = export_arrays(
                    listed.clips,
                    listed.features(config.system.feature()),
                    config.system.frames,
                    config.system.frame_hop_length,
                )
                for letter, array in (("x", x), ("y", y)):
                    path = folder / f"{letter}_{part}_{machine}_{name}.npy"
                    write_npy(path, array)
                    yield path


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
    with _progress() as show:
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


@dataclass(frozen=True)
class SingleImages:
    """How well scores of single images, not of whole clips, find anomalies.

    Parameters
    ----------
    images
        How many were scored.
    area
        Area under the precision-recall curve.
    constant
        That of a score that is the same for all: what no information gets.
    pauc
        Partial AUC up to a false positive rate of 0.1.
    """

    images: int
    area: float
    constant: float
    pauc: float

    @classmethod
    def of(cls, scores: NDArray[np.float64], is_anomaly: NDArray[np.bool_]) -> "SingleImages":
        """The figures of scores, shape (images,)."""
        return cls(
            len(scores),
            precision_recall_area(scores, is_anomaly),
            constant_score_area(is_anomaly),
            partial_auc(is_anomaly, scores),
        )

    def __str__(self) -> str:
        return (
            f"{self.images} images: area under the precision-recall curve {self.area:.4f} "
            f"(a constant score gets {self.constant:.4f}), pAUC {self.pauc:.4f}"
        )


def run_mnist(
    model: str, options: Mapping[str, Any], label: int, file: Path | None, config: Config
) -> SingleImages:
    """The published experiment on MNIST, with the digit `label` taken as anomalous.

    Parameters
    ----------
    model
        "gan" or "bigan".
    options
        Arguments of `score_digits` in place of the published ones.
    file
        See `load_mnist`.
    config
        Of its device.

    Raises
    ------
    UserError
        The data can't be had, there is no such digit or CUDA device, or training diverged.
    """
    where = device(config)
    table = split_digits(*load_mnist(file), label)
    with _progress() as show:
        scores = score_digits(table, model=model, device=where, on_epoch=show, **options)
    return SingleImages.of(scores, table.y_test)


def single_images(config: Config) -> Iterator[tuple[str, SingleImages]]:
    """For each model of a run and domain of its labelled test clips: name, and figures.

    Raises
    ------
    UserError
        A model is missing or damaged, or clips can't be used.
    """
    for job in plan_jobs(config):
        system = load_detector(job).system
        assert isinstance(system, AdversarialSystem)
        for machine in job.machines:
            clips = machine_clips(config, machine, "test", thread_count(config.threads))
            for section, domain in sorted({(clip.section, clip.domain) for clip in clips}):
                chosen = clips.select(
                    [i for i, c in enumerate(clips) if (c.section, c.domain) == (section, domain)]
                )
                if section not in (job.sections or (section,)) or not _labelled(chosen):
                    continue
                scores, counts = system.vector_scores(chosen.features(config.system.feature()))
                is_anomaly = np.repeat([clip.is_anomaly for clip in chosen], counts)
                for name, values in scores.items():
                    title = f"{machine} section {section} {domain} {name}"
                    yield title, SingleImages.of(values, is_anomaly)


def _labelled(clips: ClipSet) -> bool:
    return all(clip.label in LABELS for clip in clips)


@dataclass(frozen=True)
class AblationRow:
    """A line of the ablation's table, for one machine type, section, variant, score and seed.

    Parameters
    ----------
    source, target
        AUC of that domain's normal clips against the anomalies of both.
    pauc
        Of all clips, up to the run's `--max_fpr`.
    ratio
        The reconstruction's error on training data relative to the mean's.
    """

    machine: str
    section: str
    variant: str
    score: str
    seed: int
    source: float
    target: float
    pauc: float
    ratio: float


def ablate(config: Config, seeds: Sequence[int]) -> Iterator[AblationRow]:
    """Train a BiGAN with the adversary alone, the reconstruction alone, both, and neither.

    Nothing is stored.

    Raises
    ------
    UserError
        Clips can't be used or have no labels, or training diverged.
    """
    check_dataset(config)
    threads = thread_count(config.threads)
    torch.set_num_threads(1)  # as in training
    system = config.entry.system_class()(config.system, device(config))
    assert isinstance(system, (BiGAN, ImageBiGAN))
    feature = config.system.feature()
    for machine in config.machines:
        train = machine_clips(config, machine, "train", threads)
        test = machine_clips(config, machine, "test", threads)
        if not _labelled(test):
            raise UserError(f"{machine}: test clips have no labels; ablate needs labelled ones")
        for section in sorted({clip.section for clip in train}):
            learned, tested = (
                clips.select([i for i, clip in enumerate(clips) if clip.section == section])
                for clips in (train, test)
            )
            for variant in VARIANTS:
                for seed in seeds:
                    with _progress(f"{machine} {section} {variant}") as show:
                        scores, ratio = score_variant(
                            system,
                            variant,
                            learned.features(feature),
                            np.array([clip.is_target for clip in learned]),
                            tested.features(feature),
                            seed,
                            show,
                        )
                    for name, values in scores.items():
                        found = domain_metrics(
                            values,
                            [clip.is_anomaly for clip in tested],
                            [clip.is_target for clip in tested],
                            config.max_fpr,
                        )
                        yield AblationRow(
                            machine, section, variant, name, seed,
                            found["smix_auc"], found["tmix_auc"], found["mix_pauc"], ratio,
                        )  # fmt: skip


def ablation_table(rows: Sequence[AblationRow]) -> str:
    """The means over seeds as text, a line for each machine type, section, variant and score."""
    groups: dict[tuple[str, str, str, str], list[AblationRow]] = {}
    for row in rows:
        key = (row.machine, row.section, row.variant, row.score)
        groups.setdefault(key, []).append(row)
    heads: tuple[str, ...] = (
        "machine", "section", "learned from", "score", "seeds", "AUC source", "AUC target",
        "pAUC", "error / mean's",
    )  # fmt: skip
    lines = [heads]
    for key, found in groups.items():
        means = [
            arithmetic_mean([getattr(row, column) for row in found])
            for column in ("source", "target", "pauc", "ratio")
        ]
        cells = ["-" if np.isnan(mean) else f"{mean:.3f}" for mean in means]
        lines.append((*key, str(len(found)), *cells))
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


@contextmanager
def _progress(what: str = "training") -> Iterator[Callable[[Epoch], None]]:
    """A progress bar of epochs, as a function to report them to."""
    with tqdm(desc=what, unit="epoch", leave=False) as bar:

        def show(epoch: Epoch) -> None:
            bar.total = epoch.total
            bar.update(epoch.number - bar.n)

        yield show
