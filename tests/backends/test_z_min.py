"""The smallest of standardised scores: a slow version, clips that are alike, recipes."""

import numpy as np
import pytest

from asd.backends import make_backend
from asd.backends.z_min import FOUR, Member
from asd.errors import UserError
from asd.schema.node import Node
from asd.schema.parameters import plain


def clips(n=40, dim=6, seed=0):
    rng = np.random.default_rng(seed)
    is_target = np.arange(n) % 8 == 0
    return rng.normal(size=(n, dim)) + is_target[:, None] + 1, is_target


def test_scores_are_the_smallest_standardised_by_clips_left_out_one_by_one():
    rows, is_target = clips()
    query, _ = clips(seed=1)
    standard = []
    for kind in ("knn", "mahalanobis", "rescaled_knn", "pca_residual"):
        normal = []
        for out in range(len(rows)):
            others = np.arange(len(rows)) != out
            backend = make_backend(kind)
            backend.fit(rows[others], is_target[others])
            normal.append(backend.score(rows[[out]])[0])
        whole = make_backend(kind)
        whole.fit(rows, is_target)
        standard.append((whole.score(query) - np.mean(normal)) / np.std(normal))
    backend = make_backend("z_min", {"folds": len(rows)})
    backend.fit(rows, is_target)
    np.testing.assert_allclose(backend.score(query), np.min(standard, axis=0), rtol=1e-8)


def test_scores_of_other_normal_clips_are_about_standard_normal():
    rows, is_target = clips(n=400)
    backend = make_backend("z_min", {"of": ("mahalanobis",)})
    backend.fit(rows, is_target)
    scores = backend.score(clips(n=400, seed=1)[0])
    assert abs(scores.mean()) < 0.3
    assert 0.7 < scores.std() < 1.4


def test_a_unit_of_one_backend_changes_nothing():
    rows, is_target = clips()
    query, _ = clips(seed=1)
    scores = []
    for factor in (1.0, 1000.0):  # euclidean distances are 1000 times as large, cosines the same
        of = (Member("knn", {"metric": "euclidean"}), "knn")
        backend = make_backend("z_min", {"of": of})
        backend.fit(factor * rows, is_target)
        scores.append(backend.score(factor * query))
    np.testing.assert_allclose(*scores, rtol=1e-9)


def test_copies_of_one_clip_give_finite_scores():
    backend = make_backend("z_min", {"of": ("knn", "rescaled_knn", "pca_residual")})
    backend.fit(np.ones((12, 3)), np.arange(12) > 9)
    assert np.isfinite(backend.score([[1.0, 1, 1], [-1, 2, 1]])).all()


def test_the_width_of_embeddings_and_stored_arrays_are_checked():
    backend = make_backend("z_min")
    backend.fit(*clips())
    with pytest.raises(UserError, match="embeddings have 5 values, those of the training clips 6"):
        backend.score(np.ones((2, 5)))
    with pytest.raises(UserError, match=r"stored backend: .* fit the backend again"):
        make_backend("z_min", {"of": ("knn",)}).load_state(backend.state())


def read(text):
    return Node.parse("recipe.yaml", text).read(tuple[Member, ...])


def test_a_recipe_names_backends_with_parameters_and_gets_them_back():
    found = read("[knn, {class: rescaled_knn, form: difference, k: 2}]")
    assert found == (Member("knn"), Member("rescaled_knn", {"form": "difference", "k": 2}))
    assert Node.of_plain(plain(found), "model.pt").read(tuple[Member, ...]) == found
    assert [each.kind for each in FOUR] == ["knn", "mahalanobis", "rescaled_knn", "pca_residual"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[knn, knm]", "recipe.yaml:1: [1]: backend: unknown name 'knm', did you mean 'knn'?"),
        ("[{k: 1}]", "key 'class' is missing; choose from knn, kmeans"),
        ("[{class: knn, k: 1}]", "unknown key"),
        ("[{class: knn, k_source: 0}]", "expected at least 1, got '0'"),
        ("[z_min]", "unknown name 'z_min'"),
    ],
)
def test_what_is_no_backend_is_refused_with_file_and_line(text, message):
    with pytest.raises(UserError) as refused:
        read(text)
    assert message in str(refused.value)
    assert str(refused.value).startswith("recipe.yaml:1")
