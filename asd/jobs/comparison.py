"""Several systems and seeds: train and test them all, then one table with means over seeds."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from asd.config import Config
from asd.errors import UserError
from asd.evaluation.collect import SystemResults
from asd.evaluation.summary import (
    Summary,
    official_markdown,
    summarize,
    write_summary,
)
from asd.jobs.data import check_dataset
from asd.jobs.jobs import plan_jobs
from asd.jobs.pipeline import train_and_test, train_on_cluster
from asd.jobs.summarizing import draw_official_scores
from asd.jobs.testing import DoneTest

log = logging.getLogger(__name__)

FOLDER = "comparison"
"""Name of the tables' folder, in place of a system's."""


def compare(configs: Sequence[Config], page: Path | None = None) -> None:
    """Train and test every run, then write and print the official scores over seeds.

    On a cluster the models of all runs are trained at the same time, else one run follows the
    other.

    The tables, as CSV, Markdown and a picture, go to
    <results>/{dev,eval}_data/comparison/summarize/<dataset>/. They hold these systems and seeds
    alone, whatever else has results. A run that fails does not stop the others, and is left out.

    Parameters
    ----------
    configs
        One for each system and seed; they differ in the system's own parameters and the seed.
    page
        File of a page with the table of all and the clips of the first run; None writes none.

    Raises
    ------
    UserError
        Nothing can be done, or, after all other runs are done, some could not be.
    """
    _check(configs)
    reasons: list[str] = []
    done = []
    tests: list[DoneTest] = []
    trained = _trained_elsewhere(configs)
    for number, config in enumerate(configs, 1):
        log.info("run %d of %d: %s", number, len(configs), _label(config))
        try:
            found = _run(config, trained[number - 1])
            tests = tests or found
            done.append(config)
        except UserError as error:
            reasons.append(f"{_label(config)}: {error}")
            log.error("%s", reasons[-1])
    if done and not done[0].train_only:
        summary = _write_tables(done)
        if page is not None:
            from asd.jobs.run_page import write_run_page  # slow to import

            write_run_page(page, tests, summary)
    for reason in reasons if done else ():  # again: the first time was hours ago
        log.error("%s", reason)
    if reasons:
        rest = "the others are done and in the table" if done else "mend the first and run again"
        raise UserError(f"{len(reasons)} of {len(configs)} runs failed (see above); {rest}")


def _trained_elsewhere(configs: Sequence[Config]) -> list[str | None]:
    """For each run why its training on a cluster failed, "" where it is done; None without one."""
    first = configs[0]
    if not first.cluster or first.test_only:
        return [None] * len(configs)
    return [*train_on_cluster(configs)]


def _run(config: Config, failure: str | None) -> list[DoneTest]:
    """Do what is left of a run."""
    if failure is None:
        return train_and_test(config)
    if failure:
        raise UserError(failure)
    return [] if config.train_only else train_and_test(replace(config, test_only=True))


def _check(configs: Sequence[Config]) -> None:
    """Refuse what would fail, or overwrite another's results, in every run."""
    check_dataset(configs[0])
    models: dict[str, str] = {}
    for config in configs:
        other = models.setdefault(config.export_dir, config.model)
        if other != config.model:
            raise UserError(
                f"--model: {other} and {config.model} would both write to the folders "
                f"{config.export_dir}_*; leave out --export_dir, or rename one of the recipes"
            )


def _label(config: Config) -> str:
    return f"{config.model}, seed {config.seed}"


def _write_tables(configs: Sequence[Config]) -> Summary:
    """Write, draw and print the results of some runs, and return them."""
    first = configs[0]
    folder = first.result_directory / f"{first.split}_data" / FOLDER / "summarize" / first.dataset
    summary = Summary(first.challenge, first.split, folder, _results(configs))
    write_summary(summary)
    draw_official_scores(summary)
    print(official_markdown(summary), end="")
    log.info("tables and figure: %s", folder)
    return summary


def _results(configs: Sequence[Config]) -> tuple[SystemResults, ...]:
    """What the runs have written, by system and score."""
    seeds: dict[str, set[int]] = {}
    for config in configs:
        seeds.setdefault(config.export_dir, set()).add(config.seed)
    found = [
        system.of_seeds(seeds[config.export_dir])
        for config in {config.export_dir: config for config in configs}.values()
        for system in _all_results(config)
        if _is_of(config, system)
    ]
    return tuple(system for system in found if system.machines)


def _all_results(config: Config) -> tuple[SystemResults, ...]:
    where = config.result_directory, config.challenge, config.split, config.export_dir
    return summarize(*where).systems


def _is_of(config: Config, system: SystemResults) -> bool:
    """Whether results are of this run: of its scores and its tag."""
    wants_score = config.score.lower() == "all" or system.score == config.score_name
    return wants_score and system.variant in {job.variant for job in plan_jobs(config)}
