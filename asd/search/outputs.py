"""What a search leaves: the best recipe as a YAML file that runs, a table of trials, a page."""

import json
import logging
import math
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from asd.config import Config
from asd.csvfiles import write_rows
from asd.files import write_text
from asd.report.search_page import SearchPage, search_page
from asd.schema.parameters import parameters_of, plain
from asd.schema.parameters import value_of as value_at
from asd.search.outcome import Outcome
from asd.search.study import REASON, value_of

log = logging.getLogger(__name__)

_HEIGHT = 420
"""Of a plot, in pixels."""

_CLEAR, _GRID = "rgba(0,0,0,0)", "rgba(128,128,128,0.3)"
_LOOK = {"paper_bgcolor": _CLEAR, "plot_bgcolor": _CLEAR, "font": {"color": "#7b8794"}}
"""To be read on the page's light ground and on its dark one."""

_SCALE = {"colorscale": [[0.0, "#94a1b0"], [1.0, "#e0581f"]], "reversescale": False}


def write_outcome(outcome: Outcome) -> list[Path]:
    """Write the best recipe, the table of trials and the page; returns their paths."""
    folder = outcome.search.folder
    best, table, page = folder / "best.yaml", folder / "trials.csv", folder / "search.html"
    write_text(best, best_text(outcome))
    write_rows(table, [_columns(outcome), *_rows(outcome, repr)])
    write_text(page, search_page(_page(outcome)))
    return [best, table, page]


def best_text(outcome: Outcome) -> str:
    """The best trial as YAML: a recipe, or a file for `--config`."""
    search, best = outcome.search, outcome.best
    config = search.config(outcome.study.values_of(best))
    path = search.folder / "best.yaml"
    is_recipe = config.entry.recipe is not None
    words = ["asd", "run", f"-{config.split[0]}", "--dataset", config.dataset]
    words += ["--model" if is_recipe else "--config", str(path), "--seed", str(config.seed)]
    if is_recipe and config.score.lower() != "all":
        words += ["--score", config.score]
    head = [
        f"{config.entry.label}, trial {best.number} of a search by {search.kind}.",
        *outcome.lines(),
        f"Runs by: {shlex.join(words)}",
    ]
    values = plain(config.system) if is_recipe else _flags(config)
    body = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return "".join(f"# {line}\n" for line in head) + body


def _flags(config: Config) -> dict[str, Any]:
    """The system and its parameters as baseline.yaml has them."""
    found = {"--model": config.model, "--score": config.score}
    for each in parameters_of(type(config.system)):
        found[each.flag] = plain(value_at(config.system, each.path))
    return found


def _columns(outcome: Outcome) -> list[str]:
    keys = [entry.key for entry in outcome.search.space.entries]
    return ["trial", "state", "value", "seconds", *keys, "reason"]


def _rows(outcome: Outcome, number: Callable[[float], str]) -> Iterator[list[str]]:
    """Trials, the best first, then those without a value; `number` writes values of keys."""
    trials = outcome.study.trials
    for trial in sorted(trials, key=value_of, reverse=True):
        values = outcome.study.values_of(trial)
        duration = trial.duration
        yield [
            str(trial.number),
            trial.state.name.lower(),
            "" if math.isinf(value_of(trial)) else f"{value_of(trial):.6f}",
            "" if duration is None else f"{duration.total_seconds():.1f}",
            *(
                _shown(values[entry.key], number) if entry.key in values else ""
                for entry in outcome.search.space.entries
            ),
            trial.user_attrs.get(REASON, ""),
        ]


def _short(value: float) -> str:
    return f"{value:.4g}"


def _shown(value: Any, number: Callable[[float], str]) -> str:
    if isinstance(value, float):
        return number(value)
    return value if isinstance(value, str) else json.dumps(value)


def _page(outcome: Outcome) -> SearchPage:
    search = outcome.search
    base = search.base
    script, figures = _figures(outcome)
    return SearchPage(
        title=f"Search: {base.entry.label}",
        facts=[
            ("data set", f"{base.dataset} {base.split}"),
            ("machine types", ", ".join(base.machines)),
            ("objective", search.kind),
            ("trials", str(len(outcome.study.trials))),
            ("seed", str(base.seed)),
        ],
        notes=outcome.lines(),
        columns=_columns(outcome),
        rows=list(_rows(outcome, _short)),
        figures=figures,
        plot_script=script,
    )


def _figures(outcome: Outcome) -> tuple[str, list[tuple[str, str]]]:
    """Plotly's script, and Optuna's plots; those that the trials do not allow are left out."""
    try:
        from optuna import visualization
        from optuna.importance import FanovaImportanceEvaluator
        from plotly.offline import get_plotlyjs
    except ImportError:
        log.warning("the page has no plots: they need plotly; pip install 'asd[search]'")
        return "", []
    study = outcome.study.optuna
    named = {"target_name": outcome.measure}
    fanova = FanovaImportanceEvaluator(seed=0)
    plots: list[tuple[str, Callable[..., Any], dict[str, Any]]] = [
        ("History", visualization.plot_optimization_history, named),
        ("Importance (fANOVA)", visualization.plot_param_importances, {"evaluator": fanova}),
        ("Values and what came of them", visualization.plot_slice, named),
        ("Values together", visualization.plot_parallel_coordinate, named),
    ]
    if len(outcome.search.objective(outcome.search.base.machines).trainings) > 1:
        steps = "Value so far, training by training"
        plots.append((steps, visualization.plot_intermediate_values, {}))
    found = []
    for heading, plot, options in plots:
        try:
            figure = plot(study, **options)
        except (ValueError, RuntimeError) as error:  # too few trials, or all of one value
            log.info("%s: not drawn (%s)", heading, error)
            continue
        if figure.data:
            figure.update_layout(title=None, height=_HEIGHT, margin={"t": 20, "b": 60})
            if plot is not visualization.plot_parallel_coordinate:  # whose lines are dark on white
                figure.update_layout(_LOOK)
            if plot is visualization.plot_slice:
                figure.update_traces({"marker": _SCALE})
            figure.update_xaxes(gridcolor=_GRID, zerolinecolor=_GRID)
            figure.update_yaxes(gridcolor=_GRID, zerolinecolor=_GRID)
            html = figure.to_html(
                full_html=False,
                include_plotlyjs=False,
                default_height=f"{_HEIGHT}px",
                config={"showSendToCloud": False},  # a button that would send the trials away
            )
            found.append((heading, html))
    return get_plotlyjs(), found
