"""Names of machine types, systems, domains and files as anyone may write them, in every picture."""

import numpy as np
import pytest

from asd.report import confusion, embeddings, evaluation, figures, losses, tables
from asd.submission.evaluator import SectionEvaluation, SystemEvaluation

NAMES = [r"$\foo_{$ ^_{", "_two\nlines \udce9 {0}", "日本 $x$", ""]


def pictures(name):
    """Every picture that names can come into."""
    rng = np.random.default_rng(0)
    other = f"{name}2"
    yield losses.loss_curve({name: [1.0, 2.0], other: [2.0, 3.0]}, name)
    truth = np.array([False, True, True])
    groups = [figures.ScoreGroup(name, domain, truth, rng.random(3)) for domain in (name, other)]
    yield figures.score_plot(groups, name, 0.5)
    yield figures.roc_plot(groups, name)
    values = {system: {m: {"pAUC": 0.6} for m in (name, other)} for system in (name, other)}
    yield tables.summary_plot(values, name, ["pAUC"])
    yield tables.heat_map(rng.random((2, 2)), [name, other], [name, other], name)
    metrics = {"AUC (source)": 0.6, "AUC (target)": 0.6, "pAUC": 0.6}
    sections = tuple(SectionEvaluation(m, "00", metrics, {}, {}) for m in (name, other))
    systems = [SystemEvaluation(system, sections, 1e-3, 11) for system in (name, other)]
    yield evaluation.ranking_plot(systems, name)
    yield evaluation.metrics_plot(systems, name)
    points = rng.standard_normal((4, 2))
    yield embeddings.embedding_map(points, {name: [name, other, name, other]}, name)
    is_anomaly = np.array([False, True, False, True])
    yield embeddings.score_histograms({name: rng.random(4)}, is_anomaly, ~is_anomaly, name)
    classes = [(name, "00", "source", name), (other, "00", "source", name)]
    yield confusion.confusion_plot(classes, {"test": np.array([[2, 1], [0, 0]])}, name)


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.filterwarnings("error:The label")
@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_drawn(name):
    drawn = [figure.draw_without_rendering() for figure in pictures(name)]
    assert len(drawn) == 10
