from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asd.clips import Clip
from asd.errors import UserError
from asd.search.stand_ins import evenly, pseudo_metrics, take_apart


def clips(counts):
    """Clips by (domain, attributes) -> number."""
    found = []
    for (domain, attributes), count in counts.items():
        for _ in range(count):
            path = Path(f"{len(found)}.wav")
            found.append(Clip(path, "fan", domain=domain, attributes=attributes))
    return found


def test_the_rarest_attribute_and_a_fifth_of_each_domain_are_held_out():
    given = clips({("source", "a"): 20, ("source", "b"): 10, ("target", "c"): 10})
    parts = take_apart(given, 0)
    assert {given[i].attributes for i in parts.attribute} == {"b"}
    assert len(parts.attribute) == 10
    held = [given[i].domain for i in parts.normal]
    assert (held.count("source"), held.count("target")) == (4, 2)
    joined = np.concatenate([parts.learned, parts.normal, parts.attribute])
    assert sorted(joined.tolist()) == list(range(40))


def test_no_attribute_is_held_out_where_none_can_be_spared():
    for counts in ({("source", "a"): 20}, {("source", "a"): 10, ("source", "b"): 10}):
        parts = take_apart(clips(counts), 0)
        assert len(parts.attribute) == 0


def test_target_attributes_are_never_held_out():
    given = clips({("source", "a"): 20, ("target", "c"): 3, ("target", "d"): 3})
    assert len(take_apart(given, 0).attribute) == 0


def test_too_few_clips_are_refused():
    with pytest.raises(UserError, match="4 training clips are too few"):
        take_apart(clips({("source", "a"): 4}), 0)


def test_sections_are_held_out_apart():
    given = clips({("source", ""): 20})
    given += [replace(clip, section="01") for clip in given[:10]]
    parts = take_apart(given, 3)
    assert [given[i].section for i in parts.normal].count("01") == 2


def test_pseudo_auc_is_that_of_all_stand_ins_together():
    normal = np.array([0.0, 1.0])
    found = pseudo_metrics(normal, {"machine": np.array([2.0, 2.0]), "attribute": np.array([0.5])})
    assert found == {
        "pseudo_auc": pytest.approx((2 + 2 + 1) / 6),
        "pseudo_auc_machine": 1.0,
        "pseudo_auc_attribute": 0.5,
    }


def test_clips_are_taken_evenly():
    assert evenly(10, 3).tolist() == [0, 4, 9]
    assert evenly(2, 5).tolist() == [0, 1]
