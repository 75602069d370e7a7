"""`elfbench run`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elfbench.cli.output import Device, Json, print_json, progress_display, stderr

if TYPE_CHECKING:
    from elfbench.running.sampling import Refresh, Resources
    from elfbench.spec.suite import Suite


def command(
    suite: Annotated[
        str, typer.Argument(metavar="SUITE", help="A suite's name (elfbench list suites) or a .yaml file.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="STORE", help="The store: a new folder, or one to continue.")],
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="Rows per cell instead of the suite's; more rows extend a cell.")
    ] = None,
    device: Device = "cpu",
    batch_size: Annotated[
        int, typer.Option("--batch-size", help="Rows per forward pass, 1 to 64. Does not change the ids.")
    ] = 64,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Root seed instead of the suite's.")] = None,
    until_decided: Annotated[
        Path | None,
        typer.Option(
            "--until-decided",
            metavar="BASELINE.json",
            help="Sample and decide in turns, doubling the rows until the suite's gates pass or fail. Exit codes as of 'check'.",
        ),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="With --until-decided: a summary for a pull request."),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="With --until-decided: JUnit XML.")
    ] = None,
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
    from elfbench.core.errors import ConfigError, unknown
    from elfbench.running.run import run
    from elfbench.running.sampling import Resources
    from elfbench.running.suites import load_suite

    if refresh not in ("none", "stale"):
        raise unknown("value", refresh, ("none", "stale"), key="--refresh")
    spec = load_suite(suite)
    if seed is not None:
        spec = spec.model_copy(update={"seed": seed})
    resources = Resources(device=device, batch_size=batch_size)
    discard: Refresh = "all" if force else "stale" if refresh == "stale" else "none"
    if until_decided is not None:
        if rows is not None:
            raise ConfigError("the rows follow from the decision", key="--rows", found=rows, remedy="leave --rows out")
        _until_decided(spec, out, until_decided, resources, discard, markdown, junit, json)
        return
    with progress_display() as reporter:
        summary = run(spec, out, rows=rows, resources=resources, refresh=discard, reporter=reporter)
    if json:
        print_json(dataclasses.asdict(summary) | {"nothing_to_do": summary.nothing_to_do})
    for gap in summary.not_scored:
        stderr.print(
            f"not scored: {gap['model']} {gap['metric']}: {gap['why']}", style="yellow", markup=False, soft_wrap=True
        )
    if summary.rows_stale:
        stderr.print(
            f"{summary.rows_stale} rows were made by other code: --refresh stale remakes them",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
    if summary.nothing_to_do:
        stderr.print(
            f"nothing to compute: all {summary.cells} cells and their scores are in {summary.store}", markup=False
        )
    else:
        texts = f" {summary.texts_scored} likelihoods of texts," if summary.texts_scored else ""
        texts += f" {summary.runs_timed} batches timed," if summary.runs_timed else ""
        stderr.print(
            f"{summary.cells} cells: {summary.rows_made} rows sampled, {summary.rows_kept} kept,{texts} {summary.scores_made} new scores in {summary.store}",
            markup=False,
            soft_wrap=True,
        )
    stderr.print(f"next: elfbench report {summary.store} --out DIR", style="dim", markup=False, soft_wrap=True)


def _until_decided(
    suite: Suite,
    out: Path,
    baseline: Path,
    resources: Resources,
    refresh: Refresh,
    markdown: Path | None,
    junit: Path | None,
    json: bool,
) -> None:
    from elfbench.cli.check import EXIT, show, write_files
    from elfbench.gates.until_decided import until_decided
    from elfbench.running.prompts import prompt_set
    from elfbench.running.run import run, stored_document
    from elfbench.store.store import Store

    document = stored_document(suite, prompt_set(suite.prompts) if suite.prompts else None)
    discard = refresh
    with progress_display() as reporter:

        def sample(rows: int) -> Store:
            nonlocal discard
            run(suite, out, rows=rows, resources=resources, refresh=discard, reporter=reporter)
            discard = "none"
            return Store.open(out)

        decision = until_decided(
            suite, baseline, sample, on_look=lambda look: reporter.note(look.sentence), document=document
        )
    show(decision, json=json)
    write_files(decision, markdown, junit)
    raise typer.Exit(EXIT[decision.status])
