"""MAUVE (Pillutla et al. 2021, arXiv 2102.01454): area under the divergence frontier of samples and references.

The histograms are those of `quantization`. Not the authors' package, which is `mauve_text`: own k-means, any
featurizer. Real text against real text scores about 0.96 at k = n/10, not 1.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.frontier import CURVE_POINTS, frontier_integral, mauve_area
from elfbench.metrics.quantization import PARAMETERS, Divergence, Scale, clusterings, covers, divergence_interval
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows

SCALING = 5.0
_LEAST = 1e-300
FOURTH_ROOT = Scale(
    lambda areas: (-np.log(np.clip(areas, _LEAST, 1.0))) ** 0.25,
    lambda roots: np.exp(-(np.maximum(roots, 0.0) ** 4)),
    " on the scale (-ln area)^(1/4)",
)
"""Near 1, 1 - area is (scaling chi^2 / 2)^2 / 6: the fourth power of the histograms' distance chi, whose error is what does not
depend on where it is. Near 0, where the area is an exponential of a divergence, the logarithm does the same."""
AREA = Divergence(partial(mauve_area, scaling=SCALING), 0.0, (0.0, 1.0), FOURTH_ROOT)
_INTEGRAL = Divergence(frontier_integral, 0.0, (0.0, 1.0))


def mauve(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """The mean over k-means seeds; the interval adds the jackknife variance of rows and the variance of seeds."""
    found = clusterings(rows, reference, context.seed, name="mauve")
    interval, seed_sd = divergence_interval(found, AREA, context)
    detail: dict[str, float | int | str] = {
        "k": found.k,
        "n_reference": len(found.runs[0].references),
        "kmeans_seed_sd": seed_sd,
        "dimensions_kept": found.width,
        "frontier_integral": float(np.mean([_INTEGRAL.between(run, found.k) for run in found.runs])),
    }
    return as_estimate(interval, covers(found.k), detail)


MAUVE = Metric(
    name="mauve",
    version=2,  # 2: the interval is symmetric on another scale; the value is that of version 1
    title="MAUVE",
    unit="area",
    direction="higher",
    measurement="features",
    estimate=mauve,
    parameters={**PARAMETERS, "scaling": SCALING, "curve_points": CURVE_POINTS},
    needs_reference=True,
    protocols={"mauve_text": "mauve_text"},
    min_rows=64,
    description=(
        "Area under the divergence frontier between samples and reference text in an embedding. Comparable only at "
        "equal n, k, window and featurizer; real text against real text scores about 0.96, not 1."
    ),
)
