"""Small data sets of invented machines, written into the folders of a challenge year."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
from numpy.random import Generator
from numpy.typing import NDArray
from tqdm import tqdm

from asd.challenge.catalog import Challenge
from asd.challenge.layout import machine_folder, split_folder
from asd.challenge.true_attributes import HEADER, table_name, true_attributes_folder
from asd.clips import NO_ATTRIBUTE
from asd.csvfiles import read_rows
from asd.errors import UserError
from asd.files import folder_aside, write_text
from asd.synthetic.machine_sound import (
    SAMPLE_RATE_HZ,
    background_noise,
    faulty_sound,
    machine_sound,
    passing_noise,
    unit_level,
)
from asd.synthetic.plan import (
    PlannedClip,
    SyntheticCounts,
    plan_machine,
    seeded_generator,
)

__all__ = ["SyntheticCounts", "label_list_path", "synthesize"]

_LEVEL = 0.05
"""Root mean square of a clip: room for peaks 26 dB above it."""

_GAIN_DB = 2.0
"""Every clip is louder or softer by up to this, so that loudness tells nothing about its label."""

_FAR_DELAY = 40
"""Samples by which sound reaches the far microphone later: 0.86 m further away."""

_FAR_CLUTTER = 4.0
"""How many times louder, against all else, passing noise is at the far microphone: 12 dB."""


def synthesize(
    data: Path,
    challenge: Challenge,
    split: str,
    machines: Sequence[str] = (),
    *,
    clips: SyntheticCounts | None = None,
    seconds: tuple[float, float] = (2.0, 2.0),
    clutter_db: float | None = None,
    seed: int = 0,
    hide_attributes: Sequence[str] = (),
    attribute_contrast: float = 1.0,
    overwrite: bool = False,
) -> list[Path]:
    """Write a data set of the year's own shape below `data`.

    What a clip sounds like depends on the seed, its machine type, its labelled name (before
    attributes are hidden) and the contrast of attributes alone; the same call writes the same
    bytes. A machine type's folder appears whole or not at all. Test clips of the evaluation split
    carry no label; `eval_data_list_<year>.csv` beside the raw folder tells it, in the organisers'
    format.

    Parameters
    ----------
    split
        "dev" or "eval".
    machines
        Machine types; all of the split if there are none.
    clips
        How many clips of each kind; by default those of `SyntheticCounts`.
    seconds
        Shortest and longest duration of a clip.
    clutter_db
        Level, against the rest of a clip, of a noise that every clip gets in a colour of its own:
        what passes by. Spectra alone then tell little; None leaves it out.
    hide_attributes
        Machine types whose names tell no attributes ("noAttribute"), beyond those whose names
        tell none anyway. What they are is written to a table beside the clips, see
        `asd.challenge.true_attributes`.
    attribute_contrast
        How far apart attributes sound: at 1, values next to each other differ by 6 percent in
        speed, and k-means of mean log-mels finds them all (adjusted Rand index 1 for three
        machine types); at 0.25, by 1.5 percent, hardly (0.2, 0.5 and 0.9).
    overwrite
        Replace machine folders that exist.

    Returns
    -------
    list of Path
        The folders of the machine types.

    Raises
    ------
    UserError
        A machine type is not of the split, its folder exists, or cannot be written.
    """
    wanted = challenge.check_machines(split, list(machines))
    folders = [machine_folder(data, challenge, split, machine) for machine in wanted]
    _check(folders, seconds, overwrite)
    hidden = _check_hidden(challenge, split, hide_attributes, attribute_contrast)
    counts = clips or SyntheticCounts()
    plans = [
        plan_machine(
            challenge, split, machine, counts, seed,
            hidden=machine in hidden, contrast=attribute_contrast,
        )
        for machine in wanted
    ]  # fmt: skip
    with tqdm(total=sum(len(plan) for plan in plans), desc="synthesize", unit="clip") as progress:
        for folder, plan in zip(folders, plans, strict=True):
            with _explained(folder), folder_aside(folder) as aside:
                for clip in plan:
                    _write_clip(aside / clip.path, clip, seconds, clutter_db, seed)
                    progress.update()
                _write_attributes(aside, plan)
                _write_true_attributes(data, plan)
                if split == "eval":  # before the folder appears, so that it never lacks its list
                    _update_label_list(label_list_path(data, challenge), plan)
    return folders


def label_list_path(data: Path, challenge: Challenge) -> Path:
    """The list that maps a synthetic evaluation split's unlabelled names to labelled ones."""
    return split_folder(data, challenge, "eval") / f"eval_data_list_{challenge.year}.csv"


def _check(folders: Sequence[Path], seconds: tuple[float, float], overwrite: bool) -> None:
    if not 0.1 <= seconds[0] <= seconds[1]:
        raise UserError(
            f"seconds {seconds[0]:g} to {seconds[1]:g}: give the shortest duration (0.1 or more) "
            "and then the longest"
        )
    for folder in folders:
        if folder.exists() and not overwrite:
            raise UserError(
                f"{folder}: exists already; name another --dataset_directory, remove it, "
                "or replace it with --overwrite"
            )


def _check_hidden(
    challenge: Challenge, split: str, hidden: Sequence[str], contrast: float
) -> tuple[str, ...]:
    """The machine types whose attributes are to be hidden, checked."""
    if not 0 < contrast <= 6:
        raise UserError(f"--attribute_contrast: expected more than 0, at most 6, got {contrast:g}")
    if not hidden:
        return ()
    if challenge.keyword == "id":
        raise UserError(
            f"--hide_attributes: names of {challenge.name} tell no attributes anyway; leave it "
            "out, or take a year from 2021 on"
        )
    return challenge.check_machines(split, list(hidden))


# --- How a clip sounds -------------------------------------------------------------------------


def _write_clip(
    path: Path,
    clip: PlannedClip,
    seconds: tuple[float, float],
    clutter_db: float | None,
    seed: int,
) -> None:
    rng = seeded_generator(seed, clip.section.machine, clip.folder, clip.seed_name)
    samples = round(rng.uniform(*seconds) * SAMPLE_RATE_HZ)
    signal = _render(clip, samples, rng)
    if clutter_db is not None:
        clutter = 10.0 ** (clutter_db / 20.0) * passing_noise(samples, rng)
        signal = _cluttered(signal, clutter)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, signal, SAMPLE_RATE_HZ, subtype="PCM_16")


def _cluttered(signal: NDArray[np.float64], clutter: NDArray[np.float64]) -> NDArray[np.float64]:
    """Channels of shape (samples, channels) with noise of shape (samples,), as loud as before.

    The noise comes from where the far microphone is, which hears it first and more of it.
    """
    heard = [clutter, _FAR_CLUTTER * np.roll(clutter, -_FAR_DELAY)]
    levels = np.sqrt(np.mean(signal**2, axis=0))
    pairs = zip(signal.T, heard, strict=False)
    mixed = [unit_level(unit_level(channel) + noise) for channel, noise in pairs]
    return np.asarray(levels * np.stack(mixed, axis=1))


def _render(clip: PlannedClip, samples: int, rng: Generator) -> NDArray[np.float64]:
    """Samples of shape (samples, channels), near microphone first, full scale 1."""
    machine = np.zeros(samples)
    if clip.fault:
        machine = faulty_sound(clip.section.sound, clip.condition, clip.fault, samples, rng)
    elif clip.name.label != "noise":
        machine = machine_sound(clip.section.sound, clip.condition, samples, rng)
    loud = 0.0 if clip.name.label == "machine" else 1.0
    near = machine + loud * background_noise(clip.condition, samples, rng)
    channels = [unit_level(near)]
    if clip.section.challenge.channels == 2:
        late = np.concatenate([np.zeros(_FAR_DELAY), machine])[:samples]
        far = 0.5 * late + 1.5 * loud * background_noise(clip.condition, samples, rng)
        channels.append(unit_level(far))
    gain = _LEVEL * 10.0 ** (rng.uniform(-_GAIN_DB, _GAIN_DB) / 20.0)
    return np.stack([gain * channel for channel in channels], axis=1)


# --- Files beside the clips --------------------------------------------------------------------


def _write_attributes(folder: Path, plan: Sequence[PlannedClip]) -> None:
    """Write attributes_NN.csv (2022 on): which clip has which attributes, where it is told."""
    if plan[0].section.challenge.year < 2022:
        return
    for section in dict.fromkeys(clip.name.section for clip in plan):
        lines = ["file_name,d1p,d1v,d2p,d2v"]
        for clip in plan:
            if clip.name.section == section and clip.folder != "supplemental":
                told = clip.section.tells_attributes and clip.unlabelled is None
                pairs = clip.condition.attributes if told else (("", ""),) * 2
                words = [
                    f"{clip.section.machine}/{clip.path}",
                    *(w for pair in pairs for w in pair),
                ]
                lines.append(",".join(words))
        write_text(folder / f"attributes_{section}.csv", "\n".join(lines) + "\n")


def _write_true_attributes(data: Path, plan: Sequence[PlannedClip]) -> None:
    """Write the tables of attributes that names do not tell; none where all names tell them.

    Unlabelled test clips have two lines, one for the name that a labelled copy gets.
    """
    first = plan[0].section
    folder = true_attributes_folder(data, first.challenge, first.split, first.machine)
    rows: dict[str, list[tuple[str, str]]] = {}
    for clip in plan:
        if clip.folder == "supplemental" or clip.name.attributes != NO_ATTRIBUTE:
            continue
        part = "train" if clip.folder == "train" else "test"
        table = rows.setdefault(table_name(clip.name.section, part), [HEADER])
        names = [str(clip.name)]
        names += [] if clip.unlabelled is None else [str(clip.unlabelled)]
        table += [(clip.true_name, name) for name in names]
    for stale in folder.glob("attributes_*_correspondence.csv"):  # of an earlier data set
        stale.unlink()
    for name, lines in rows.items():
        write_text(folder / name, "".join(",".join(line) + "\n" for line in lines))


def _update_label_list(path: Path, plan: Sequence[PlannedClip]) -> None:
    """Put a machine type's block into the label list; the blocks of others stay.

    A block is a line with the machine type, then lines "unlabelled,labelled" (2020 with a third
    column: 1 for an anomaly).
    """
    blocks: dict[str, list[str]] = {}
    machine = ""
    for line, cells in read_rows(path) if path.is_file() else []:
        if len(cells) == 1:
            machine = cells[0]
            blocks[machine] = []
        elif machine:
            blocks[machine].append(",".join(cells))
        else:
            raise UserError(f"{path}, line {line}: no machine type above it; remove the file")
    blocks[plan[0].section.machine] = [_label_line(c) for c in plan if c.unlabelled is not None]
    lines = [line for machine, block in blocks.items() for line in (machine, *block)]
    write_text(path, "\n".join(lines) + "\n")


def _label_line(clip: PlannedClip) -> str:
    line = f"{clip.unlabelled},{clip.name}"
    if clip.name.keyword == "id":
        line += f",{int(clip.name.label == 'anomaly')}"
    return line


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say what to do where a machine type's folder cannot be written."""
    try:
        yield
    except (OSError, soundfile.SoundFileError) as error:
        raise UserError(
            f"{folder}: cannot be written ({error}); check the folder's permissions and free "
            "space, or name another --dataset_directory"
        ) from error
