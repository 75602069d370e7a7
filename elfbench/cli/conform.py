"""`elfbench conform`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from elfbench.cli.output import Json, print_json, print_table, stderr


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model's name: elfbench list models.")],
    json: Json = False,
) -> None:
    """Run the battery that every entry must pass, on a toy with random weights: seconds, no download. Exit code 1 when a check fails.

    Example:  elfbench conform mdlm-sotu      elfbench --plugin mine.py conform mine
    """
    from elfbench.conformance.conform import conform

    verdicts = conform(name)
    failed = [verdict for verdict in verdicts if verdict.status == "failed"]
    if json:
        print_json(
            {"name": name, "passed": not failed, "checks": [dataclasses.asdict(verdict) for verdict in verdicts]}
        )
    else:
        print_table(["", "check", "found"], [[verdict.status, verdict.check, verdict.message] for verdict in verdicts])
    if failed:
        stderr.print(
            f"{name} breaks its contract: {len(failed)} of {len(verdicts)} checks failed", style="red", markup=False
        )
        raise typer.Exit(1)
    stderr.print(f"{name} conforms", style="green", markup=False)
