"""Maps of embeddings and histograms of their scores, from what `embed` has written."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asd.backends import BACKENDS, make_backend
from asd.errors import UserError
from asd.evaluation.records import TestRecord, read_records
from asd.evaluation.results import read_scores
from asd.jobs.class_confusion import class_confusion
from asd.jobs.embeddings import EmbeddedClips, load_embeddings
from asd.systems.embedding.maps import umap_map

log = logging.getLogger(__name__)

Method = Literal["tsne", "umap"]
Scores = dict[str, NDArray[np.float64]]

_NAMES = {"tsne": "t-SNE", "umap": "UMAP"}
_FEWEST = 4  # clips that a map can be made of
_ALIKE = 1e-6  # directions that differ by less are equal in float32


def visualize(
    file: Path,
    out: Path,
    method: Method,
    results: Path | None = None,
    seed: int = 0,
    interactive: bool = False,
    classes: bool = False,
) -> list[Path]:
    """Draw a map and score histograms of every machine type.

    <out>/<machine>_<method>.png    the map by domain, by attributes, and normal or anomalous
    <out>/<machine>_scores.png      histograms of the labelled test clips' scores
    <out>/classes.png               if `classes`: which classes are mistaken for which
    <out>/maps_<method>.html        if `interactive`: maps of all machine types in three dimensions

    Parameters
    ----------
    file
        An .npz file of `embed`.
    method
        How embeddings get a place in the plane; near ones stay near, by the cosine distance.
    results
        Result folder whose score files are drawn; None scores the embeddings with all backends.
    seed
        Random seed of the maps.
    interactive
        Whether there are maps in three dimensions, too.
    classes
        Whether there is a picture of the confusion of classes, see `class_confusion`.

    Returns
    -------
    list of Path
        The pictures.

    Raises
    ------
    UserError
        The file can't be read, UMAP or plotly is not installed, there are too few clips, or no
        score file belongs to them.
    """
    from asd.report.confusion import confusion_plot
    from asd.report.interactive import PlacedClips, check_plotly, write_maps  # slow to import
    from asd.report.page import save_figure

    if interactive:
        check_plotly()
    clips = _with_direction(load_embeddings(file))
    # All is computed before the first picture: what fails leaves nothing behind.
    confusion = class_confusion(clips) if classes else None
    machines = [
        _mapped(machine, clips.select(clips.machine == machine), method, results, seed)
        for machine in dict.fromkeys(clips.machine.tolist())
    ]
    in_space = {
        each.name: PlacedClips(
            _project(each.name, each.clips, method, seed, 3),
            each.clips.file_name.tolist(),
            _kinds(each.clips),
        )
        for each in (machines if interactive else ())
    }
    paths = [path for each in machines for path in _draw(each, out, method, file.name)]
    if confusion is not None:
        paths.append(out / "classes.png")
        title = f"classes told apart by the nearest class mean: {file.name}"
        save_figure(confusion_plot(confusion.classes, confusion.counts, title), paths[-1])
    if in_space:
        paths.append(out / f"maps_{method}.html")
        write_maps(paths[-1], in_space, f"{_NAMES[method]} of {file.name}")
    log.info("%d pictures: %s", len(paths), out)
    return paths


@dataclass(frozen=True)
class _MappedMachine:
    """A machine type's clips, their places, and the scores of those that were tested."""

    name: str
    clips: EmbeddedClips
    points: NDArray[np.float64]
    tested: EmbeddedClips
    scores: Scores


def _mapped(
    name: str, own: EmbeddedClips, method: Method, results: Path | None, seed: int
) -> _MappedMachine:
    tested = _tested(own)
    scores = _scores(own, tested, results)
    return _MappedMachine(name, own, _project(name, own, method, seed), tested, scores)


def _draw(machine: _MappedMachine, out: Path, method: Method, source: str) -> list[Path]:
    """Draw a machine type's map, and its histograms where it has scores."""
    from asd.report.embeddings import embedding_map, score_histograms
    from asd.report.page import save_figure

    paths = [out / f"{machine.name}_{method}.png"]
    title = f"{machine.name}: {_NAMES[method]} of {source}"
    save_figure(embedding_map(machine.points, _kinds(machine.clips), title), paths[0])
    if machine.scores:
        paths.append(out / f"{machine.name}_scores.png")
        is_anomaly = machine.tested.label == "anomaly"
        is_target = machine.tested.domain == "target"
        title = f"{machine.name}: scores of {source}"
        save_figure(score_histograms(machine.scores, is_anomaly, is_target, title), paths[1])
    return paths


def _kinds(own: EmbeddedClips) -> dict[str, list[str]]:
    """The ways in which a map tells clips apart -> what each clip is."""
    return {
        "domain": own.domain.tolist(),
        "attributes": own.attributes.tolist(),
        "label": [" ".join(words) for words in zip(own.part, own.label, strict=True)],
    }


def _with_direction(clips: EmbeddedClips) -> EmbeddedClips:
    """The clips but those whose embedding is zero: maps compare directions, and zero has none."""
    is_zero: NDArray[np.bool_] = np.all(clips.embeddings == 0, axis=1)
    if is_zero.any():
        log.warning(
            "%d clips are left out, for their embedding is zero; the first is %s",
            is_zero.sum(), clips.file_name[is_zero][0],
        )  # fmt: skip
    if is_zero.all():
        raise UserError("all embeddings are zero; look at the training, and embed the clips again")
    return clips.select(~is_zero)


def _project(
    machine: str, own: EmbeddedClips, method: Method, seed: int, dimensions: int = 2
) -> NDArray[np.float64]:
    try:
        return project(own.embeddings, method, seed, dimensions)
    except UserError as error:
        raise UserError(f"{machine}: {error}") from None


def project(
    embeddings: NDArray[np.float32], method: Method, seed: int = 0, dimensions: int = 2
) -> NDArray[np.float64]:
    """Places of embeddings in the plane, or in space, shape (clips, dimensions).

    Raises
    ------
    UserError
        UMAP is not installed, there are too few clips, or all embeddings are alike.
    """
    if len(embeddings) < _FEWEST:
        raise UserError(f"{len(embeddings)} embeddings: a map needs {_FEWEST}; embed more clips")
    # Lengths do not count for the cosine distance, and large ones would overflow.
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    embeddings = (embeddings / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    if np.ptp(embeddings, axis=0).max() < _ALIKE:
        raise UserError("all embeddings are alike, there is nothing to map; look at the training")
    if method == "umap":
        hint = "or take --method tsne"
        return umap_map(embeddings, seed, metric="cosine", dimensions=dimensions, hint=hint)
    from sklearn.manifold import TSNE  # slow to import

    perplexity = min(30.0, (len(embeddings) - 1) / 3)
    init = "pca" if embeddings.shape[1] >= dimensions else "random"
    model = TSNE(dimensions, perplexity=perplexity, metric="cosine", init=init, random_state=seed)
    return np.asarray(model.fit_transform(embeddings), dtype=np.float64)


def _tested(own: EmbeddedClips) -> EmbeddedClips:
    """The labelled test clips."""
    return own.select((own.part == "test") & (own.label != "unknown"))


def _scores(own: EmbeddedClips, tested: EmbeddedClips, results: Path | None) -> Scores:
    """Scores of a machine type's labelled test clips by name; none, and a logged line, if none."""
    lacking = ""
    if not len(tested.machine):
        lacking = "labelled test clips"
    elif results is None and not (own.part == "train").any():
        lacking = "training clips to score the test clips by (embed both, or give --results)"
    if lacking:
        log.warning("%s: no histograms of scores, for there are no %s", own.machine[0], lacking)
        return {}
    return _computed(own, tested) if results is None else _read(tested, results)


def _computed(own: EmbeddedClips, tested: EmbeddedClips) -> Scores:
    """Scores of labelled test clips by every backend with its default parameters.

    Backends that training clips are too few for are left out.
    """
    train = own.select(own.part == "train")
    scores: Scores = {}
    for name in BACKENDS:
        backend = make_backend(name)
        try:
            sections = train.section.astype(np.int64)
            backend.fit(train.embeddings, train.domain == "target", sections)
            found = backend.score(tested.embeddings, tested.section.astype(np.int64))
            if np.isfinite(found).all():
                scores[name] = found
            else:
                log.warning("%s, %s is left out: scores are not finite", own.machine[0], name)
        except UserError as error:
            log.warning("%s, %s is left out: %s", own.machine[0], name, error)
    return scores


def _read(tested: EmbeddedClips, results: Path) -> Scores:
    """Scores of test clips from the result files of their model, by score name."""
    wanted = tested.file_name.tolist()
    scores: Scores = {}
    for path, record in read_records(results, str(tested.split)):
        if _is_of(record, tested):
            by_name = _read_clips(path.parent, record)
            if all(name in by_name for name in wanted):
                scores[record.score] = np.array([by_name[name] for name in wanted])
    if not scores:
        raise UserError(
            f"--results: {results} holds no scores of these clips of {tested.machine[0]} by "
            f"{tested.export_dir}, seed {tested.seed}; run asd test, or leave out --results"
        )
    return scores


def _is_of(record: TestRecord, tested: EmbeddedClips) -> bool:
    found = record.export_dir, record.dataset, record.machine, record.seed
    return found == (
        str(tested.export_dir), str(tested.dataset), str(tested.machine[0]), int(tested.seed)
    )  # fmt: skip


def _read_clips(folder: Path, record: TestRecord) -> dict[str, float]:
    """Clip name -> score."""
    found: dict[str, float] = {}
    for files in record.files.values():
        names, values = read_scores(folder / files.scores)
        found.update(zip(names, np.asarray(values).tolist(), strict=True))
    return found
