"""Generative perplexity under the protocol `clean`: how likely a judge finds the samples, pooled over tokens. The protocols of papers and of
the library evaluate are in `elfbench.metrics.gen_ppl_protocols`. It is the cross-entropy half of KL(model || judge): without an entropy
beside it, it is half a number.
"""

from __future__ import annotations

import math

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.metrics.estimate import as_estimate
from elfbench.spec.judging import BY_MEASUREMENT
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows, column
from elfbench.statistics.ratio import exp_ratio_of_sums, ratio_of_sums

_COVERS = "sampling of rows, for this judge"
_BITS = math.log(2.0)  # nats per bit


def gen_ppl(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """exp(sum nll_nats / sum n_scored) over rows: perplexity per judge token."""
    nll, tokens = column(rows, "nll_nats"), _positive(column(rows, "n_scored"), "n_scored")
    interval = exp_ratio_of_sums(nll, tokens, level=context.level, name="gen_ppl")
    detail: dict[str, float | int | str] = {
        "nats_per_token": math.log(interval.value),
        "tokens_scored": int(tokens.sum()),
    }
    n_bytes = int(column(rows, "n_bytes_scored").sum())
    if n_bytes:
        detail["bits_per_byte"] = math.fsum(nll) / _BITS / n_bytes
    return as_estimate(interval, _COVERS, detail)


def bits_per_byte(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """sum nll / (ln 2 * sum UTF-8 bytes scored) over rows: independent of the judge's tokenizer."""
    nll, n_bytes = column(rows, "nll_nats"), _positive(column(rows, "n_bytes_scored"), "n_bytes_scored")
    interval = ratio_of_sums(
        np.asarray(nll, dtype=np.float64) / _BITS, n_bytes, level=context.level, name="bits_per_byte"
    )
    return as_estimate(interval, _COVERS, {"bytes_scored": int(n_bytes.sum())})


def _positive(counts: np.ndarray, name: str) -> np.ndarray:
    if not (counts >= 0).all() or counts.sum() == 0:
        raise ConfigError("the judge scored nothing", key=name, found=int(counts.sum()), allowed="> 0")
    return counts


GEN_PPL = Metric(
    name="gen_ppl",
    version=1,
    title="gen-PPL",
    unit="per judge token",
    direction="lower",
    measurement="judge_nll",
    estimate=gen_ppl,
    parameters={"pooling": "tokens"},
    protocols={one.name: f"gen_ppl_{one.name}" for one in BY_MEASUREMENT.values()},
    min_rows=2,
    length_sensitive=False,  # protocol `clean` drops nothing but empty texts
    per_row=lambda rows: (column(rows, "nll_nats"), column(rows, "n_scored")),
    per_row_scale="log",
    description=(
        "Generative perplexity under the judge: exp of the pooled negative log-likelihood per token. Low values also "
        "come from repetition and low temperature: read it beside the entropy."
    ),
)
BITS_PER_BYTE = Metric(
    name="bits_per_byte",
    version=1,
    title="judge bits/byte",
    unit="bits per byte",
    direction="lower",
    measurement="judge_nll",
    estimate=bits_per_byte,
    parameters={"pooling": "bytes"},
    min_rows=2,
    length_sensitive=False,  # protocol `clean` drops nothing but empty texts
    per_row=lambda rows: (column(rows, "nll_nats") / _BITS, column(rows, "n_bytes_scored")),
    description=(
        "The judge's negative log-likelihood per UTF-8 byte of the samples, in bits: comparable between "
        "judges' tokenizers."
    ),
)
