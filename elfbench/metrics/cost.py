"""What sampling cost: forward passes and positions per row, counted and the same on any machine;
tokens per second, which hold for the machine and batch of the run.
"""

from __future__ import annotations

from functools import partial

from elfbench.core.errors import ConfigError
from elfbench.metrics.estimate import as_estimate
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows, column
from elfbench.statistics.mean import t_mean
from elfbench.statistics.ratio import log_ratio_of_sums


def mean_count(rows: Rows, reference: Rows | None, context: EstimateContext, *, name: str) -> Estimate:
    """Mean over rows of a counted column; where every row cost the same, the interval is the value."""
    interval = t_mean(column(rows, name), level=context.level, name=name)
    return as_estimate(interval, "sampling of rows; the counts themselves are exact")


def tokens_per_second(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """New tokens / seconds over all shards, prompts excluded."""
    tokens, seconds = column(rows, "shard_tokens"), column(rows, "shard_seconds")
    if len(seconds) < 2:
        raise ConfigError(
            f"a rate needs two timed shards for its interval, there are {len(seconds)}",
            key="tokens_per_second",
            found=len(seconds),
            allowed=">= 2 shards",
            remedy="sample more rows: a shard is 64 rows",
        )
    interval = log_ratio_of_sums(tokens, seconds, level=context.level, name="tokens_per_second")
    return as_estimate(
        interval,
        "run-to-run of shards on one machine; not a timing cell",
        {"shards": len(seconds), "seconds": float(seconds.sum())},
    )


NFE = Metric(
    name="nfe",
    version=1,
    title="NFE",
    unit="forward passes per row",
    direction="lower",
    measurement="cost",
    estimate=partial(mean_count, name="nfe"),
    min_rows=2,
    length_sensitive=False,
    description=(
        "Forward passes of the network in which a row took part; a doubled guidance batch counts twice, "
        "the final decode counts."
    ),
)
POSITIONS = Metric(
    name="positions",
    version=1,
    title="positions",
    unit="token positions per row",
    direction="lower",
    measurement="cost",
    estimate=partial(mean_count, name="positions"),
    min_rows=2,
    length_sensitive=False,
    description=(
        "Token positions passed through the network per row: what makes cached autoregression and diffusion comparable."
    ),
)
TOKENS_PER_SECOND = Metric(
    name="tokens_per_second",
    version=1,
    title="tokens/s",
    unit="tokens per second",
    direction="higher",
    measurement="cost",
    estimate=tokens_per_second,
    min_rows=2,
    length_sensitive=False,
    description=(
        "Generated tokens of the entry's tokenizer per second of sampling, as it happened to run; depends on machine "
        "and batch."
    ),
)
