"""Vendi and PRDC of 5,000 x 5,000 vectors: ours against the same with whole n x n float64 matrices, each run in a process of
its own so that its peak memory can be told.

The plain Vendi score takes the eigenvalues of the whole kernel, as the package vendi-score does; the plain PRDC makes three whole
matrices of distances, as the package prdc does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from fresh import fresh
from timing import Line

_N, _WIDTH, _NEIGHBORS = 5000, 384, 5
_PRDC = ("precision", "recall", "density", "coverage")


def prepare_vendi(n: int, *, plain: bool) -> Callable[[], float]:
    """The Vendi score of n vectors."""
    from elfbench.metrics.vendi import VENDI
    from elfbench.spec.metric import EstimateContext, Rows

    vectors = _vectors(n, 0)
    rows = Rows({"vector": vectors}, n=n, n_requested=n, n_dropped=0)
    return (lambda: _plain_vendi(vectors)) if plain else (lambda: VENDI.estimate(rows, None, EstimateContext()).value)


def prepare_prdc(n: int, *, plain: bool) -> Callable[[], list[float]]:
    """The four numbers of n samples and n references; ours with their intervals."""
    from elfbench.registry import catalog
    from elfbench.spec.metric import EstimateContext, Rows

    samples, references = _vectors(n, 0), _vectors(n, 1)
    if plain:
        return lambda: _plain_prdc(samples, references)
    rows = [Rows({"vector": side, "n_tokens": np.full(n, 9)}, n, n, 0) for side in (samples, references)]
    metrics = [catalog.metrics().get(f"prdc_{name}") for name in _PRDC]
    return lambda: [metric.estimate(rows[0], rows[1], EstimateContext()).value for metric in metrics]


def embedding() -> Iterator[Line]:
    """AssertionError unless the numbers are equal."""
    ours, other = (fresh(partial(prepare_vendi, plain=plain), _N) for plain in (False, True))
    np.testing.assert_allclose(ours.result, other.result, rtol=1e-6)
    than = "eigenvalues of the n x n kernel, without an interval"
    yield Line(f"Vendi of {_N:,} vectors", ours.seconds, other.seconds, than, peaks=(ours.peak, other.peak))
    ours, other = (fresh(partial(prepare_prdc, plain=plain), _N) for plain in (False, True))
    np.testing.assert_allclose(ours.result, other.result, rtol=1e-9)
    what = f"precision, recall, density and coverage of {_N:,} x {_N:,} vectors"
    than = "three n x n matrices of distances, without intervals"
    yield Line(what, ours.seconds, other.seconds, than, peaks=(ours.peak, other.peak))


def _vectors(n: int, side: int) -> np.ndarray:
    """[n, _WIDTH] float32 around 40 centers, those of either side half the same."""
    rng = np.random.default_rng(side)
    centers = np.random.default_rng(9).normal(size=(60, _WIDTH))[20 * side : 20 * side + 40]
    return (centers[rng.integers(40, size=n)] + rng.normal(size=(n, _WIDTH))).astype(np.float32)


def _plain_vendi(vectors: np.ndarray) -> float:
    wide = vectors.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    shares = np.linalg.eigvalsh(unit @ unit.T / len(unit))
    shares = shares[shares > 0]
    return math.exp(-float((shares * np.log(shares)).sum()))


def _plain_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None] - 2.0 * (x @ y.T)
    distances: np.ndarray = np.sqrt(np.maximum(squared, 0.0))
    return distances


def _plain_prdc(samples: np.ndarray, references: np.ndarray) -> list[float]:
    x, y = samples.astype(np.float64), references.astype(np.float64)
    within = [np.partition(_plain_distances(side, side), _NEIGHBORS, axis=1)[:, _NEIGHBORS] for side in (x, y)]
    between = _plain_distances(y, x)
    in_reference, in_sample = between < within[1][:, None], between < within[0][None]
    return [
        float(in_reference.any(axis=0).mean()),
        float(in_sample.any(axis=1).mean()),
        float(in_reference.sum(axis=0).mean()) / _NEIGHBORS,
        float((between.min(axis=1) < within[1]).mean()),
    ]
