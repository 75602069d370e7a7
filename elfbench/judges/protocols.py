"""One text under a protocol of generative perplexity: its ids, how often each counts, and what the first padding would add.

Rows know nothing of each other here: whether a row is padded, and which rows a dropped batch takes, is decided from the stored rows
(`elfbench.metrics.gen_ppl_protocols`), so that a text's measurement depends neither on its neighbors nor on batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.judges.measuring import FastTokenizer, TokenRow
from elfbench.spec.instruments import ProtocolRows
from elfbench.spec.judging import JudgingProtocol

NatsOfRows = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
"""Rows of n >= 2 ids -> per row, float64 [n - 1]: nats of the tokens after the first."""


class JudgeTokens(NamedTuple):
    """What a protocol needs to know of a judge: ids are None where it has no such token; `context` counts ids."""

    name: str
    tokenizer: FastTokenizer
    context: int
    separator: int | None
    beginning: int | None
    end: int | None
    padding: int | None


def score_rows(
    protocol: JudgingProtocol, texts: Sequence[str], judge: JudgeTokens, *, window: int | None, nats: NatsOfRows
) -> ProtocolRows:
    """`texts` under `protocol`. Raises ConfigError where the judge lacks a token, or a text is longer than its context."""
    before = _start(protocol, judge)
    longest = _max_length(protocol, judge, window)
    limit = window if longest is None else longest - len(before)
    tokens = judge.tokenizer.rows(texts, specials=protocol.specials == "template", limit=limit)
    _check_context(protocol, judge, [len(before) + len(row.ids) for row in tokens], window)
    padded = [_padded(protocol, judge, row, longest) for row in tokens]
    ids = [np.concatenate([before, row]) for row in padded]
    judged = [number for number, row in enumerate(ids) if len(row) > 1]
    found = [np.zeros(0)] * len(ids)
    for number, values in zip(judged, nats([ids[number] for number in judged]) if judged else [], strict=True):
        found[number] = values
    rows = [
        _row(protocol, text, row, found[number], times(protocol, ids[number], judge.end), len(before))
        for number, (text, row) in enumerate(zip(texts, tokens, strict=True))
    ]
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), len(ProtocolRows._fields)).T
    real = ("nll_nats", "end_nats", "entropy")
    return ProtocolRows(
        *(
            values if name in real else values.astype(np.int64)
            for name, values in zip(ProtocolRows._fields, columns, strict=True)
        )
    )


def times(protocol: JudgingProtocol, ids: np.ndarray, end: int | None) -> np.ndarray:
    """ids [n], start token and padding included -> int64 [n - 1]: how often each token after the first counts."""
    if protocol.scored == "all":
        return np.ones(max(0, len(ids) - 1), dtype=np.int64)
    text = ids != end
    first = np.cumsum(~text) == 1
    counted: np.ndarray = text.astype(np.int64) + first if protocol.scored == "first_end_sum" else text | first
    return counted[1:].astype(np.int64)


def row_entropy(ids: np.ndarray, guard: float) -> float:
    """-sum p ln(p + guard) over the distinct ids [n] of a row, in nats; 0 for an empty row."""
    if not len(ids):
        return 0.0
    shares = np.unique(ids, return_counts=True)[1] / len(ids)
    return float(-(shares * np.log(shares + guard)).sum())


def _start(protocol: JudgingProtocol, judge: JudgeTokens) -> np.ndarray:
    if protocol.start == "beginning" and judge.beginning is None:
        raise _lacks(protocol, judge, "beginning-of-text")
    if protocol.padding == "end_of_text" and judge.end is None:
        raise _lacks(protocol, judge, "end-of-text")
    if protocol.padding == "end_of_text" and judge.padding not in (None, judge.end):
        # The originals pad with the tokenizer's own padding token if it has one, and then score all of it.
        raise ConfigError(
            f"protocol {protocol.name} pads with end-of-text, and judge {judge.name} has another padding token",
            key="judge",
            found=f"padding id {judge.padding}, end-of-text id {judge.end}",
            allowed="a judge whose tokenizer has no padding token, or pads with end-of-text, as GPT-2 does",
            remedy="--protocol clean, which pads nothing",
        )
    chosen = {"none": None, "separator": judge.separator, "beginning": judge.beginning}[protocol.start]
    return np.array([] if chosen is None else [chosen], dtype=np.int64)


def _lacks(protocol: JudgingProtocol, judge: JudgeTokens, token: str) -> ConfigError:
    return ConfigError(
        f"protocol {protocol.name} needs a judge with a token for {token}",
        key="judge",
        found=f"{judge.name} has none",
        remedy="--protocol clean, or another judge",
    )


def _max_length(protocol: JudgingProtocol, judge: JudgeTokens, window: int | None) -> int | None:
    """Ids that a row keeps, a start token included; None where the protocol truncates nothing."""
    if protocol.truncation == "refused":
        return None
    if window is not None and not 2 <= window <= judge.context:
        raise ConfigError(
            f"under protocol {protocol.name} the window is the longest row that the judge sees",
            key="measure.window",
            found=window,
            allowed=f"2 to {judge.context}, the context of judge {judge.name}",
        )
    return window or judge.context


def _check_context(protocol: JudgingProtocol, judge: JudgeTokens, lengths: Sequence[int], window: int | None) -> None:
    longest = max(range(len(lengths)), key=lengths.__getitem__, default=None)
    if longest is not None and lengths[longest] > judge.context:
        raise ConfigError(
            f"a text is longer than the context of judge {judge.name}, and protocol {protocol.name} truncates nothing",
            key="measure.window",
            found=f"{lengths[longest]} tokens in text {longest}" + (f", window {window}" if window else ""),
            allowed=f"at most {judge.context}",
            remedy=f"give a window (--window {judge.context - (protocol.start != 'none')}), or take a judge with a longer context",
        )


def _padded(protocol: JudgingProtocol, judge: JudgeTokens, row: TokenRow, longest: int | None) -> np.ndarray:
    """The row's ids, with one padding token behind them where padding could be scored."""
    if protocol.padding == "none" or judge.end is None or not len(row.ids) or len(row.ids) == longest:
        return row.ids
    return np.append(row.ids, judge.end)


def _row(
    protocol: JudgingProtocol, text: str, row: TokenRow, nats: np.ndarray, counted: np.ndarray, n_before: int
) -> tuple[float, ...]:
    """One row in the order of `ProtocolRows`. nats, counted [m]: tokens after the first, then the padding if there is one."""
    n = max(0, n_before + len(row.ids) - 1)
    entropy = 0.0 if protocol.entropy_guard is None else row_entropy(row.ids, protocol.entropy_guard)
    # A text's own first token is only context where nothing stands before it.
    own = np.concatenate([np.zeros(1 - n_before, dtype=np.int64), counted[:n]])[: len(row.ids)]
    return (
        float(nats[:n] @ counted[:n]),
        int(counted[:n].sum()),
        _bytes(text, row.ends, own),
        row.n_tokens,
        float(nats[n:] @ counted[n:]),
        int(counted[n:].sum()),
        len(row.ids),
        int(not text.strip()),
        entropy,
    )


def _bytes(text: str, ends: Sequence[int], counted: np.ndarray) -> int:
    """UTF-8 bytes of the tokens that count, each once; white space before a token is part of it."""
    total = reached = 0
    for end, often in zip(ends, counted, strict=True):
        if often and end > reached:
            total += len(text[reached:end].encode("utf-8", "surrogatepass"))
        reached = max(reached, end)
    return total
