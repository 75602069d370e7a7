"""A comparison as others read it: a table for terminals, markdown, CSV, and a plain document for programs."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any

from elfbench.reporting.compared import CAVEAT, Compared
from elfbench.reporting.comparison import Comparison
from elfbench.reporting.escaping import markdown, spreadsheet
from elfbench.reporting.numbers import BOUND_MARKS, decimals

_COLUMNS = ("metric", "A", "B", "B - A", "95% interval", "p", "effect", "n", "rows", "outcome")
ADJUSTMENTS = {"holm": "Holm", "bh": "BH"}
_ERRORS = {
    "holm": "Holm (claims: the chance of any false one is at most {alpha:g})",
    "bh": "Benjamini-Hochberg (a list to look through: at most a share of {alpha:g} of its differences is false on average)",
}
_SMALLEST_P = 1e-3


def as_document(comparison: Comparison) -> dict[str, Any]:
    """JSON types only."""
    return dataclasses.asdict(comparison) | {"sentence": comparison.sentence, "caveat": CAVEAT}


def columns(comparison: Comparison) -> list[str]:
    """Headers of the table; the p-value says how it was adjusted."""
    return [f"p ({ADJUSTMENTS[comparison.adjust]})" if name == "p" else name for name in _COLUMNS]


def numbers(comparison: Comparison) -> list[str]:
    """Columns that are right-aligned."""
    return columns(comparison)[1:8]


def table_row(one: Compared) -> list[str]:
    """What stands under `columns`."""
    difference, interval = difference_text(one)
    return [
        one.metric,
        f"{BOUND_MARKS[one.bound_a]}{one.a:.4g}",
        f"{BOUND_MARKS[one.bound_b]}{one.b:.4g}",
        difference,
        interval,
        p_text(one.p_adjusted),
        "" if one.effect is None else _signed(one.effect, 2),
        str(one.n_a) if one.n_a == one.n_b else f"{one.n_a}, {one.n_b}",
        "paired" if one.paired else "two samples",
        outcome_text(one),
    ]


def difference_text(one: Compared) -> tuple[str, str]:
    """('+0.215', '[+0.139, +0.292]') or ('+3.2%', '[+1.0%, +5.4%]'), at the digits that the interval allows."""
    relative = one.scale == "relative"
    value, low, high = ((100.0 * part if relative else part) for part in (one.difference, one.low, one.high))
    places, unit = decimals(low, high), "%" if relative else ""

    low_text, high_text = (f"{_signed(part, places)}{unit}" for part in (low, high))
    return f"{_signed(value, places)}{unit}", f"[{low_text}, {high_text}]"


def _signed(value: float, places: int) -> str:
    """With its sign; 0 has none."""
    text = f"{value:+.{places}f}"
    return text if float(text) else text[1:]


def p_text(p: float) -> str:
    """Three decimals; never 0."""
    return f"<{_SMALLEST_P:g}" if p < _SMALLEST_P else f"{p:.3f}"


def outcome_text(one: Compared) -> str:
    """tie, differs, 'B better'; for costs 'B cheaper'."""
    if one.outcome in ("tie", "differs"):
        return one.outcome
    return f"{one.outcome} {'cheaper' if one.is_cost else 'better'}"


def footnotes(comparison: Comparison, *, ties: bool = True) -> list[str]:
    """How to read the numbers, what is missing, and what holds for single metrics; without `ties`, not of those that tie."""
    scales = {one.scale for one in comparison.compared}
    lines = [
        "B - A is in the metric's unit"
        + ("; with a percent sign it is B / A - 1, from the difference of logarithms" if "relative" in scales else "")
        + ". Intervals are not adjusted; p-values are, over all comparisons here, by "
        f"{_ERRORS[comparison.adjust].format(alpha=comparison.alpha)}.",
        "effect: the difference over the pooled standard deviation of a row's influence.",
        f"Every interval {CAVEAT}.",
    ]
    if pooled := sorted({one.metric for one in comparison.compared if "stored intervals" in one.method}):
        lines.append(f"From the stored intervals as independent normals: {', '.join(pooled)}.")
    many = len(comparison.changed) > 1
    notes: dict[tuple[str, str], list[str]] = {}
    for one in comparison.compared:
        if ties or one.outcome != "tie":
            for note in one.notes:
                notes.setdefault((f"{one.row}, " if many else "", note), []).append(one.metric)
    lines += [f"{row}{', '.join(metrics)}: {note}" for (row, note), metrics in notes.items()]
    gaps: dict[tuple[str, str], list[str]] = {}
    for gap in comparison.missing:
        gaps.setdefault((gap.row if many else "", gap.why), []).append(gap.metric)
    lines += [
        f"missing: {f'{row}, ' if row else ''}{', '.join(metrics)}: {why}" for (row, why), metrics in gaps.items()
    ]
    if comparison.unmatched:
        lines.append(f"not compared: {'; '.join(comparison.unmatched)}")
    return lines


def as_markdown(comparison: Comparison) -> str:
    """One table a row, the sentence above, the reading notes below."""
    lines = [
        f"# {markdown(comparison.b)} against {markdown(comparison.a)}",
        "",
        f"- A: {markdown(comparison.a)}",
        f"- B: {markdown(comparison.b)}",
        "",
        markdown(comparison.sentence),
        "",
    ]
    for row, changed in comparison.changed.items():
        rows = [one for one in comparison.compared if one.row == row]
        lines += [f"## {markdown(row)}", ""]
        if changed:
            lines += [f"Cells differ in {markdown('; '.join(changed))}.", ""]
        heads, right = columns(comparison), numbers(comparison)
        lines.append("| " + " | ".join(heads) + " |")
        lines.append("|" + "|".join("--:" if name in right else ":--" for name in heads) + "|")
        lines += ["| " + " | ".join(map(markdown, table_row(one))) + " |" for one in rows]
        lines.append("")
    return "\n".join([*lines, *(f"- {markdown(note)}" for note in footnotes(comparison)), ""])


def as_csv(comparison: Comparison) -> str:
    """One line a comparison, all fields."""
    stream = io.StringIO()
    names = [field.name for field in dataclasses.fields(Compared)]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for one in comparison.compared:
        values = (getattr(one, name) for name in names)
        writer.writerow(
            [
                spreadsheet("; ".join(value) if isinstance(value, tuple) else "" if value is None else value)
                for value in values
            ]
        )
    return stream.getvalue()
