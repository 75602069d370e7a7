"""A model's own likelihood of held-out text, in bits per UTF-8 byte: comparable between families and tokenizers, as perplexities per token
are not. Diffusion models give upper bounds by Monte Carlo; the bound stands beside the number.
"""

from __future__ import annotations

import math

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows, column
from elfbench.statistics.ratio import ratio_of_sums

_BITS = math.log(2.0)  # nats per bit
_NAME = "nll_bits_per_byte"
_NOISE = (
    "; every row's nll holds its own Monte-Carlo noise, independent between rows, so the spread of rows includes it"
)


def nll_bits_per_byte(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """sum nll_nats / (ln 2 * sum UTF-8 bytes) over rows. Columns [n]: nll_nats, error_nats, n_scored, n_bytes_scored, bound.

    Detail: `bound`; `monte_carlo_error`, the part of the standard error that more draws per text would remove, in bits per byte.
    """
    nll, error = column(rows, "nll_nats"), column(rows, "error_nats")
    n_bytes, tokens = int(column(rows, "n_bytes_scored").sum()), int(column(rows, "n_scored").sum())
    bounds = sorted(set(rows.columns["bound"]))
    if len(bounds) != 1:
        raise ConfigError("rows of different bounds are no one number", key=_NAME, found=bounds)
    interval = ratio_of_sums(nll / _BITS, column(rows, "n_bytes_scored"), level=context.level, name=_NAME)
    noisy = bool((error > 0.0).any())
    return Estimate(
        value=interval.value,
        low=interval.low,
        high=interval.high,
        method=interval.method + (_NOISE if noisy else ""),
        covers="sampling of texts" + (", and of the Monte-Carlo draws of the bound" if noisy else ""),
        detail={
            "bound": bounds[0],
            "nats_per_token": math.fsum(nll) / tokens,
            "tokens_scored": tokens,
            "bytes_scored": n_bytes,
            "monte_carlo_error": math.sqrt(math.fsum(np.square(error))) / _BITS / n_bytes,
        },
    )


NLL_BITS_PER_BYTE = Metric(
    name=_NAME,
    version=1,
    title="NLL, bits/byte",
    unit="bits per byte",
    direction="lower",
    measurement="likelihood",
    estimate=nll_bits_per_byte,
    parameters={"pooling": "bytes"},
    length_sensitive=False,
    description=(
        "The model's own negative log-likelihood of held-out text per UTF-8 byte, in bits. A mark tells what a number is: <= an upper "
        "bound, ~ an estimate, none exact. It does not depend on steps or sampling options."
    ),
)
