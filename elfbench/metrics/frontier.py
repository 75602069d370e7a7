"""The divergence frontier of two histograms: MAUVE's area (Pillutla et al. 2021, arXiv 2102.01454) and the frontier
integral (Liu et al. 2021, arXiv 2106.07898). Written from the papers; the end points and the mixture grid are those of
the authors' package.
"""

from __future__ import annotations

import numpy as np

CURVE_POINTS = 25
_MARGIN = 1e-6  # mixture weights lie in [margin, 1 - margin], so that every divergence is finite


def divergence_curve(p: np.ndarray, q: np.ndarray, *, scaling: float) -> np.ndarray:
    """[..., CURVE_POINTS + 2, 2] points (exp(-c KL(q||r)), exp(-c KL(p||r))), r = w p + (1-w) q, w rising; c: scaling.

    p, q: [..., k] histograms that sum to 1. In [0, 1]; the first point is (1, 0), the last (0, 1).
    """
    weights = np.linspace(_MARGIN, 1.0 - _MARGIN, CURVE_POINTS)[:, None]
    p, q = np.broadcast_arrays(p[..., None, :], q[..., None, :])
    mixed = weights * p + (1.0 - weights) * q
    inner = np.exp(-scaling * np.stack([_kl(q, mixed), _kl(p, mixed)], axis=-1))
    ends = np.broadcast_to(np.array([[1.0, 0.0], [0.0, 1.0]]), (*inner.shape[:-2], 2, 2))
    return np.concatenate([ends[..., :1, :], inner, ends[..., 1:, :]], axis=-2)


def mauve_area(p: np.ndarray, q: np.ndarray, *, scaling: float) -> np.ndarray:
    """[...] in [0, 1]: area under `divergence_curve` by trapezoids.

    The authors average the integrals over either axis; they are one number, because the curve ends on both axes.
    """
    curve = divergence_curve(p, q, scaling=scaling)
    x, y = curve[..., 0], curve[..., 1]  # along the curve x falls and y rises
    area: np.ndarray = 0.5 * ((x[..., :-1] - x[..., 1:]) * (y[..., :-1] + y[..., 1:])).sum(axis=-1)
    return area


def frontier_integral(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """[...] in [0, 1], 0 for equal histograms: 2 int_0^1 w KL(p||r) + (1-w) KL(q||r) dw with r = w p + (1-w) q.

    Per bin the integral is (p+q)/4 - p q (ln p - ln q) / (2 (p - q)), and 0 where p = q.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = 0.5 * p * q * (np.log(p) - np.log(q)) / (p - q)
    either_empty = (p == 0) | (q == 0)
    terms = 0.25 * (p + q) - np.where(either_empty, 0.0, cross)
    # Near equality the quotient cancels badly; its limit is 0 and of second order.
    integral: np.ndarray = 2.0 * np.where(np.abs(p - q) <= 1e-9 * (p + q), 0.0, terms).sum(axis=-1)
    return integral


def _kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """[...] KL(p || q) in nats over the last axis; 0 ln 0 = 0, and q > 0 wherever p > 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = p * np.log(p / q)
    divergence: np.ndarray = np.where(p > 0, terms, 0.0).sum(axis=-1)
    return divergence
