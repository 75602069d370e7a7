"""Samples beside their own references: what conditional metrics measure is a pair of texts, one row at a time.

A pair is one string in the store's eyes, so that pairs are measured once and shared as texts are. Not a corpus of
reference text: see `mauve` for that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.metrics.estimate import as_estimate
from elfbench.spec.metric import Estimate, EstimateContext, Rows, column
from elfbench.statistics.interval import Interval
from elfbench.statistics.jackknife import jackknife
from elfbench.statistics.mean import bca_mean

COVERS = "sampling of rows with their references"


def joined(texts: Sequence[str], references: Sequence[str]) -> list[str]:
    """One string for every sample and its reference. Raises ConfigError for other numbers of them."""
    if len(texts) != len(references):
        raise ConfigError(
            "a sample without its reference", key="reference", found=f"{len(references)} rows", allowed=f"{len(texts)}"
        )
    return [json.dumps(pair, ensure_ascii=False) for pair in zip(texts, references, strict=True)]


def parted(pairs: Sequence[str]) -> tuple[list[str], list[str]]:
    """Samples and references of joined pairs."""
    both = [json.loads(pair) for pair in pairs]
    return [text for text, _ in both], [reference for _, reference in both]


def library_version(package: str) -> str:
    """The installed version of a package of the extra `evaluate`: part of what a number means."""
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise PrerequisiteError(
            f"this metric needs the package {package}",
            key=package,
            found="not installed",
            remedy="pip install 'elfbench[evaluate]'",
        ) from error


def mean_of_rows(
    rows: Rows, reference: Rows | None, context: EstimateContext, *, name: str, bounds: tuple[float, float]
) -> Estimate:
    """The mean over rows of the column `name`, with the BCa bootstrap over rows, cut at `bounds`."""
    found = bca_mean(column(rows, name), level=context.level, seed=context.seed, name=name)
    low, high = bounds
    inside = Interval(found.value, max(found.low, low), min(found.high, high), found.method)
    return as_estimate(inside, COVERS)


def leave_one_out(counts: np.ndarray) -> np.ndarray:
    """[n, K] sums of counts [n, K] over all rows but one: what a delete-one jackknife of pooled counts needs."""
    without: np.ndarray = counts.sum(axis=0) - counts
    return without


def pooled_estimate(
    value: float, without: np.ndarray, context: EstimateContext, *, name: str, detail: dict[str, float | int | str]
) -> Estimate:
    """A score in [0, 100] of pooled counts, with the jackknife of the scores `without` each row [n]."""
    found = jackknife(value, without, level=context.level, bounds=(0.0, 100.0), name=name)
    return as_estimate(found, COVERS, detail)
