"""Banks of their own for each band: stored numbers, a slow version, bands that cannot be."""

from pathlib import Path

import numpy as np
import pytest

from asd.backends import make_backend
from asd.errors import UserError

DATA = Path(__file__).parents[1] / "data" / "backends"
GOLDEN, ROWS = np.load(DATA / "bands.npz"), np.load(DATA / "normalised.npz")
REF, QUERY = ROWS["bands/ref"].astype(float), ROWS["bands/query"].astype(float)


def beam(rows, **parameters):
    backend = make_backend("beam", {"bands": rows.shape[1], **parameters})
    backend.fit(rows.reshape(len(rows), -1), np.zeros(len(rows), bool))
    return backend


@pytest.mark.parametrize(("form", "name"), [("plain", "beam"), ("varmin", "beam_varmin")])
def test_scores_equal_those_of_the_formulas(form, name):
    scores = beam(REF, form=form).score(QUERY.reshape(24, -1))
    np.testing.assert_allclose(scores / 2, GOLDEN[f"bands/{name}"], rtol=1e-9)


def test_each_band_has_its_own_factor_alpha():
    found = beam(REF, form="varmin").state()["all/local_distance"] / 2
    expected = GOLDEN["bands/beam_varmin_alpha"][:, None] * GOLDEN["bands/beam_varmin_b"]
    np.testing.assert_allclose(found, expected.T, rtol=1e-9)


@pytest.mark.parametrize("form", ["plain", "ratio", "difference", "varmin", "log_varmin"])
@pytest.mark.parametrize("metric", ["cosine", "half_chord", "euclidean"])
def test_scores_are_means_of_those_of_the_bands(form, metric):
    bands = []
    for band in range(4):
        alone = make_backend("rescaled_knn", {"form": form, "metric": metric})
        alone.fit(REF[:, band], np.zeros(40, bool))
        bands.append(alone.score(QUERY[:, band]))
    together = beam(REF, form=form, metric=metric).score(QUERY.reshape(24, -1))
    np.testing.assert_allclose(together, np.mean(bands, axis=0), rtol=1e-9)


def test_the_level_of_a_band_plays_no_part():
    loud = np.array([1.0, 100, 0.01, 7])[:, None]
    expected = beam(REF, form="varmin").score(QUERY.reshape(24, -1))
    scores = beam(REF * loud, form="varmin").score((QUERY * loud).reshape(24, -1))
    np.testing.assert_allclose(scores, expected, rtol=1e-9)


def test_a_silent_band_and_copies_give_finite_scores():
    ref = REF.copy()
    ref[:, 1] = 0
    ref[:20] = ref[0]
    for form in ("plain", "ratio", "difference", "varmin", "log_varmin"):
        assert np.isfinite(beam(ref, form=form).score(QUERY.reshape(24, -1))).all()
        assert np.isfinite(beam(ref, form=form).score(ref.reshape(40, -1))).all()


def test_a_width_that_is_not_so_many_bands_is_refused():
    backend = make_backend("beam", {"bands": 5})
    with pytest.raises(UserError, match=r"embeddings of 32 values are not 5 bands .* set bands"):
        backend.fit(REF.reshape(40, -1), np.zeros(40, bool))


def test_embeddings_are_stored_as_they_came():
    """In single precision: a bank of 1,000 clips of 6,144 values takes 25 MB, not 49."""
    backend = make_backend("beam", {"bands": 4, "form": "varmin"})
    rows = REF.reshape(40, -1).astype(np.float32)
    backend.fit(rows, np.zeros(40, bool))
    stored = backend.state()["all/references"]
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, rows)
