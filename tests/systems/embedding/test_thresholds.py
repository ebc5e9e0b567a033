"""Held-out scores, backends that have too few clips, and SMOTE that adds nothing."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from asd.backends import make_backend
from asd.clips import Clip
from asd.systems.embedding.thresholds import (
    assign_folds,
    held_out_table,
    smote_notes,
    too_few_clips,
)

N = 23
IS_TARGET = np.arange(N) >= 20  # three target clips: never held out
SECTION = np.arange(N) % 2
CLIPS = [
    Clip(Path(f"{i}.wav"), "fan", f"{SECTION[i]:02d}", "target" if IS_TARGET[i] else "source")
    for i in range(N)
]


def backends():
    return {"KNN": make_backend("knn"), "SECTIONS": make_backend("knn", {"per_section": True})}


def test_held_out_clips_are_scored_by_backends_that_have_not_seen_them():
    embeddings = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
    table = held_out_table(backends, CLIPS, embeddings)
    assert table.clips == tuple(CLIPS[:20])
    fold = assign_folds(IS_TARGET, SECTION)
    for name in table.columns:
        for i in range(20):
            backend, others = backends()[name], fold != fold[i]
            backend.fit(embeddings[others], IS_TARGET[others], SECTION[others])
            assert table[name][i] == backend.score(embeddings[[i]], SECTION[[i]])
            assert table[name][i] > 0


def test_fewer_than_five_clips_hold_none_out():
    table = held_out_table(backends, CLIPS[:8:2], np.ones((4, 3), np.float32))
    assert len(table) == 0
    assert list(table.columns) == ["KNN", "SECTIONS"]


def test_a_hungry_backend_does_not_keep_the_others_from_training():
    makes = {
        "KNN": partial(make_backend, "knn"),
        "HUNGRY": partial(make_backend, "kmeans", {"n_clusters": 21}),
        "FOLDS": partial(make_backend, "kmeans", {"n_clusters": 17}),
    }
    reasons = too_few_clips(makes, IS_TARGET, SECTION)
    assert set(reasons) == {"HUNGRY", "FOLDS"}
    assert reasons["HUNGRY"].startswith("20 source clips, but n_clusters needs 21 or more")
    assert reasons["FOLDS"].startswith("with a fifth held out for the decision threshold, 16 sour")
    assert too_few_clips({"KNN": makes["KNN"]}, IS_TARGET, SECTION) == {}


@pytest.mark.parametrize(
    ("parameters", "other", "note"),
    [
        ({"smote_ratio": 0.15}, {}, "S equals OTHER here, for fan, valve: SMOTE adds no clip"),
        ({"smote_ratio": 0.15}, {"k_source": 2}, "S equals kNN without SMOTE here, for fan, valv"),
        ({"smote_ratio": 0.5}, {}, "S equals OTHER here, for valve: SMOTE adds no clip"),
        ({"smote_ratio": 0.5, "k_target": 0}, {}, "for fan, valve"),
        ({"smote_ratio": 0.1, "per_section": True}, {}, "for fan, valve"),
        ({"smote_ratio": 0.2, "per_section": True}, {}, "for valve"),
    ],
)
def test_smote_that_adds_nothing_is_said_once_for_all_machine_types(parameters, other, note):
    chosen = {"OTHER": make_backend("knn", other), "S": make_backend("knn", parameters)}
    machines = {"fan": (IS_TARGET, SECTION), "valve": (np.zeros(N, bool), SECTION)}
    (found,) = smote_notes(chosen, machines)
    assert note in found
    assert ("fan" in found) == ("fan" in note)


def test_what_is_said_of_smote_is_so():
    pytest.importorskip("imblearn")
    embeddings = np.random.default_rng(0).normal(size=(N, 4))
    for ratio in (0.1, 0.15, 0.2, 0.5):
        plain, smote = make_backend("knn"), make_backend("knn", {"smote_ratio": ratio})
        for backend in (plain, smote):
            backend.fit(embeddings, IS_TARGET)
        added = len(smote.state()["all/target"]) > len(plain.state()["all/target"])
        notes = smote_notes({"S": smote}, {"fan": (IS_TARGET, SECTION)})
        assert added == (notes == [])
    assert smote_notes({"KNN": plain}, {"fan": (IS_TARGET, SECTION)}) == []
