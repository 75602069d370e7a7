"""What is wrong with the rows of a table, counted for every suite whatever its metrics: a sentence under each table.

Empty texts, rows shorter than the window, U+FFFD, special tokens spelled out, letters of scripts that real text lacks; and how many
rows a column leaves out. The metrics of `metrics.sanity` give the same with intervals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from elfbench.core.errors import StoreError
from elfbench.metrics.sanity import LEAST_SCRIPT, leftover_rows, scripts
from elfbench.reporting.section import ScoredCell, Section
from elfbench.store.blocks import stored_columns
from elfbench.store.shards import StoredRows
from elfbench.store.store import Store

_SHOWN = 4  # rows of the table named beside a fault
FAULTS = {
    "empty": "empty",
    "short": "shorter than the window",
    "replacement": "with U+FFFD",
    "leftover": "with special tokens spelled out",
    "script": "with letters of a script that real text lacks",
}


def with_row_faults(store: Store, sections: Sequence[Section]) -> list[Section]:
    """The sections, each with what its caption says of its rows."""
    return [replace(section, faults=_sentences(store, section)) for section in sections]


def _sentences(store: Store, section: Section) -> str:
    # A run that was interrupted has fewer rows than its suite asks for.
    there = {cell.id: min(cell.n_rows, store.n_rows(cell.id)) for cell in section.cells}
    rows = {cell: store.rows(cell, n) for cell, n in there.items() if n}
    own = _own_scripts(section, rows)
    found: dict[str, dict[str, int]] = {name: {} for name in FAULTS}
    longer, measured = 0, 0
    for cell in (one for one in section.cells if one.id in rows):
        counts = text_faults(rows[cell.id].texts, own)
        tokens = _tokens(store, section, cell, rows[cell.id])
        window = (section.suite.get("measure") or {}).get("window")
        if tokens is not None and window is not None:
            counts["short"] = int(((tokens > 0) & (tokens < window)).sum())
            longer, measured = longer + int((tokens > window).sum()), measured + len(tokens)
        for name, count in counts.items():
            if count:
                found[name][cell.name] = count
    total = sum(there.values())
    told = [f"{sum(where.values())} {FAULTS[name]} ({_listed(where)})" for name, where in found.items() if where]
    sentences = [f"Faults in {total} rows: {'; '.join(told)}." if told else f"No row of {total} is empty or broken."]
    if longer:
        sentences.append(f"{longer} of {measured} rows go on behind the window, unread.")
    if missing := section.missing():
        many = f"{len(missing)} numbers are" if len(missing) > 1 else "1 number is"
        sentences.append(f"{many} missing: the command, run again, says why.")
    return " ".join([*sentences, *left_out(section)])


def text_faults(texts: Sequence[str], own: frozenset[str] | None) -> dict[str, int]:
    """How many of `texts` have each fault that shows in the text itself; `own`: the scripts of real text, None where there is none."""
    counts = {
        "empty": sum(not text.strip() for text in texts),
        "replacement": sum("\ufffd" in text for text in texts),
        "leftover": int((leftover_rows(texts)["n_leftovers"] > 0).sum()),
    }
    if own is not None:
        counts["script"] = sum(bool(set(scripts(text)) - own) for text in texts)
    return counts


def left_out(section: Section) -> list[str]:
    """'Left out of columns: up to 2 of 256 rows, of mdlm-sotu @ 4 steps (entropy, MAUVE).' Nothing where all columns rest on all rows."""
    most: dict[str, list[str]] = {}
    for metric in section.metrics:
        scores = [(cell, score) for cell in section.cells if (score := cell.value(metric["metric"])) is not None]
        if not scores:
            continue
        cell, score = max(scores, key=lambda found: found[1].n_dropped)
        if score.n_dropped:
            most.setdefault(f"up to {score.n_dropped} of {score.n_requested} rows, of {cell.name}", []).append(
                str(metric["title"])
            )
    parts = [
        f"{what} ({'all columns' if len(titles) == len(section.metrics) > 1 else ', '.join(titles)})"
        for what, titles in most.items()
    ]
    return [f"Left out of columns: {'; '.join(parts)}."] if parts else []


def _own_scripts(section: Section, rows: Mapping[str, StoredRows]) -> frozenset[str] | None:
    """Scripts of the row of real text; None without one."""
    real = section.reference_row()
    if real is None or real.id not in rows:
        return None
    found: Counter[str] = sum(map(scripts, rows[real.id].texts), Counter())
    return frozenset(name for name, count in found.items() if count >= LEAST_SCRIPT * found.total())


def _tokens(store: Store, section: Section, cell: ScoredCell, rows: StoredRows) -> np.ndarray | None:
    """Measuring tokens of as many rows of a cell as some metric has counted; None where none has."""
    for metric in sorted(section.metrics, key=lambda one: -int(one["n_requested"])):
        protocol: Mapping[str, Any] = metric["protocol"]["measurement"]
        if "window" not in protocol or "definition" in protocol:
            continue  # a judging protocol of its own counts tokens of its own
        texts = rows.texts if protocol.get("view", "final") == "final" else rows.raw_texts
        try:
            columns = stored_columns(store, protocol, texts[: metric["n_requested"]]).values
        except StoreError:
            continue
        if "n_tokens" in columns:
            return np.asarray(columns["n_tokens"])
    return None


def _listed(where: Mapping[str, int]) -> str:
    most = sorted(where.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {count}" for name, count in most[:_SHOWN])
    return shown + (f", and {len(most) - _SHOWN} more" if len(most) > _SHOWN else "")
