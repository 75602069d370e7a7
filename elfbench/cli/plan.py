"""`elfbench plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elfbench.cli.output import Json, print_json, print_table, stdout


def command(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A suite's name or a .yaml file.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="STORE", help="Count what is already in this store.")
    ] = None,
    json: Json = False,
) -> None:
    """What a suite would compute: its cells, their ids, the rows still missing, an estimate of the sampling time.

    Executes nothing and writes nothing.  Example:  elfbench plan demo
    """
    from elfbench.running.plan import plan
    from elfbench.running.suites import load_suite
    from elfbench.store.store import Store

    spec = load_suite(suite)
    store = Store.open(out) if out is not None and (out / "store.json").is_file() else None
    cells = plan(spec, store)
    total = sum(float(cell["seconds"]) for cell in cells)
    if json:
        print_json({"suite": spec.suite, "version": spec.version, "cells": cells, "sampling_seconds": round(total, 1)})
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
