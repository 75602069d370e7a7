"""`elfbench run`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from elfbench.cli.output import Json, print_json, progress_display, stderr


def command(
    suite: Annotated[
        str, typer.Argument(metavar="SUITE", help="A suite's name (elfbench list suites) or a .yaml file.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="STORE", help="The store: a new folder, or one to continue.")],
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="Rows per cell instead of the suite's; more rows extend a cell.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps.")] = "cpu",
    batch_size: Annotated[
        int, typer.Option("--batch-size", help="Rows per forward pass, 1 to 64. Does not change the ids.")
    ] = 64,
    refresh: Annotated[
        str, typer.Option("--refresh", metavar="none|stale", help="stale: remake rows that other code made.")
    ] = "none",
    force: Annotated[
        bool, typer.Option("--force", help="Throw the suite's stored rows away first; says how many.")
    ] = False,
    json: Json = False,
) -> None:
    """Sample, measure and score a suite into a store.

    Run it again and nothing is computed twice; after an interruption (Ctrl-C, kill, power) the same command continues.

    Example:  elfbench run demo --out demo-store  &&  elfbench report demo-store --out demo-report
    """
    from elfbench.core.errors import unknown
    from elfbench.running.run import run
    from elfbench.running.sampling import Resources

    if refresh not in ("none", "stale"):
        raise unknown("value", refresh, ("none", "stale"), key="--refresh")
    with progress_display() as reporter:
        summary = run(
            suite,
            out,
            rows=rows,
            resources=Resources(device=device, batch_size=batch_size),
            refresh="all" if force else "stale" if refresh == "stale" else "none",
            reporter=reporter,
        )
    if json:
        print_json(dataclasses.asdict(summary) | {"nothing_to_do": summary.nothing_to_do})
    for gap in summary.not_scored:
        stderr.print(f"not scored: {gap['model']} {gap['metric']}: {gap['why']}", style="yellow", markup=False)
    if summary.rows_stale:
        stderr.print(
            f"{summary.rows_stale} rows were made by other code: --refresh stale remakes them",
            style="yellow",
            markup=False,
        )
    if summary.nothing_to_do:
        stderr.print(
            f"nothing to compute: all {summary.cells} cells and their scores are in {summary.store}", markup=False
        )
    else:
        stderr.print(
            f"{summary.cells} cells: {summary.rows_made} rows sampled, {summary.rows_kept} kept, {summary.scores_made} new scores in {summary.store}",
            markup=False,
        )
    stderr.print(f"next: elfbench report {summary.store} --out DIR", style="dim", markup=False)
