"""`elfbench plan`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elfbench.cli.output import Json, print_json, print_table, stdout

if TYPE_CHECKING:
    from elfbench.running.power import Power


def command(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A suite's name or a .yaml file.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="STORE", help="Count what is already in this store.")
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
    from elfbench.running.plan import plan
    from elfbench.running.suites import load_suite
    from elfbench.store.store import Store

    spec = load_suite(suite)
    store = Store.open(out) if out is not None and (out / "store.json").is_file() else None
    cells = plan(spec, store)
    total = sum(float(cell["seconds"]) for cell in cells)
    found: Sequence[Power] = ()
    if power:
        # Only then: scipy takes longer to import than a plan to make.
        from elfbench.running.power import power as powers

        found = powers(spec, store)
    if json:
        document = {"suite": spec.suite, "version": spec.version, "cells": cells, "sampling_seconds": round(total, 1)}
        print_json(document | ({"power": [dataclasses.asdict(one) for one in found]} if power else {}))
        return
    rows = [
        (c["model"], c["steps"], c["cell"][:12], c["rows"], c["missing"], f"{c['seconds']:.0f} s", c["basis"])
        for c in cells
    ]
    print_table(
        ["model", "steps", "cell", "rows", "missing", "sampling", "estimate rests on"],
        rows,
        right=("steps", "rows", "missing", "sampling"),
    )
    stdout.print(
        f"\n{len(cells)} cells, about {total:.0f} s of sampling; judging and features come on top.", markup=False
    )
    if power:
        show_power(found)


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
