"""Generative perplexity as papers and the library evaluate compute it, each a number of its own (`elfbench.spec.judging` defines them).

Stored rows know nothing of each other; here they meet: which of them are padded (shorter than the longest), which fall into the dropped last
batch, and how rows become one number. Rows stay the unit of the interval: a ratio of sums over rows, or a mean over rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.metrics.estimate import as_estimate
from elfbench.spec.judging import ELF, HF_EVALUATE, MDLM_DUO, SDTT, SEDD, JudgingProtocol
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows, column
from elfbench.statistics.mean import RESAMPLES, bca_mean
from elfbench.statistics.ratio import exp_ratio_of_sums

_COVERS = "sampling of rows, for this judge"
_HOW = {
    "tokens": "pooled over tokens",
    "mean_of_perplexities": "mean of the texts' perplexities",
    "mean_of_logs": "geometric mean of the texts' perplexities",
}


def prepared(columns: Mapping[str, Any], protocol: JudgingProtocol) -> tuple[dict[str, Any], np.ndarray]:
    """Columns of `ProtocolRows` of all rows [n], in their order -> (columns with padding counted, [n] bool which rows the protocol uses).

    Added: `mean_entropy` [n], one number: the mean over the texts that are not empty, those of a dropped batch included.
    Raises ConfigError where the protocol refuses empty texts and there are any.
    """
    there = _not_empty(columns, protocol)
    length = np.asarray(columns["length"])
    padded = there & (length < length[there].max(initial=0))
    found = dict(columns)
    found["nll_nats"] = np.asarray(columns["nll_nats"]) + np.where(padded, columns["end_nats"], 0.0)
    found["n_scored"] = np.asarray(columns["n_scored"]) + np.where(padded, columns["end_scored"], 0)
    used = _whole_batches(there, protocol.batch_size)
    if protocol.entropy_guard is not None:
        entropies = np.asarray(columns["entropy"])[there & (length > 0)]
        found["mean_entropy"] = np.full(len(length), math.fsum(entropies) / max(1, len(entropies)))
    return found, used


def prepared_entropy(columns: Mapping[str, Any], protocol: JudgingProtocol) -> tuple[dict[str, Any], np.ndarray]:
    """The columns as they are, and the rows whose entropy the protocol averages: all that are not empty, without dropping a batch."""
    return dict(columns), _not_empty(columns, protocol) & (np.asarray(columns["length"]) > 0)


def _not_empty(columns: Mapping[str, Any], protocol: JudgingProtocol) -> np.ndarray:
    """[n] bool: rows that the protocol passes to the judge."""
    n_tokens = np.asarray(columns["n_tokens"])
    if protocol.empty == "kept":
        return np.ones(len(n_tokens), dtype=bool)
    if protocol.empty == "dropped":
        written: np.ndarray = (np.asarray(columns["blank"]) == 0) & (n_tokens > 0)
        return written
    unscored = np.flatnonzero(np.asarray(columns["n_scored"]) == 0)
    if len(unscored):
        raise ConfigError(
            f"protocol {protocol.name} has no perplexity for texts without a token to score: "
            f"{len(unscored)} of {len(n_tokens)}, the first is text {unscored[0]}",
            key="texts",
            remedy="leave them out, and say so, or take --protocol clean, which counts what it drops",
        )
    return np.ones(len(n_tokens), dtype=bool)


def _whole_batches(there: np.ndarray, batch_size: int | None) -> np.ndarray:
    """[n] bool: the rows of whole batches; fewer rows than a batch are one batch."""
    if batch_size is None:
        return there
    place, n = np.cumsum(there), int(there.sum())
    size = max(1, min(batch_size, n))
    kept: np.ndarray = there & (place <= n // size * size)
    return kept


def row_values(rows: Rows, protocol: JudgingProtocol) -> tuple[np.ndarray, np.ndarray]:
    """(numerator [n], denominator [n]) whose ratio of sums is the metric, or its logarithm."""
    nll, n_scored = column(rows, "nll_nats"), column(rows, "n_scored")
    if protocol.aggregation == "tokens":
        return nll, n_scored
    means = nll / n_scored
    return (np.exp(means) if protocol.aggregation == "mean_of_perplexities" else means), np.ones(rows.n)


def gen_ppl(rows: Rows, reference: Rows | None, context: EstimateContext, *, protocol: JudgingProtocol) -> Estimate:
    """The protocol's number. Mean of perplexities: a BCa interval over texts; else the delta method over rows, on the log scale."""
    tokens = column(rows, "n_scored")
    if not tokens.sum():
        raise ConfigError("the judge scored nothing", key="n_scored", found=0, allowed="> 0")
    above, below = row_values(rows, protocol)
    name = f"gen_ppl_{protocol.name}"
    if protocol.aggregation == "mean_of_perplexities":
        interval = bca_mean(above, level=context.level, seed=context.seed, name=name)
    else:
        interval = exp_ratio_of_sums(above, below, level=context.level, name=name)
    detail: dict[str, float | int | str] = {
        "nats_per_token": math.fsum(column(rows, "nll_nats")) / int(tokens.sum()),
        "tokens_scored": int(tokens.sum()),
        "aggregation": _HOW[protocol.aggregation],
        "protocol_digest": protocol.digest,
    }
    if protocol.entropy_guard is not None:
        detail["mean_entropy"] = float(column(rows, "mean_entropy")[0])
    return as_estimate(interval, _COVERS, detail)


def unigram_entropy(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Mean over rows of the entropy that the protocol takes of a row's judge tokens, in nats."""
    interval = bca_mean(column(rows, "entropy"), level=context.level, seed=context.seed, name="unigram_entropy")
    return as_estimate(interval, "sampling of rows")


def _gen_ppl_under(protocol: JudgingProtocol) -> Metric:
    return Metric(
        name=f"gen_ppl_{protocol.name}",
        of="gen_ppl",
        version=1,
        title=f"gen-PPL ({protocol.name})",
        unit="per judge token",
        direction="lower",
        measurement=protocol.measurement,
        estimate=partial(gen_ppl, protocol=protocol),
        parameters={"pooling": protocol.aggregation, "resamples": RESAMPLES, "protocol_digest": protocol.digest},
        protocol=protocol.name,
        min_rows=2,
        prepare=partial(prepared, protocol=protocol),
        per_row=partial(row_values, protocol=protocol),
        per_row_scale="value" if protocol.aggregation == "mean_of_perplexities" else "log",
        length_sensitive=False,
        description=(
            f"Generative perplexity as {protocol.used_by} computes it: {_HOW[protocol.aggregation]}. Not comparable with "
            "another protocol's."
        ),
    )


def _entropy_under(protocol: JudgingProtocol) -> Metric:
    return Metric(
        name=f"unigram_entropy_{protocol.name}",
        of="unigram_entropy",
        version=1,
        title=f"entropy ({protocol.name})",
        unit="nats",
        direction="match",
        measurement=protocol.measurement,
        estimate=unigram_entropy,
        parameters={"order": 1, "resamples": RESAMPLES, "protocol_digest": protocol.digest},
        protocol=protocol.name,
        min_rows=2,
        prepare=partial(prepared_entropy, protocol=protocol),
        per_row=lambda rows: (column(rows, "entropy"), np.ones(rows.n)),
        length_sensitive=False,
        description=f"Mean unigram entropy of the judge's tokens of a text, as protocol {protocol.name} takes it.",
    )


GEN_PPL_ELF = _gen_ppl_under(ELF)
GEN_PPL_MDLM_DUO = _gen_ppl_under(MDLM_DUO)
GEN_PPL_SEDD = _gen_ppl_under(SEDD)
GEN_PPL_SDTT = _gen_ppl_under(SDTT)
GEN_PPL_HF_EVALUATE = _gen_ppl_under(HF_EVALUATE)
UNIGRAM_ENTROPY_ELF = _entropy_under(ELF)
UNIGRAM_ENTROPY_MDLM_DUO = _entropy_under(MDLM_DUO)
