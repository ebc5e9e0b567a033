"""Recipes: those of the package, and what is said about mistakes in one's own."""

from dataclasses import replace

import pytest

from asd.errors import UserError
from asd.schema.node import Node
from asd.schema.parameters import plain
from asd.systems.embedding.recipe import Recipe, parse_recipe
from asd.systems.registry import find_system, recipe_names

OWN = """\
frontend:
  class: SpectralNetwork
  windows: [256, 1024]
losses:
  - class: ArcFace
    margin: 0.3
training:
  epochs: 3
  learning_rate: 1e-3
backends:
  NEAR: {class: knn}
"""


UNLABELLED = {
    "na_0256": (256,),
    "na_1024": (1024,),
    "na_4096": (4096,),
    "na_0256_1024": (1024, 256),
    "na_0256_4096": (4096, 256),
    "na_1024_4096": (1024, 4096),
    "na_0256_1024_4096": (1024, 256, 4096),
    "featex_0256_4096": (4096, 256),
    "subloss_0256_4096": (4096, 256),
    "pattr_macdom": (4096, 256),
    "pattr_gt": (4096, 256),
    "pattr_bic_pre": (4096, 256),
    "pattr_bic_triplet": (4096, 256),
    "pattr_bic_panns": (4096, 256),
    "pattr_bic_openl3": (4096, 256),
}
"""Runs of the paper on unlabelled conditions, and the window lengths of each."""


@pytest.mark.parametrize("name", UNLABELLED)
def test_every_recipe_on_unlabelled_conditions_is_its_base_and_what_it_changes(name):
    recipe = find_system(f"unlabelled_{name}").defaults()
    base = find_system("unlabelled_subloss_0256_4096").defaults()
    frontend = dict(recipe.frontend.parameters)
    assert frontend.pop("windows") == UNLABELLED[name]
    mean_free = (4096,) if name == "na_0256_1024_4096" else ()
    assert frontend.pop("mean_free_windows", ()) == mean_free
    assert frontend == {k: v for k, v in base.frontend.parameters.items() if k != "windows"}
    assert (recipe.input_s, recipe.backends) == (18, base.backends)
    epochs = 20 if name.endswith("macdom") else 16
    assert recipe.training == replace(base.training, epochs=epochs)
    on = {"na": ["embedding"], "featex": ["embedding", "feature_exchange"]}
    assert [loss.on for loss in recipe.losses] == on.get(
        name.partition("_")[0], ["embedding", "branches"]
    )
    kind = "ClusterLabeller" if "bic" in name else "FileLabeller" if "gt" in name else None
    assert recipe.labels.kind == (kind or "NameLabeller")
    if "bic" in name:
        labels = recipe.labels.parameters
        keys = ("criterion", "source_clusters", "target_clusters", "map_test_clips", "seed")
        assert [labels[key] for key in keys] == ["bic", 16, 2, True, 0]
        sources = {
            "pre": ("network", 14), "triplet": ("triplet", 6), "panns": ("encoder", None),
            "openl3": ("encoder", None),
        }  # fmt: skip
        assert (labels["source"], labels["epochs"]) == sources[name.rpartition("_")[2]]


def test_a_recipe_may_begin_with_another(tmp_path):
    (tmp_path / "mine.yaml").write_text(OWN)
    (tmp_path / "next.yaml").write_text(
        "base: mine.yaml\nfrontend: {width: 16}\ntraining: {epochs: 9}\n"
        "backends: {NEAR: {class: kmeans}, FAR: {class: knn}}\n"
    )
    recipe = find_system(str(tmp_path / "next.yaml")).defaults(["training.batch_size=5"])
    assert recipe.frontend.parameters == {"windows": (256, 1024), "width": 16}
    assert (recipe.training.epochs, recipe.training.batch_size) == (9, 5)
    assert {name: each.kind for name, each in recipe.backends.by_name.items()} == {
        "NEAR": "kmeans",
        "FAR": "knn",
    }
    labels = parse_recipe("base: dis_beats_2026\nlabels: {class: NameLabeller}", "mine").labels
    assert labels.parameters == {}  # another class takes none of the base's


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: dis_spec_featx", r"1: base: 'dis_spec_featx' is unknown \(did you mean dis_spec"),
        ("base: none.yaml", r"none.yaml: cannot be read"),
        ("base: loop.yaml", r"loop.yaml is a base of itself"),
        ("base: raw_spec\nbackends: {KNN: {class: knn, k_sorce: 2}}", r"2: backends.KNN.k_sorce"),
        ("base: raw_spec\nfrontend: {melz: 3}", r"2: frontend.melz: unknown key"),
    ],
)
def test_a_base_that_cannot_be_is_named_with_file_and_line(tmp_path, text, message):
    path = tmp_path / "loop.yaml"
    path.write_text(text + "\n")
    with pytest.raises(UserError, match=message):
        find_system(str(path)).defaults()


def test_the_package_has_the_published_recipes():
    assert set(recipe_names()) == {
        "raw_spec",
        "free_beats",
        "free_beats_2026",
        "free_mn",
        "dis_beats_2026",
        "beats_smote_adacos",
        "raw_beats",
        "raw_eat",
        "dis_beats_scac_trainable",
        "dis_eat_scac_trainable",
        "dis_spec_adacos_fixed_wo_mixup",
        "dis_spec_adacos_fixed",
        "dis_spec_scac_fixed",
        "dis_spec_scac_trainable",
        "dis_spec_subspaceloss",
        "dis_spec_featex",
        "dis_multispec_scac_trainable",
        *(f"unlabelled_{name}" for name in UNLABELLED),
    }


PUBLISHED = [
    name
    for name in recipe_names()
    if not name.startswith(("free", "unlabelled", "beats_smote")) and "2026" not in name
]


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_recipe_of_the_toolkit_reads(name):
    recipe = find_system(name).defaults()
    assert list(recipe.backends.by_name) == ["KNN", "KMEANS", "KNN-SMOTE", "KNN-RESCALE"]
    assert recipe.input_seconds(2023, 1.0) == 18
    assert recipe.learns == (not name.startswith("raw_"))
    if recipe.learns:
        epochs = 25 if recipe.frontend.kind == "AdaptedEncoder" else 16
        assert recipe.training.epochs == recipe.epochs == epochs
        assert recipe.labels.parameters["count_test_names"] is True
        assert (recipe.augmentation.mixup == 0) == name.endswith("wo_mixup")


@pytest.mark.parametrize(
    ("name", "channel", "pooling", "backend"),
    [
        ("free_beats", "left", {"class": "rdp_gem", "gamma": 16.0, "over": "tokens", "p": 3.0},
         {"class": "rescaled_knn", "form": "log_varmin", "k_density": 1}),
        ("free_beats_2026", "cancellation", {"class": "rdp", "gamma": 4.0, "over": "band"},
         {"class": "beam", "bands": 8, "form": "varmin", "k_density": 4}),
        ("free_mn", "left", {"class": "rdp", "gamma": 4.0, "over": "band"},
         {"class": "beam", "bands": 4, "form": "varmin", "k_density": 4}),
    ],
)  # fmt: skip
def test_recipes_without_training_are_those_of_their_papers(name, channel, pooling, backend):
    recipe = find_system(name).defaults()
    assert (recipe.learns, recipe.input_s, recipe.channel) == (False, "whole", channel)
    assert recipe.frontend.frozen.pooling.key() == pooling
    first = next(iter(recipe.backends.by_name.values())).to_plain()
    assert backend.items() <= first.items()


def test_the_recipe_of_2026_that_learns_is_scored_before_its_projection():
    recipe = find_system("dis_beats_2026").defaults()
    assert recipe.frontend.parameters["score_pooling"].key()["class"] == "rdp"
    assert recipe.labels.kind == "KMeansLabeller"
    assert recipe.supplemental.is_used
    assert not find_system("dis_beats_scac_trainable").defaults().supplemental.is_used


@pytest.mark.parametrize("name", recipe_names())
def test_what_a_model_stores_is_the_recipe(name):
    """Also where `--set` has changed it: a trained model needs no file."""
    recipe = find_system(name).defaults(["backends.NEAR={class: knn, k_source: 2}", "input_s=3"])
    assert Node.of_plain(plain(recipe), "model.pt").read(Recipe) == recipe


def test_a_recipe_that_learns_nothing_has_no_epochs():
    assert find_system("raw_spec").defaults().epochs == 0


def test_a_recipe_is_read_by_path_and_takes_defaults(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(OWN)
    recipe = find_system(str(path)).defaults()
    assert recipe.frontend.parameters == {"windows": (256, 1024)}
    assert recipe.losses[0].parameters == {"margin": 0.3}
    assert recipe.training.learning_rate == 0.001
    assert recipe.training.batch_size == 64
    assert recipe == parse_recipe(OWN, "elsewhere.yaml")


MISTAKES = {
    "unknown key": ("epochs: 3", "epoch: 3", r"mine:8: training\.epoch: .*did you mean epochs"),
    "unknown parameter": (
        "margin:",
        "margn:",
        r"losses\[0\]\.margn: .*did you mean margin",
    ),
    "unknown class": ("ArcFace", "Arcface", r"mine:5: losses\[0\]\.class: .*did you mean ArcFace"),
    "unknown backend": ("class: knn", "class: kn", r"mine:11: backends\.NEAR\.class: .*mean 'knn'"),
    "top level": ("training:", "trainig:", r"mine:7: trainig: unknown key .*mean training"),
    "too small": (
        "epochs: 3",
        "epochs: 0",
        r"mine:8: training\.epochs: expected at least 1, got",
    ),
    "text": (
        "epochs: 3",
        "epochs: many",
        r"mine:8: training\.epochs: expected a whole number",
    ),
    "fraction": (
        "epochs: 3",
        "epochs: 3.5",
        r"training\.epochs: expected a whole number, got",
    ),
    "NaN": ("1e-3", ".nan", r"training\.learning_rate: expected a number, got '\.nan'"),
    "no list": ("[256, 1024]", "{a: 1}", r"mine:3: frontend\.windows: expected one value or a li"),
    "odd window": (
        "256,",
        "257,",
        r"frontend\.windows\[0\]: expected .*a multiple of 2, got",
    ),
    "class missing": ("class: knn", "k_source: 1", r"mine:11: backends\.NEAR: key 'class'"),
    "wrong value": (
        "class: knn",
        "class: knn, metric: cos",
        r"mine:11: backends\.NEAR\.metric: expected one of .*, got 'cos' \(did you mean cosine\?\)",
    ),
    "twice": ("  epochs: 3", "  epochs: 3\n  epochs: 4", r"mine:9: training\.epochs: stands twice"),
    "score name": ("NEAR:", "N_EAR:", r"mine:11: backends\.N_EAR: score name"),
    "choice": (
        "margin: 0.3",
        "margin_on: all",
        r"losses\[0\]\.margin_on: expected one of .*, got 'all'",
    ),
    "taken of": (
        "margin: 0.3",
        "on: statistic_exchange",
        r"mine:6: losses\[0\]\.on: .*did you mean statistics_exchange",
    ),
    "share": (
        "margin: 0.3",
        "on: statistics_exchange\n    probability: 2",
        r"mine:7: losses\[0\]\.probability: expected 0 to 1, got '2'",
    ),
    "nothing exchanged": (
        "margin: 0.3",
        "probability: 0.5",
        r"mine:6: losses\[0\]\.probability: unknown key",
    ),
    "not YAML": ("[256, 1024]", "[256, 1024", r"mine:\d+: not valid YAML"),
    "no losses": ("  - class: ArcFace\n    margin: 0.3", "  []", "must learn from a loss"),
    "length": (
        "losses:",
        "input_s: long\nlosses:",
        r"mine:4: input_s: expected one of by_year, whole or a",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_name_file_line_key_and_a_way_out(mistake):
    right, wrong, message = MISTAKES[mistake]
    assert right in OWN
    with pytest.raises(UserError, match=message) as caught:
        parse_recipe(OWN.replace(right, wrong, 1), "mine")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "frontend:\n", "{}"])
def test_what_is_no_recipe_at_all(text):
    with pytest.raises(UserError, match="mine:1"):
        parse_recipe(text, "mine")


def test_a_frontend_that_learns_nothing_takes_no_losses():
    text = OWN.replace("SpectralNetwork\n  windows: [256, 1024]", "PooledSpectrogram")
    with pytest.raises(UserError, match="PooledSpectrogram learns nothing"):
        parse_recipe(text, "mine")


def test_statistics_exchange_is_a_loss_of_its_own():
    recipe = parse_recipe(OWN.replace("margin: 0.3", "on: statistics_exchange"), "mine")
    assert (recipe.losses[0].on, recipe.losses[0].probability) == ("statistics_exchange", 0.5)
    loss = "  - {class: ArcFace, on: statistics_exchange}\n"
    with pytest.raises(UserError, match="on: statistics_exchange stands twice; remove one"):
        parse_recipe(OWN.replace("losses:\n", "losses:\n" + 2 * loss), "mine")
    no_spectrogram = OWN.replace("[256, 1024]", "[]").replace("losses:\n", "losses:\n" + loss)
    with pytest.raises(UserError, match=r"add a window to frontend\.windows"):
        parse_recipe(no_spectrogram, "mine")


def test_names_and_paths_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match="did you mean dis_spec_scac_trainable"):
        find_system("dis_spec_scac_trainabel")
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read \(No such file.*; check the "):
        find_system(str(tmp_path / "none.yaml")).defaults()


def test_the_input_is_as_long_as_the_longest_clip_of_the_year_or_of_the_clips_at_hand():
    recipe = find_system("raw_spec").defaults()
    assert recipe.input_seconds(2020, 3.0) == 11
    assert recipe.input_seconds(2019, 3.0) == 3
    assert recipe.input_seconds(None, 3.0) == 3
    assert parse_recipe("input_s: 2\n" + OWN, "mine").input_seconds(2020, 3.0) == 2


BACKEND = """\
from dataclasses import dataclass
import numpy as np
from asd.backends import Backend
from asd.schema.values import Count


@dataclass(kw_only=True)
class Nearest(Backend):
    k: Count = 1

    def learn(self, rows, is_target):
        return {"rows": rows}

    def scorer(self, arrays):
        return lambda rows: np.zeros(len(rows))
"""


def test_a_class_lies_beside_the_recipe_or_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for folder, reference in (("deep", "near.py:Nearest"), ("here", "close:Nearest")):
        file = tmp_path / folder / f"{reference.partition(':')[0].removesuffix('.py')}.py"
        file.write_text(BACKEND)
        recipe = tmp_path / "deep" / f"{folder}.yaml"
        recipe.write_text(OWN.replace("{class: knn}", f"{{class: '{reference}', k: 3}}"))
        read = find_system(str(recipe)).defaults()
        assert read.backends.by_name["NEAR"].kind == f"{file}:Nearest"
        assert read.backends.by_name["NEAR"].make().k == 3
        monkeypatch.chdir(tmp_path / "deep")  # what was read is of no folder
        assert Node.of_plain(plain(read), "model.pt").read(Recipe) == read
        monkeypatch.chdir(tmp_path / "here")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("none_such.py:Nearest", r"mine:11: backends\.NEAR\.class: .*there is no such file"),
        ("near.py:Nearst", r"mine:11: backends\.NEAR\.class: .* no Nearst \(did you mean Nearest"),
        ("near.py:np", r"mine:11: backends\.NEAR\.class: .* is no subclass of asd\.backends"),
        ("near.py:Nearest, k: 0", r"mine:11: backends\.NEAR\.k: expected at least 1, got '0'"),
        ("near.py:Nearest, j: 0", r"mine:11: backends\.NEAR\.j: unknown key"),
    ],
)
def test_mistakes_about_a_class_of_one_s_own(reference, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "near.py").write_text(BACKEND)
    with pytest.raises(UserError, match=message):
        parse_recipe(OWN.replace("class: knn", f"class: {reference}"), "mine")
