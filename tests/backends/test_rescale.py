"""Forms of rescaled distances: published values, what outliers do to them, and what limits do."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.backends import make_backend, unit_rows
from asd.backends.neighbours import measure
from asd.backends.rescale import least_variance_slope, within_limits
from asd.evaluation.metrics import auc

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "backends" / "normalised.npz")
UNITS = {"cos": ("cosine", 2), "euc": ("euclidean", 4)}
"""There -> metric here, and how many times larger distances are here."""

DENSITIES = {f"K{k}": {"k_density": k} for k in (1, 2, 4, 16)} | {
    f"r{decay}": {"decay": decay} for decay in (0.5, 0.9)
}


def rescaled(rows, **parameters):
    backend = make_backend("rescaled_knn", parameters)
    backend.fit(rows, np.zeros(len(rows), bool))
    return backend


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("form", ["ratio", "difference"])
@pytest.mark.parametrize("space", UNITS)
def test_published_scores_of_ratio_and_difference(space, form, density):
    metric, factor = UNITS[space]
    for machine in (0, 1):
        train = GOLDEN["train_embed"][GOLDEN["train_machine"] == machine]
        chosen = GOLDEN["test_machine"] == machine
        backend = rescaled(train, metric=metric, form=form, **DENSITIES[density])
        scores = backend.score(GOLDEN["test_embed"][chosen]) / (factor if form != "ratio" else 1)
        expected = GOLDEN[f"ldn/{space}_{form}_{density}"][chosen]
        np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("density", ["K1", "K4", "r0.9"])
@pytest.mark.parametrize("space", UNITS)
def test_published_local_distances(space, density):
    metric, factor = UNITS[space]
    for machine in (0, 1):
        chosen = GOLDEN["train_machine"] == machine
        backend = rescaled(GOLDEN["train_embed"][chosen], metric=metric, **DENSITIES[density])
        local = backend.state()["all/local_distance"] / factor
        np.testing.assert_allclose(local, GOLDEN[f"ldn/{space}_b_{density}"][chosen], rtol=1e-9)


@pytest.mark.parametrize("rows", ["flat", "mean"])
def test_varmin_scores(rows):
    ref, query = GOLDEN["bands/ref"].astype(float), GOLDEN["bands/query"].astype(float)
    if rows == "flat":
        ref, query = ref.reshape(len(ref), -1), query.reshape(len(query), -1)
    else:
        ref, query = ref.mean(axis=1), query.mean(axis=1)
    backend = rescaled(ref, form="varmin")
    np.testing.assert_allclose(backend.score(query) / 2, GOLDEN[f"bands/varmin_{rows}"], atol=1e-9)
    if rows == "flat":
        alpha_b = GOLDEN["bands/varmin_flat_alpha"] * GOLDEN["bands/varmin_flat_b"]
        np.testing.assert_allclose(backend.state()["all/local_distance"] / 2, alpha_b, rtol=1e-9)


@pytest.mark.parametrize("form", ["ratio", "difference", "varmin"])
def test_copies_of_training_clips_give_finite_scores(form):
    rows = np.random.default_rng(0).normal(size=(12, 4))
    rows[:6] = rows[0]
    scores = rescaled(rows, form=form, k_density=1, limit=2.0).score(rows)
    assert np.isfinite(scores).all()
    same = rescaled(np.ones((6, 3)), form=form).score([[1.0, 1, 1], [-1, -1, -1]])
    np.testing.assert_allclose(same, [0, 2])


def test_the_slope_leaves_the_least_variance():
    rng = np.random.default_rng(0)
    local = rng.gamma(3, size=50)
    distance = 0.7 * local + rng.gamma(2, size=50)
    slope = least_variance_slope(distance, local)
    left = [np.var(distance - (slope + step) * local) for step in (-1e-3, 0, 1e-3)]
    assert left[1] < min(left[0], left[2])
    assert least_variance_slope(distance, np.full(50, 0.3)) == 0
    assert least_variance_slope(np.empty(0), np.empty(0)) == 0


def test_limits_are_multiples_of_the_median_of_local_distances_above_zero():
    local = np.array([0, 0, 0, 0, 1.0, 2, 3, 40])
    np.testing.assert_array_equal(within_limits(local, 2), [1.25] * 5 + [2, 3, 5])
    np.testing.assert_array_equal(within_limits(local, None), local)
    np.testing.assert_array_equal(within_limits(np.zeros(3), 2), np.zeros(3))


backends = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(["cosine", "half_chord", "euclidean"]),
        "form": st.sampled_from(["plain", "ratio", "difference", "varmin", "log_varmin"]),
        "k": st.integers(1, 4),
        "limit": st.sampled_from([None, 1.0, 1.5, 3.0]),
    }
)


def with_outliers(rng, n=40, dim=5):
    """Training clips about one point, of two densities, and two outliers."""
    rows = 1 + 0.1 * rng.normal(size=(n, dim))
    rows[: n // 4] = -0.3 + 0.2 * rng.normal(size=(n // 4, dim))
    rows[-2:] = 5 * rng.normal(size=(2, dim))
    return rows


class GivenDistances:
    """Stands for queries that are only known by their distances to the references."""

    def __init__(self, backend, monkeypatch):
        self.backend, self.patch = backend, monkeypatch

    def score(self, distances):
        """Scores for plain distances, shape (clips, references)."""
        squared = {
            "cosine": 2 * distances,
            "half_chord": np.square(2 * distances),
            "euclidean": np.square(distances),
        }[self.backend.metric]

        def choose(references, _, k):
            values = references._scale * measure(squared, references.metric) - references._offset
            return np.argsort(values, axis=1)[:, :k]

        def exact(references, _, chosen):
            return measure(np.take_along_axis(squared, chosen, 1), references.metric)

        with self.patch.context() as patch:
            patch.setattr("asd.backends.neighbours.Neighbours._choose", choose)
            patch.setattr("asd.backends.neighbours.Neighbours._distances", exact)
            arrays = self.backend.learned["all"]
            return self.backend.scorer(arrays)(np.zeros((len(distances), 5)))


@settings(deadline=None, max_examples=80)
@given(seed=st.integers(0, 10**6), parameters=backends)
def test_no_score_falls_where_all_distances_grow(seed, parameters):
    rng = np.random.default_rng(seed)
    train = with_outliers(rng)
    backend = rescaled(train, **parameters)
    with pytest.MonkeyPatch.context() as patch:
        near = rng.gamma(1, size=(20, 40))
        common = near + rng.uniform(0, 1, size=(20, 1))
        each = near + rng.uniform(0, 1, size=(20, 40))
        score = GivenDistances(backend, patch).score
        assert (score(common) >= score(near)).all()
        assert (score(each) >= score(near)).all()


@settings(deadline=None, max_examples=80)
@given(seed=st.integers(0, 10**6), parameters=backends, limit=st.sampled_from([1.0, 1.5, 3.0]))
def test_limits_keep_scores_by_the_plain_distance(seed, parameters, limit):
    rng = np.random.default_rng(seed)
    train = with_outliers(rng)
    queries = np.vstack([with_outliers(rng), 3 * rng.normal(size=(20, 5))])
    k, metric = parameters["k"], parameters["metric"]
    plain = make_backend("knn", {"metric": metric, "k_source": k})
    plain.fit(train, np.zeros(40, bool))
    plain_scores = plain.score(queries)
    local = rescaled(train, metric=metric).state()["all/local_distance"]
    median = np.median(local)
    shared = {"metric": metric, "k": k, "limit": limit}
    ratio = rescaled(train, form="ratio", **shared).score(queries)
    assert (ratio >= plain_scores / (limit * median) * (1 - 1e-9)).all()
    assert (ratio <= plain_scores * limit / median * (1 + 1e-9)).all()
    difference = rescaled(train, form="difference", **shared).score(queries)
    assert (difference >= plain_scores - limit * median - 1e-9).all()
    assert (difference <= plain_scores - median / limit + 1e-9).all()


@pytest.mark.parametrize("form", ["ratio", "difference", "varmin"])
def test_a_limit_of_one_ranks_by_plain_distance(form):
    rng = np.random.default_rng(4)
    train, queries = with_outliers(rng), rng.normal(size=(30, 5))
    plain = make_backend("knn")
    plain.fit(train, np.zeros(40, bool))
    scores = rescaled(train, form=form, limit=1.0).score(queries)
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(plain.score(queries)))


def clips_with_outliers(seed):
    """990 source and 10 target training clips with 3 outliers; normal and anomalous clips."""
    rng = np.random.default_rng(seed)
    directions = unit_rows(rng.normal(size=(2, 32)))
    centres = unit_rows(directions[0] + [np.zeros(32), 0.6 * directions[1]])

    def about(centre, n, off=0.0):
        shift = off * unit_rows(rng.normal(size=(n, 32)))
        return unit_rows(centre + 0.15 / np.sqrt(32) * rng.normal(size=(n, 32)) + shift)

    train = [about(centres[0], 990), about(centres[1], 10), unit_rows(rng.normal(size=(3, 32)))]
    normal = [about(centre, 100) for centre in centres]
    anomalous = [about(centre, 50, off=0.25) for centre in centres]
    return np.vstack(train), np.vstack(normal), np.vstack(anomalous)


@pytest.mark.parametrize("form", ["ratio", "difference", "varmin"])
def test_outliers_in_training_spoil_scores_without_a_limit_and_not_with_one(form):
    def area(parameters):
        backend = rescaled(train, form=form, **parameters)
        scores = np.concatenate([backend.score(normal), backend.score(anomalous)])
        return auc(np.repeat([0, 1], [len(normal), len(anomalous)]), scores)

    for seed in range(3):
        train, normal, anomalous = clips_with_outliers(seed)
        assert area({}) < 0.93
        assert area({"limit": 3.0}) > 0.995
        train = train[:1000]  # without the outliers
        assert area({}) > 0.99


def test_logarithmic_varmin_by_its_formula():
    rng = np.random.default_rng(0)
    rows, query = np.split(rng.normal(size=(40, 6)), [30])
    distances = np.array([[np.linalg.norm(a - b) for b in rows] for a in rows])
    np.fill_diagonal(distances, np.inf)
    nearest, local = distances.argmin(axis=1), distances.min(axis=1)
    u, v = np.log(local), np.log(local[nearest])
    alpha = np.cov(u, v, bias=True)[0, 1] / np.var(v)
    expected = [
        min(np.log(np.linalg.norm(x - y)) - alpha * np.log(b) for y, b in zip(rows, local))  # noqa: B905
        for x in query
    ]
    scores = rescaled(rows, metric="euclidean", form="log_varmin", k_density=1).score(query)
    shift = (1 - alpha) * np.log(local.mean())
    np.testing.assert_allclose(scores + shift, expected, rtol=1e-9)


def test_logarithmic_varmin_has_no_unit():
    rng = np.random.default_rng(0)
    rows, query = np.split(rng.normal(size=(40, 6)), [30])
    ones = [
        rescaled(factor * rows, metric="euclidean", form="log_varmin").score(factor * query)
        for factor in (1.0, 1000.0)
    ]
    np.testing.assert_allclose(*ones, rtol=1e-9)


def test_copies_of_training_clips_are_finite_and_lowest_with_logarithms():
    rows = np.random.default_rng(0).normal(size=(30, 4))
    rows[:6] = rows[0]
    backend = rescaled(rows, form="log_varmin", k_density=1)
    copies, others = (
        backend.score(rows),
        backend.score(np.random.default_rng(1).normal(size=(9, 4))),
    )
    assert np.isfinite(copies).all()
    assert copies.max() < others.min()
    same = rescaled(np.ones((6, 3)), form="log_varmin").score([[1.0, 1, 1], [-1, -1, -1]])
    assert np.isfinite(same).all()
    assert same[0] < same[1]
