"""Evaluate submissions: results, tables and pictures."""

import logging
from pathlib import Path

from asd.challenge.catalog import Challenge
from asd.submission.evaluator import evaluate_submissions
from asd.submission.evaluator_files import ranking_text, write_evaluation

log = logging.getLogger(__name__)


def evaluate(submissions: Path, ground_truth: Path, challenge: Challenge, out: Path) -> None:
    """Write the organisers' result files and pictures of them, and print a ranking.

    With <teams> for the name of the folder of submissions:

        <out>/<teams>_result/<system>_result.csv
        <out>/<teams>_additional_result/...
        <out>/<teams>_ranking.png, <out>/<teams>_metrics.png

    Raises
    ------
    UserError
        The ground truth or a submission cannot be used, or the folder cannot be written to.
    """
    systems = evaluate_submissions(submissions, ground_truth, challenge)
    teams = submissions.resolve().name
    write_evaluation(
        systems, challenge, out / f"{teams}_result", out / f"{teams}_additional_result", teams
    )

    from asd.report.evaluation import metrics_plot, ranking_plot  # slow to import
    from asd.report.page import save_figure

    title = f"{challenge.name}: {teams}"
    save_figure(ranking_plot(systems, title), out / f"{teams}_ranking.png")
    save_figure(metrics_plot(systems, title), out / f"{teams}_metrics.png")
    print(ranking_text(systems))
    log.info("results, tables and pictures: %s", out)
