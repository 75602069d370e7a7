"""What each judge makes of real text, beside every table of its numbers: the reference texts, else the table's row of real text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from elfbench.registry.variants import instrument_of
from elfbench.reporting.numbers import formatted
from elfbench.reporting.section import Section
from elfbench.spec.metric import Score
from elfbench.store.store import Store

JUDGED = "judged"
"""Key of a section's reference: metric -> its score of the reference texts."""


def with_real_text(store: Store, sections: Sequence[Section]) -> list[Section]:
    """The sections, each with the scores of its reference texts."""
    wanted = {section.reference["cell"] for section in sections if section.reference and "cell" in section.reference}
    scores: dict[tuple[str, str], dict[int, Score]] = {}
    for _, score in store.scores() if wanted else ():
        if score.cell in wanted:
            scores.setdefault((score.cell, score.fingerprint), {})[score.n_requested] = score
    return [_with(section, scores) for section in sections]


def _with(section: Section, scores: Mapping[tuple[str, str], Mapping[int, Score]]) -> Section:
    if section.reference is None or "cell" not in section.reference:
        return section
    found = {}
    for metric in section.metrics:
        there = scores.get((section.reference["cell"], metric["fingerprint"]), {})
        if there:
            found[metric["metric"]] = there.get(metric["n_requested"], there[max(there)])
    return replace(section, reference={**section.reference, JUDGED: found})


def real_text_sentences(section: Section) -> list[str]:
    """'Judge SmolLM2: real text sotu:reference gen-PPL 122 [103, 145], n=32.', one per judge; none where no judge measured."""
    by_judge: dict[str, list[Mapping[str, Any]]] = {}
    for metric in section.metrics:
        measurement = metric["protocol"]["measurement"]
        judged = instrument_of(measurement["measurement"]) == "judge" and "judge" in measurement
        if judged and metric["unit"] != "of rows":
            by_judge.setdefault(measurement["judge"]["title"], []).append(metric)
    return [f"Judge {title}: {_of_judge(section, metrics)}." for title, metrics in by_judge.items()]


def _of_judge(section: Section, metrics: Sequence[Mapping[str, Any]]) -> str:
    told = []
    for metric in metrics:
        if metric.get("needs_reference"):
            continue
        name, score = _real_text(section, metric["metric"])
        if score is not None:
            # The judge stands in front of the sentence.
            title = metric["title"].removesuffix(f" ({metric['metric'].partition('@')[2]})")
            told.append((name, f"{title} {' '.join(formatted(score))}, n={score.n}"))
    if not told:
        return "no real text was judged"
    return f"real text {told[0][0]} " + "; ".join(shown for _, shown in told)


def _real_text(section: Section, metric: str) -> tuple[str, Score | None]:
    """Where the real text is from, and its score."""
    reference: Mapping[str, Any] = section.reference or {}
    found = reference.get(JUDGED, {}).get(metric)
    if found is not None:
        return str(reference["name"]), found
    row = section.reference_row()
    return (f"(row {row.label})", row.value(metric)) if row else ("", None)
