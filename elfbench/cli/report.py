"""`elfbench report`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from elfbench.cli.output import Json, print_json, stdout


def command(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store that run or score made.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the report goes; files of the same name are replaced.")
    ],
    suite: Annotated[
        str | None, typer.Option("--suite", help="Which suite, when the store holds several versions of one.")
    ] = None,
    mixed: Annotated[
        bool,
        typer.Option("--mixed", help="A metric under several protocols: a marked column for each, not an error."),
    ] = False,
    json: Json = False,
) -> None:
    """Write results.csv, tables (markdown, LaTeX), figures (PNG, PDF, CSV) and one self-contained HTML page.

    Needs no model and no torch; the same store gives the same bytes.  Example:  elfbench report demo-store --out demo-report
    """
    from elfbench.reporting.report import write_report

    files = write_report(store, out, suite=suite, mixed=mixed)
    if json:
        print_json({name: _plain(value) for name, value in dataclasses.asdict(files).items()})
        return
    stdout.print(f"wrote {out}: open {out / 'index.html'}", markup=False, soft_wrap=True)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
