"""Sanity: how many rows are no text at all, or not all text. Shares of all rows, exact intervals; no row is left out of them.

Other metrics drop empty rows, and rows shorter than the window where the measure says so: their `n_dropped` counts both together.
Here every kind has a number of its own, whatever the measure does with it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from elfbench.metrics.estimate import as_estimate
from elfbench.spec.metric import Direction, Estimate, EstimateContext, Metric, Rows, column
from elfbench.statistics.rate import clopper_pearson

LEAST_SCRIPT = 1e-3
"""A script is the reference text's from this share of its letters on: one borrowed word does not admit an alphabet."""
LEFTOVERS = r"<\|[^|<>\s]{1,40}\|>|</?(?:s|pad|unk|mask|eos|bos|sep|cls)>|\[(?:MASK|PAD|UNK|CLS|SEP|EOS|BOS)\]|<extra_id_\d+>|\u2047"
"""Spellings of mask, padding, unknown and end tokens, any case; U+2047 is what SentencePiece writes for an unknown piece."""
_LEFTOVER = re.compile(LEFTOVERS, re.IGNORECASE)
Detail = dict[str, float | int | str]
Flags = Callable[[Rows, EstimateContext], tuple[np.ndarray, Detail]]


def sanity_rows(texts: Sequence[str], n_tokens: np.ndarray) -> dict[str, Any]:
    """Per row [R]: `n_tokens` of the whole text, `n_visible` characters that are not white space, `n_replacement` times U+FFFD, and
    `scripts`, its letters by script as 'CYRILLIC=2 LATIN=31'."""
    return {
        "n_tokens": np.asarray(n_tokens, dtype=np.int64),
        "n_visible": np.array([sum(map(len, text.split())) for text in texts], dtype=np.int64),
        "n_replacement": np.array([text.count("\ufffd") for text in texts], dtype=np.int64),
        "scripts": [" ".join(f"{name}={count}" for name, count in sorted(scripts(text).items())) for text in texts],
    }


def leftover_rows(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Per row [R] int64: `n_leftovers`, special tokens that the text spells out."""
    return {"n_leftovers": np.array([len(_LEFTOVER.findall(text)) for text in texts], dtype=np.int64)}


def scripts(text: str) -> Counter[str]:
    """Letters of `text` by script: LATIN, CYRILLIC, CJK, HIRAGANA, ... Signs, digits and combining marks have none."""
    found: Counter[str] = Counter()
    for character, count in Counter(text).items():
        name = _script(character)
        if name:
            found[name] += count
    return found


@lru_cache(maxsize=1 << 14)
def _script(character: str) -> str:
    """The first word of the letter's Unicode name, which is its script; '' for what is no letter."""
    # Compatibility forms are named after their form: a full-width A is a Latin letter, the micro sign a Greek one.
    plain = unicodedata.normalize("NFKC", character)[:1]
    if unicodedata.category(plain or " ") not in ("Lu", "Ll", "Lt", "Lo"):
        return ""
    return unicodedata.name(plain, "UNNAMED").split()[0]


def share(rows: Rows, reference: Rows | None, context: EstimateContext, *, name: str, flags: Flags) -> Estimate:
    """Share of rows that `flags` marks, with the Clopper-Pearson interval: 0 of n has an upper end all the same."""
    found, detail = flags(rows, context)
    return _rate(found, detail, name, context)


def foreign_script_share(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Share of rows with a letter of a script that makes up less than LEAST_SCRIPT of the reference text's letters."""
    assert reference is not None
    own: Counter[str] = sum(map(_counts, reference.columns["scripts"]), Counter())
    allowed = {name for name, count in own.items() if count >= LEAST_SCRIPT * own.total()}
    counted = [_counts(row) for row in rows.columns["scripts"]]
    foreign = [sum(count for name, count in row.items() if name not in allowed) for row in counted]
    total: Counter[str] = sum(counted, Counter())
    detail: Detail = {
        "reference_scripts": " ".join(sorted(allowed)),
        "found": " ".join(f"{name}={count}" for name, count in sorted(total.items()) if name not in allowed),
        "share_of_letters": sum(foreign) / max(total.total(), 1),
    }
    return _rate(np.array(foreign) > 0, detail, "foreign_script_share", context)


def _rate(flags: np.ndarray, detail: Detail, name: str, context: EstimateContext) -> Estimate:
    hits = int(flags.sum())
    interval = clopper_pearson(hits, len(flags), level=context.level, name=name)
    return as_estimate(interval, "sampling of rows", {"rows": hits, **detail})


def _counts(row: str) -> Counter[str]:
    pairs = (part.rsplit("=", 1) for part in row.split())
    return Counter({name: int(count) for name, count in pairs})


def _empty(rows: Rows, context: EstimateContext) -> tuple[np.ndarray, Detail]:
    return (column(rows, "n_visible") == 0) | (column(rows, "n_tokens") == 0), {}


def _short(rows: Rows, context: EstimateContext) -> tuple[np.ndarray, Detail]:
    tokens, empty = column(rows, "n_tokens"), _empty(rows, context)[0]
    return (tokens < (context.window or 0)) & ~empty, {"window": context.window or "none"}


def _truncated(rows: Rows, context: EstimateContext) -> tuple[np.ndarray, Detail]:
    tokens = column(rows, "n_tokens")
    beyond = np.maximum(tokens - context.window, 0) if context.window else np.zeros_like(tokens)
    unread = float(beyond.sum() / max(tokens.sum(), 1))
    return beyond > 0, {"window": context.window or "none", "share_of_tokens_unread": unread}


def _counted(rows: Rows, context: EstimateContext, name: str) -> tuple[np.ndarray, Detail]:
    counts = column(rows, name)
    return counts > 0, {"characters" if name == "n_replacement" else "tokens": int(counts.sum())}


def _not_finite(rows: Rows, context: EstimateContext) -> tuple[np.ndarray, Detail]:
    return ~np.isfinite(np.asarray(column(rows, "nll_nats"), dtype=np.float64)), {}


def _all_rows(columns: Mapping[str, Any]) -> tuple[Mapping[str, Any], np.ndarray]:
    """Nothing is left out: what others drop is what these metrics count."""
    return columns, np.ones(len(next(iter(columns.values()))), dtype=bool)


def _metric(
    name: str,
    title: str,
    description: str,
    flags: Flags,
    *,
    measurement: str = "sanity",
    direction: Direction = "lower",
    parameters: Mapping[str, str] | None = None,
) -> Metric:
    return Metric(
        name=name,
        version=1,
        title=title,
        unit="of rows",
        direction=direction,
        measurement=measurement,
        estimate=partial(share, name=name, flags=flags),
        parameters=parameters or {},
        prepare=_all_rows,
        rate=True,
        length_sensitive=False,
        description=description,
    )


EMPTY_SHARE = _metric(
    "empty_share", "empty", "Share of rows without a character other than white space, or without a token.", _empty
)
SHORT_SHARE = _metric(
    "short_share", "short", "Share of rows that are not empty and have fewer tokens than the window.", _short
)
TRUNCATED_SHARE = _metric(
    "truncated_share",
    "truncated",
    "Share of rows with more tokens than the window, whose rest no metric reads.",
    _truncated,
    direction="match",
)
REPLACEMENT_SHARE = _metric(
    "replacement_share",
    "replacement",
    "Share of rows with a replacement character (U+FFFD), the trace of bytes that are no text.",
    partial(_counted, name="n_replacement"),
)
LEFTOVER_SHARE = _metric(
    "leftover_share",
    "leftovers",
    "Share of rows whose final text spells out a mask, padding, unknown or end token.",
    partial(_counted, name="n_leftovers"),
    measurement="leftovers",
    parameters={"pattern": LEFTOVERS},
)
NONFINITE_SHARE = _metric(
    "nonfinite_share",
    "not finite",
    "Share of rows whose score under the judge is NaN or infinite; gen_ppl is not computed where there is one.",
    _not_finite,
    measurement="judge_nll",
)
FOREIGN_SCRIPT_SHARE = Metric(
    name="foreign_script_share",
    version=1,
    title="foreign script",
    unit="of rows",
    direction="lower",
    measurement="sanity",
    estimate=foreign_script_share,
    parameters={"least_script": LEAST_SCRIPT},
    needs_reference=True,
    prepare=_all_rows,
    rate=True,
    length_sensitive=False,
    description="Share of rows with a letter of a script that the reference text does not use.",
)
