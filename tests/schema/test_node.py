"""YAML read with types: every mistake names file, line and key, and what to do."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from asd.errors import UserError
from asd.schema.node import Node, read_set_values
from asd.schema.parameters import flat, plain
from asd.schema.values import Count, Positive, Share


@dataclass(frozen=True)
class Exchange:
    share: Share = 0.5


@dataclass(frozen=True)
class Loss:
    on: Literal["embedding", "branches"]
    weight: Positive = 1.0
    exchange: Exchange | None = None


@dataclass(frozen=True)
class Named:
    """A class whose form in YAML is another."""

    words: Mapping[str, Any]

    @classmethod
    def from_node(cls, node):
        return cls({key: entry.scalar() for key, entry in node.items().items()})


@dataclass(frozen=True)
class Plan:
    losses: tuple[Loss, ...]
    name: str = ""
    epochs: Count = 3
    window: tuple[Count, Count] = (1, 2)
    labels: Named | None = None


PLAN = """\
losses:
  - on: embedding
    weight: 1e-3
  - {on: branches, exchange: {share: 1}}
name: 007
epochs: 5.0
"""


def read(text, kind=Plan):
    return Node.parse("mine.yaml", text).read(kind)


def test_a_dataclass_is_read_with_those_within():
    assert read(PLAN) == Plan(
        (Loss("embedding", 0.001), Loss("branches", 1.0, Exchange(1.0))), "007", 5
    )
    assert read("losses: []\nwindow: [3, 4]\nlabels: {a: b}\n") == Plan(
        (), window=(3, 4), labels=Named({"a": "b"})
    )
    assert read("losses: []\nlabels: null\n") == Plan(())
    assert read("losses:") == Plan(())


MISTAKES = {
    "epochs: 5.0": {
        "epoch: 5": "mine.yaml:6: epoch: unknown key (did you mean epochs?); known: losses, name, ",
        "epochs: 0": "mine.yaml:6: epochs: expected at least 1, got '0'",
        "epochs:": "mine.yaml:6: epochs: expected a whole number, got nothing",
        "epochs: [1, 2]": "mine.yaml:6: epochs: expected a whole number, got [1, 2]",
        "epochs: {a: 1}": "mine.yaml:6: epochs: expected one value or a list of values, got {...}",
        "epochs: [[1], 2]": "mine.yaml:6: epochs[0]: expected one value, got {...} or [...]",
        "name: b": "mine.yaml:6: name: stands twice; remove one",
        "window: [1]": "mine.yaml:6: window: expected 2 values, got 1",
        "window: [1, x]": "mine.yaml:6: window[1]: expected a whole number, got 'x'",
        "labels: [a]": "mine.yaml:6: labels: expected keys and values, got [a]",
        "? [a]\n: 1": "mine.yaml:6: expected keys such as 'epochs:'",
        "epochs: !!python/name:os.system x": "mine.yaml:6: epochs: expected a whole number",
        "epochs: *a": "mine.yaml:6: not valid YAML (found undefined alias",
        "epochs: [": "mine.yaml:7: not valid YAML (",
        "epochs: \x07": "mine.yaml: not valid YAML (unacceptable character #x0007: special",
    },
    "on: embedding": {
        "weight: 2": "mine.yaml:3: losses[0].weight: stands twice; remove one",
        "on: branch": "mine.yaml:2: losses[0].on: expected one of embedding, branches, "
        "got 'branch' (did you mean branches?)",
        "in: embedding": "mine.yaml:2: losses[0].in: unknown key (did you mean on?); "
        "known: on, weight, exchange",
        "exchange: 3": "mine.yaml:2: losses[0]: key 'on' is missing; add it",
        "on: branches\n    exchange: 3": "mine.yaml:3: losses[0].exchange: expected keys",
    },
    "  - {on: branches": {
        "  - {weight: 2": "mine.yaml:4: losses[1]: key 'on' is missing; add it",
        "  - {on: branches, weight: .nan": "mine.yaml:4: losses[1].weight: expected a number, "
        "got '.nan'",
        "  - {on: branches, weight: -1": "mine.yaml:4: losses[1].weight: expected a number above 0",
    },
    "{share: 1}": {
        "{share: 1.5}": "mine.yaml:4: losses[1].exchange.share: expected 0 to 1, got '1.5'",
        "{shared: 1}": "mine.yaml:4: losses[1].exchange.shared: unknown key (did you mean share?)",
        "[1]": "mine.yaml:4: losses[1].exchange: expected keys and values, got [1]",
    },
}


@pytest.mark.parametrize(
    ("right", "wrong"), [(right, wrong) for right, group in MISTAKES.items() for wrong in group]
)
def test_mistakes_name_file_line_key_and_what_was_expected(right, wrong):
    assert right in PLAN
    with pytest.raises(UserError) as caught:
        read(PLAN.replace(right, wrong))
    assert str(caught.value).startswith(MISTAKES[right][wrong])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.yaml:1: expected keys and values, got nothing"),
        ("- a", "mine.yaml:1: expected keys and values, got [a]"),
        ("{}", "mine.yaml:1: key 'losses' is missing; add it"),
    ],
)
def test_what_is_no_plan_at_all(text, message):
    with pytest.raises(UserError) as caught:
        read(text)
    assert str(caught.value) == message


def test_deep_nesting_is_one_line_too():
    with pytest.raises(UserError, match=r"^mine\.yaml: not valid YAML \(nested too deeply\)"):
        Node.parse("mine.yaml", "[" * 100_000)


def test_files_that_cannot_be_read(tmp_path):
    def message(path):
        with pytest.raises(UserError) as caught:
            Node.read_file(path, "check --config")
        return str(caught.value)

    path = tmp_path / "my.yaml"
    assert message(path) == (f"{path}: cannot be read (No such file or directory); check --config")
    assert message(tmp_path).endswith("cannot be read (Is a directory); check --config")
    path.write_bytes(b"\xff\xfe\x00epochs")
    assert message(path) == f"{path}: cannot be read (not a text file); check --config"
    path.write_bytes(b"a: 1 #" + b"x" * 1_000_000)
    assert message(path) == f"{path}: cannot be read (more than 1000000 bytes); check --config"
    path.write_text("a: 1")
    if os.geteuid() != 0:  # root may read everything
        path.chmod(0)
        assert "(Permission denied)" in message(path)


def test_byte_order_marks_and_line_ends_of_other_systems(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_bytes(b"\xef\xbb\xbflosses: []\r\nepochs: 7  # few\r\n")
    assert Node.read_file(path, "").read(Plan) == Plan((), epochs=7)


def test_texts_are_not_guessed_at():
    """YAML itself makes 7, a date, a truth value and a float of these."""
    node = Node.parse("f", "[007, 2023-01-01, yes, 1_000, ~, null, 'null', '']")
    assert node.scalars() == ["007", "2023-01-01", "yes", "1_000", None, None, "null", ""]


class Backend:
    def __init__(self, *, k: Count = 1, sizes: tuple[int, ...] = (), told, metric: Any = "cos"):
        self.values = k, sizes, told, metric


def read_backend(text):
    node = Node.parse("mine.yaml", text)
    return Backend(**node.read_arguments(Backend, node.items())).values


def test_a_constructor_says_what_may_stand():
    assert read_backend("{k: 2, sizes: [1, 2], told: x}") == (2, (1, 2), "x", "cos")


def test_values_of_parameters_without_a_type_are_guessed():
    assert read_backend("{told: 3}")[2] == 3
    assert read_backend("{told: 1e-3}")[2] == 0.001
    assert read_backend("{told: true}")[2] is True
    assert read_backend("{told: word}")[2] == "word"
    assert read_backend("{told: null}")[2] is None
    assert read_backend("{told: [1, a]}")[2] == [1, "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{k: 2}", "mine.yaml:1: key 'told' is missing; add it"),
        ("{told: 1,\n tolled: 2}", "mine.yaml:2: tolled: unknown key (did you mean told?); known:"),
        ("{told: 1, k: 0}", "mine.yaml:1: k: expected at least 1, got '0'"),
        ("{told: 1, self: 0}", "mine.yaml:1: self: unknown key"),
        ("{told: {a: 1}}", "mine.yaml:1: told: expected one value or a list of values, got {...}"),
    ],
)
def test_a_constructor_s_parameters_are_checked(text, message):
    with pytest.raises(UserError) as caught:
        read_backend(text)
    assert str(caught.value).startswith(message)


def test_a_choice_knows_the_nearest():
    node = Node.parse("f", "class: Arcface").items()["class"]
    with pytest.raises(
        UserError,
        match=r"^f:1: class: 'Arcface' is unknown \(did you mean ArcFace\?\); choose from ArcFace$",
    ):
        node.choose(["ArcFace"])
    assert Node.parse("f", "ArcFace").choose(["ArcFace"]) == "ArcFace"


def changed(key, value, text=PLAN):
    node = Node.parse("mine.yaml", text)
    ((found, new),) = read_set_values([f"{key}={value}"])
    node.replace(found, new)
    return node.read(Plan)


def test_values_are_replaced_at_dotted_keys():
    before = read(PLAN)
    assert changed("epochs", 8).epochs == 8
    assert changed("losses[0].weight", 2).losses == (Loss("embedding", 2.0), before.losses[1])
    assert changed("losses[1].exchange.share", 0.25).losses[1].exchange == Exchange(0.25)
    assert changed("losses[0]", "{on: branches}").losses[0] == Loss("branches")
    assert changed("losses[1].exchange", "null").losses[1] == Loss("branches")
    assert changed("losses", "[]").losses == ()


def test_a_key_that_is_not_there_is_added():
    assert changed("losses[0].exchange", "{share: 0}").losses[0].exchange == Exchange(0.0)
    assert changed("window", "[3, 4]").window == (3, 4)
    assert changed("losses[0].exchange.share", "0").losses[0].exchange == Exchange(0.0)
    assert changed("labels.a", "b", PLAN + "labels: null\n").labels == Named({"a": "b"})


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("epoch", "--set epoch=1: epoch: unknown key (did you mean epochs?)"),
        ("losses[2].weight", "--set losses[2].weight=1: losses[2].weight: there is nothing at th"),
        ("losses[2]", "--set losses[2]=1: losses[2]: there is nothing at this place to change"),
        ("losses.weight", "--set losses.weight=1: losses.weight: there is nothing at this place"),
        ("losse.weight", "--set losse.weight=1: losse: unknown key (did you mean losses?)"),
        ("epochs.a", "--set epochs.a=1: epochs.a: there is nothing at this place to change"),
        ("epochs[0]", "--set epochs[0]=1: epochs[0]: there is nothing at this place to change"),
        ("names[0]", "--set names[0]=1: names[0]: there is nothing at this place to change"),
        ("losses[0", "--set losses[0=1: expected a key such as training.epochs"),
        ("a..b", "--set a..b=1: expected a key such as training.epochs"),
        (".a", "--set .a=1: expected a key such as"),
        ("losses[x]", "--set losses[x]=1: expected a key such as"),
    ],
)
def test_keys_that_lead_nowhere(key, message):
    with pytest.raises(UserError) as caught:
        changed(key, 1)
    assert str(caught.value).startswith(message)


def test_bad_values_of_the_flag_are_told_by_the_flag():
    with pytest.raises(UserError) as caught:
        changed("losses[0].weight", "many")
    assert str(caught.value) == (
        "--set losses[0].weight=many: losses[0].weight: expected a number, got 'many'"
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("epochs", "expected key=value, such as training.epochs=8"),
        ("=3", "expected key=value"),
        (" =3", "expected key=value"),
        ("a=[", "not valid YAML"),
    ],
)
def test_what_is_no_key_and_value(entry, message):
    with pytest.raises(UserError) as caught:
        read_set_values([entry])
    assert str(caught.value).startswith(f"--set {entry}: {message}")


def test_a_value_may_hold_equals_signs():
    ((key, node),) = read_set_values(["name=a=b"])
    assert (key, node.scalar()) == ("name", "a=b")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(json_values)
def test_plain_values_come_through_as_they_are(value):
    """What models store as JSON reads as the same YAML."""
    node = Node.of_plain(value, "model.pt")
    assert node.node is not None
    assert yaml.safe_load(yaml.serialize(node.node)) == json.loads(json.dumps(value))


def test_a_plan_is_read_again_from_its_plain_form():
    before = read(PLAN)
    assert Node.of_plain(plain(before), "model.pt").read(Plan) == before
    with pytest.raises(UserError, match=r"^model\.pt: epochs: expected at least 1, got '0'$"):
        Node.of_plain({"losses": [], "epochs": 0}, "model.pt").read(Plan)
    assert flat(plain(before))["losses[1].exchange.share"] == 1.0


@given(st.text())
def test_any_text_is_a_plan_or_one_line(text):
    message = "mine.yaml:"
    try:
        read(text)
    except UserError as error:
        message = str(error)
    assert message.startswith("mine.yaml:")
    assert "\n" not in message
