"""Measurements: per-row numbers made once per text and protocol, torch allowed. The same text is never judged twice.

Rows are measured in blocks of 32; a block's key is the digest of its texts and of the full protocol, so equal blocks of any cell or suite
share one file, and asking for more rows measures only the new blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from elfbench.core.errors import unknown
from elfbench.language.oracle import oracle
from elfbench.language.sentences import judge
from elfbench.metrics.bleu import bleu_counts
from elfbench.metrics.chrf import chrf_counts
from elfbench.metrics.exact_match import exact_rows
from elfbench.metrics.judge_ranks import EDGES, rank_counts
from elfbench.metrics.mbr import mbr_counts
from elfbench.metrics.memorization import memorization_rows
from elfbench.metrics.oracle_given import given_rows
from elfbench.metrics.pairs import library_version, parted
from elfbench.metrics.rouge import rouge_rows
from elfbench.metrics.sanity import leftover_rows, sanity_rows
from elfbench.metrics.surface import surface_features
from elfbench.registry.variants import instrument_of
from elfbench.running.instruments import Instruments
from elfbench.running.reporter import Reporter
from elfbench.spec.instruments import GRADIENT
from elfbench.spec.judging import BY_MEASUREMENT, JudgingProtocol
from elfbench.store.blocks import BLOCK_ROWS, Columns, block_keys, columns
from elfbench.store.store import Store

_VERSIONS = {"tokens": 1, "judge_nll": 1, "features": 1, "surface": 1, "oracle": 1, "cost": 1}
_VERSIONS |= {"memorization": 1, "sanity": 1, "leftovers": 1} | dict.fromkeys(BY_MEASUREMENT, 1)
_VERSIONS |= {"judge_ranks": 1, "judge_gradient": 1}
_JUDGED: dict[str, dict[str, Any]] = {
    "judge_nll": {},
    "judge_ranks": {"bins": EDGES},
    "judge_gradient": {"gradient": dict(GRADIENT)},
}
"""What the judge gives under protocol `clean` -> what its numbers depend on besides."""
_PAIRED = {
    "bleu_mixed": 1,
    "bleu_lc": 1,
    "bleu_mbr": 1,
    "rouge": 1,
    "chrf": 1,
    "exact": 1,
    "oracle_given": 1,
    "pairs": 1,
}
"""Measurements of samples beside their references or prompts, whole texts: no measuring tokenizer, no window."""
_LIBRARIES = {**dict.fromkeys(("bleu_mixed", "bleu_lc", "bleu_mbr"), "sacrebleu"), "rouge": "rouge-score"}


def measurement_protocol(name: str, instruments: Instruments) -> dict[str, Any]:
    """Everything that the numbers of a measurement depend on, beside the texts."""
    measure = instruments.measure
    if name in _PAIRED:
        paired: dict[str, Any] = {"measurement": name, "version": _PAIRED[name], "view": measure.view}
        if name in _LIBRARIES:
            paired["library"] = f"{_LIBRARIES[name]} {library_version(_LIBRARIES[name])}"
        if name == "oracle_given":
            paired["language"] = {"name": oracle().name, "digest": oracle().digest}
        return paired
    if name not in _VERSIONS:
        raise unknown("measurement", name, _VERSIONS)
    document: dict[str, Any] = {"measurement": name, "version": _VERSIONS[name]}
    if name == "cost":
        return document
    document |= {"view": view(name, instruments), "window": measure.window}
    if instrument_of(name) == "judge" and (cutter := instruments.cutter) is not None:
        document["cut_by"] = {"name": cutter.name, "digest": cutter.digest}
    if name in _JUDGED or name in BY_MEASUREMENT:
        judge = instruments.judge
        protocol = BY_MEASUREMENT.get(name)
        if protocol is not None:
            document["definition"] = protocol.describe()
        document |= _JUDGED.get(name, {})
        return document | {
            "protocol": protocol.name if protocol else "clean",
            "judge": {"name": judge.name, "title": judge.title, "digest": judge.digest},
            "dtype": "float32",
        }
    if name == "oracle":
        return document | {"language": {"name": oracle().name, "digest": oracle().digest}}
    tokenizer = instruments.tokenizer
    document["tokenizer"] = {"name": tokenizer.name, "digest": tokenizer.digest}
    if name == "memorization":
        document["training"] = instruments.training.describe()
    if name == "features":
        featurizer = instruments.featurizer
        document["featurizer"] = {"name": featurizer.name, "title": featurizer.title, "digest": featurizer.digest}
    return document


def view(name: str, instruments: Instruments) -> str:
    """Which text of a row measurement `name` reads, `final` or `raw`: the measure's, unless a protocol has its own."""
    protocol = BY_MEASUREMENT.get(name)
    if name == "leftovers":
        return "final"  # a raw text spells its special tokens out by definition
    return instruments.measure.view if protocol is None or protocol.view == "measure" else protocol.view


def measured(name: str, texts: Sequence[str], instruments: Instruments, store: Store, reporter: Reporter) -> Columns:
    """The columns of measurement `name` for `texts`, from the store where present, computed and stored where not."""
    protocol = measurement_protocol(name, instruments)
    tables = []
    for number, key in enumerate(block_keys(protocol, texts)):
        if not store.has_measurement(key):
            block = list(texts[number * BLOCK_ROWS : (number + 1) * BLOCK_ROWS])
            store.write_measurement(key, _measure_block(name, block, instruments, reporter), protocol)
        tables.append(store.measurement(key))
    return columns(pa.concat_tables(tables))


def blocks_missing(name: str, texts: Sequence[str], instruments: Instruments, store: Store) -> int:
    """Rows that `measured` would have to compute."""
    missing = 0
    for number, key in enumerate(block_keys(measurement_protocol(name, instruments), texts)):
        if not store.has_measurement(key):
            missing += min(BLOCK_ROWS, len(texts) - number * BLOCK_ROWS)
    return missing


def _measure_block(name: str, block: list[str], instruments: Instruments, reporter: Reporter) -> pa.Table:
    """Measures the distinct texts of a block, then spreads them over its rows."""
    distinct = list(dict.fromkeys(block))
    place = {text: number for number, text in enumerate(distinct)}
    table = _MEASURES[name](distinct, instruments)
    reporter.advance(len(block))
    return table.take(pa.array([place[text] for text in block]))


def _tokens(texts: list[str], instruments: Instruments) -> pa.Table:
    ids = instruments.tokenizer.encode(texts)
    window = instruments.measure.window
    return pa.table(
        {
            "ids": pa.array([row[:window] for row in ids], type=pa.list_(pa.int64())),
            "n_tokens": np.array([len(row) for row in ids], dtype=np.int64),
        }
    )


def _memorization(texts: list[str], instruments: Instruments) -> pa.Table:
    ids, window = instruments.tokenizer.encode(texts), instruments.measure.window
    counts = np.array([len(row) for row in ids], dtype=np.int64)
    rows = memorization_rows(instruments.training_index, [row[:window] for row in ids])
    return pa.table({**rows, "n_tokens": counts})


def _sanity(texts: list[str], instruments: Instruments) -> pa.Table:
    counts = np.array([len(row) for row in instruments.tokenizer.encode(texts)], dtype=np.int64)
    return pa.table(sanity_rows(texts, counts))


def _judge_nll(texts: list[str], instruments: Instruments) -> pa.Table:
    rows = instruments.judge.score(texts, window=instruments.measure.window)
    columns = {name: np.asarray(values) for name, values in rows._asdict().items()}
    # A judge's NaN is a finding: stored as null, counted by `nonfinite_share`, refused by every other metric.
    columns["nll_nats"] = pa.array(columns["nll_nats"], mask=~np.isfinite(columns["nll_nats"]))
    return pa.table(columns)


def _judge_ranks(texts: list[str], instruments: Instruments) -> pa.Table:
    rows = instruments.judge.ranks(texts, window=instruments.measure.window)
    counts = pa.array(list(rank_counts(rows.ranks)), type=pa.list_(pa.int64()))
    return pa.table({"rank_counts": counts, "n_scored": rows.n_scored, "n_tokens": rows.n_tokens})


def _judge_gradient(texts: list[str], instruments: Instruments) -> pa.Table:
    rows = instruments.judge.gradients(texts, window=instruments.measure.window)
    gradient = pa.array(list(rows.gradient), type=pa.list_(pa.float32()))
    return pa.table({"gradient": gradient, "n_scored": rows.n_scored, "n_tokens": rows.n_tokens})


def _judge_under(protocol: JudgingProtocol, texts: list[str], instruments: Instruments) -> pa.Table:
    rows = instruments.judge.score_under(protocol, texts, window=instruments.measure.window)
    return pa.table({name: np.asarray(values) for name, values in rows._asdict().items()})


def _features(texts: list[str], instruments: Instruments) -> pa.Table:
    window = instruments.measure.window
    counts = np.array([len(row) for row in instruments.tokenizer.encode(texts)], dtype=np.int64)
    cut = instruments.tokenizer.truncate(texts, window) if window else texts
    vectors = instruments.featurizer.features(cut).astype(np.float32)
    return pa.table({"vector": pa.array(list(vectors), type=pa.list_(pa.float32())), "n_tokens": counts})


def _surface(texts: list[str], instruments: Instruments) -> pa.Table:
    window = instruments.measure.window
    counts = np.array([len(row) for row in instruments.tokenizer.encode(texts)], dtype=np.int64)
    cut = instruments.tokenizer.truncate(texts, window) if window else texts
    rows = surface_features(cut)
    return pa.table({"surface": pa.array(list(rows), type=pa.list_(pa.float64())), "n_tokens": counts})


def _oracle(texts: list[str], instruments: Instruments) -> pa.Table:
    """Verdicts of the oracle language; a word that it does not have is an error, not a low score: such texts are of another language."""
    language, window = oracle(), instruments.measure.window
    encoded = [language.encode(text) for text in texts]
    rows = [row[:window] for row in encoded]
    verdicts = judge(language, rows)
    laws = [language.law_of_state[language.walk(row[None]).states[0]] for row in rows]
    counts = {name: values for name, values in verdicts._asdict().items() if name != "broken"}
    return pa.table(
        {
            **counts,
            "broken": pa.array(list(verdicts.broken), type=pa.list_(pa.int64())),
            "ids": pa.array(rows, type=pa.list_(pa.int64())),
            "laws": pa.array(laws, type=pa.list_(pa.int64())),
            "n_tokens": np.array([len(row) for row in encoded], dtype=np.int64),
        }
    )


def _paired(rows: Callable[[list[str], list[str]], Mapping[str, np.ndarray]], pairs: list[str]) -> pa.Table:
    return pa.table(dict(rows(*parted(pairs))))


_MEASURES: dict[str, Callable[[list[str], Instruments], pa.Table]] = {
    "tokens": _tokens,
    "memorization": _memorization,
    "sanity": _sanity,
    "leftovers": lambda texts, _: pa.table(dict(leftover_rows(texts))),
    "judge_nll": _judge_nll,
    "judge_ranks": _judge_ranks,
    "judge_gradient": _judge_gradient,
    **{name: partial(_judge_under, protocol) for name, protocol in BY_MEASUREMENT.items()},
    "features": _features,
    "surface": _surface,
    "oracle": _oracle,
    "bleu_mixed": lambda pairs, _: _paired(partial(bleu_counts, lowercase=False), pairs),
    "bleu_lc": lambda pairs, _: _paired(partial(bleu_counts, lowercase=True), pairs),
    "bleu_mbr": lambda groups, _: pa.table(mbr_counts(groups)),
    "rouge": lambda pairs, _: _paired(rouge_rows, pairs),
    "chrf": lambda pairs, _: _paired(chrf_counts, pairs),
    "oracle_given": lambda pairs, _: _paired(given_rows, pairs),
    "exact": lambda pairs, _: _paired(exact_rows, pairs),
}
