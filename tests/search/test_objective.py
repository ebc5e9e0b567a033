import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.challenge.catalog import load_challenge
from asd.errors import UserError
from asd.search.objective import (
    Group,
    Objective,
    left_out,
    official,
    own_domain,
    pseudo_auc,
    published_splits,
    without,
)

SEVEN = ("a", "b", "c", "d", "e", "f", "g")


def metrics(**values):
    return {name: {"pseudo_auc": value} for name, value in values.items()}


def test_a_joint_objective_trains_each_group_once():
    groups = (Group(("a",), ("a", "b")), Group(("b",), ("a", "b")), Group(("c",), ("c",)))
    assert Objective(groups, pseudo_auc, True).trainings == (("a", "b"), ("c",))


def test_other_systems_train_each_machine_type_once():
    groups = (Group(("a", "b"), SEVEN), Group(("b", "c"), SEVEN))
    assert Objective(groups, pseudo_auc, False).trainings == (("a",), ("b",), ("c",))


def test_the_value_is_the_mean_over_groups_of_what_is_done():
    groups = (Group(("a", "b"), ("a", "b")), Group(("b", "c"), ("b", "c")))
    objective = Objective(groups, pseudo_auc, False)
    done = {("a",): metrics(a=0.5)}
    assert objective.value(done) == 0.5
    done[("b",)] = metrics(b=0.7)
    assert objective.value(done) == pytest.approx((0.6 + 0.7) / 2)
    done[("c",)] = metrics(c=0.9)
    assert objective.value(done) == pytest.approx((0.6 + 0.8) / 2)
    assert math.isnan(objective.value({}))


def test_only_scored_machine_types_count():
    objective = Objective((Group(("a",), ("a", "b")),), pseudo_auc, True)
    assert objective.value({("a", "b"): metrics(a=0.6, b=0.1)}) == 0.6


def test_published_splits_are_different_choices_of_five_of_seven():
    splits = published_splits(SEVEN, 1)
    assert len({group.scored for group in splits}) == 5
    assert all(group.scored in set(combinations(SEVEN, 5)) for group in splits)
    assert all(group.trained == group.scored for group in splits)
    assert splits == published_splits(SEVEN, 1) != published_splits(SEVEN, 2)


def test_few_machine_types_have_as_many_splits_as_there_are():
    assert [g.scored for g in published_splits(("a",), 0)] == [("a",)]
    assert {g.scored for g in published_splits(("a", "b", "c"), 0)} == set(combinations("abc", 2))


@given(st.integers(2, 9), st.integers(0, 5), st.data())
def test_folds_are_a_partition(count, seed, data):
    machines = tuple("abcdefghi"[:count])
    folds = data.draw(st.integers(2, count))
    parts = left_out(machines, folds, seed)
    assert len(parts) == folds
    assert sorted(m for part in parts for m in part) == sorted(machines)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for part in parts:
        assert set(without(machines, part)) | set(part) == set(machines)


@pytest.mark.parametrize(("machines", "folds"), [(("a", "b"), 3), (("a", "b"), 1), (("a",), 2)])
def test_folds_that_cannot_be_are_refused(machines, folds):
    with pytest.raises(UserError, match="--folds"):
        left_out(machines, folds, 0)


def test_means_are_the_official_and_the_published_ones():
    rows = {"a": {"official": 0.5, "s_auc": 0.6, "t_auc": 0.4, "mix_pauc": 0.5}}
    rows["b"] = {"official": 0.8, "s_auc": 0.9, "t_auc": 0.7, "mix_pauc": 0.6}
    harmonic = official(load_challenge("DCASE2023T2").official_score)
    arithmetic = official(load_challenge("DCASE2020T2").official_score)
    assert harmonic(rows) == pytest.approx(2 / (1 / 0.5 + 1 / 0.8))
    assert arithmetic(rows) == pytest.approx(0.65)
    six = [0.6, 0.4, 0.5, 0.9, 0.7, 0.6]
    assert own_domain(rows) == pytest.approx(6 / np.sum(1 / np.array(six)))
