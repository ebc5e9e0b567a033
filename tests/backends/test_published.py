"""Scores of other programs for the same embeddings (tests/data/backends/README.md).

Tolerance: those programs computed in float32, ours in float64; scores are near 1.
"""

from pathlib import Path

import numpy as np
import pytest

from asd.backends import BACKENDS, make_backend
from asd.backends.base import unit_rows
from asd.backends.gmm import fit_mixture
from asd.backends.neighbours import nearest_others

DATA = Path(__file__).parents[1] / "data" / "backends"
TOOLKIT = np.load(DATA / "toolkit.npz")
MIXTURES = np.load(DATA / "mixtures.npz")
CLOSE = {"rtol": 0, "atol": 1e-5}

SMOTE = {"smote_ratio": 0.2, "smote_neighbours": 2}
CASES = {
    "knn_1_1_cosine": ("knn", {"metric": "half_chord"}),
    "knn_3_2_cosine": ("knn", {"metric": "half_chord", "k_source": 3, "k_target": 2}),
    "knn_1_1_euclid": ("knn", {"metric": "euclidean"}),
    "knn_2_0_euclid": ("knn", {"metric": "euclidean", "k_source": 2, "k_target": 0}),
    "knn_1_1_smote_cosine": ("knn", {"metric": "half_chord", **SMOTE}),
    "knn_1_1_smote_euclid": ("knn", {"metric": "euclidean", **SMOTE}),
    "kmeans_8_cosine": ("kmeans", {"n_clusters": 8}),
    "kmeans_8_euclid": ("kmeans", {"n_clusters": 8, "metric": "euclidean"}),
    "rescale_1_4_cosine": ("rescaled_knn", {"metric": "half_chord"}),
    "rescale_1_4_euclid": ("rescaled_knn", {"metric": "euclidean"}),
    "rescale_3_8_cosine": ("rescaled_knn", {"metric": "half_chord", "k": 3, "k_density": 8}),
}


def fitted(name, parameters, *, separate=False, is_target=None):
    if parameters.get("smote_ratio"):
        pytest.importorskip("imblearn")
    backend = make_backend(name, {**parameters, "per_section": separate})
    is_target = TOOLKIT["train_is_target"] if is_target is None else is_target
    backend.fit(TOOLKIT["train_embed"], is_target, TOOLKIT["train_section"])
    return backend


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("sets", ["all", "sep"])
@pytest.mark.parametrize("case", CASES)
def test_the_toolkits_scores(case, sets, part):
    backend = fitted(*CASES[case], separate=sets == "sep")
    scores = backend.score(TOOLKIT[f"{part}_embed"], TOOLKIT[f"{part}_section"])
    np.testing.assert_allclose(scores, TOOLKIT[f"score/{case}_{sets}_{part}"], **CLOSE)


def test_every_stored_toolkit_score_is_compared():
    stored = {n.removeprefix("score/") for n in TOOLKIT.files if n.startswith("score/")}
    compared = {f"{c}_{s}_{p}" for c in CASES for s in ("all", "sep") for p in ("train", "test")}
    assert stored - compared == {"knn_1_1_cosine_notarget_test", "kmeans_8_cosine_notarget_test"}


@pytest.mark.parametrize("case", ["knn_1_1_cosine", "kmeans_8_cosine"])
def test_without_target_clips_the_source_alone_counts(case):
    backend = fitted(*CASES[case], is_target=np.zeros(len(TOOLKIT["train_embed"]), dtype=bool))
    expected = TOOLKIT[f"score/{case}_notarget_test"]
    np.testing.assert_allclose(backend.score(TOOLKIT["test_embed"]), expected, **CLOSE)


def test_one_neighbours_cosine_distance_is_twice_the_square_of_the_half_chord():
    cosine = fitted("knn", {}).score(TOOLKIT["test_embed"])
    published = TOOLKIT["score/knn_1_1_cosine_all_test"]
    np.testing.assert_allclose(cosine, 2 * published**2, **CLOSE)


@pytest.mark.parametrize(
    ("case", "array"),
    [
        ("knn_1_1_smote_cosine", "target_refs"),
        ("knn_1_1_smote_euclid", "target_refs"),
        ("kmeans_8_cosine", "centers"),
        ("kmeans_8_euclid", "centers"),
        ("rescale_1_4_cosine", "refscale"),
        ("rescale_1_4_euclid", "refscale"),
        ("rescale_3_8_cosine", "refscale"),
    ],
)
def test_the_toolkits_references(case, array):
    ours, factor = {
        "target_refs": ("target", 1),
        "centers": ("references", 1),
        # the chord itself scales there, half of it here: quotients are the same
        "refscale": ("local_distance", 1 if case.endswith("euclid") else 2),
    }[array]
    state = fitted(*CASES[case]).state()
    expected = TOOLKIT[f"inner/{case}_all_{array}"]
    np.testing.assert_allclose(factor * state[f"all/{ours}"], expected, **CLOSE)
    state = fitted(*CASES[case], separate=True).state()
    for section in range(3):
        expected = TOOLKIT[f"inner/{case}_sep_{array}_section{section}"]
        np.testing.assert_allclose(factor * state[f"{section:02d}/{ours}"], expected, **CLOSE)


@pytest.mark.parametrize(("name", "n_init"), [("auto", 1), ("n10", 10), ("old", None)])
@pytest.mark.parametrize(("metric", "stored"), [("cosine", "cos"), ("half_chord", "euclid")])
def test_unlabeledasds_kmeans(name, n_init, metric, stored):
    expected = np.load(DATA / "unlabeledasd.npz")
    backend = fitted("kmeans", {"n_init": n_init or 1, "unit_centres": False, "metric": metric})
    centres = expected[f"{name}_centers"]
    if n_init is None:  # an older k-means drew other centres: start from them
        references = backend.state()["all/references"].copy()
        references[: len(centres)] = centres
        backend.load_state({"all/references": references})
    np.testing.assert_allclose(backend.state()["all/references"][: len(centres)], centres, **CLOSE)
    scores = backend.score(TOOLKIT["test_embed"])
    factor = 1 if metric == "cosine" else 2  # there the whole chord
    np.testing.assert_allclose(factor * scores, expected[f"{name}_{stored}_test"], **CLOSE)


@pytest.mark.parametrize("k", [2, 5])
def test_khoaphamanhs_standardised_knn(k):
    # its k counts the clip itself in training and the farthest neighbour, left out, in the test
    expected = np.load(DATA / "khoaphamanh.npz")
    train = expected["train_embed"]
    backend = BACKENDS["knn"](k_source=k - 1)
    backend.fit(train, np.zeros(len(train), dtype=bool))
    own = nearest_others(unit_rows(train), k - 1, "cosine")[1].mean(axis=1)
    np.testing.assert_allclose(own.mean(), expected[f"k{k}_scaler_mean"][0], **CLOSE)
    np.testing.assert_allclose(own.std(), expected[f"k{k}_scaler_scale"][0], **CLOSE)
    standardised = (backend.score(expected["test_embed"]) - own.mean()) / own.std()
    np.testing.assert_allclose(standardised, expected[f"k{k}_score"], **CLOSE)
    whole = BACKENDS["standardised_knn"](k=k - 1)
    whole.fit(train, np.zeros(len(train), dtype=bool))
    np.testing.assert_allclose(whole.score(expected["test_embed"]), standardised, rtol=1e-9)


@pytest.mark.parametrize("k", [2, 5])
def test_khoaphamanhs_decisions(k):
    expected = np.load(DATA.parent / "khoaphamanh" / "knn_decision.npz")
    backend = BACKENDS["standardised_knn"](k=k - 1)
    backend.fit(expected["train"], np.zeros(60, dtype=bool))
    scores = backend.score(expected["test"])
    np.testing.assert_allclose(scores, expected[f"k{k}_score"], atol=1e-4 * np.abs(scores).max())
    np.testing.assert_array_equal(scores >= 3, expected[f"k{k}_decision"])


@pytest.mark.parametrize("case", ["source_separated", "target10_far"])
def test_unlabeledasds_pseudo_labels_up_to_renaming(case):
    rows, labels = MIXTURES[f"{case}/Z"], MIXTURES[f"{case}/bic_labels"]
    ours = fit_mixture(rows, int(MIXTURES[f"{case}/bic_n"])).predict(rows)
    pairs = set(zip(ours.tolist(), labels.tolist(), strict=True))
    assert len(pairs) == len(set(labels.tolist())) == len(set(ours.tolist()))


@pytest.mark.parametrize("clusters", [4, 16])
def test_kmeans_of_source_and_all_targets_equals_the_published_scores(clusters):
    """Centres that are no unit vectors, as in the paper on unlabelled conditions."""
    path = Path(__file__).resolve().parents[3] / "shared/golden/components/unlabelled"
    if not path.is_dir():
        pytest.skip("the numbers of the public program are not here")
    golden = np.load(path / "targetkmeans.npz")
    train, is_target = golden["train"], golden["is_target"].astype(bool)
    sections = np.zeros(len(train), dtype=np.int64)
    for metric, key in (("cosine", "cos"), ("euclidean", "euclid")):
        options = {"metric": metric, "n_clusters": clusters, "unit_centres": False, "n_init": 1}
        backend = make_backend("kmeans", options)
        backend.fit(train, is_target, sections)
        got = backend.score(golden["test"], np.zeros(len(golden["test"]), dtype=np.int64))
        np.testing.assert_allclose(got, golden[f"{key}_{clusters}"], rtol=1e-5, atol=1e-6)
