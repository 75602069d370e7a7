"""mauve* (Pillutla et al. 2022, arXiv 2212.14578): MAUVE of histograms smoothed after Krichevsky and Trofimov.

Half a row is added to every cluster, so that a cluster which one side happens to miss no longer counts as if that side
could never reach it. The clusters are those of `mauve`; only the shares differ: (count + 1/2) / (n + k/2).
"""

from __future__ import annotations

from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.frontier import CURVE_POINTS
from elfbench.metrics.mauve import AREA, SCALING
from elfbench.metrics.quantization import PARAMETERS, clusterings, covers, divergence_interval
from elfbench.metrics.two_sample import check_lengths
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows

SMOOTHING = 0.5
SMOOTHED_AREA = AREA._replace(smoothing=SMOOTHING)


def mauve_star(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """As `mauve`, of smoothed histograms."""
    check_lengths(rows, reference, context, name="mauve_star")
    found = clusterings(rows, reference, context.seed, name="mauve_star")
    interval, seed_sd = divergence_interval(found, SMOOTHED_AREA, context)
    detail: dict[str, float | int | str] = {
        "k": found.k,
        "n_reference": len(found.runs[0].references),
        "kmeans_seed_sd": seed_sd,
    }
    return as_estimate(interval, covers(found.k), detail)


MAUVE_STAR = Metric(
    name="mauve_star",
    version=2,  # as `mauve`: another interval, the same value
    title="mauve*",
    unit="area",
    direction="higher",
    measurement="features",
    estimate=mauve_star,
    parameters={**PARAMETERS, "scaling": SCALING, "curve_points": CURVE_POINTS, "smoothing": SMOOTHING},
    needs_reference=True,
    min_rows=64,
    description=(
        "MAUVE of histograms with half a row added to every cluster. Comparable only at equal n, k, window and "
        "featurizer; read it beside real text against real text."
    ),
)
