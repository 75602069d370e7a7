"""Samples beside their own references: what conditional metrics measure is a pair of texts, one row at a time.

A pair is one string in the store's eyes, so that pairs are measured once and shared as texts are. Not a corpus of
reference text: see `mauve` for that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.metrics.estimate import as_estimate
from elfbench.spec.metric import CorpusScore, Estimate, EstimateContext, Rows, column
from elfbench.statistics.bootstrap import Resampling, bootstrap_ratio
from elfbench.statistics.interval import DEGENERATE, Interval
from elfbench.statistics.jackknife import jackknife
from elfbench.statistics.mean import bca_mean

COVERS = "sampling of rows with their references"
EXAMPLE = "example"
"""Column of paired rows: [n] the number of the example that a row is a draw of, ascending."""


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
    """The mean over rows of the column `name`, with the BCa bootstrap over rows, or over examples of several draws,
    cut at `bounds`."""
    if several_draws(rows):
        sums = mean_corpus(name).statistics(rows)
        draws = Resampling(seed=context.seed)
        found = bootstrap_ratio(sums[:, 0], sums[:, 1], level=context.level, draws=draws, name=name)
    else:
        found = bca_mean(column(rows, name), level=context.level, seed=context.seed, name=name)
    low, high = bounds
    inside = Interval(found.value, max(found.low, low), min(found.high, high), over_examples(found.method, rows))
    return as_estimate(inside, COVERS)


def examples(rows: Rows) -> np.ndarray:
    """[n] the example of every row, 0 to E - 1; where rows name none, each is one of its own."""
    if EXAMPLE not in rows.columns:
        return np.arange(rows.n)
    numbers: np.ndarray = np.unique(column(rows, EXAMPLE), return_inverse=True)[1]
    return numbers


def several_draws(rows: Rows) -> bool:
    """Whether some rows are of one example: those are not independent, so that intervals are over examples."""
    return bool(np.bincount(examples(rows)).max(initial=0) > 1)


def over_examples(method: str, rows: Rows) -> str:
    """The text of an interval's method, which speaks of rows, in which they are examples of several draws."""
    return method.replace("rows", "examples") if method != DEGENERATE and several_draws(rows) else method


def per_example(rows: Rows, *, names: Sequence[str]) -> np.ndarray:
    """[E, K] sums of the columns `names` over the rows of every example."""
    example = examples(rows)
    return np.stack([np.bincount(example, weights=column(rows, name)) for name in names], axis=1)


def mean_corpus(name: str) -> CorpusScore:
    """The mean over rows of the column `name`, as a function of sums over examples."""

    def statistics(rows: Rows) -> np.ndarray:
        counts = np.bincount(examples(rows)).astype(np.float64)
        return np.concatenate([per_example(rows, names=(name,)), counts[:, None]], axis=1)

    return CorpusScore(statistics, lambda sums: sums[:, 0] / sums[:, 1])


def leave_one_out(counts: np.ndarray) -> np.ndarray:
    """[n, K] sums of counts [n, K] over all rows but one: what a delete-one jackknife of pooled counts needs."""
    without: np.ndarray = counts.sum(axis=0) - counts
    return without


def pooled_estimate(
    value: float,
    without: np.ndarray,
    context: EstimateContext,
    *,
    name: str,
    detail: dict[str, float | int | str],
    rows: Rows,
) -> Estimate:
    """A score in [0, 100] of pooled counts, with the jackknife of the scores `without` each example [E] of `rows`."""
    found = jackknife(value, without, level=context.level, bounds=(0.0, 100.0), name=name)
    return as_estimate(replace(found, method=over_examples(found.method, rows)), COVERS, detail)
