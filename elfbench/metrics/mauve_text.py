"""MAUVE by the authors' package mauve-text (GPL, optional, imported when asked for): protocol `mauve_text` of `mauve`.

The package clusters with faiss; everything after that is compared with the native engine in the tests. The features
are the featurizer's, as for `mauve`, not those of GPT-2.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from elfbench.core.errors import PrerequisiteError
from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.frontier import CURVE_POINTS
from elfbench.metrics.mauve import AREA, SCALING
from elfbench.metrics.quantization import (
    KMEANS_ITERATIONS,
    KMEANS_SEEDS,
    KMEANS_STARTS,
    PARAMETERS,
    VARIANCE_KEPT,
    Quantized,
    covers,
    n_clusters,
    row_variance,
    scaled_interval,
    seed_variance,
)
from elfbench.metrics.two_sample import TwoSamples, two_samples
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows
from elfbench.statistics.interval import t_quantile


def mauve_text(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """The package's number, averaged over k-means seeds. Raises PrerequisiteError where it is not installed."""
    sides = two_samples(rows, reference, context, name="mauve_text", at_least=2)
    n, m = (len(side) for side in sides)
    k = n_clusters(n, m)
    found = [package_result(sides, k, context.seed + number) for number in range(KMEANS_SEEDS)]
    areas = np.array([float(one.mauve) for one in found])
    # The package tells histograms, not which row lies where: the mean of the runs' variances is the most that the
    # variance of their mean can be.
    variance = float(np.mean([row_variance((_labels(one, n, m),), k, AREA) for one in found]))
    variance += seed_variance(areas, AREA.scale)
    method = f"delete-one jackknife at fixed clusters, plus the variance over {KMEANS_SEEDS} k-means seeds"
    value, quantile = math.fsum(areas) / KMEANS_SEEDS, t_quantile(context.level, min(n, m) - 1)
    detail: dict[str, float | int | str] = {
        "k": k,
        "n_reference": m,
        "kmeans_seed_sd": float(areas.std(ddof=1)),
        "mauve_star": float(np.mean([one.mauve_star for one in found])),
        "frontier_integral": float(np.mean([one.frontier_integral for one in found])),
        "package": f"mauve-text {version('mauve-text')}",
    }
    return as_estimate(scaled_interval(value, variance, AREA, quantile, method), covers(k), detail)


def package_result(sides: TwoSamples, k: int, seed: int) -> Any:
    """What mauve-text returns for these features: mauve, mauve_star, frontier_integral, p_hist [k], q_hist [k]."""
    try:
        package = importlib.import_module("mauve")
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            "this engine of mauve needs the package mauve-text",
            found=f"no module named {error.name!r}",
            remedy="pip install 'elfbench[mauve]' (GPL), or --protocol clean for the native engine",
        ) from error
    with _faiss_is_quiet():
        return package.compute_mauve(
            p_features=sides.samples.astype(np.float32),
            q_features=sides.references.astype(np.float32),
            num_buckets=k,
            kmeans_explained_var=VARIANCE_KEPT,
            kmeans_num_redo=KMEANS_STARTS,
            kmeans_max_iter=KMEANS_ITERATIONS,
            divergence_curve_discretization_size=CURVE_POINTS,
            mauve_scaling_factor=SCALING,
            seed=seed,
            verbose=False,
        )


@contextmanager
def _faiss_is_quiet() -> Iterator[None]:
    """faiss asks for 39 rows a cluster on the process's own standard error, past Python, at every start; MAUVE has 20 by definition."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _labels(found: Any, n: int, m: int) -> Quantized:
    """Labels with the package's histograms, in the order of clusters."""
    p, q = (
        np.repeat(np.arange(len(share)), np.rint(np.asarray(share) * rows).astype(np.int64))
        for share, rows in ((found.p_hist, n), (found.q_hist, m))
    )
    return Quantized(p, q)


MAUVE_TEXT = Metric(
    name="mauve_text",
    version=2,  # as `mauve`: another interval, the same value
    title="MAUVE (mauve-text)",
    unit="area",
    direction="higher",
    measurement="features",
    estimate=mauve_text,
    parameters={**PARAMETERS, "scaling": SCALING, "curve_points": CURVE_POINTS, "engine": "mauve-text"},
    needs_reference=True,
    protocol="mauve_text",
    min_rows=64,
    of="mauve",
    description=(
        "MAUVE as the authors' package computes it on this featurizer's vectors; its k-means depends on the build and "
        "on threads. Not comparable with the native engine's numbers."
    ),
)
