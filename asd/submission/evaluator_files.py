"""The CSV files that the organisers' evaluators write.

<results>/<system>_result.csv                        metrics per section and means
<additional>/<system>/official_score.csv             official score and AUCs of one system
<additional>/<teams>_official_score.csv              of all systems
<additional>/<teams>_official_score_paper.csv        the table printed in papers
<additional>/<teams>_section_NN_{auc,score}.csv      AUCs, mean scores of normal clips
<additional>/<teams>_f1ev.csv                        ours: F1-EV and bounded F1-EV
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from asd.challenge.catalog import Challenge
from asd.csvfiles import cell, cells, write_rows
from asd.evaluation.metrics import arithmetic_mean, harmonic_mean
from asd.submission.evaluator import SectionEvaluation, SystemEvaluation

_SECTION_COLUMNS = (
    "AUC (all)", "AUC (source)", "AUC (target)", "pAUC", "precision (source)",
    "precision (target)", "recall (source)", "recall (target)", "F1 score (source)",
    "F1 score (target)",
)  # fmt: skip
_MEAN_COLUMNS = ("AUC", "pAUC", "precision", "recall", "F1 score")
_DOMAINS = ("source", "target")
_SCORE_COLUMNS = (
    "official score", "arithmetic mean", "harmonic mean (source)", "harmonic mean (target)",
)  # fmt: skip
_ALL = " over all machine types, sections, and domains"

Sections = Sequence[SectionEvaluation]


def write_evaluation(
    systems: Sequence[SystemEvaluation],
    challenge: Challenge,
    result_folder: Path,
    additional_folder: Path,
    teams: str = "teams",
) -> list[Path]:
    """Write the result file of every system, and the additional tables.

    Parameters
    ----------
    systems
    challenge
    result_folder, additional_folder
    teams
        Name of the folder of submissions; names of tables of all systems begin with it.

    Returns
    -------
    The paths written.
    """
    written = [result_folder / f"{system.name}_result.csv" for system in systems]
    for path, system in zip(written, systems, strict=True):
        write_rows(path, result_rows(system))
    tables = {f"{s.name}/official_score.csv": official_rows([s], challenge) for s in systems}
    tables[f"{teams}_official_score.csv"] = official_rows(systems, challenge)
    tables[f"{teams}_official_score_paper.csv"] = paper_rows(systems, challenge)
    tables[f"{teams}_f1ev.csv"] = f1ev_rows(systems, challenge)
    for section in sorted({part.section for system in systems for part in system.sections}):
        tables[f"{teams}_section_{section}_auc.csv"] = _section_rows(
            systems, challenge, section, "AUC", lambda part, domain: part.metrics[f"AUC ({domain})"]
        )
        tables[f"{teams}_section_{section}_score.csv"] = _section_rows(
            systems, challenge, section, "Score", lambda part, domain: part.normal_score[domain]
        )
    for name, rows in tables.items():
        written.append(additional_folder / name)
        write_rows(written[-1], rows, spreadsheet=True)
    return written


def official_score_of(system: SystemEvaluation) -> float:
    """Harmonic mean of AUC (source), AUC (target) and pAUC of all sections."""
    return harmonic_mean(_official_values(system))


def _official_values(system: SystemEvaluation) -> list[float]:
    columns = ("AUC (source)", "AUC (target)", "pAUC")
    return [part.metrics[column] for column in columns for part in system.sections]


def _values(sections: Sections, metric: str, domains: Sequence[str] = _DOMAINS) -> list[float]:
    """A metric of all sections in these domains; pAUC is the same in both."""
    names = [metric if metric == "pAUC" else f"{metric} ({domain})" for domain in domains]
    return [part.metrics[name] for name in names for part in sections]


def result_rows(system: SystemEvaluation) -> list[list[str]]:
    """Lines of a system's result file."""
    rows: list[list[str]] = []
    for machine in dict.fromkeys(part.machine for part in system.sections):
        own = [part for part in system.sections if part.machine == machine]
        rows += [[machine], ["section", *_SECTION_COLUMNS]]
        rows += [[p.section, *cells(p.metrics[c] for c in _SECTION_COLUMNS)] for p in own]
        rows += [*_mean_rows(own, ""), []]
    rows += [*_mean_rows(system.sections, _ALL), []]
    rows.append(["official score", "", cell(official_score_of(system))])
    return [*rows, ["official score ci95", "", cell(system.ci95)], []]


def _mean_rows(sections: Sections, where: str) -> list[list[str]]:
    rows = [["", "", *_MEAN_COLUMNS]]
    for label, mean, domains in (
        ("arithmetic mean", arithmetic_mean, _DOMAINS),
        ("harmonic mean", harmonic_mean, _DOMAINS),
        ("source harmonic mean", harmonic_mean, ("source",)),
        ("target harmonic mean", harmonic_mean, ("target",)),
    ):
        means = (mean(_values(sections, metric, domains)) for metric in _MEAN_COLUMNS)
        rows.append([f"{label}{where}", "", *cells(means)])
    return rows


def official_rows(systems: Sequence[SystemEvaluation], challenge: Challenge) -> list[list[str]]:
    """Official score, means of AUC, and AUC per machine type and domain."""
    rows = [_header(challenge, "AUC")]
    for system in systems:
        values = [official_score_of(system), arithmetic_mean(_values(system.sections, "AUC"))]
        values += [harmonic_mean(_values(system.sections, "AUC", [d])) for d in _DOMAINS]
        values += [
            mean for d in _DOMAINS for mean in _machine_means(system, challenge, f"AUC ({d})")
        ]
        rows.append([system.name, *cells(values)])
    return rows


def _header(challenge: Challenge, what: str) -> list[str]:
    machines = challenge.eval.sections
    return ["", *_SCORE_COLUMNS, *(f"{m} {what} ({d})" for d in _DOMAINS for m in machines)]


def _machine_means(system: SystemEvaluation, challenge: Challenge, column: str) -> list[float]:
    """Arithmetic mean over the sections of each machine type, in the catalog's order."""
    return [
        arithmetic_mean(p.metrics[column] for p in system.sections if p.machine == machine)
        for machine in challenge.eval.sections
    ]


def paper_rows(systems: Sequence[SystemEvaluation], challenge: Challenge) -> list[list[str]]:
    """Harmonic and arithmetic means, and values per machine type, one row per metric."""
    rows = [["System", "metric", "h-mean", "a-mean", *challenge.eval.sections]]
    for system in systems:
        for label, column in (
            ("AUC (source)", "AUC (source)"),
            ("AUC (target)", "AUC (target)"),
            ("pAUC (source, target)", "pAUC"),
        ):
            values = [part.metrics[column] for part in system.sections]
            means = [harmonic_mean(values), arithmetic_mean(values)]
            means += _machine_means(system, challenge, column)
            rows.append([system.name, label, *cells(means)])
        total = [official_score_of(system), arithmetic_mean(_official_values(system))]
        rows.append(
            [system.name, "TOTAL score", *cells(total), *[""] * len(challenge.eval.sections)]
        )
    return rows


def f1ev_rows(systems: Sequence[SystemEvaluation], challenge: Challenge) -> list[list[str]]:
    """F1-EV and bounded F1-EV: mean over all sections and per machine type."""
    rows = [["System", "metric", "a-mean", *challenge.eval.sections]]
    for system in systems:
        for metric in ("F1-EV", "bounded F1-EV"):
            means = [arithmetic_mean(part.f1ev[metric] for part in system.sections)]
            means += [
                arithmetic_mean(p.f1ev[metric] for p in system.sections if p.machine == machine)
                for machine in challenge.eval.sections
            ]
            rows.append([system.name, metric, *cells(means)])
    return rows


def _section_rows(
    systems: Sequence[SystemEvaluation],
    challenge: Challenge,
    section: str,
    what: str,
    value: Callable[[SectionEvaluation, str], float],
) -> list[list[str]]:
    """A value per machine type and domain of one section; the official columns stay empty."""
    rows = [_header(challenge, what)]
    for system in systems:
        parts = {part.machine: part for part in system.sections if part.section == section}
        values = [
            value(parts[machine], domain) if machine in parts else float("nan")
            for domain in _DOMAINS
            for machine in challenge.eval.sections
        ]
        rows.append([system.name, *[""] * len(_SCORE_COLUMNS), *cells(values)])
    return rows


def ranking_text(systems: Sequence[SystemEvaluation]) -> str:
    """A table for reading, best official score first, in percent; +- is `jackknife95`."""
    metrics = ("AUC (source)", "AUC (target)", "pAUC")
    header = ["rank", "system", "official score", "+-", *metrics, "F1-EV"]
    rows = [header]
    for rank, system in enumerate(ranked(systems), start=1):
        means = [harmonic_mean(part.metrics[m] for part in system.sections) for m in metrics]
        means.append(arithmetic_mean(part.f1ev["F1-EV"] for part in system.sections))
        values = [official_score_of(system), system.jackknife95, *means]
        rows.append([str(rank), system.name, *(f"{100 * value:.2f}" for value in values)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    adjust = [str.rjust, str.ljust, *[str.rjust] * (len(header) - 2)]
    return "\n".join(
        "  ".join(to(word, width) for to, word, width in zip(adjust, row, widths, strict=True))
        for row in rows
    )


def ranked(systems: Sequence[SystemEvaluation]) -> list[SystemEvaluation]:
    """The systems, best official score first."""
    return sorted(systems, key=lambda system: (-official_score_of(system), system.name))
