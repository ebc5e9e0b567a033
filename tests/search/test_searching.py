import json
import logging
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from asd.errors import UserError
from asd.search.objective import Group
from asd.search.outputs import write_outcome
from asd.search.plan import check
from asd.search.searching import run_search
from asd.search.space import SCORE
from asd.search.study import Study, living_worker

MACHINES = ("ToyCar", "fan", "slider", "valve")
KNOWN = Path(__file__).parents[1] / "helpers" / "known_system.py"
X = "x: {low: 0.0, high: 1.0}"
LUCK = "luck: {low: 1, high: 1000}"


def told(outcome):
    """Numbers, parameters, states and values of the trials."""
    return [(t.number, t.params, t.state.name, t.value) for t in outcome.study.trials]


def test_the_known_best_value_is_found(make_search):
    outcome = run_search(make_search(X, trials=30))
    assert abs(outcome.study.values_of(outcome.best)["x"] - 0.3) < 0.06
    assert outcome.value > 0.95


def test_it_is_found_without_any_label(make_search):
    outcome = run_search(make_search(X, trials=30, kind="pseudo_auc"))
    assert abs(outcome.study.values_of(outcome.best)["x"] - 0.3) < 0.1
    assert "of stand-ins, not of anomalies" in outcome.lines()[1]


def test_the_nested_estimate_is_not_flattered_by_luck(make_search):
    """Scores are noise: the best of many trials looks good, its choice is worth nothing."""
    outcome = run_search(make_search(LUCK, "Lucky", trials=20, folds=2))
    assert outcome.value > 0.52
    assert outcome.estimate < 0.5
    assert set(outcome.estimated) == set(MACHINES)
    assert "nested estimate" in outcome.lines()[2]


def test_each_fold_chooses_without_the_machine_types_it_is_scored_by(make_search, monkeypatch):
    """What a fold's study is told does not change with the clips of what it leaves out."""
    import asd.search.searching as searching

    seen = {}
    real = searching.run_study

    def run(search, study, objective, title):
        seen[title] = {m for group in objective.groups for m in group.scored}
        real(search, study, objective, title)

    monkeypatch.setattr(searching, "run_study", run)
    outcome = run_search(make_search(X, trials=3, folds=2))
    folds = [machines for title, machines in seen.items() if "fold" in title]
    assert [len(machines) for machines in folds] == [2, 2]
    assert folds[0].isdisjoint(folds[1])
    assert set(outcome.estimated) == set(MACHINES)


def test_the_published_objective_takes_five_splits(make_search):
    search = make_search(X, trials=2, kind="published")
    groups = search.objective(MACHINES).groups
    assert len(groups) == 4  # 3 of 4, as 5 of 7
    assert all(len(group.scored) == 3 and group == Group(*[group.scored] * 2) for group in groups)
    assert run_search(search).value > 0


def test_a_joint_system_is_trained_once_for_all_machine_types(make_search):
    search = make_search(X, "Joint", trials=3)
    run_search(search)
    assert search.is_joint
    assert len(list((search.folder / "trainings").glob("*.json"))) == 3


def test_equal_seeds_make_equal_trials(make_search):
    first, second = (run_search(make_search(X, name=name, trials=13)) for name in "ab")
    assert told(first) == told(second)
    other = run_search(make_search(X, name="c", trials=1, flags={"seed": "1"}))
    assert told(other)[0][1] != told(first)[0][1]


def test_a_search_goes_on_with_more_trials(make_search):
    text = f"{X}\nluck: [1, 2]"
    few, more = (make_search(text, trials=count, url="file") for count in (4, 8))
    run_search(few)
    assert told(run_search(more)) == told(run_search(make_search(text, name="n")))


def test_trials_at_once_in_other_processes_are_as_good(make_search):
    outcome = run_search(make_search(X, trials=6, at_once=2))
    assert len(told(outcome)) == 6
    alone = run_search(make_search(X, name="alone", trials=6))  # random so far: order is nothing
    assert [t[:2] for t in told(outcome)] == [t[:2] for t in told(alone)]
    for (*_, state, value), (*_, state_alone, value_alone) in zip(
        told(outcome), told(alone), strict=True
    ):
        if state == state_alone == "COMPLETE":
            assert value == value_alone


def command(search, folder, data, trials, **variables):
    """A search as a process of its own."""
    words = [
        *(sys.executable, "-m", "asd", "search", f"{KNOWN}:Known", "--space", "s.yaml"),
        *("--trials", trials, "-d", "--folds", 0, "--dataset_directory", data, "--jobs", 1),
        *("--result_directory", folder, "--export_dir", search.folder.name),
        *("--machine_types", *MACHINES),
    ]
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    return subprocess.Popen(
        [str(word) for word in words], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_a_killed_search_goes_on_with_the_trial_it_was_at(make_search, tmp_path, four_machines):
    search = make_search(X, trials=12, url="file")
    killed = command(search, tmp_path, four_machines, 12, FITS=tmp_path / "fits", KILL_AT=15)
    killed.communicate()
    assert killed.returncode == -9
    with living_worker(search.folder / "workers") as worker:
        study = Study(
            search.url, "s all", search.space, search.base.seed,
            facts_of(search), search.folder / "workers", worker,
        )  # fmt: skip
        states = [trial.state.name for trial in study.trials]
    assert states[-1] == "RUNNING"
    assert len(states) < 12
    expected = run_search(make_search(X, name="whole", trials=12))
    assert told(run_search(search)) == told(expected)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_interrupted_anywhere_it_ends_with_the_same_trials(make_search, monkeypatch, at_once):
    """Also where some of the trials done at once were given up before."""
    import asd.search.searching as searching
    import asd.search.study as study_module

    monkeypatch.setattr(study_module, "RANDOM_TRIALS", 4)
    space = f"{X}\n{LUCK}"
    left, calls = [np.inf], [0]

    def count(real):
        def counted(*args, **options):
            calls[0] += 1
            if calls[0] > left[0]:
                raise KeyboardInterrupt
            return real(*args, **options)

        return counted

    def in_turn(work, jobs, *_):
        for job in jobs:
            work(job, 1)
        return []

    monkeypatch.setattr(searching, "run_jobs", count(in_turn))
    monkeypatch.setattr(Study, "tell", count(Study.tell))
    options = {"trials": 4 * at_once + 4, "at_once": at_once}
    expected = told(run_search(make_search(space, name="whole", **options)))
    assert {state for *_, state, _ in expected} == {"COMPLETE", "PRUNED"}
    random = np.random.default_rng(at_once)
    interrupted = make_search(space, url="file", **options)
    for _ in range(100):
        left[0], calls[0] = random.integers(1, 12), 0
        try:
            outcome = run_search(interrupted)
            break
        except KeyboardInterrupt:
            pass
    assert told(outcome) == expected


def test_a_key_is_drawn_alike_when_those_before_it_are_known(make_search):
    """A search may be killed between two keys of a trial."""
    search = make_search(f"{X}\n{LUCK}", trials=1, url="file")
    facts = [search.space, 1, {}, search.folder / "workers"]
    with living_worker(search.folder / "workers") as one:
        expected = Study("sqlite:///:memory:", "a", *facts, one).next_trials(1, 1)[0].params
    with living_worker(search.folder / "workers") as one:
        study = Study(search.url, "a", *facts, one)
        study.optuna.ask().suggest_float("x", 0.0, 1.0)  # killed here, without a word
        found = Study(search.url, "a", *facts, "other").next_trials(1, 1)[0].params
    assert found["luck"] == expected["luck"]


def test_a_search_waits_for_the_trials_of_another(make_search, monkeypatch):
    import asd.search.searching as searching

    search = make_search(X, trials=2, url="file")
    with living_worker(search.folder / "workers") as other:
        study = Study(
            search.url, "s all", search.space, search.base.seed,
            facts_of(search), search.folder / "workers", other,
        )  # fmt: skip
        trial = study.next_trials(1, 2)[0]
        waits = []

        def wait(seconds):
            waits.append(seconds)
            study.tell(trial, 2.0)

        monkeypatch.setattr(searching.time, "sleep", wait)
        outcome = run_search(search)
    assert len(waits) == 1
    assert (outcome.best.number, outcome.value) == (0, 2.0)


def test_a_study_of_another_folder_is_refused(make_search, tmp_path):
    """Its locks are not here, so its trials would be done twice."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    search = make_search(X, trials=1, url=url)
    run_search(search)
    elsewhere = replace(search, folder=tmp_path / "elsewhere" / "s")
    with pytest.raises(UserError, match="belongs to a search in another folder"):
        run_search(elsewhere)


def facts_of(search):
    from asd.search.searching import _facts

    return _facts(search, search.base.machines)


def test_two_searches_share_a_study(make_search, tmp_path, four_machines):
    search = make_search(X, trials=16, url="file")
    both = [command(search, tmp_path, four_machines, 16) for _ in range(2)]
    ends = [each.communicate() for each in both]
    assert [each.returncode for each in both] == [0, 0], ends
    outcome = run_search(search)
    assert [number for number, *_ in told(outcome)] == list(range(16))
    assert {state for *_, state, _ in told(outcome)} <= {"COMPLETE", "PRUNED"}


def test_trials_of_a_living_search_are_left_alone(make_search):
    search = make_search(X, trials=2, url="file")
    with living_worker(search.folder / "workers") as one:
        study = [search.url, "s all", search.space, 1, {}, search.folder / "workers"]
        first = Study(*study, one).next_trials(1, 2)
        with living_worker(search.folder / "workers") as other:
            second = Study(*study, other).next_trials(2, 2)
    assert [trial.number for trial in first] == [0]
    assert [trial.number for trial in second] == [1]


def test_a_trial_that_cannot_be_done_does_not_end_the_search(make_search):
    search = make_search("luck: [1, 2]\nscore: [SCORE, WORSE]", trials=6)
    damaged = replace(search, metric="own_domain")
    outcome = run_search(damaged)
    assert {trial.state.name for trial in outcome.study.trials} <= {"COMPLETE", "PRUNED"}
    assert outcome.study.values_of(outcome.best)[SCORE] == "SCORE"


def test_a_search_whose_first_trials_all_fail_ends(make_search, monkeypatch):
    import asd.search.trainings as trainings

    def fail(*_):
        raise UserError("no such thing")

    monkeypatch.setattr(trainings, "_by_tests", fail)
    with pytest.raises(UserError, match=r"the first 3 trials failed, the last one: no such thing"):
        run_search(make_search(X, trials=9))


def test_worse_trials_are_pruned(make_search):
    outcome = run_search(make_search(X, trials=15))
    states = [trial.state.name for trial in outcome.study.trials]
    assert "PRUNED" in states
    pruned = next(t for t in outcome.study.trials if t.state.name == "PRUNED")
    assert len(pruned.intermediate_values) < len(MACHINES)


def test_a_trial_is_judged_by_its_value_at_the_same_step(make_search):
    """A good first machine type does not keep it."""
    search = make_search(X, trials=6, url="file")
    with living_worker(search.folder / "workers") as worker:
        study = Study(search.url, "a", search.space, 1, {}, search.folder / "workers", worker)
        for _ in range(5):
            trial = study.next_trials(1, 6)[0]
            assert not study.report(trial, 0, 0.9)
            assert not study.report(trial, 1, 0.7)
            study.tell(trial, 0.7)
        trial = study.next_trials(1, 6)[0]
        assert not study.report(trial, 0, 0.9)
        assert study.report(trial, 1, 0.69)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"SCORE": 3}', '{"SCORE": {}, "WORSE": {}}',
                                  '{"SCORE": {"fan": {"official": "x"}}}'])  # fmt: skip
def test_a_damaged_file_of_metrics_is_made_again(make_search, text):
    search = make_search(X, trials=1)
    expected = told(run_search(search))
    for file in (search.folder / "trainings").glob("*.json"):
        file.write_text(text)
    assert told(run_search(search)) == expected


def test_metrics_of_other_data_or_other_code_are_not_taken(make_search, tmp_path, four_machines):
    code = tmp_path / "own.py"
    code.write_text(KNOWN.read_text())
    flags = {"model": f"{code}:Known"}
    first = run_search(make_search(X, trials=1, flags=flags))
    code.write_text(KNOWN.read_text().replace("score_names", "# changed\n    score_names"))
    second = run_search(make_search(X, trials=1, flags=flags))
    files = list((first.search.folder / "trainings").glob("*.json"))
    assert len(files) == 2 * len(MACHINES)
    assert told(first) == told(second)
    (tmp_path / "data").symlink_to(four_machines)
    flags["dataset_directory"] = str(tmp_path / "data")
    run_search(make_search(X, trials=1, flags=flags))
    assert len(list(files[0].parent.glob("*.json"))) == 3 * len(MACHINES)


def test_missing_labels_and_stand_ins_are_told_before_any_training(make_search, monkeypatch):
    import asd.search.plan as plan

    find = plan.find_clips
    monkeypatch.setattr(
        plan, "find_clips",
        lambda config, machine, part: [replace(c, label="") for c in find(config, machine, part)],
    )  # fmt: skip
    with pytest.raises(UserError, match="a test clip without a label"):
        check(make_search(X))
    check(make_search(X, kind="pseudo_auc"))
    monkeypatch.setattr(
        plan, "find_clips",
        lambda config, machine, part: [
            replace(c, attributes="") for c in find(config, machine, part)
        ],
    )  # fmt: skip
    with pytest.raises(UserError, match="nothing to stand in for anomalies"):
        check(make_search(X, kind="pseudo_auc", flags={"machine_types": ["fan"]}))


def test_another_search_does_not_go_on_with_a_study(make_search):
    run_search(make_search(X, trials=1, url="file"))
    with pytest.raises(UserError, match=r"holds a search of another kind \(space differ\)"):
        run_search(make_search("x: {low: 0.0, high: 2.0}", trials=2, url="file"))


@pytest.mark.parametrize(
    ("text", "system", "options", "problem"),
    [
        ("y: [1, 2]", "Known", {}, r"s\.yaml: .*y=1.* has no parameter 'y'"),
        ("x: [-1.0, 2.0]", "Known", {}, r"s\.yaml: .*x=-1.0.*expected at least 0"),
        ("score: [SCORE, SCOR]", "Known", {}, r"no SCOR"),
        (X, "Known", {"folds": 9}, "--folds: expected 2 to 4, got 9"),
        (X, "Known", {"flags": {"dataset_directory": "nowhere"}}, "no such folder"),
    ],
)
def test_what_cannot_be_is_refused_before_any_trial(make_search, text, system, options, problem):
    search = make_search(text, system, **options)
    with pytest.raises(UserError, match=problem):
        check(search)
    assert not search.folder.exists()


def test_a_storage_that_cannot_be_used_is_one_line(make_search):
    search = replace(make_search(X), url="nothing://x")
    with pytest.raises(UserError, match=r"--study nothing://x: cannot be used") as error:
        run_search(search)
    assert "\n" not in str(error.value)


def test_what_is_left_can_be_read_and_run(make_search):
    search = make_search(X, trials=8, folds=2)
    outcome = run_search(search)
    best, table, page = write_outcome(outcome)
    values = yaml.safe_load(best.read_text())
    assert values["--x"] == outcome.study.values_of(outcome.best)["x"]
    lines = table.read_text().splitlines()
    assert lines[0] == "trial,state,value,seconds,x,reason"
    assert len(lines) == 9
    assert lines[1].startswith(f"{outcome.best.number},complete,{outcome.value:.6f},")
    text = page.read_text()
    for word in ("Plotly.newPlot", "nested estimate", "History"):
        assert word in text
    assert 'http-equiv="Content-Security-Policy"' in text
    from asd.config import load_config

    assert load_config(best, {}, "dev").system == search.config({"x": values["--x"]}).system


def test_the_best_recipe_says_how_it_runs(make_search):
    """Also from a folder with a space, and by which of its scores it was judged."""
    flags = {"model": "raw_spec", "machine_types": ["fan", "valve"], "seed": "5"}
    space = "frontend.mels: [8, 12]\nscore: [KNN-RESCALE]"
    search = make_search(space, name="a b", trials=1, flags=flags)
    outcome = run_search(search)
    best = write_outcome(outcome)[0]
    command = next(line for line in best.read_text().splitlines() if "Runs by" in line)
    words = shlex.split(command.removeprefix("# Runs by: "))
    assert words[words.index("--model") + 1] == str(best)
    assert words[words.index("--score") + 1] == "KNN-RESCALE"
    assert words[words.index("--seed") + 1] == "5"


def test_the_table_holds_values_in_full(make_search):
    outcome = run_search(make_search(X, trials=1))
    row = write_outcome(outcome)[1].read_text().splitlines()[1]
    assert float(row.split(",")[4]) == outcome.best.params["x"]


def test_warnings_of_a_single_training_are_not_told_at_every_trial(caplog):
    from asd.search.trainings import _quiet

    with caplog.at_level(logging.INFO, logger="asd"), _quiet():
        logging.getLogger("asd.jobs").warning("told each time")
    assert caplog.text == ""


def test_metrics_of_a_training_are_computed_once(make_search, monkeypatch):
    search = make_search(X, trials=3)
    run_search(search)
    import asd.search.trainings as trainings

    monkeypatch.setattr(trainings, "_by_tests", lambda *_: 1 / 0)
    again = replace(search, url=f"sqlite:///{search.folder / 'other.db'}")
    assert told(run_search(again))[0][3] == told(run_search(search))[0][3]
    file = next((search.folder / "trainings").glob("*.json"))
    machine = next(iter(json.loads(file.read_text())["SCORE"].values()))
    assert 0 <= machine["official"] <= 1
    assert np.isfinite(machine["s_auc"])
