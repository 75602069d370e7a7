"""Vendi score (Friedman and Dieng 2022, arXiv 2210.02410; order 1): the effective number of distinct texts.

exp of the von Neumann entropy of K/n, K the cosine kernel of the featurizer's vectors. Eigenvalues come from the smaller
of the two Gram matrices. No reference takes part, so nonsense that scatters scores high.
"""

from __future__ import annotations

import math

import numpy as np

from elfbench.core.errors import ConfigError
from elfbench.metrics.estimate import as_estimate
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows, column
from elfbench.statistics.interval import Interval
from elfbench.statistics.jackknife import jackknife

MIN_ROWS = 16
_RELATIVE_ZERO = 1e-12
"""Eigenvalues below this share of the trace are rounding."""


def row_entropies(unit: np.ndarray) -> np.ndarray:
    """[n] -x_i' ln(A) x_i in nats for A = X'X/n of unit rows X [n, D]; their mean is the von Neumann entropy of K/n."""
    n, width = unit.shape
    if width <= n:
        values, vectors = np.linalg.eigh(unit.T @ unit / n)
        kept = values > _RELATIVE_ZERO
        weights = (unit @ vectors[:, kept]) ** 2
    else:
        values, vectors = np.linalg.eigh(unit @ unit.T / n)
        kept = values > _RELATIVE_ZERO
        weights = n * values[kept] * vectors[:, kept] ** 2
    entropies: np.ndarray = -weights @ np.log(values[kept])
    return entropies


def vendi(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """The score in [1, min(n, D)] with an infinitesimal jackknife on the entropy's scale.

    Deleting row i moves A by (A - x_i x_i')/(n - 1), and the entropy, to first order, by (H - h_i)/(n - 1).
    """
    unit = _unit(column(rows, "vector"))
    n = len(unit)
    if n < MIN_ROWS:
        raise ConfigError("too few rows", key="vendi", found=n, allowed=f">= {MIN_ROWS}", remedy="measure more rows")
    entropies = row_entropies(unit)
    entropy = math.fsum(entropies) / n
    without = entropy + (entropy - entropies) / (n - 1)
    found = jackknife(entropy, without, level=context.level, bounds=(0.0, math.log(min(unit.shape))), name="vendi")
    method = found.method.replace("delete-one jackknife over rows", "infinitesimal jackknife of the entropy over rows")
    interval = Interval(math.exp(found.value), math.exp(found.low), math.exp(found.high), method)
    detail: dict[str, float | int | str] = {"entropy_nats": found.value, "share_of_rows": interval.value / n}
    return as_estimate(interval, "sampling of rows, at this number of rows and with this featurizer", detail)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, float64. Raises ConfigError for what is no vector or has no direction."""
    wide = np.asarray(vectors, dtype=np.float64)
    if wide.ndim != 2 or not np.isfinite(wide).all():
        raise ConfigError(
            "features must be finite vectors", key="vector", found=f"shape {wide.shape}", allowed="[n, D]"
        )
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise ConfigError(
            "a feature vector of length 0 has no cosine", key="vector", found=f"row {int(np.argmin(lengths))}"
        )
    unit: np.ndarray = wide / lengths
    return unit


VENDI = Metric(
    name="vendi",
    version=1,
    title="Vendi",
    unit="texts",
    direction="match",
    measurement="features",
    estimate=vendi,
    parameters={"kernel": "cosine", "order": 1},
    min_rows=MIN_ROWS,
    description=(
        "Effective number of distinct texts: exp of the entropy of the eigenvalues of the rows' cosine kernel over n. "
        "Comparable at equal n, window and featurizer only."
    ),
)
