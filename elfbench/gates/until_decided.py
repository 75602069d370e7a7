"""Sampling and deciding in turns: rows double until the suite passes or fails, or its rows are used up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from elfbench.core.errors import ConfigError
from elfbench.gates.baseline import read_baseline
from elfbench.gates.check import Decision, check, refuse_other_suite
from elfbench.spec.suite import Suite
from elfbench.statistics.sequential import alpha_of_looks, doubling_looks
from elfbench.store.store import Store


def until_decided(
    suite: Suite,
    against: Path | str,
    sample: Callable[[int], Store],
    *,
    on_look: Callable[[Decision], None] | None = None,
    any_code: bool = False,
    document: Mapping[str, Any] | None = None,
) -> Decision:
    """Calls `sample` with rising numbers of rows (it returns the store that then holds them) and decides after each, spending the suite's
    alpha over the looks.

    document: the suite as a run of it will be recorded (`running.run.stored_document`), where that is not its own content: with
    prompts, weights files or metrics of `evaluate`. The rows double from `first_rows` to the suite's `rows`. Raises ConfigError before
    sampling when the suite has no gates or is not the baseline's.
    """
    baseline = read_baseline(against, key="--until-decided")
    if suite.gates is None or baseline.name != suite.suite:
        raise ConfigError(
            "the baseline is of another suite" if suite.gates else "the suite has no gates",
            key="--until-decided",
            found=baseline.name if suite.gates else suite.suite,
            allowed=suite.suite if suite.gates else "a suite with 'gates:'",
        )
    refuse_other_suite(baseline, document or suite.document())
    looks = doubling_looks(suite.gates.first_rows, suite.rows)
    for rows, alpha in zip(looks, alpha_of_looks(looks, suite.gates.alpha), strict=True):
        decision = check(sample(rows), against, alpha=alpha, any_code=any_code)
        if on_look:
            on_look(decision)
        if decision.status != "INCONCLUSIVE":
            break
    return decision
