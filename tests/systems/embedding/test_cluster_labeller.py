"""Pseudo labels: classes of clips whose names tell nothing."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score
from tones import hidden_tones

from asd.audio.clip_set import ClipSet
from asd.errors import UserError
from asd.jobs.folder_run import FolderRun
from asd.jobs.jobs import ModelFolder
from asd.jobs.training_tables import write_tables
from asd.systems.base import MAIN_STAGE
from asd.systems.embedding.clip_labels import FileLabeller
from asd.systems.embedding.cluster_tables import Agreement
from asd.systems.embedding.clusters import ClusterLabeller
from asd.systems.embedding.labels import OneClassError
from asd.systems.embedding.recipe import parse_recipe
from asd.systems.embedding.system import EmbeddingSystem
from asd.systems.memory_run import MemoryRun

RECIPE = """\
input_s: 0.5
frontend: {class: SpectralNetwork, windows: [128], whole_clip: false, width: 16, high_hz: 4000}
labels: {class: ClusterLabeller, epochs: 3, dimensions: null, source_clusters: 4, method: k_means}
losses:
  - {class: SubclusterAdaCos, subclusters: 2, dynamic: false}
training: {epochs: 2, batch_size: 16, learning_rate: 0.005}
backends:
  KNN: {class: knn}
"""


def recipe(**changes):
    text = RECIPE
    for old, new in changes.items():
        text = text.replace(f"{old}:", f"{new}, {old}:", 1)
    return parse_recipe(text, "mine")


def groups_of(clips):
    return [f"{clip.machine} {clip.domain}" for clip in clips]


def agreement(clips, numbers, hidden):
    """Adjusted Rand index within machine types and domains, all taken together."""
    groups = groups_of(clips)
    own = [f"{group} {number}" for group, number in zip(groups, numbers.tolist(), strict=True)]
    true = [f"{group} {number}" for group, number in zip(groups, hidden.tolist(), strict=True)]
    return adjusted_rand_score(true, own)


def test_umap_and_mixtures_of_mean_spectra_find_hidden_pitches():
    clips, hidden = hidden_tones(3, count=75, machines=("ToyA",))
    labeller = ClusterLabeller(source="spectrum", source_clusters=6)
    found = labeller.classes(clips, MemoryRun(0))
    source = ~clips.is_target
    assert adjusted_rand_score(hidden[source], found.numbers[source]) > 0.9
    assert found.count == len(set(found.numbers.tolist()))
    again = ClusterLabeller(source="spectrum", source_clusters=6).classes(clips, MemoryRun(0))
    assert again.numbers.tolist() == found.numbers.tolist()


def test_agglomeration_of_mean_spectra_finds_hidden_pitches():
    clips, hidden = hidden_tones(4)
    labeller = ClusterLabeller(
        source="spectrum", dimensions=None, method="agglomerative", source_clusters=3,
        target_clusters=3,
    )  # fmt: skip
    found = labeller.classes(clips, MemoryRun(0))
    assert agreement(clips, found.numbers, hidden) > 0.9


def test_with_a_seed_of_its_own_clusters_are_the_same_in_all_runs():
    """As published: the clusters of encoders' embeddings were shared by the five seeds."""
    clips, _ = hidden_tones(17, count=20, machines=("ToyA",))

    def table(run_seed, **options):
        labeller = ClusterLabeller(source="spectrum", dimensions=None, source_clusters=3, **options)
        labeller.classes(clips, MemoryRun(run_seed))
        return labeller.tables()["clusters"]

    assert table(1, seed=0) == table(2, seed=0) == table(0)
    assert table(1) != table(2)


def test_machines_whose_names_tell_attributes_keep_them_unless_all_are_clustered():
    clips, _ = hidden_tones(5)
    named = [
        replace(clip, attributes=f"spd_{i % 2}") if clip.machine == "ToyA" else clip
        for i, clip in enumerate(clips)
    ]
    both = ClipSet(named, lambda _, feature: clips.features(feature))
    options = {"source": "spectrum", "dimensions": None, "method": "k_means", "source_clusters": 3}
    found = ClusterLabeller(**options).classes(both, MemoryRun(0)).numbers
    groups = {(c.domain, c.attributes) for c in named if c.machine == "ToyA"}
    assert len(set(found[:30].tolist())) == len(groups) == 4
    labeller = ClusterLabeller(machines="all", **options)
    every = labeller.classes(both, MemoryRun(0)).numbers
    assert len(set(every[:30].tolist())) == 3 + 2
    rows = labeller.tables()["cluster_agreement"].rows
    assert {row[0] for row in rows} == {"ToyA"}  # whose attributes are known, and not looked at


def system_of(recipe, clips, run):
    system = EmbeddingSystem(recipe)
    system.fit(clips, run)
    return system


def test_the_network_is_trained_with_names_first_then_with_its_clusters():
    clips, hidden = hidden_tones(6)
    stages = []
    run = MemoryRun(0, lambda stage, epoch: stages.append((stage, epoch.number)))
    system = system_of(recipe(epochs="refine: 1, refine_epochs: 3"), clips, run)
    assert stages == [
        *[("names", n) for n in (1, 2, 3)], ("labels", 1),
        *[("refinement1", n) for n in (1, 2, 3)], ("labels1", 1),
        (MAIN_STAGE, 1), (MAIN_STAGE, 2),
    ]  # fmt: skip
    table = system.tables()["clusters"]
    assert len(table.rows) == len(clips)
    numbers = np.array([row[table.columns.index("cluster")] for row in table.rows])
    assert agreement(clips, numbers, hidden) > 0.4


def test_each_machine_type_is_clustered_by_a_triplet_network_of_its_own():
    clips, _ = hidden_tones(15, count=10)
    stages = []
    run = MemoryRun(0, lambda stage, epoch: stages.append((stage, epoch.number)))
    text = RECIPE.replace("epochs: 3", "source: triplet, epochs: 1").replace("0.5", "0.7")
    system = system_of(parse_recipe(text, "mine"), clips, run)
    assert stages[:3] == [("triplet_ToyA", 1), ("triplet_ToyB", 1), ("labels", 1)]
    assert len(system.tables()["clusters"].rows) == len(clips)
    again = system_of(parse_recipe(text, "mine"), clips, MemoryRun(0))
    assert again.tables() == system.tables()


def test_a_machine_type_of_one_clip_has_no_triplet_network_and_is_named():
    clips, _ = hidden_tones(15, count=8)
    text = RECIPE.replace("epochs: 3", "source: triplet, epochs: 1").replace("0.5", "0.7")
    system = EmbeddingSystem(parse_recipe(text, "mine"))
    chosen = clips.select([*range(8), 8])  # all of ToyA and a single one of ToyB
    run = MemoryRun(0, lambda *_: pytest.fail("something was trained"))
    with pytest.raises(UserError, match="labels: ToyB has a single training clip"):
        system.fit(chosen, run)


@pytest.mark.parametrize("stop_after", [2, 4])
def test_resumed_in_any_stage_it_ends_with_the_same_clusters_and_scores(tmp_path, stop_after):
    class Killed(BaseException):
        pass

    def kill(_):
        done.append(None)
        if len(done) == stop_after:
            raise Killed

    clips, _ = hidden_tones(7, count=12)
    expected = system_of(recipe(), clips, MemoryRun(0))
    folder, done = ModelFolder(tmp_path / "model"), []
    for options in ({"on_epoch": kill}, {"restart": True}):
        run = FolderRun(folder, 0, {}, {}, **options)
        run.prepare_folder()
        try:
            system = system_of(recipe(), clips, run)
        except Killed:
            continue
    assert system.tables() == expected.tables()
    np.testing.assert_array_equal(system.score(clips)["KNN"], expected.score(clips)["KNN"])


def test_the_table_of_clusters_can_be_edited_and_read_again(tmp_path):
    clips, _ = hidden_tones(8)
    labeller = ClusterLabeller(source="spectrum", dimensions=None, method="k_means")
    found = labeller.classes(clips, MemoryRun(0))

    class Tabulator:
        def tables(self):
            return labeller.tables()

    folder = ModelFolder(tmp_path)
    write_tables(folder, Tabulator(), "mine")
    assert {path.name for path in folder.table_files()} == {
        "clusters.csv", "clusters_ToyA.png", "clusters_ToyB.png"
    }  # fmt: skip
    again = FileLabeller(file=str(tmp_path / "tables" / "clusters.csv"))
    assert adjusted_rand_score(again.classes(clips, MemoryRun(0)).numbers, found.numbers) == 1


def test_true_labels_are_compared_with_and_not_learned_from(tmp_path, caplog):
    clips, hidden = hidden_tones(9)
    lines = [f"{c.machine}/{c.file_name},pitch {h}" for c, h in zip(clips, hidden, strict=True)]
    file = tmp_path / "truth.csv"
    file.write_text("\n".join(["clip,label", *lines, ""]))
    options = {"source": "spectrum", "dimensions": None, "method": "k_means", "source_clusters": 3}
    plain = ClusterLabeller(**options).classes(clips, MemoryRun(0))
    labeller = ClusterLabeller(true_labels=str(file), **options)
    with caplog.at_level("INFO"):
        found = labeller.classes(clips, MemoryRun(0))
    assert found.numbers.tolist() == plain.numbers.tolist()
    assert "ToyA: 5 clusters of 30 clips with" in caplog.text
    rows = {row[:3]: row for row in labeller.tables()["cluster_agreement"].rows}
    assert rows["ToyA", "00", "source"][-1] > 0.9


def test_purity_and_agreement_equal_closed_forms():
    found = Agreement.of([0, 0, 0, 1, 1, 1], ["a", "a", "b", "b", "b", "b"])
    assert found.purity == pytest.approx(5 / 6)
    pairs = 15  # of which 3 + 1 are together in both, expected 6 * 7 / 15
    assert found.ari == pytest.approx((4 - 42 / pairs) / (6.5 - 42 / pairs))
    assert Agreement.of([3, 3, 1], ["x", "x", "y"]) == Agreement(1.0, 1.0, 1.0)


def test_one_machine_without_any_label_is_learned_by_clusters_of_its_spectra(caplog):
    clips, _ = hidden_tones(10, machines=("mine",))
    sources = [i for i, clip in enumerate(clips) if not clip.is_target]
    for text in (RECIPE, RECIPE.replace("labels:", "#")):
        caplog.clear()
        system = system_of(parse_recipe(text, "mine"), clips.select(sources), MemoryRun(0))
        assert "mean spectra" in caplog.text
        assert len({row[4] for row in system.tables()["clusters"].rows}) > 1


@pytest.mark.parametrize("method", ["mixtures", "k_means", "agglomerative"])
def test_clips_that_are_all_alike_or_one_alone_are_refused_in_one_line(method):
    clips, _ = hidden_tones(11, machines=("mine",), count=4)
    alike = ClipSet(clips.clips, lambda _, feature: clips.select([0] * 4).features(feature))
    for chosen in (alike, clips.select([0])):
        labeller = ClusterLabeller(source="spectrum", method=method, source_clusters=3)
        with pytest.raises(OneClassError, match="alike"):
            labeller.classes(chosen, MemoryRun(0))


@pytest.mark.parametrize("method", ["mixtures", "k_means", "agglomerative"])
def test_there_may_be_fewer_clips_than_clusters(method):
    clips, _ = hidden_tones(12, machines=("ToyA", "ToyB"), count=3)
    labeller = ClusterLabeller(source="spectrum", method=method, source_clusters=16)
    found = labeller.classes(clips, MemoryRun(0))
    assert 2 <= found.count <= 6


def test_test_clips_take_part_in_the_map_when_asked(monkeypatch):
    clips, _ = hidden_tones(13, count=8, machines=("ToyA",))
    more, _ = hidden_tones(14, count=5, machines=("ToyA",))
    tests = [replace(clip, path=Path("test") / clip.file_name) for clip in more]

    def source(chosen, feature):
        return (more if chosen[0].path.parts[0] == "test" else clips).features(feature)

    both = ClipSet(clips.clips, source, label_only_clips=tests)
    sizes = []

    def seen(rows, seed, *, dimensions, hint):  # noqa: ARG001
        sizes.append(len(rows))
        return rows[:, :dimensions].astype(float)

    monkeypatch.setattr("asd.systems.embedding.clusters.umap_map", seen)
    for asked in (False, True):
        labeller = ClusterLabeller(source="spectrum", map_test_clips=asked)
        found = labeller.classes(both, MemoryRun(0))
        assert found.numbers.shape == (8,)
    assert sizes == [8, 13]


def test_umap_that_is_not_installed_is_missed_before_anything_is_trained(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    clips, _ = hidden_tones(16, count=8)
    text = RECIPE.replace("dimensions: null", "dimensions: 2")
    run = MemoryRun(0, lambda *_: pytest.fail("something was trained"))
    with pytest.raises(UserError, match=r"pip install 'asd\[umap\]', or set labels.dimensions"):
        system_of(parse_recipe(text, "mine"), clips, run)


def test_wrong_combinations_of_source_and_weights_are_refused_by_the_recipe():
    for wrong in ("source: encoder", "source: spectrum, weights: beats_iter3"):
        with pytest.raises(UserError, match="labels: source: encoder needs weights"):
            recipe(epochs=wrong)
