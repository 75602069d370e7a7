"""`elfbench ablate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from elfbench.cli.output import Device, Json, print_json, progress_display, stdout


def command(
    ablation: Annotated[
        str, typer.Argument(metavar="ABLATION", help="An ablation's name (elf-oracle) or a .yaml file.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Trainings, store and report; the same command continues there."),
    ],
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Train every variant of a recipe for a fixed number of steps, score its samples, and write one report.

    Example:  elfbench ablate elf-oracle --out ablation
    """
    from elfbench.reporting.report import write_report
    from elfbench.running.ablation import ablate

    with progress_display() as reporter:
        summary = ablate(ablation, out, device=device, reporter=reporter)
    files = write_report(out / "store", out / "report")
    if json:
        print_json({**dataclasses.asdict(summary), "report": str(files.page)})
        return
    stdout.print(f"wrote {files.page}", markup=False, soft_wrap=True)
