"""`elfbench plan`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elfbench.cli.output import Json, print_json, print_table, stdout

if TYPE_CHECKING:
    from elfbench.running.power import Power


def command(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A suite's name or a .yaml file.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="STORE", help="Count what is already in this store.")
    ] = None,
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="Rows per cell instead of the suite's, as of run.")
    ] = None,
    power: Annotated[
        bool,
        typer.Option(
            "--power",
            help="Also: which differences the planned rows can show, from the spreads measured in --out STORE.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """What a suite would compute: its cells, their ids, the rows still missing, an estimate of the sampling time.

    Executes nothing and writes nothing.  Example:  elfbench plan demo      elfbench plan demo --power --out STORE
    """
    from elfbench.running.likelihood import plan_likelihoods
    from elfbench.running.plan import plan
    from elfbench.running.suites import load_suite
    from elfbench.running.timing.cells import plan_timings
    from elfbench.store.store import Store

    spec = load_suite(suite)
    store = Store.open(out) if out is not None and (out / "store.json").is_file() else None
    cells = plan(spec, store, rows=rows)
    likelihoods = plan_likelihoods(spec, store, rows=rows)
    timings = plan_timings(spec, store)
    total = sum(float(cell["seconds"]) for cell in cells)
    found: Sequence[Power] = ()
    if power:
        # Only then: scipy takes longer to import than a plan to make.
        from elfbench.running.power import power as powers

        found = powers(spec, store, rows=rows)
    if json:
        document = {"suite": spec.suite, "version": spec.version, "cells": cells, "sampling_seconds": round(total, 1)}
        document |= {"likelihoods": likelihoods} if likelihoods else {}
        document |= {"timings": timings} if timings else {}
        print_json(document | ({"power": [dataclasses.asdict(one) for one in found]} if power else {}))
        return
    print_table(
        ["model", "steps", "cell", "rows", "missing", "sampling", "estimate rests on"],
        [
            (c["model"], c["steps"], c["cell"][:12], c["rows"], c["missing"], f"{c['seconds']:.0f} s", c["basis"])
            for c in cells
        ],
        right=("steps", "rows", "missing", "sampling"),
    )
    if likelihoods:
        _show_likelihoods(likelihoods)
    if timings:
        _show_timings(timings)
    stdout.print(
        f"\n{len(cells)} cells{f' and {len(likelihoods)} of likelihood' if likelihoods else ''}, about {total:.0f} s of sampling; judging and features come on top.",
        markup=False,
    )
    if power:
        show_power(found)


def _show_likelihoods(cells: Sequence[Mapping[str, Any]]) -> None:
    stdout.print("")
    print_table(
        ["model", "cell", "texts", "rows", "missing", "scoring", "estimate rests on"],
        [
            (c["model"], c["cell"][:12], c["texts"], c["rows"], c["missing"], f"{c['seconds']:.0f} s", c["basis"])
            for c in cells
        ],
        title="Likelihood of held-out text, one cell a model:",
        right=("rows", "missing", "scoring"),
    )


def _show_timings(cells: Sequence[Mapping[str, Any]]) -> None:
    stdout.print("")
    print_table(
        ["model", "steps", "cell", "batch", "runs", "missing", "timing", "estimate rests on"],
        [
            [
                *(c["model"], c["steps"], c["cell"][:12], c["batch"], c["runs"], c["missing"]),
                *(f"{c['seconds']:.0f} s", c["basis"]),
            ]
            for c in cells
        ],
        title="Timing of sampling, one cell a batch size, alone on the machine:",
        right=("steps", "batch", "runs", "missing", "timing"),
    )


def show_power(found: Sequence[Power]) -> None:
    """What the planned rows can show; rows without a measured spread are counted below."""
    from elfbench.running.power import SHARES

    shares = [f"{share:.0%}" for share in SHARES]
    rows = [
        (
            one.name,
            one.metric,
            f"{one.spread:.3f} nats" if one.scale == "nats" else f"{one.spread:.1%}",
            one.planned_rows,
            None if one.detectable is None else f"{one.detectable:.2%}",
            *(one.needed.get(share) for share in shares),
        )
        for one in found
        if one.spread is not None
    ]
    columns = ["row of the suite", "metric", "spread of a row", "rows", "detectable", *(f"for {s}" for s in shares)]
    stdout.print()
    if rows:
        print_table(columns, rows, right=columns[2:])
    bases: dict[str, int] = {}
    for one in found:
        bases[one.basis] = bases.get(one.basis, 0) + 1
    stdout.print(
        f"\nSpreads: {'; '.join(f'{basis} ({count})' for basis, count in bases.items()) or 'no metric with a spread of a row'}.",
        markup=False,
        soft_wrap=True,
    )
    stdout.print(
        "detectable: the least relative difference between two independent runs of so many rows that is found with 80 % power at a "
        "two-sided alpha of 0.05; for X%: rows of each run that such a difference needs. Training seeds vary on top.",
        markup=False,
        soft_wrap=True,
    )
