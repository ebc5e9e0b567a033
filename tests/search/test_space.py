import optuna
import pytest

from asd.errors import UserError
from asd.search.space import Choices, Entry, Numbers, WholeNumbers, read_space, set_texts

TEXT = """
training.learning_rate: {low: 1e-5, high: 1.0e-2, log: true}
training.epochs: {low: 4, high: 16, step: 4}
frontend.windows: [[1024], [256, 4096]]
losses[0]:
  choices: [{on: embedding, class: AdaCos}, {on: branches, class: ArcFace}]
  when: {training.epochs: [4, 8]}
"""


@pytest.fixture
def space(tmp_path):
    def read(text):
        path = tmp_path / "space.yaml"
        path.write_text(text)
        return read_space(path)

    return read


def test_each_form_of_an_entry_is_read(space):
    assert space(TEXT).entries == (
        Entry("training.learning_rate", Numbers(1e-5, 1e-2, None, True)),
        Entry("training.epochs", WholeNumbers(4, 16, 4)),
        Entry("frontend.windows", Choices(([1024], [256, 4096]))),
        Entry(
            "losses[0]",
            Choices(
                (
                    {"on": "embedding", "class": "AdaCos"},
                    {"on": "branches", "class": "ArcFace"},
                )
            ),
            {"training.epochs": (4, 8)},
        ),
    )


def test_an_entry_is_left_out_unless_its_condition_holds(space):
    found = space(TEXT)
    windows = "[1024]"
    for epochs, expected in ((8, True), (16, False)):
        fixed = {
            "training.learning_rate": 1e-3,
            "training.epochs": epochs,
            "frontend.windows": windows,
            "losses[0]": '{"on": "embedding", "class": "AdaCos"}',
        }
        values = found.suggest(optuna.trial.FixedTrial(fixed))
        assert ("losses[0]" in values) is expected
        assert values["frontend.windows"] == [1024]


def test_examples_hold_every_end_and_choice(space):
    examples = list(space(TEXT).examples())
    for key, wanted in (
        ("training.learning_rate", [1e-5, 1e-2]),
        ("training.epochs", [4, 16]),
        ("frontend.windows", [[1024], [256, 4096]]),
    ):
        found = [values[key] for values in examples]
        assert all(value in found for value in wanted)


def test_a_condition_on_null_does_not_hold_where_the_key_is_not_set(space):
    found = space(
        "a: [1, 2]\nb: {choices: [null, 1], when: {a: 2}}\nc: {choices: [5], when: {b: null}}"
    )
    fixed = optuna.trial.FixedTrial({"a": "1", "b": "null", "c": "5"})
    assert found.suggest(fixed) == {"a": 1}


def test_steps_are_those_of_decimal_numbers(space):
    assert space("a: {low: 0.1, high: 0.7, step: 0.1}").entries[0].range == Numbers(0.1, 0.7, 0.1)


def test_values_are_told_as_set_takes_them():
    values = {"training.epochs": 4, "losses[0]": {"class": "AdaCos"}, "score": "KNN"}
    assert set_texts(values) == ["training.epochs=4", 'losses[0]={"class": "AdaCos"}']


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected lines such as"),
        ("a: {low: 1}", "key 'high' is missing"),
        ("a: {low: 3, high: 1}", "exchange them"),
        ("a: {low: x, high: 1}", "expected a number, got 'x'"),
        ("a: {low: true, high: 1}", "expected a number, got True"),
        ("a: {low: 0, high: 1, log: true}", "low must be above 0"),
        ("a: {low: 1, high: 2, step: 0}", "above 0"),
        ("a: {low: 1, high: 2, step: 1, log: true}", "does not go with log"),
        ("a: {low: 1, high: 4, step: 2}", "steps of 2 from 1 do not reach high, 4"),
        ("a: {low: 0.1, high: 0.45, step: 0.1}", "do not reach high, 0.45"),
        ("a: [1, 2]\nb: {low: 1, high: 2, when: {a: [3]}}", "a is never 3"),
        ("a: {low: 1, high: 2}\nb: {choices: [1], when: {a: x}}", "a is never x"),
        ("a: [[1], [2]]\nb: {choices: [1], when: {a: [1]}}", "in a list where each is a list"),
        ("score: [KNN, [1]]", "expected names of scores"),
        ("score: {low: 1, high: 2}", "expected names of scores"),
        ("a: {low: 1, high: 2, log: 3}", "expected true or false"),
        ("a: {low: 1, hihg: 2}", "did you mean high"),
        ("a: []", "expected different values"),
        ("a: [1, 1]", "expected different values"),
        ("a: 3", "expected a list"),
        ("a: {choices: [1, 2], low: 3}", "does not go with choices"),
        ("b: {low: 1, high: 2, when: {a: 3}}\na: [1, 3]", "does not stand above"),
        ("a: [1, 2]\na: [3, 4]", "stands twice"),
    ],
)
def test_a_mistake_names_file_and_line(space, text, problem):
    with pytest.raises(UserError, match=r"space\.yaml:\d+: .*") as error:
        space(text)
    assert problem in str(error.value)
