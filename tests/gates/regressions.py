"""Do the gates see what they should? Real faults are put into the samplers of the oracle entries, and honest runs are seeded anew.

Each run goes through `until_decided` against the committed baseline, as CI would. Writes regressions.md and regressions.csv; about 15
minutes on two small cores. `nox -s gate_audit` runs it.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elfbench.gates.check import Decision
from elfbench.gates.until_decided import until_decided
from elfbench.registry import catalog
from elfbench.running.run import run
from elfbench.running.suites import load_suite
from elfbench.spec.sampling import Model, SampleBatch, SampleRequest
from elfbench.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
HONEST = 20


@dataclass(frozen=True)
class Wrapped:
    """A registered entry whose loaded model goes through `spoil`."""

    entry: Any
    spoil: Callable[[Model], Model]

    @property
    def card(self) -> Any:
        return self.entry.card

    def load(self, **given: Any) -> Model:
        return self.spoil(self.entry.load(**given))


@dataclass(frozen=True)
class OtherRequest:
    """A model that is asked something else than it was: other steps or options."""

    model: Model
    steps: Callable[[int], int] = lambda steps: steps
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def card(self) -> Any:
        return self.model.card

    @property
    def tokenizer(self) -> Any:
        return self.model.tokenizer

    def sample(self, request: SampleRequest) -> SampleBatch:
        return self.model.sample(
            SampleRequest(
                request.rows,
                request.seeds,
                request.length,
                None if request.steps is None else self.steps(request.steps),
                options={**request.options, **self.options},
            )
        )


@contextmanager
def nothing() -> Iterator[None]:
    yield


@dataclass(frozen=True)
class Fault:
    """A fault: which entries it spoils and how."""

    name: str
    spoils: Mapping[str, Callable[[Model], Model]]
    around: Callable[[], Any] = nothing


def noisy_weights(share: float) -> Fault:
    """Every tensor of every model gets normal noise of this share of its root mean square."""

    def spoil(model: Any) -> Model:
        import torch

        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.net.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(share * parameter.square().mean().sqrt() * noise)
        return model  # type: ignore[no-any-return]

    return Fault(
        f"{share:.0%} noise on the weights (all)", dict.fromkeys(("mdlm-oracle", "elf-oracle", "ar-oracle"), spoil)
    )


@contextmanager
def last_step_dropped() -> Iterator[None]:
    """ELF stops one step before t=1 and decodes what it has."""
    from elf_model import sampler

    whole = sampler.time_grid
    sampler.time_grid = lambda *given, **named: whole(*given, **named)[:, :-1]  # type: ignore[assignment]
    try:
        yield
    finally:
        sampler.time_grid = whole


@contextmanager
def wrong_sign_of_guidance() -> Iterator[None]:
    """ELF is told -w where w was asked for."""
    from elf_model.sampler import SamplerSettings

    honest = SamplerSettings.for_config.__func__  # type: ignore[attr-defined]

    def negated(cls: Any, config: Any, *, steps: int, **choices: Any) -> Any:
        return honest(cls, config, steps=steps, **{**choices, "self_cond_cfg": -choices["self_cond_cfg"]})

    SamplerSettings.for_config = classmethod(negated)  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        SamplerSettings.for_config = classmethod(honest)  # type: ignore[assignment, method-assign]


@contextmanager
def replaced(spoils: Mapping[str, Callable[[Model], Model]]) -> Iterator[None]:
    """The registry hands out spoiled entries."""
    loaded = catalog.models()._loaded
    honest = {name: catalog.models().get(name) for name in spoils}
    loaded.update({name: Wrapped(honest[name], spoil) for name, spoil in spoils.items()})  # type: ignore[misc]
    try:
        yield
    finally:
        loaded.update(honest)


def _temperature(value: float) -> Callable[[Model], Model]:
    return lambda model: OtherRequest(model, options={"temperature": value})


def _half(model: Model) -> Model:
    return OtherRequest(model, steps=lambda steps: steps // 2)


FAULTS = (
    Fault("temperature 1.3 (MDLM, AR)", {"mdlm-oracle": _temperature(1.3), "ar-oracle": _temperature(1.3)}),
    Fault("half the steps (MDLM, ELF)", {"mdlm-oracle": _half, "elf-oracle": _half}),
    noisy_weights(0.02),
    noisy_weights(0.05),
    noisy_weights(0.1),
    Fault("last step dropped (ELF)", {}, last_step_dropped),
    Fault("wrong sign of guidance (ELF)", {}, wrong_sign_of_guidance),
)


def decided(baseline: Path, seed: int | None, fault: Fault | None) -> Decision:
    """One run as CI would make it, in a store of its own."""
    suite = load_suite("gate")
    if seed is not None:
        suite = suite.model_copy(update={"seed": seed})
    with (
        tempfile.TemporaryDirectory() as folder,
        (fault.around if fault else nothing)(),
        replaced(fault.spoils if fault else {}),
    ):

        def sample(rows: int) -> Store:
            run(suite, Path(folder) / "store", rows=rows)
            return Store.open(Path(folder) / "store")

        return until_decided(suite, baseline, sample)


def main() -> int:
    """Writes the table; 1 when a loss of 5 % passed, an honest run failed, or too few honest runs passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "gates")
    parser.add_argument("--baseline", type=Path, default=ROOT / "suites" / "gates" / "gate.json")
    parser.add_argument("--honest", type=int, default=HONEST)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for fault in FAULTS:
        rows.append(_row(fault.name, decided(given.baseline, None, fault)))
        print(rows[-1], file=sys.stderr)
    faults = len(rows)
    for seed in range(1, given.honest + 1):
        rows.append(_row(f"honest, seed {seed}", decided(given.baseline, seed, None)))
        print(rows[-1], file=sys.stderr)
    given.out.mkdir(parents=True, exist_ok=True)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    (given.out / "regressions.csv").write_text(stream.getvalue(), encoding="utf-8")
    (given.out / "regressions.md").write_text(_markdown(rows[:faults], rows[faults:]), encoding="utf-8")
    caught = all(row["status"] == "FAIL" for row in rows[:faults] if row["loss"] >= 0.05)
    honest = [row["status"] for row in rows[faults:]]
    return 0 if caught and "FAIL" not in honest and honest.count("PASS") >= 0.9 * len(honest) else 1


def _row(name: str, decision: Decision) -> dict[str, Any]:
    failed = [verdict for verdict in decision.verdicts if verdict.status == "FAIL"]
    losses = [verdict for verdict in decision.verdicts if verdict.loss is not None]
    worst = max(losses, key=lambda verdict: verdict.loss or 0.0)
    return {
        "run": name,
        "status": decision.status,
        "rows": decision.rows,
        "failing gates": "; ".join(verdict.gate for verdict in failed),
        "loss": round(worst.loss or 0.0, 4),
        "of": worst.gate,
    }


def _markdown(faults: list[dict[str, Any]], honest: list[dict[str, Any]]) -> str:
    statuses = [row["status"] for row in honest]
    sizes = [row["rows"] for row in honest]
    lines = [
        "# What the gates catch",
        "",
        "Real faults in the samplers of the oracle entries, against the committed baseline `suites/gates/gate.json`, rows shared (paired).",
        "A loss is a change to the worse as a share of the baseline's value, measured by the grammar. Gates allow 5 % of the NLL and 10 % of",
        "the grammatical share: a fault that costs less passes. Made by `nox -s gate_audit`.",
        "",
        "| fault | decision | rows | largest loss | of | failing gates |",
        "|:--|:--|--:|--:|:--|:--|",
        *(
            f"| {row['run']} | {row['status']} | {row['rows']} | {row['loss']:+.1%} | {row['of']} | {row['failing gates']} |"
            for row in faults
        ),
        "",
        f"Honest runs with fresh seeds (unpaired): {len(honest)}; {statuses.count('PASS')} passed, "
        f"{statuses.count('INCONCLUSIVE')} stayed open, {statuses.count('FAIL')} failed. "
        f"Rows at the decision: {', '.join(f'{size} ({sizes.count(size)}x)' for size in sorted(set(sizes)))}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
