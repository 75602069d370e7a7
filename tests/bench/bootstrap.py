"""10,000 bootstrap resamples of a corpus perplexity: ours against scipy's, which gathers the rows of every resample."""

from __future__ import annotations

import time

import numpy as np
from scipy import stats
from timing import Line, seconds

_RESAMPLES = 10_000


def corpus_bootstrap() -> list[Line]:
    """BCa intervals of 1,000 and of 5,000 rows; the same resamples and ends within rounding, or AssertionError."""
    from elfbench.statistics.bootstrap import Resampling, bootstrap_exp_ratio, ratio_columns

    lines = []
    for n in (1000, 5000):
        rng = np.random.default_rng(n)
        tokens = rng.integers(100, 1000, n).astype(float)
        nll, tokens = ratio_columns(tokens * rng.normal(3.0, 0.3, n), tokens)

        def ours(nll: np.ndarray = nll, tokens: np.ndarray = tokens) -> tuple[float, float]:
            interval = bootstrap_exp_ratio(nll, tokens, draws=Resampling(_RESAMPLES))
            return interval.low, interval.high

        def other(nll: np.ndarray = nll, tokens: np.ndarray = tokens) -> tuple[float, float]:
            result = stats.bootstrap(
                (nll, tokens),
                lambda a, b, axis=-1: np.exp(a.sum(axis=axis) / b.sum(axis=axis)),
                paired=True,
                vectorized=True,
                n_resamples=_RESAMPLES,
                batch=500,
                random_state=np.random.default_rng(0),
            )
            return result.confidence_interval.low, result.confidence_interval.high

        # The jackknife of exp(R) is not quite exp of that of R.
        np.testing.assert_allclose(ours(), other(), rtol=1e-4)
        mine, its = seconds(ours, other, repeats=2, clock=time.process_time)
        lines.append(
            Line(
                f"bootstrap: {_RESAMPLES:,} resamples of a corpus PPL of {n:,} rows", mine, its, "scipy.stats.bootstrap"
            )
        )
    return lines
