"""The comparison table as CSV rows, markdown and LaTeX (booktabs). One caption (`caption`) for all of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from elfbench.core.canonical import canonical_json
from elfbench.reporting.caption import judge_title, paragraphs
from elfbench.reporting.discrimination import MARK, undiscriminating
from elfbench.reporting.escaping import latex, markdown, spreadsheet
from elfbench.reporting.numbers import ARROWS, MISSING, bound, formatted
from elfbench.reporting.section import ScoredCell, Section

_COLUMNS = [
    "suite",
    "suite_version",
    "model",
    "label",
    "family",
    "steps",
    "options",
    "metric",
    "metric_version",
    "value",
    "low",
    "high",
    "level",
    "n",
    "n_requested",
    "n_dropped",
    "unit",
    "direction",
    "method",
    "covers",
    "judge",
    "fingerprint",
    "cell",
    "score",
]


def results_csv(sections: list[Section]) -> str:
    """One row per cell and metric, missing ones included with empty numbers."""
    stream = io.StringIO()
    rows = [(section, cell, metric) for section in sections for cell in section.cells for metric in section.metrics]
    # Only where there are likelihoods, so that other tables keep their columns.
    bounds = ["bound"] if any("texts" in metric["protocol"]["measurement"] for _, _, metric in rows) else []
    writer = csv.DictWriter(stream, [*_COLUMNS, *bounds], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for place in rows:
        writer.writerow({name: spreadsheet(value) for name, value in _csv_row(*place).items()})
    return stream.getvalue()


def _csv_row(section: Section, cell: ScoredCell, metric: Mapping[str, Any]) -> dict[str, object]:
    row: dict[str, object] = {
        "suite": section.name,
        "suite_version": section.suite["version"],
        "model": cell.model,
        "label": cell.label,
        "family": cell.family,
        "steps": cell.steps if cell.steps is not None else "",
        "options": canonical_json(dict(cell.options)).decode(),
        "metric": metric["metric"],
        "metric_version": metric["version"],
        "n_requested": metric["n_requested"],
        "unit": metric["unit"],
        "direction": metric["direction"],
        "judge": judge_title(metric) or "",
        "fingerprint": metric["fingerprint"],
        "cell": cell.id,
    }
    found = cell.scores.get(metric["metric"])
    if found is not None:
        key, score = found
        row |= {
            name: getattr(score, name)
            for name in ("value", "low", "high", "level", "n", "n_dropped", "method", "covers")
        }
        row |= {"score": key, "cell": score.cell, "bound": bound(score)}
    return row


def headers(section: Section) -> list[str]:
    """Titles with their directions, in the order of the columns; a metric that is not discriminative here has its mark."""
    marked = undiscriminating(section)
    return [
        f"{metric['title']}{MARK if metric['metric'] in marked else ''} {ARROWS[metric['direction']]}"
        for metric in section.metrics
    ]


def sample_sizes(section: Section, metric: Mapping[str, Any]) -> str:
    """'32' or '249-256': rows that the numbers of a column rest on."""
    counts = [score.n for cell in section.cells if (score := cell.value(metric["metric"])) is not None]
    if not counts:
        return MISSING
    return str(counts[0]) if min(counts) == max(counts) else f"{min(counts)}\N{EN DASH}{max(counts)}"


def markdown_table(section: Section, best: Mapping[str, set[str]] | None = None) -> str:
    """A GitHub table; block titles are rows of their own. best: by metric, ids of the cells in bold."""
    columns = ["model", "steps", *headers(section)]
    lines = [
        "| " + " | ".join(markdown(column) for column in columns) + " |",
        "|:--|--:|" + "--:|" * len(section.metrics),
    ]
    lines.append("| *n* | | " + " | ".join(f"*{sample_sizes(section, metric)}*" for metric in section.metrics) + " |")
    for title, cells in section.blocks():
        lines.append(f"| **{markdown(title)}** |" + " |" * (len(columns) - 1))
        for cell in cells:
            values = [_markdown_value(cell, metric["metric"], best) for metric in section.metrics]
            lines.append("| " + " | ".join([markdown(cell.label), str(cell.steps or ""), *values]) + " |")
    return "\n".join(
        [
            *lines,
            *(line for text in paragraphs(section) for line in ("", text if _plain(text) else markdown(text))),
            "",
        ]
    )


def _plain(text: str) -> bool:
    """Whether a paragraph holds nothing that markdown or HTML would read as markup."""
    return not set(text) & set("<>&`*_[]|\\$")


def _markdown_value(cell: ScoredCell, metric: str, best: Mapping[str, set[str]] | None) -> str:
    score = cell.value(metric)
    if score is None:
        return MISSING
    value, interval = formatted(score)
    shown = f"**{value}**" if best and cell.id in best.get(metric, ()) else value
    return shown if score.low == score.high else f"{shown} {interval}"


def latex_table(section: Section, best: Mapping[str, set[str]] | None = None) -> str:
    """A booktabs table; needs \\usepackage{booktabs}. best: by metric, ids of the cells in bold."""
    columns = len(section.metrics)
    heads = " & ".join(latex(head) for head in headers(section))
    sizes = " & ".join(rf"\textit{{{latex(sample_sizes(section, metric))}}}" for metric in section.metrics)
    lines = [
        "% made by: elfbench report STORE --out DIR; needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{latex(' '.join(paragraphs(section)))}}}",
        rf"\begin{{tabular}}{{l r {'r ' * columns}}}",
        r"\toprule",
        rf"Model & Steps & {heads} \\",
        rf"\textit{{n}} & & {sizes} \\",
    ]
    for title, cells in section.blocks():
        lines += [r"\midrule", rf"\multicolumn{{{columns + 2}}}{{l}}{{\textit{{{latex(title)}}}}} \\"]
        for cell in cells:
            values = [_latex_value(cell, metric["metric"], best) for metric in section.metrics]
            lines.append(" & ".join([latex(cell.label), str(cell.steps or ""), *values]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _latex_value(cell: ScoredCell, metric: str, best: Mapping[str, set[str]] | None) -> str:
    score = cell.value(metric)
    if score is None:
        return "--"
    value, interval = formatted(score)
    value = value.replace("<= ", r"$\leq$ ").replace("~ ", r"$\sim$ ")
    shown = rf"\textbf{{{value}}}" if best and cell.id in best.get(metric, ()) else value
    return shown if score.low == score.high else rf"{shown} {{\scriptsize {interval}}}"
