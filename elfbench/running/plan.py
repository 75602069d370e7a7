"""From a suite to the cells it needs, before anything is computed: ids, missing rows, and an estimate of the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elfbench.core.canonical import file_digest
from elfbench.core.errors import ConfigError
from elfbench.metrics.clustered import Clusters
from elfbench.registry import catalog
from elfbench.running.prompts import check_rows, check_task, prompt_set
from elfbench.spec.card import ModelCard, OptionValue
from elfbench.spec.cell import SHARD_ROWS, Cell, sample_cell
from elfbench.spec.prompts import PromptSet
from elfbench.spec.suite import Suite, SuiteModel
from elfbench.store.store import Store

# Assumed speed of one small core, for estimates before anything was measured.
_FLOPS_PER_SECOND = 2.0e10


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell that a suite asks for."""

    cell: Cell
    card: ModelCard
    label: str
    n_rows: int
    prompts: PromptSet | None = None
    """What its rows are given."""
    weights: Path | None = None
    """A file in place of the entry's own weights."""
    likelihood: Cell | None = None
    """Where its model's likelihood of the suite's held-out text lies, if it was asked for and the model scores text."""

    timings: tuple[Cell, ...] = ()
    """Where its sampling is timed, a cell for each batch size, if that was asked for and there is a network to time."""

    @property
    def name(self) -> str:
        """How messages call it, e.g. 'mdlm-sotu @ 32 steps'."""
        return self.cell.model + (f" @ {self.cell.steps} steps" if self.cell.steps else "")

    def describe(self) -> dict[str, Any]:
        """What the suite record keeps of it."""
        return {
            "cell": self.cell.id,
            "model": self.cell.model,
            "label": self.label,
            "family": self.card.family,
            "steps": self.cell.steps,
            "options": dict(self.cell.options),
            "n_rows": self.n_rows,
            "n_params": self.card.n_params,
            "training_tokens": self.card.training_tokens,
            "tokenizer": self.card.tokenizer.name,
            **({"likelihood": self.likelihood.id} if self.likelihood else {}),
            **({"timings": [cell.id for cell in self.timings]} if self.timings else {}),
        }


def planned_cells(suite: Suite, *, rows: int | None = None) -> list[PlannedCell]:
    """The cells of `suite` in its order; equal ones once. Raises ConfigError for what the entries can't do."""
    _check_names(suite)
    cells: dict[str, PlannedCell] = {}
    prompts = prompt_set(suite.prompts) if suite.prompts else None
    if prompts is not None:
        check_rows(prompts, rows or suite.rows)
    for number, model in enumerate(suite.models):
        card = catalog.models().get(model.name).card
        if prompts is not None:
            check_task(card, prompts, f"models[{number}]")
        weights = _weights(model, f"models[{number}]")
        for steps in _steps(model, card, f"models[{number}]"):
            cell = sample_cell(
                card,
                length=_length(suite, card),
                steps=steps,
                root_seed=suite.seed,
                options=model.options,
                numerics=model.numerics,
                weights_digest=file_digest(weights) if weights else None,
                prompts_digest=prompts.digest if prompts else None,
            )
            label = model.label or _label(card.title, cell.options)
            cells.setdefault(cell.id, PlannedCell(cell, card, label, rows or suite.rows, prompts, weights))
    return list(cells.values())


def _check_names(suite: Suite) -> None:
    """Raises ConfigError for metrics and instruments that there are none of, whether or not anything will read them."""
    for metric in suite.metrics:
        for name in catalog.expand_metrics(metric.name):
            catalog.metrics().owner(name)
    if suite.judge is not None:
        catalog.judges().owner(suite.judge)
    if suite.featurizer is not None:
        catalog.featurizers().owner(suite.featurizer)


def _label(title: str, options: Mapping[str, OptionValue]) -> str:
    """The title, with the options that tell this cell from others of the model."""
    parts = [f"{key}={value}" for key, value in sorted(options.items())]
    return title + (f" ({', '.join(parts)})" if parts else "")


def _weights(model: SuiteModel, key: str) -> Path | None:
    if model.weights is not None and not Path(model.weights).is_file():
        raise ConfigError(
            "no such weights file", key=f"{key}.weights", found=model.weights, allowed="a .safetensors file"
        )
    return Path(model.weights) if model.weights else None


def _steps(model: SuiteModel, card: ModelCard, key: str) -> tuple[int | None, ...]:
    """The steps grid of an entry; one cell where there are no steps."""
    if not card.has_steps:
        return (None,)
    if model.steps is None:
        raise ConfigError(
            f"{model.name} needs sampling steps", key=f"{key}.steps", found="none", remedy="add 'steps: [8, 32]'"
        )
    if card.max_steps is not None and max(model.steps) > card.max_steps:
        raise ConfigError(
            f"more steps than {model.name} takes",
            key=f"{key}.steps",
            found=max(model.steps),
            allowed=f"<= {card.max_steps}",
        )
    return model.steps


def _length(suite: Suite, card: ModelCard) -> int:
    if suite.length > card.max_length:
        raise ConfigError(
            f"longer than {card.name} can", key="length", found=suite.length, allowed=f"<= {card.max_length}"
        )
    return suite.length


def plan(suite: Suite, store: Store | None = None, *, rows: int | None = None) -> list[dict[str, Any]]:
    """Per cell: name, id, rows asked for and missing, estimated seconds of sampling and on what the estimate rests. `rows` is `run`'s;
    the cells of a suite's held-out text are `likelihood.plan_likelihoods`."""
    found = []
    for planned in planned_cells(suite, rows=rows):
        missing = _missing_rows(planned, store)
        seconds, basis = estimate_seconds(planned, store)
        found.append(
            {
                "cell": planned.cell.id,
                "model": planned.cell.model,
                "steps": planned.cell.steps,
                "options": dict(planned.cell.options),
                "rows": planned.n_rows,
                "missing": missing,
                "seconds": round(seconds * missing, 1),
                "basis": basis,
            }
        )
    return found


def estimate_seconds(planned: PlannedCell, store: Store | None) -> tuple[float, str]:
    """(seconds per row, basis): measured in this store where possible, otherwise from parameters and forward passes."""
    if store is not None:
        made = measured_seconds(planned.cell.id, store)
        if made is not None:
            return made, "measured in this store"
    if not planned.card.n_params:
        return 0.001, "a control: next to nothing"
    return assumed_seconds(planned.card.n_params, planned.cell.length, planned.cell.steps or 1)


def assumed_seconds(n_params: int, length: int, passes: int) -> tuple[float, str]:
    """(seconds per row, basis) of so many forward passes on one small core."""
    return 2.0 * n_params * length * passes / _FLOPS_PER_SECOND, f"{n_params:,} parameters at 20 GFLOP/s"


def measured_seconds(cell_id: str, store: Store) -> float | None:
    """Seconds per row of what a store holds of a cell; None where it holds nothing that was timed."""
    seconds, rows = 0.0, 0
    for part in store.ranges(cell_id):
        made: Mapping[str, Any] = store.made(cell_id, part)
        if "seconds" in made:
            seconds, rows = seconds + float(made["seconds"]), rows + part.stop - part.start
    return seconds / rows if rows else None


def clusters_of(planned: PlannedCell) -> Clusters | None:
    """Which rows of the cell are not independent: those of a batch that share randomness by one of its options, or the draws of an example."""
    options = planned.card.all_options(planned.cell.options)
    if any(options[name] in spec.per_batch for name, spec in planned.card.options.items()):
        return Clusters("batch", SHARD_ROWS)
    draws = planned.prompts.draws if planned.prompts is not None else 1
    return Clusters("example", draws) if draws > 1 else None


def _missing_rows(planned: PlannedCell, store: Store | None) -> int:
    if store is None:
        return planned.n_rows
    return sum(part.stop - part.start for part in store.missing(planned.cell.id, planned.n_rows))
