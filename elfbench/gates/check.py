"""`elfbench.check`: a store against a baseline. Numpy, scipy and stored numbers; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from elfbench.core import provenance
from elfbench.core.differences import differences
from elfbench.core.errors import ConfigError, StoreError
from elfbench.gates.baseline import Baseline, BaselineCell, accepted, baseline_bytes, read_baseline
from elfbench.gates.decide import FloorQuestion, LossQuestion, Status, Verdict, decide, suite_status
from elfbench.gates.evidence import CellEvidence, Evidence, gather
from elfbench.registry import catalog
from elfbench.store.atomic import write_bytes
from elfbench.store.store import Store

# What may differ between a baseline and a run of one suite version: words, how many rows, which seeds, which weights.
_FREE = ("title", "description", "rows", "seed")


@dataclass(frozen=True, slots=True)
class ExactTier:
    """Whether one cell has the ids of the baseline."""

    cell: str
    status: str
    """equal | changed | skipped"""
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of one look."""

    suite: str
    status: Status
    rows: int
    alpha: float
    verdicts: tuple[Verdict, ...]
    exact: tuple[ExactTier, ...]
    reproduce: str
    """The command that shows the same on another machine."""

    @property
    def sentence(self) -> str:
        """The decision in one sentence."""
        failed = [one for one in self.verdicts if one.status == "FAIL"]
        open_ = [one for one in self.verdicts if one.status == "INCONCLUSIVE"]
        if failed:
            return f"FAIL: {len(failed)} of {len(self.verdicts)} gates. {failed[0].sentence}"
        if open_:
            needed = [one.rows_needed for one in open_ if one.rows_needed]
            more = f"; about {max(needed)} rows would decide" if len(needed) == len(open_) else ""
            return f"INCONCLUSIVE: {len(open_)} of {len(self.verdicts)} gates are open at {self.rows} rows{more}."
        return f"PASS: all {len(self.verdicts)} gates at {self.rows} rows."


def check(
    store: Store | Path | str, against: Path | str, *, any_code: bool = False, alpha: float | None = None
) -> Decision:
    """Decides whether the run in `store` lost quality against the baseline file `against`.

    any_code: accept rows that other code than the installed one made. alpha: what this look may spend (default: the suite's).
    Raises ConfigError when the two can't be compared, with the difference spelled out; StoreError for a damaged store.
    """
    baseline = read_baseline(against)
    evidence = gather(_store(store), baseline.name)
    refuse_unlike(baseline, evidence, any_code=any_code)
    spend = evidence.gates.alpha if alpha is None else alpha
    before = {cell.name: cell for cell in baseline.cells}
    exact = tuple(_exact(before[cell.name], cell) for cell in evidence.cells)
    equal = {tier.cell for tier in exact if tier.status == "equal"}
    losses = [
        _loss(gate.metric, gate.margin, gate.least, before[cell.name], cell, cell.name in equal)
        for cell in evidence.cells
        for gate in evidence.gates.loss
    ]
    floors = [
        _floor(gate.metric, gate.share, before[cell.name], cell)
        for cell in evidence.cells
        for gate in evidence.gates.floor
    ]
    verdicts = tuple(decide(losses, floors, alpha=spend))
    rows = evidence.n_rows
    return Decision(
        suite=baseline.name,
        status=suite_status(verdicts),
        rows=rows,
        alpha=spend,
        verdicts=verdicts,
        exact=exact,
        reproduce=f"elfbench run {baseline.name} --rows {rows} --seed {evidence.cells[0].root_seed} --out STORE"
        f" && elfbench check STORE --against {Path(against).as_posix() if not Path(against).is_absolute() else Path(against).name}",
    )


def accept(
    store: Store | Path | str,
    against: Path | str,
    *,
    suite: str | None = None,
    why: str,
    who: str,
    any_code: bool = False,
    when: str | None = None,
) -> Baseline:
    """Writes the baseline `against` from the run in `store` and appends who, when, why, old and new to its history.

    suite: which suite of the store, for a first baseline of a store that holds several.
    """
    source, path = _store(store), Path(against)
    before = read_baseline(path) if path.is_file() else None
    evidence = gather(source, before.name if before else _only_suite(source, suite))
    if not any_code:
        _refuse_other_code(evidence)
    _refuse_few_rows(evidence)
    today = when or datetime.now(UTC).strftime("%Y-%m-%d")
    baseline = accepted(evidence, who=who, when=today, why=why, before=before)
    write_bytes(path, baseline_bytes(baseline))
    return baseline


def refuse_unlike(baseline: Baseline, evidence: Evidence, *, any_code: bool) -> None:
    """Raises ConfigError when a run and a baseline do not answer the same question, and says in what they differ."""
    refuse_other_suite(baseline, evidence.suite)
    for metric, protocol in evidence.protocols.items():
        changed = differences(baseline.protocols.get(metric, {}), protocol)
        if changed:
            raise ConfigError(
                f"{metric} is measured by another protocol than the baseline's",
                key=f"protocols.{metric}",
                found="; ".join(changed[:6]),
                remedy="measure as the baseline did, or accept a new baseline",
            )
    there, here = [cell.name for cell in baseline.cells], [cell.name for cell in evidence.cells]
    if there != here:
        raise ConfigError("the cells are not the baseline's", key="cells", found=", ".join(here), allowed=there)
    for old, new in zip(baseline.cells, evidence.cells, strict=True):
        changed = differences(_fixed(old.identity), _fixed(new.identity))
        if changed:
            raise ConfigError(
                f"{new.name} is another setting than the baseline's", key="cells", found="; ".join(changed[:6])
            )
    _refuse_few_rows(evidence)
    if not any_code:
        _refuse_other_code(evidence)


def refuse_other_suite(baseline: Baseline, suite: Mapping[str, Any]) -> None:
    """Raises ConfigError when the suite document is of another version than the baseline's, or has changed without a new one."""
    if baseline.suite["version"] != suite["version"]:
        raise ConfigError(
            "the baseline is of another version of the suite",
            key="suite.version",
            found=suite["version"],
            allowed=str(baseline.suite["version"]),
            remedy="accept a new baseline: elfbench check STORE --against FILE --accept --why TEXT",
        )
    changed = differences(_compared(baseline.suite), _compared(suite))
    if changed:
        raise ConfigError(
            "the suite changed without a new version",
            key="suite",
            found="; ".join(changed[:6]),
            remedy="raise the suite's version and accept a new baseline",
        )


def _compared(suite: Mapping[str, Any]) -> dict[str, Any]:
    models = [{key: value for key, value in model.items() if key != "weights"} for model in suite["models"]]
    return {key: value for key, value in suite.items() if key not in _FREE} | {"models": models}


def _fixed(identity: Mapping[str, Any]) -> dict[str, Any]:
    # Weights, revision and implementation are what a gate is about; the seed decides only whether rows pair.
    free = ("revision", "implementation", "weights_digest", "root_seed")
    return {key: value for key, value in identity.items() if key not in free}


def _refuse_few_rows(evidence: Evidence) -> None:
    usable = [len(rows.rows) for cell in evidence.cells for rows in cell.losses.values()]
    # Dropped rows do not count: a sampler that writes short texts must not be decided on a handful.
    fewest = min(evidence.n_rows, *usable)
    if fewest < evidence.gates.first_rows // 2 or evidence.n_rows < evidence.gates.first_rows:
        raise ConfigError(
            "fewer rows than a decision takes"
            if evidence.n_rows < evidence.gates.first_rows
            else "more than half of the rows are empty or shorter than the window",
            key="rows",
            found=fewest,
            allowed=f">= {evidence.gates.first_rows}",
            remedy=f"elfbench run {evidence.suite['suite']} --rows {evidence.gates.first_rows} --out STORE",
        )


def _refuse_other_code(evidence: Evidence) -> None:
    ours = provenance.code_digest()
    other = sorted({code for cell in evidence.cells for code in cell.code if code != ours})
    if other:
        raise StoreError(
            "the rows were made by other code than the one that is installed",
            key="code",
            found=", ".join(code[:12] for code in other),
            allowed=ours[:12],
            remedy="elfbench run SUITE --out STORE --refresh stale, or --any-code to decide all the same",
        )


def _exact(before: BaselineCell, cell: CellEvidence) -> ExactTier:
    if before.root_seed != cell.root_seed:
        return ExactTier(cell.name, "skipped", f"seeds: root seed {before.root_seed} there, {cell.root_seed} here")
    moved = differences(before.made, cell.made)
    if moved or not cell.made:
        return ExactTier(cell.name, "skipped", f"platform: {'; '.join(moved) or 'rows of several platforms'}")
    blocks = min(len(before.ids), len(cell.ids))
    if not blocks:
        return ExactTier(cell.name, "skipped", "rows: fewer than one block of 64")
    same = sum(a == b for a, b in zip(before.ids, cell.ids, strict=False))
    if same == blocks:
        return ExactTier(cell.name, "equal", f"the same ids in {blocks * 64} rows")
    return ExactTier(cell.name, "changed", f"other ids in {blocks - same} of {blocks} blocks of 64 rows")


def _loss(
    metric: str, margin: float, least: float, before: BaselineCell, cell: CellEvidence, same_ids: bool
) -> LossQuestion:
    spec = catalog.metrics().get(metric)
    rows = before.losses.get(metric)
    if rows is None:
        raise _lacking(metric, before)
    return LossQuestion(
        cell=cell.name,
        metric=metric,
        title=spec.title,
        # `match` metrics of the oracle lose by rising: an NLL above the language's. Falling is what floors watch.
        direction="higher" if spec.direction == "higher" else "lower",
        scale=spec.per_row_scale,
        margin=margin,
        least=least,
        paired=before.root_seed == cell.root_seed,
        same_ids=same_ids,
        baseline=rows.row_sums(),
        current=cell.losses[metric],
    )


def _floor(metric: str, share: float, before: BaselineCell, cell: CellEvidence) -> FloorQuestion:
    baseline = before.values.get(metric)
    if baseline is None:
        raise _lacking(metric, before)
    return FloorQuestion(
        cell=cell.name,
        metric=metric,
        title=catalog.metrics().get(metric).title,
        baseline=baseline,
        current=cell.values[metric],
        floor=share * baseline,
        n_baseline=before.n_rows,
        n=cell.n_rows,
    )


def _lacking(metric: str, before: BaselineCell) -> ConfigError:
    return ConfigError("the baseline lacks a gate's metric", key=metric, found=before.name, remedy="accept a new one")


def _only_suite(store: Store, wanted: str | None) -> str:
    held = sorted({str(record["suite"]["suite"]) for record in store.suites()})
    if wanted is not None:
        return wanted
    if len(held) != 1:
        raise ConfigError(
            "which suite of the store", key="--suite", found=f"{len(held)} suites", allowed=held, remedy="--suite NAME"
        )
    return held[0]


def _store(store: Store | Path | str) -> Store:
    return store if isinstance(store, Store) else Store.open(store)
