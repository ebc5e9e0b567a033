"""Recipes: those of the package, and what is said about mistakes in one's own."""

import pytest

from asd.errors import UserError
from asd.systems.embedding.recipe import parse_recipe, read_recipe, recipe_names

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


def test_the_package_has_the_published_recipes():
    assert set(recipe_names()) == {
        "raw_spec",
        "dis_spec_adacos_fixed_wo_mixup",
        "dis_spec_adacos_fixed",
        "dis_spec_scac_fixed",
        "dis_spec_scac_trainable",
        "dis_spec_subspaceloss",
        "dis_spec_featex",
        "dis_multispec_scac_trainable",
    }


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_the_package_reads(name):
    recipe = read_recipe(name)
    assert list(recipe.backends.by_name) == ["KNN", "KMEANS", "KNN-SMOTE", "KNN-RESCALE"]
    assert recipe.input_seconds(2023) == 18
    assert recipe.learns == (name != "raw_spec")
    if recipe.learns:
        assert recipe.training.epochs == 16
        assert recipe.labels.count_test_names
        assert (recipe.augmentation.mixup == 0) == name.endswith("wo_mixup")


def test_a_recipe_is_read_by_path_and_takes_defaults(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(OWN)
    recipe = read_recipe(str(path))
    assert recipe.frontend.parameters == {"windows": (256, 1024)}
    assert recipe.losses[0].parameters == {"margin": 0.3}
    assert recipe.training.learning_rate == 0.001
    assert recipe.training.batch_size == 64
    assert recipe == parse_recipe(OWN, "elsewhere.yaml")
    assert recipe.plain() == parse_recipe(OWN, "elsewhere.yaml").plain()


MISTAKES = {
    "unknown key": ("epochs: 3", "epoch: 3", r"mine:8: training\.epoch: .*did you mean epochs"),
    "unknown parameter": (
        "margin:",
        "margn:",
        r"losses\[0\]\.margn: .*did you mean margin",
    ),
    "unknown class": ("ArcFace", "Arcface", r"mine:5: losses\[0\]\.class: .*did you mean ArcFace"),
    "unknown backend": ("class: knn", "class: kn", r"mine:11: backends\.NEAR\.class: .*mean knn"),
    "top level": ("training:", "trainig:", r"mine:7: trainig: unknown key .*mean training"),
    "too small": ("epochs: 3", "epochs: 0", r"mine:8: training\.epochs: 0 must be at least 1"),
    "text": ("epochs: 3", "epochs: many", r"mine:8: training\.epochs: 'many' must be a whole"),
    "fraction": ("epochs: 3", "epochs: 3.5", r"training\.epochs: 3\.5 must be a whole number"),
    "NaN": ("1e-3", ".nan", r"training\.learning_rate: nan must be above 0"),
    "no list": ("[256, 1024]", "256", r"mine:3: frontend\.windows: 256 is no list"),
    "odd window": ("256,", "257,", r"frontend\.windows\[0\]: 257 must be .*a multiple of 2"),
    "class missing": ("class: knn", "k_source: 1", r"mine:11: backends\.NEAR: key 'class'"),
    "wrong value": (
        "class: knn",
        "class: knn, metric: cos",
        r"mine:11: backends\.NEAR\.metric: 'cos' is unknown \(did you mean cosine\?\)",
    ),
    "twice": ("  epochs: 3", "  epochs: 3\n  epochs: 4", r"mine:9: training\.epochs: stands twice"),
    "score name": ("NEAR:", "N_EAR:", r"mine:11: backends\.N_EAR: score name"),
    "choice": (
        "margin: 0.3",
        "margin_on: all",
        r"losses\[0\]\.margin_on: 'all' is unknown",
    ),
    "taken of": (
        "margin: 0.3",
        "on: statistic_exchange",
        r"mine:6: losses\[0\]\.on: .*did you mean statistics_exchange",
    ),
    "share": (
        "margin: 0.3",
        "on: statistics_exchange\n    probability: 2",
        r"mine:7: losses\[0\]\.probability: 2\.0 must be at least 0 and at most 1",
    ),
    "nothing exchanged": (
        "margin: 0.3",
        "probability: 0.5",
        r"mine:6: losses\[0\]\.probability: unknown key",
    ),
    "not YAML": ("[256, 1024]", "[256, 1024", r"mine:\d+: is not YAML"),
    "no losses": ("  - class: ArcFace\n    margin: 0.3", "  []", "must learn from a loss"),
    "length": ("losses:", "input_s: long\nlosses:", r"mine:4: input_s: 'long' must be a number"),
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
        read_recipe("dis_spec_scac_trainabel")
    with pytest.raises(UserError, match=r"none\.yaml: recipe cannot be read \(No such file"):
        read_recipe(tmp_path / "none.yaml")


def test_input_length():
    assert read_recipe("raw_spec").input_seconds(2020) == 11
    with pytest.raises(UserError, match="not for 2019"):
        read_recipe("raw_spec").input_seconds(2019)
    assert parse_recipe("input_s: 2\n" + OWN, "mine").input_seconds(2019) == 2
