"""Every backend of the registry against its definition, and the contract they all keep."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.backends import BACKENDS, make_backend
from asd.errors import UserError

VARIANTS = {
    "knn": ("knn", {"k_source": 2, "k_target": 1}),
    "knn euclidean": ("knn", {"metric": "euclidean", "k_source": 3, "k_target": 2}),
    "knn half chord": ("knn", {"metric": "half_chord", "k_source": 2}),
    "smote": ("knn", {"smote_ratio": 0.5, "smote_neighbours": 1}),
    "kmeans": ("kmeans", {"n_clusters": 3}),
    "kmeans plain centres": ("kmeans", {"n_clusters": 3, "unit_centres": False}),
    "rescaled": ("rescaled_knn", {"k": 2, "k_density": 3}),
    "rescaled half chord": ("rescaled_knn", {"metric": "half_chord"}),
    "difference": ("rescaled_knn", {"form": "difference", "limit": 2.0}),
    "varmin": ("rescaled_knn", {"form": "varmin", "limit": 2.0}),
    "domain scaled": ("domain_scaled_knn", {"k_source": 2}),
    "domain standard": ("domain_scaled_knn", {"by": "standard", "metric": "euclidean"}),
    "log varmin": ("rescaled_knn", {"form": "log_varmin", "limit": 2.0}),
    "standardised": ("standardised_knn", {"k": 2}),
    "plain": ("rescaled_knn", {"form": "plain", "k": 2}),
    "beam": ("beam", {"bands": 5, "metric": "euclidean"}),
    "beam varmin": ("beam", {"bands": 5, "metric": "euclidean", "form": "varmin", "limit": 2.0}),
    "beam log varmin": ("beam", {"bands": 1, "form": "log_varmin", "limit": 2.0}),
    "mem mixup": ("mem_mixup", {}),
    "mem mixup cosine": ("mem_mixup", {"metric": "cosine", "mixed": 3, "k_target": 3}),
    "pca residual": ("pca_residual", {"components": 1}),
    "pca residual share": ("pca_residual", {"variance": 0.3}),
    "z min": ("z_min", {"of": ("knn", "mahalanobis", "rescaled_knn")}),
    "z min alone": ("z_min", {"of": ("knn",), "folds": 99}),
    "gwrp": ("rescaled_knn", {"metric": "euclidean", "decay": 0.7}),
    "mahalanobis": ("mahalanobis", {}),
    "mahalanobis fixed": ("mahalanobis", {"metric": "cosine", "shrinkage": 0.1}),
    "gmm": ("gmm", {}),
    "gmm full": ("gmm", {"covariance": "full", "n_components": 1, "reg_covar": 0.01}),
}


def clips(seed=0, n=30, dim=5):
    """Embeddings of two sections, of which a fifth are of the target domain."""
    rng = np.random.default_rng(seed)
    is_target = np.arange(n) % 5 == 0
    embeddings = rng.normal(size=(n, dim)).astype(np.float32) + is_target[:, None] + 1
    return embeddings, is_target, np.arange(n) // 5 % 2


def fitted(variant, data=None, **more):
    name, parameters = VARIANTS[variant]
    if parameters.get("smote_ratio"):
        pytest.importorskip("imblearn")
    backend = make_backend(name, {**parameters, **more})
    backend.fit(*(data or clips()))
    return backend


def defined_distance(a, b, metric):
    """Written with cosines, where the backends use differences."""
    if metric == "euclidean":
        return np.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
    cosine = a @ b / np.sqrt((a @ a) * (b @ b))
    return 1 - cosine if metric == "cosine" else np.sqrt(max(2 - 2 * cosine, 0)) / 2


metrics = st.sampled_from(["cosine", "half_chord", "euclidean"])
seeds = st.integers(0, 10**6)


@settings(deadline=None, max_examples=25)
@given(seed=seeds, metric=metrics, k_source=st.integers(1, 12), k_target=st.integers(0, 4))
def test_knn_is_the_smaller_mean_of_nearest_distances(seed, metric, k_source, k_target):
    train, is_target, _ = clips(seed)
    test = clips(seed + 1, n=7)[0].astype(np.float64)
    backend = make_backend("knn", {"metric": metric, "k_source": k_source, "k_target": k_target})
    backend.fit(train, is_target)
    expected = []
    for row in test:
        distances = np.array([defined_distance(row, y.astype(float), metric) for y in train])
        means = [np.sort(distances[~is_target])[:k_source].mean()]
        if k_target:
            means.append(np.sort(distances[is_target])[:k_target].mean())
        expected.append(min(means))
    np.testing.assert_allclose(backend.score(test), expected, atol=1e-7)


@settings(deadline=None, max_examples=25)
@given(seed=seeds, metric=metrics, k=st.integers(1, 4), density=st.integers(1, 9))
def test_rescaled_knn_divides_by_local_distances(seed, metric, k, density):
    compare_rescaled(seed, metric, k, {"k_density": density}, np.full(density, 1 / density))


@settings(deadline=None, max_examples=25)
@given(seed=seeds, metric=metrics, decay=st.sampled_from([0.0, 0.3, 0.9, 1.0]))
def test_gwrp_weights_all_other_clips_by_rank(seed, metric, decay):
    weights = np.array([decay**rank for rank in range(29)])
    compare_rescaled(seed, metric, 1, {"decay": decay}, weights / weights.sum())


def compare_rescaled(seed, metric, k, parameters, rank_weights):
    train, is_target, _ = clips(seed)
    train = train.astype(np.float64)
    test = clips(seed + 1, n=5)[0].astype(np.float64)
    backend = make_backend("rescaled_knn", {"metric": metric, "k": k, **parameters})
    backend.fit(train, is_target)
    local = []
    for i, y in enumerate(train):
        others = [defined_distance(y, z, metric) for j, z in enumerate(train) if j != i]
        local.append(np.sort(others)[: len(rank_weights)] @ rank_weights)
    quotients = [
        [defined_distance(x, y, metric) / s for y, s in zip(train, local, strict=True)]
        for x in test
    ]
    expected = np.sort(quotients, axis=1)[:, :k].mean(axis=1)
    np.testing.assert_allclose(backend.score(test), expected, rtol=1e-6)


@settings(deadline=None, max_examples=10)
@given(seed=seeds, metric=st.sampled_from(["cosine", "euclidean"]))
def test_kmeans_is_the_distance_to_centres_and_target_clips(seed, metric):
    train, is_target, _ = clips(seed)
    backend = make_backend("kmeans", {"metric": metric, "n_clusters": 3})
    backend.fit(train, is_target)
    centres = backend.state()["all/references"][:3]
    references = [*centres, *train[is_target].astype(np.float64)]
    test = clips(seed + 1, n=5)[0].astype(np.float64)
    expected = [min(defined_distance(x, y, metric) for y in references) for x in test]
    np.testing.assert_allclose(backend.score(test), expected, atol=1e-7)


def test_kmeans_centres_are_means_of_the_source_clips_nearest_to_them():
    train, is_target, _ = clips()
    source = train[~is_target].astype(np.float64)
    centres = fitted("kmeans", metric="euclidean").state()["all/references"][:3]
    nearest = np.array([[np.linalg.norm(x - c) for c in centres] for x in source]).argmin(axis=1)
    means = [source[nearest == c].mean(axis=0) for c in range(3)]
    np.testing.assert_allclose(centres, means, atol=1e-5)


@settings(deadline=None, max_examples=10)
@given(seed=seeds, shrinkage=st.floats(0, 1))
def test_mahalanobis_is_its_textbook_formula(seed, shrinkage):
    train, is_target, _ = clips(seed)
    train = train.astype(np.float64)
    backend = make_backend("mahalanobis", {"shrinkage": shrinkage})
    backend.fit(train, is_target)
    means = [train[is_target].mean(axis=0), train[~is_target].mean(axis=0)]
    about = np.array([row - means[0 if target else 1] for row, target in zip(train, is_target)])  # noqa: B905
    covariance = sum(np.outer(row, row) for row in about) / len(train)
    mixed = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / 5 * np.eye(5)
    test = clips(seed + 1, n=5)[0].astype(np.float64)
    expected = [min((x - m) @ np.linalg.inv(mixed) @ (x - m) for m in means) for x in test]
    np.testing.assert_allclose(backend.score(test), expected, rtol=1e-8)


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_gmm_is_minus_scikit_learns_log_likelihood(covariance):
    from sklearn.mixture import GaussianMixture

    train, is_target, _ = clips(n=80)
    train = train.astype(np.float64)
    backend = make_backend("gmm", {"covariance": covariance, "n_components": 3})
    backend.fit(train, is_target)
    mixture = GaussianMixture(3, covariance_type=covariance, random_state=0).fit(train)
    test = clips(1)[0].astype(np.float64)
    np.testing.assert_allclose(backend.score(test), -mixture.score_samples(test), rtol=1e-9)


def test_gmm_of_one_component_is_a_gaussian_density():
    backend = make_backend("gmm", {"n_components": 1, "reg_covar": 0.0})
    backend.fit([[-1.0], [1.0]], [False, False])  # mean 0, variance 1
    np.testing.assert_allclose(backend.score([[2.0]]), [np.log(2 * np.pi) / 2 + 2])


@pytest.mark.parametrize("per_section", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
class TestContract:
    def test_scores_are_finite_float64_and_higher_far_away(self, variant, per_section):
        embeddings, _, section = clips()
        backend = fitted(variant, per_section=per_section)
        scores = backend.score(embeddings, section)
        assert scores.shape == (30,)
        assert scores.dtype == np.float64
        assert np.isfinite(scores).all()
        far = backend.score(-embeddings, section)
        assert far.min() > np.median(scores)

    def test_order_and_batching_of_clips_change_nothing(self, variant, per_section):
        embeddings, _, section = clips(seed=3, n=40)
        backend = fitted(variant, per_section=per_section)
        scores = backend.score(embeddings, section)
        order = np.random.default_rng(0).permutation(40)
        shuffled = backend.score(embeddings[order], section[order])
        np.testing.assert_allclose(shuffled, scores[order], rtol=1e-10, atol=1e-12)
        alone = [backend.score(embeddings[i : i + 1], section[i : i + 1])[0] for i in range(40)]
        np.testing.assert_allclose(alone, scores, rtol=1e-10, atol=1e-12)

    def test_order_of_training_clips_changes_nothing(self, variant, per_section):
        if variant.startswith(("kmeans", "gmm", "smote")):
            pytest.skip("starts from random clips")
        data = clips()
        order = np.random.default_rng(0).permutation(30)
        embeddings, _, section = clips(seed=3)
        expected = fitted(variant, data, per_section=per_section).score(embeddings, section)
        shuffled = fitted(variant, [part[order] for part in data], per_section=per_section)
        np.testing.assert_allclose(shuffled.score(embeddings, section), expected, rtol=1e-9)

    def test_state_survives_npz_and_torch(self, variant, per_section):
        embeddings, _, section = clips(seed=3)
        backend = fitted(variant, per_section=per_section)
        expected = backend.score(embeddings, section)
        as_npz, as_torch = io.BytesIO(), io.BytesIO()
        np.savez(as_npz, **backend.state())
        torch.save({k: torch.from_numpy(v) for k, v in backend.state().items()}, as_torch)
        as_npz.seek(0)
        as_torch.seek(0)
        name, parameters = VARIANTS[variant]
        for stored in (np.load(as_npz), torch.load(as_torch, weights_only=True)):
            again = make_backend(name, {**parameters, "per_section": per_section})
            again.load_state(stored)
            np.testing.assert_array_equal(again.score(embeddings, section), expected)

    def test_sections_are_separate_or_shared(self, variant, per_section):
        embeddings, is_target, section = clips()
        backend = fitted(variant, per_section=per_section)
        first = section == 0
        data = (embeddings[first], is_target[first], section[first])
        only = fitted(variant, data, per_section=per_section)
        test, _, _ = clips(seed=3)
        ours = backend.score(test[first], section[first])
        theirs = only.score(test[first], section[first])
        assert np.array_equal(ours, theirs) == per_section

    def test_no_clips_no_scores(self, variant, per_section):
        scores = fitted(variant, per_section=per_section).score(np.empty((0, 5)), np.empty(0, int))
        assert scores.shape == (0,)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_machine_without_target_clips_is_scored(variant):
    embeddings, is_target, section = clips()
    backend = fitted(variant, (embeddings, np.zeros_like(is_target), section))
    assert np.isfinite(backend.score(embeddings)).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_single_target_clip_is_used_or_refused_in_one_line(variant):
    embeddings, is_target, section = clips()
    is_target = np.arange(30) == 7
    if variant in ("knn euclidean", "smote", "domain scaled", "domain standard"):
        with pytest.raises(UserError, match=r"1 target clips, but .* needs 2 or more"):
            fitted(variant, (embeddings, is_target, section))
    else:
        scores = fitted(variant, (embeddings, is_target, section)).score(embeddings)
        assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("knn", {}),
        ("knn", {"smote_ratio": 0.5}),
        ("rescaled_knn", {}),
        ("rescaled_knn", {"decay": 0.5, "metric": "half_chord"}),
    ],
)
def test_copies_of_training_clips_score_zero_and_others_stay_finite(name, parameters):
    if parameters.get("smote_ratio"):
        pytest.importorskip("imblearn")
    embeddings, is_target, _ = clips()
    embeddings[:10] = embeddings[0]  # local distances of zero
    embeddings[20:25] = 0  # digital silence
    backend = make_backend(name, parameters)
    backend.fit(embeddings, is_target)
    np.testing.assert_array_equal(backend.score(embeddings), 0)
    assert np.isfinite(backend.score(clips(1)[0])).all()


def test_only_copies_of_one_clip_still_give_finite_scores():
    backend = make_backend("rescaled_knn")
    backend.fit(np.ones((6, 3)), np.zeros(6, bool))
    np.testing.assert_allclose(backend.score([[1, 1, 1], [-1, -1, -1]]), [0, 2])


def test_smote_leaves_a_target_domain_that_is_large_enough_alone():
    embeddings, is_target, _ = clips()  # 6 target clips, 24 source clips
    backend = make_backend("knn", {"smote_ratio": 0.25, "metric": "euclidean"})
    backend.fit(embeddings, is_target)
    np.testing.assert_array_equal(backend.state()["all/target"], embeddings[is_target])


def test_smote_rows_lie_between_target_rows():
    pytest.importorskip("imblearn")
    embeddings, is_target, _ = clips()
    backend = make_backend("knn", {"smote_ratio": 0.5, "metric": "euclidean"})
    backend.fit(embeddings, is_target)
    made = backend.state()["all/target"]
    assert len(made) == 12
    target = embeddings[is_target].astype(np.float64)
    for row in made[6:]:
        # on a segment: the ways to both ends add up to its length
        detours = [
            np.linalg.norm(row - a) + np.linalg.norm(row - b) - np.linalg.norm(a - b)
            for a in target
            for b in target
        ]
        assert min(detours) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("knnn", {}, "unknown name 'knnn', did you mean 'knn'?"),
        ("knn", {"k_sorce": 1}, "backend knn: unknown key 'k_sorce', did you mean 'k_source'?"),
        ("knn", {"learned": {}}, "unknown key 'learned'"),
        ("knn", {"k_source": 0}, "backend knn: k_source is 0"),
        ("knn", {"k_source": 0}, "must be a whole number, at least 1"),
        ("knn", {"k_target": "1"}, "k_target is '1'"),
        ("knn", {"k_source": True}, "k_source is True"),
        ("knn", {"metric": "cosin"}, "metric is 'cosin', must be one of cosine, half_chord, eucl"),
        ("knn", {"per_section": "no"}, "per_section is 'no'"),
        ("knn", {"smote_ratio": 2}, "smote_ratio is 2"),
        ("kmeans", {"n_clusters": 2.5}, "n_clusters is 2.5"),
        ("rescaled_knn", {"decay": -1}, "decay is -1"),
        ("rescaled_knn", {"decay": "0.9"}, "decay is '0.9'"),
        ("rescaled_knn", {"decay": "0.9"}, "must be a number, 0 to 1 or null"),
        ("rescaled_knn", {"limit": 0.5}, "limit is 0.5, must be a number, at least 1 or null"),
        (
            "rescaled_knn",
            {"form": "quotient"},
            "must be one of plain, ratio, difference",
        ),
        ("domain_scaled_knn", {"k_target": 0}, "k_target is 0"),
        ("beam", {"bands": 0}, "bands is 0"),
        ("mem_mixup", {"share": 1.5}, "share is 1.5, must be a number, 0 to 1"),
        ("mem_mixup", {"mixed": -1}, "mixed is -1, must be a whole number, at least 0 or null"),
        ("pca_residual", {"variance": 1}, "variance is 1, must be a number above 0 and below 1"),
        ("z_min", {"of": ()}, "backend z_min: of names no backend"),
        ("z_min", {"of": ("knn", "knm")}, "unknown name 'knm', did you mean 'knn'?"),
        ("z_min", {"folds": 1}, "folds is 1, must be a whole number, at least 2"),
        ("mahalanobis", {"metric": "half_chord"}, "must be one of cosine, euclidean"),
        ("mahalanobis", {"shrinkage": float("nan")}, "shrinkage is nan"),
        ("gmm", {"covariance": "tied"}, "covariance is 'tied'"),
        ("gmm", {"reg_covar": -1e-9}, "reg_covar is -1e-09, must be a number, at least 0"),
    ],
)
def test_parameters_that_cannot_be_are_refused(name, parameters, message):
    with pytest.raises(UserError) as refused:
        make_backend(name, parameters)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("knn", {"k_source": 25}, "24 source clips, but k_source needs 25 or more"),
        ("knn", {"k_target": 7}, "6 target clips, but k_target needs 7 or more"),
        ("knn", {"smote_ratio": 0.9, "smote_neighbours": 6}, "but smote_neighbours needs 7"),
        ("kmeans", {"n_clusters": 25}, "24 source clips, but n_clusters needs 25"),
        ("rescaled_knn", {"k": 31}, "30 training clips, but k needs 31"),
        ("rescaled_knn", {"k_density": 30}, "30 training clips, but k_density needs 31"),
        ("domain_scaled_knn", {"k_target": 6}, "6 target clips, but k_target needs 7 or more"),
        ("mem_mixup", {"k_source": 25}, "24 source clips, but k_source needs 25"),
        ("mem_mixup", {"k_target": 7, "mixed": 0}, "6 target clips, but k_target needs 7"),
        ("z_min", {"of": ("knn", "kmeans"), "folds": 2}, "kmeans: 12 source clips, but n_clus"),
        ("gmm", {"n_components": 31}, "30 training clips, but n_components needs 31"),
        ("knn", {"per_section": True, "k_source": 13}, "section 00: 12 source clips"),
    ],
)
def test_too_few_clips_are_refused(name, parameters, message):
    with pytest.raises(UserError, match=message):
        make_backend(name, parameters).fit(*clips())


def test_a_covariance_without_inverse_is_refused():
    backend = make_backend("mahalanobis", {"shrinkage": 0})
    with pytest.raises(UserError, match=r"no inverse .* raise shrinkage"):
        backend.fit(*clips(n=5, dim=9))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_refused(bad):
    embeddings, is_target, _ = clips()
    broken = embeddings.copy()
    broken[[4, 9], 2] = bad
    backend = make_backend("knn")
    with pytest.raises(
        UserError, match=r"2 of 30 embeddings hold NaN or infinity, .* clip 4; leave"
    ):
        backend.fit(broken, is_target)
    with pytest.raises(UserError, match=r"30 of 30 .* no finite value for any clip, so train it"):
        backend.fit(np.full_like(embeddings, bad), is_target)
    backend.fit(embeddings, is_target)
    with pytest.raises(UserError, match="2 of 30 embeddings"):
        backend.score(broken)


def test_other_embeddings_sections_and_states_are_refused():
    embeddings, is_target, section = clips()
    backend = make_backend("knn", {"per_section": True})
    backend.fit(embeddings, is_target, section)
    with pytest.raises(UserError, match=r"section 07: no training clips; .* for: 00, 01"):
        backend.score(embeddings[:1], [7])
    with pytest.raises(UserError, match="embeddings have 4 values, those of the training clips 5"):
        backend.score(embeddings[:, :4], section)
    with pytest.raises(UserError, match=r"stored backend: .* fit the backend again"):
        make_backend("kmeans", {"per_section": True}).load_state(backend.state())
    with pytest.raises(UserError, match="stored backend"):
        make_backend("knn").load_state(backend.state())
    with pytest.raises(UserError, match="no training clips"):
        make_backend("knn").fit(np.empty((0, 5)), [])


def test_smote_without_its_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "imblearn.over_sampling", None)
    with pytest.raises(UserError, match=r"pip install 'asd\[embedding\]'"):
        make_backend("knn", {"smote_ratio": 0.9}).fit(*clips())


def test_the_registry_has_a_variant_of_each_backend_here():
    assert {name for name, _ in VARIANTS.values()} == set(BACKENDS)
