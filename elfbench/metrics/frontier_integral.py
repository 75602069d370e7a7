"""Frontier integral (Liu et al. 2021, arXiv 2106.07898): the divergence frontier of two histograms in one number.

2 int_0^1 w KL(p||r) + (1-w) KL(q||r) dw, r = w p + (1-w) q, on the clusters of `mauve`. No scaling constant: where
MAUVE calls all models equally bad, its logarithm-free scale still tells them apart.
"""

from __future__ import annotations

import numpy as np

from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.frontier import frontier_integral as integral
from elfbench.metrics.quantization import PARAMETERS, Divergence, clusterings, covers, divergence_interval
from elfbench.metrics.two_sample import check_lengths
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows

SMOOTHING = 0.5
PLAIN = Divergence(integral, 0.0, (0.0, 1.0))
SMOOTHED = Divergence(integral, SMOOTHING, (0.0, 1.0))


def frontier_integral(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """The mean over k-means seeds; beside it the integral of histograms smoothed as in `mauve_star`."""
    check_lengths(rows, reference, context, name="frontier_integral")
    found = clusterings(rows, reference, context.seed, name="frontier_integral")
    interval, seed_sd = divergence_interval(found, PLAIN, context)
    detail: dict[str, float | int | str] = {
        "k": found.k,
        "n_reference": len(found.runs[0].references),
        "kmeans_seed_sd": seed_sd,
        "smoothed": float(np.mean([SMOOTHED.between(run, found.k) for run in found.runs])),
    }
    return as_estimate(interval, covers(found.k), detail)


FRONTIER_INTEGRAL = Metric(
    name="frontier_integral",
    version=1,
    title="frontier integral",
    unit="divergence",
    direction="lower",
    measurement="features",
    estimate=frontier_integral,
    parameters={**PARAMETERS, "weights": "uniform"},
    needs_reference=True,
    min_rows=64,
    description=(
        "Frontier integral of samples and reference text on MAUVE's clusters, 0 for equal histograms, 1 for disjoint "
        "ones. Comparable only at equal n, k, window and featurizer; real text against real text is not 0."
    ),
)
