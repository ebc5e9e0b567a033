"""Every recipe of the package through the commands, on tiny data; and what can't work."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import asd.systems.embedding.recipe as recipes
from asd.archives import load_archive
from asd.report.page import new_figure
from asd.systems.registry import find_system, recipe_names

FOLDER = Path(recipes.__file__).with_name("recipes")
SMALLER = {
    "input_s: by_year": "input_s: 4.5",  # the branch on whole clips takes 4.4 s
    "width: 128": "width: 8",
    "mels: 128": "mels: 16",
    "epochs: 16": "epochs: 1",
    "epochs: 25": "epochs: 1",
    "input_s: 18": "input_s: 4.5",
    "keep_epochs: [12, 14, 16]": "keep_epochs: []",
    "input_s: 10": "input_s: 0.5",
    "batch_size: 64": "batch_size: 12",
    "batch_size: 8": "batch_size: 12",
    "rank: 64": "rank: 4",
    "n_clusters: 16": "n_clusters: 3",
}
BRANCHES = """\
input_s: 0.4
frontend: {class: SpectralNetwork, windows: [512], whole_clip: false, width: 16}
losses:
  - {class: SubclusterAdaCos, subclusters: 2}
training: {epochs: 1, batch_size: 8}
backends:
  KNN: {class: knn}
"""


DECIDE = ("--decision_threshold", 0.8)
"""What eight clips that are held out can promise: one false alarm in nine."""


def smaller(text, weights):
    own = {"beats_iter3 ": f"{weights['beats']} ", "eat_base_epoch10 ": f"{weights['eat']} "}
    own |= {"mn04_as ": f"{weights['mn']} ", "channel: cancellation": "channel: left"}
    for old, new in {**SMALLER, **own}.items():
        text = text.replace(old, new)
    return text


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def flags(shared_tiny, tmp_path):
    return (
        "-d", "--machine_types", "fan", "valve", "--dataset_directory", shared_tiny.folder,
        "--feature_directory", tmp_path / "features", "--result_directory", tmp_path / "results",
    )  # fmt: skip


@pytest.fixture
def recipe(tmp_path):
    def write(text=BRANCHES, name="mine"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return path

    return write


WHOLE = [name for name in recipe_names() if "base:" not in (FOLDER / f"{name}.yaml").read_text()]
"""Recipes that begin with no other one."""


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("name", WHOLE)
def test_every_recipe_trains_and_tests(name, flags, recipe, tmp_path, tiny_encoders, asd):
    path = recipe(smaller((FOLDER / f"{name}.yaml").read_text(), tiny_encoders), name)
    trained = asd("train", *flags, "--model", path)
    assert trained.status == 0, trained.err
    tested = asd("test", *flags, *DECIDE, "--model", path)
    assert tested.status == 0, tested.err
    for score in find_system(str(path)).defaults().backends.by_name:
        for machine in ("fan", "valve"):
            folder = tmp_path / "results" / "dev_data" / f"{name}_{score}"
            ending = f"DCASE2023T2{machine}_section_00_test_seed13711.csv"
            for kind in ("anomaly_score", "decision_result"):
                rows = read(folder / f"{kind}_{ending}")
                assert len(rows) == 12
                assert np.isfinite([float(value) for _, value in rows]).all()
            assert (folder / f"result_DCASE2023T2{machine}_test_seed13711_roc.csv").is_file()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("class: SpectralNetwork", "class: SpectralNetwrk", "did you mean SpectralNetwork?"),
        ("width: 16", "widht: 16", "did you mean width?"),
        ("{class: knn}", "{class: knn, k_source: 99}", "needs 99 or more; add training clips"),
        ("{class: knn}", "{class: kmeans, n_clusters: 9}", "n_clusters needs 9 or more"),
        ("width: 16", "width: 16, whole_clip: true", "stands twice"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_work(old, new, complaint, flags, recipe, asd):
    outcome = asd("train", *flags, "--model", recipe(BRANCHES.replace(old, new)))
    assert complaint in outcome.complaint


def test_every_machine_type_has_figures_of_its_own(flags, recipe, tmp_path, asd, monkeypatch):
    titles = []

    def plot(_, title, threshold):
        titles.append(title)
        assert np.isfinite(threshold)
        return new_figure(2.0, title)

    monkeypatch.setattr("asd.report.figures.score_plot", plot)
    assert asd("run", *flags, *DECIDE, "--model", recipe()).status == 0
    folder = tmp_path / "results" / "dev_data" / "mine_KNN"
    stems = [f"mine_DCASE2023T2_seed13711_{machine}" for machine in ("fan", "valve")]
    endings = ("anm_score.png", "roc.png")
    expected = {f"{stem}_{ending}" for stem in stems for ending in endings}
    assert {path.name for path in folder.glob("*.png")} == expected
    assert titles == [f"{stem}, KNN" for stem in stems]


@pytest.mark.parametrize("command", ["train", "test", "run"])
def test_sections_cannot_be_chosen(flags, recipe, tmp_path, asd, command):
    outcome = asd(command, *flags, "--model", recipe(), "--use_ids", 0)
    assert outcome.complaint == (
        "--use_ids: mine learns from all sections of all machine types together; leave it out"
    )
    assert not (tmp_path / "results").exists()


def test_a_recipe_is_found_from_another_folder(flags, recipe, tmp_path, asd, monkeypatch):
    recipe()
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path)
    assert asd("train", *flags, "--model", "mine.yaml").status == 0
    monkeypatch.chdir("deeper")
    tested = asd("test", *flags, *DECIDE, "--model", "../mine.yaml")
    assert tested.status == 0, tested.err
    embedded = asd("embed", *flags, "--model", "../mine.yaml", "--out", tmp_path / "clips.npz")
    assert embedded.status == 0, embedded.err
    (tmp_path / "mine.yaml").rename("mine.yaml")  # the model's own folder does not matter either
    tested = asd("test", *flags, *DECIDE, "--model", "mine.yaml")
    assert tested.status == 0, tested.err
    model = tmp_path / "results/models/mine/mine_DCASE2023T2_seed13711/model.pt"
    assert models(tmp_path) == [model]


def models(tmp_path):
    return list((tmp_path / "results").rglob("model.pt"))


def test_all_clips_of_one_class(flags, recipe, tmp_path, asd):
    """One class per machine type is enough to learn from two of them, not from one."""
    path = recipe(BRANCHES.replace("training:", "labels: {parts: [machine, section]}\ntraining:"))
    outcome = asd("train", *flags, "--machine_types", "fan", "--model", path)
    assert outcome.complaint == (
        "labels: all training clips are of one class (fan, 00), but a frontend learns by telling "
        "classes apart; add machine types or name more than machine, section"
    )
    assert not models(tmp_path)
    assert asd("train", *flags, "--model", path).status == 0
    assert models(tmp_path)


def test_a_loss_that_is_not_finite(flags, recipe, tmp_path, asd):
    text = BRANCHES.replace("epochs: 1", "epochs: 2, learning_rate: 1.0e+30")
    outcome = asd("train", *flags, "--model", recipe(text))
    assert outcome.complaint == (
        "training diverged: the loss of epoch 1 is nan; set a smaller training.learning_rate or a "
        "training.clip_gradient in the recipe"
    )
    assert not models(tmp_path)


def test_embeddings_that_are_not_finite(flags, recipe, tmp_path, asd):
    """The one step of this training breaks the weights, after a loss that is in order."""
    text = BRANCHES.replace("batch_size: 8", "batch_size: 24, learning_rate: 1.0e+30")
    outcome = asd("train", *flags, "--model", recipe(text))
    assert "fan/train/section_00_source_train_normal_0000_a_0.wav: " in outcome.complaint
    assert outcome.complaint.endswith(
        "its embedding is nan, which is not finite; none of 24 clips has a finite one, so train "
        "the model again"
    )
    assert not models(tmp_path)


def test_statistics_exchange_is_switched_on_by_a_recipe(flags, recipe, tmp_path, asd):
    loss = "  - {on: statistics_exchange, class: AdaCos, dynamic: false, probability: %s}\ntraining"
    first_losses = []
    for name, probability in (("never", 0), ("always", 1)):
        path = recipe(BRANCHES.replace("training", loss % probability), name)
        outcome = asd("train", *flags, "--machine_types", "fan", "--model", path)
        assert outcome.status == 0, outcome.err
        (log,) = (tmp_path / "results" / "models" / name).glob("*/log.csv")
        (row,) = csv.DictReader(log.open(newline=""))
        first_losses.append(float(row["loss"]))
    assert np.isfinite(first_losses).all()
    assert abs(first_losses[0] - first_losses[1]) > 0.01
    words = (*flags, *DECIDE, "--machine_types", "fan", "--model", path)
    assert asd("test", *words).status == 0


def files(tmp_path):
    """Files of the models and what is in them."""
    found = (tmp_path / "results" / "models").rglob("*.*")
    return {path: path.read_bytes() for path in found if path.is_file()}


def test_a_checkpoint_of_another_recipe(flags, recipe, tmp_path, asd):
    assert asd("train", *flags, "--model", recipe()).status == 0
    wider = recipe(BRANCHES.replace("width: 16", "width: 32"))
    before = files(tmp_path)
    outcome = asd("train", *flags, "--model", wider, "--epochs", 2, "--restart")
    assert "checkpoint.pt: was trained with frontend.width 16 (now 32); train" in outcome.complaint
    assert files(tmp_path) == before


def test_more_epochs_go_on_from_a_finished_training(flags, recipe, tmp_path, asd):
    words = ("train", *flags, "--model", recipe())
    assert asd(*words, "--result_directory", tmp_path / "whole", "--epochs", 3).status == 0
    assert asd(*words, "--epochs", 2).status == 0
    outcome = asd(*words, "--epochs", 3, "--restart")
    assert outcome.status == 0, outcome.err
    folder = "models/mine/mine_DCASE2023T2_seed13711"
    found, expected = (
        load_archive(tmp_path / where / folder / "model.pt", "")["state"]
        for where in ("results", "whole")
    )
    assert found.keys() == expected.keys()
    for name, weights in expected["frontend"].items():
        assert torch.equal(found["frontend"][name], weights), name
    assert len(read(tmp_path / "results" / folder / "log.csv")) == 4


def test_a_machine_without_target_clips(tiny, flags, recipe, asd):
    tiny.train("fan", target=0)
    tiny.test("fan")
    words = (*flags, "--machine_types", "fan", "--dataset_directory", tiny.folder)
    outcome = asd("run", *words, *DECIDE, "--model", recipe())
    assert outcome.status == 0, outcome.err


def test_too_few_clips_to_hold_some_out(tiny, flags, recipe, tmp_path, asd):
    """No decision can be promised; scores need none, and are worth having without."""
    tiny.train("fan", source=4, target=4)
    tiny.test("fan")
    words = (*flags, "--machine_types", "fan", "--dataset_directory", tiny.folder)
    complaint = asd("run", *words, "--model", recipe()).complaint
    assert complaint.startswith("fan KNN: ")
    assert "--decision_threshold none" in complaint
    folder = tmp_path / "results" / "dev_data" / "mine_KNN"
    assert not folder.exists()
    outcome = asd("test", *words, "--model", recipe(), "--decision_threshold", "none")
    assert outcome.status == 0, outcome.err
    (scores,) = map(read, folder.glob("anomaly_score_*.csv"))
    assert len({score for _, score in scores}) == 12
    assert not list(folder.glob("decision_result_*.csv"))


@pytest.mark.parametrize("name", ["raw_beats", "dis_beats_scac_trainable"])
def test_without_weights_nothing_is_begun(name, flags, tmp_path, asd, monkeypatch):
    monkeypatch.setenv("ASD_WEIGHTS", str(tmp_path / "weights"))
    for command in ("train", "run"):
        outcome = asd(command, *flags, "--model", name)
        assert outcome.complaint == (
            "weights beats_iter3 are not here yet; get them: asd weights get beats_iter3"
        )
    assert not (tmp_path / "features").exists()
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["raw_beats", "dis_beats_scac_trainable", "dis_beats_2026"])
def test_other_weights_than_the_catalogs_are_refused(
    name, flags, tmp_path, tiny_beats, asd, monkeypatch
):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "beats_iter3.pt").write_bytes(tiny_beats.read_bytes())
    monkeypatch.setenv("ASD_WEIGHTS", str(folder))
    outcome = asd("train", *flags, "--model", name, "--channel", "left")
    assert "beats_iter3.pt: has the SHA-256 " in outcome.complaint
    assert outcome.complaint.endswith("get it again: asd weights get beats_iter3")
    assert not (tmp_path / "features").exists()


def test_a_checkpoint_that_is_not_there_stops_before_any_work(flags, tiny_beats, tmp_path, asd):
    given = (f"frontend.weights={tiny_beats}", "frontend.checkpoint=nowhere/last.ckpt")
    sets = [word for text in given for word in ("--set", text)]
    outcome = asd("train", *flags, "--model", "dis_beats_scac_trainable", *sets)
    assert outcome.complaint.endswith("nowhere/last.ckpt: no such checkpoint; check the path")
    assert not (tmp_path / "features").exists()


FROZEN = """\
input_s: whole
frontend: {{class: FrozenEncoder, weights: {weights}, pooling: {{class: rdp, over: band}}}}
backends:
  BEAM: {{class: beam, bands: 8}}
"""


def test_a_frozen_encoder_computes_each_clip_once(flags, recipe, tiny_encoders, asd, monkeypatch):
    from asd.encoders import feature
    from asd.encoders.feature import EncoderFeature

    computed, compute = [], EncoderFeature.compute_many

    def counted(self, waves, rate_hz):
        computed.append(len(waves))
        return compute(self, waves, rate_hz)

    def unknown(*_):
        raise AssertionError("the encoder is loaded again")

    monkeypatch.setattr(EncoderFeature, "compute_many", counted)
    path = recipe(FROZEN.format(weights=tiny_encoders["beats"]))
    assert asd("run", *flags, *DECIDE, "--model", path).status == 0
    once = sum(computed)
    assert once == 48  # 12 training and 12 test clips of each machine type
    feature._loaded.cache_clear()
    monkeypatch.setattr(feature, "load", unknown)
    assert asd("run", *flags, *DECIDE, "--model", path).status == 0
    assert sum(computed) == once
    text = FROZEN.format(weights=tiny_encoders["beats"]).replace("8}", "8, metric: euclidean}")
    assert asd("run", *flags, *DECIDE, "--model", recipe(text, "other")).status == 0
    assert sum(computed) == once  # another backend needs no other features


def test_a_model_is_not_used_with_other_weights(flags, recipe, tmp_path, tiny_encoders, asd):
    weights = tmp_path / "mine.pt"
    weights.write_bytes(tiny_encoders["beats"].read_bytes())
    path = recipe(FROZEN.format(weights="mine.pt"))  # as seen from the recipe
    assert asd("train", *flags, "--model", path).status == 0
    weights.write_bytes(tiny_encoders["eat"].read_bytes())
    outcome = asd("test", *flags, *DECIDE, "--model", path)
    assert "the model was trained with encoder weights of SHA-256" in outcome.complaint


def test_pseudo_labels_and_epochs_leave_tables_maps_and_scores(flags, recipe, tmp_path, asd):
    """Machine types of one class each, whose domains are clustered for themselves."""
    text = """\
base: unlabelled_pattr_bic_pre
input_s: 0.4
frontend: {windows: [512], whole_clip: false, width: 16}
labels:
  {class: ClusterLabeller, epochs: 1, machines: all, dimensions: null, method: k_means,
   source_clusters: 2}
training: {epochs: 2, batch_size: 8, keep_epochs: [1, 2]}
backends: {KMEANS: {n_clusters: 2}}
"""
    path = recipe(text)
    outcome = asd("run", *flags, *DECIDE, "--model", path)
    assert outcome.status == 0, outcome.err
    (model,) = (tmp_path / "results").rglob("model.pt")
    tables = model.parent / "tables"
    assert {path.name for path in tables.iterdir()} >= {
        "clusters.csv", "clusters_fan.png", "clusters_valve.png"
    }  # fmt: skip
    header, *rows = read(tables / "clusters.csv")
    assert header[:5] == ["clip", "machine", "section", "domain", "cluster"]
    assert {row[1] for row in rows} == {"fan", "valve"}
    folders = {path.name for path in (tmp_path / "results" / "dev_data").iterdir()}
    assert folders >= {f"mine_KMEANS-{kind}" for kind in ("EPOCH1", "EPOCH2", "ENSEMBLE")}
    # Labels from the table, once it was looked at; tables of clusters are gone then.
    path.write_text(
        "base: unlabelled_subloss_0256_4096\ninput_s: 0.4\n"
        "frontend: {windows: [512], whole_clip: false, width: 16}\n"
        "labels: {class: FileLabeller, file: labels.csv}\n"
        "training: {epochs: 1, batch_size: 8, keep_epochs: []}\n"
        "backends: {KMEANS: {n_clusters: 2}}\n"
    )
    assert "labels.csv: no such file" in asd("train", *flags, "--model", path).complaint
    (path.parent / "labels.csv").write_text((tables / "clusters.csv").read_text())
    again = asd("train", *flags, "--model", path)
    assert again.status == 0, again.err
    assert not list(tables.iterdir())
