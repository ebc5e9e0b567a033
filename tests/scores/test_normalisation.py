"""Standardised and fused scores: published numbers, and what must not depend on other clips."""

from pathlib import Path

import numpy as np
import pytest

from asd.clips import Clip
from asd.errors import UserError
from asd.scores.fusion import fuse, fuse_tables
from asd.scores.normalisation import Standardisation, standardise
from asd.scores.table import ScoreTable

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "backends" / "normalised.npz")


def nearest(queries, references):
    """Smallest D = (1 - cos) / 2 to any reference, shape (queries,)."""
    queries, references = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in (queries.astype(float), references.astype(float))
    )
    return ((1 - queries @ references.T) / 2).min(axis=1)


def bank_table(machines=(0, 1)):
    """Distances of the stored test embeddings to source and target clips of their machine."""
    tables = []
    for machine in machines:
        own = GOLDEN["train_machine"] == machine
        chosen = np.flatnonzero(GOLDEN["test_machine"] == machine)
        columns = {
            name: nearest(
                GOLDEN["test_embed"][chosen],
                GOLDEN["train_embed"][own & (GOLDEN["train_is_source"] == is_source)],
            )
            for name, is_source in (("source", 1), ("target", 0))
        }
        clips = tuple(Clip(Path(f"{i}.wav"), f"machine{machine}") for i in chosen)
        tables.append(ScoreTable(clips, columns))
    return ScoreTable.concat(tables)


def test_the_smaller_of_standardised_domain_distances_is_the_published_one():
    # The published program standardises by the test clips: here they stand for held-out ones.
    table = bank_table()
    fused = fuse(standardise(table, normal=table).columns)
    order = [int(clip.path.stem) for clip in table.clips]
    np.testing.assert_allclose(fused, GOLDEN["ldn/cos_none_std"][order], rtol=1e-9, atol=1e-9)


def test_means_and_deviations_are_the_published_ones():
    expected = GOLDEN["ldn/cos_none_std_stats"]
    for machine in (0, 1):
        table = bank_table([machine])
        both = np.stack([table["source"], table["target"]], axis=1)
        scale = Standardisation.of(both)
        found = [scale.mean[0], scale.deviation[0], scale.mean[1], scale.deviation[1]]
        np.testing.assert_allclose(found, expected[:, machine], rtol=1e-9)


def test_genreps_standardised_minimum():
    # its deviations have the divisor n, ours n - 1
    banks = np.stack([GOLDEN[f"genrep/Ks0_k1_{bank}_dist"] for bank in ("source", "target")], 1)
    standard = Standardisation.of(banks).apply(banks)
    fused = fuse({"source": standard[:, 0], "target": standard[:, 1]}) * np.sqrt(20 / 19)
    np.testing.assert_allclose(fused, GOLDEN["genrep/Ks0_k1_score_std"], atol=1e-5)


def small(scores, machine="fan", names=("A", "B")):
    clips = tuple(Clip(Path(f"{i}.wav"), machine) for i in range(len(scores)))
    return ScoreTable(clips, {name: np.array(scores) * (i + 1) for i, name in enumerate(names)})


def test_standardised_by_hand_and_machine_by_machine():
    normal = ScoreTable.concat([small([1, 3]), small([10, 30], "valve")])
    table = ScoreTable.concat([small([2.0, 4.0]), small([20.0], "valve")])
    standard = standardise(table, normal)
    for name in ("A", "B"):
        np.testing.assert_allclose(standard[name], [0, np.sqrt(2), 0], atol=1e-15)


def test_a_clips_score_does_not_depend_on_which_clips_are_tested_with_it():
    normal, table = small([1.0, 2, 4, 8]), small([3.0, 100, -5])
    together = standardise(table, normal)
    for i in range(3):
        assert standardise(table.select([i]), normal) == together.select([i])


@pytest.mark.parametrize(
    ("normal", "message"),
    [
        (small([1.0, 2], "valve"), "fan: no held-out normal scores .* some for valve"),
        (small([]), "fan: no held-out normal scores .* for no machine type"),
        (small([1.0]), "fan A: 1 held-out normal scores, but .* needs 2 or more; add training"),
        (small([3.0, 3]), "fan A: all 2 held-out normal scores are equal, .* copies of one clip"),
        (small([1.0, np.nan]), "fan A: held-out normal scores are not finite"),
        (small([1.0, 2], names=["A"]), "score 'B' is unknown; choose from A"),
    ],
)
def test_normal_scores_that_give_no_scale_are_refused(normal, message):
    with pytest.raises(UserError, match=message):
        standardise(small([1.0, 5]), normal)


def test_minimum_and_weighted_mean_by_hand():
    columns = {"A": [1.0, 5], "B": [3.0, -1]}
    np.testing.assert_array_equal(fuse(columns), [1, -1])
    np.testing.assert_array_equal(fuse(columns, "mean"), [2, 2])
    np.testing.assert_array_equal(fuse(columns, "mean", {"B": 3, "A": 1}), [2.5, 0.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({},), "no score to fuse"),
        (({"A": [1]}, "min", {"A": 1}), "weights play no part in a minimum"),
        (({"A": [1]}, "mean", {"B": 1}), "must be one number above 0 for each of A"),
        (({"A": [1]}, "mean", {"A": 0}), "must be one number above 0"),
        (({"A": [1]}, "mean", {"A": np.nan}), "must be one number above 0"),
    ],
)
def test_fusions_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        fuse(*arguments)


def test_tables_of_the_same_clips_become_one_column():
    one, other = small([1.0, 5], names=["A"]), small([3.0, -1], names=["B"])
    fused = fuse_tables([one, other], "mean", name="ENSEMBLE")
    assert list(fused.columns) == ["ENSEMBLE"]
    np.testing.assert_array_equal(fused["ENSEMBLE"], [2, 2])
    with pytest.raises(UserError, match="different clips"):
        fuse_tables([one, other.select([1, 0])])
    with pytest.raises(UserError, match="score 'A' stands in two tables; rename one"):
        fuse_tables([one, one])
