"""Typicality: how often a sample lies nearer to the reference text's center than held-out reference text does.

The distance is Mahalanobis' under a Gaussian of one half of the references (covariance shrunk after Ledoit and Wolf
2004); a sample's p-value is the share of the OTHER half that lies farther out, ties counting half, so that the mean is
1/2 for exchangeable text. The halves take turns. Below 1/2: atypical; above: too typical, which is bad as well. Named
after the panel of arXiv 2606.08417, but written from its idea, not from its definition.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from elfbench.metrics.estimate import as_estimate
from elfbench.metrics.two_sample import student_interval, two_samples
from elfbench.spec.metric import Estimate, EstimateContext, Metric, Rows

MIN_ROWS = 64


def shrunk_covariance(centered: np.ndarray) -> tuple[np.ndarray, float]:
    """(1 - s) S + s (tr S / D) I of centered rows [n, D], and s in [0, 1], Ledoit and Wolf's estimate of the best one."""
    n, width = centered.shape
    plain = centered.T @ centered / n
    scale = float(np.trace(plain)) / width
    spread = float((plain**2).sum()) / width - scale**2
    fourth = float((np.einsum("nd,nd->n", centered, centered) ** 2).sum())
    noise = (fourth / n - float((plain**2).sum())) / (n * width)
    shrinkage = min(1.0, max(0.0, noise / spread)) if spread > 0 else 1.0
    return (1.0 - shrinkage) * plain + shrinkage * scale * np.eye(width), shrinkage


def squared_distances(points: np.ndarray, fit: np.ndarray) -> tuple[np.ndarray, float]:
    """[N] squared Mahalanobis distances of `points` from the Gaussian of `fit` [n, D], and its shrinkage."""
    center = fit.mean(axis=0)
    covariance, shrinkage = shrunk_covariance(fit - center)
    away = points - center
    if not covariance.any():
        return np.einsum("nd,nd->n", away, away), shrinkage
    return np.einsum("nd,nd->n", away, np.linalg.solve(covariance, away.T).T), shrinkage


def p_values(samples: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per sample [n], the share of references [m] that are larger, ties counting half; per reference, of samples smaller."""
    n, m = len(samples), len(references)
    both = rankdata(np.concatenate([samples, references]))
    below = (both[:n] - rankdata(samples)) / m
    return 1.0 - below, (both[n:] - rankdata(references)) / n


def typicality(rows: Rows, reference: Rows | None, context: EstimateContext) -> Estimate:
    """Mean p-value, with the variances of both sides' components (DeLong et al. 1988), at fixed fits."""
    sides = two_samples(rows, reference, context, name="typicality", at_least=MIN_ROWS)
    m = len(sides.references)
    order = np.random.default_rng(context.seed).permutation(m)
    halves = np.array_split(order, 2)
    of_samples, of_references, shrinkages = np.zeros(len(sides.samples)), np.zeros(m), []
    for held_out, fitted in (halves, halves[::-1]):
        points = np.concatenate([sides.samples, sides.references[held_out]])
        distances, shrinkage = squared_distances(points, sides.references[fitted])
        shares, of_references[held_out] = p_values(distances[: len(of_samples)], distances[len(of_samples) :])
        of_samples += shares * len(held_out) / m
        shrinkages.append(shrinkage)
    variance = float(of_samples.var(ddof=1)) / len(of_samples) + float(of_references.var(ddof=1)) / m
    method = "DeLong's components of samples and references, at fixed fits, clipped to [0, 1]"
    detail: dict[str, float | int | str] = {
        "n_reference": m,
        "share_below_0.05": float((of_samples < 0.05).mean()),
        "share_above_0.95": float((of_samples > 0.95).mean()),
        "shrinkage": float(np.mean(shrinkages)),
    }
    covers = "sampling of rows and of scored reference rows; not of the rows that the Gaussians were fitted to"
    value = float(of_samples.mean())
    interval = student_interval(value, variance, sides, level=context.level, bounds=(0.0, 1.0), method=method)
    return as_estimate(interval, covers, detail)


TYPICALITY = Metric(
    name="typicality",
    version=1,
    title="typicality",
    unit="p-value",
    direction="match",
    measurement="features",
    estimate=typicality,
    parameters={"covariance": "Ledoit-Wolf", "folds": 2},
    needs_reference=True,
    min_rows=MIN_ROWS,
    description=(
        "Mean share of held-out reference text that lies farther from the reference text's center than a sample does "
        "(Mahalanobis, in an embedding). 0.5 for real text; lower is atypical, higher is too typical."
    ),
)
