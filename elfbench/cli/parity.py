"""`elfbench parity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elfbench.cli.output import Json, print_json, print_table, stderr, stdout

if TYPE_CHECKING:
    from elfbench.adapters.parity import Output, Parity

_SHOWN = 12


def command(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files or folders of reference vectors.")],
    json: Json = False,
) -> None:
    """Do our models compute what the authors' code computed? The largest difference of every output against its tolerance.

    Exit code 1 when one is above its tolerance; 2 when a file can't be read, is of an unknown kind, or nothing was there to check.

    Example:  elfbench parity tests/golden/elf
    """
    from elfbench.adapters.parity import as_document, parity

    found = parity(*paths)
    if json:
        print_json(as_document(found))
    else:
        _show(found)
    for skip in found.skipped[:_SHOWN]:
        stderr.print(f"skipped {skip.file}: {skip.why}", style="dim", markup=False, soft_wrap=True)
    if len(found.skipped) > _SHOWN:
        stderr.print(f"skipped {len(found.skipped) - _SHOWN} more files: --json names them", style="dim", markup=False)
    unchecked = sum(output.status == "not checked" for output in found.outputs)
    checked = len(found.outputs) - unchecked
    rest = f"; {unchecked} not checked" if unchecked else ""
    if found.missed:
        message = f"{len(found.missed)} of {checked} outputs miss their tolerance{rest}"
        stderr.print(message, style="red", markup=False)
        raise typer.Exit(1)
    stderr.print(f"all {checked} checked outputs are within tolerance{rest}", style="green", markup=False)


def _show(found: Parity) -> None:
    """One table per folder, then each note once, with what it is about."""
    folders: dict[Path, list[Output]] = {}
    for output in found.outputs:
        folders.setdefault(output.file.parent, []).append(output)
    columns = ("file", "kind", "output", "largest difference", "tolerance", "ok")
    for folder, outputs in folders.items():
        rows = [
            [
                output.file.stem,
                output.kind,
                output.output,
                None if output.difference is None else f"{output.difference:.3g}",
                f"{output.tolerance:.3g}",
                {"ok": "yes", "miss": "NO"}.get(output.status, output.status),
            ]
            for output in outputs
        ]
        print_table(columns, rows, title=str(folder), right=columns[3:5])
    notes: dict[tuple[Path, str], list[str]] = {}
    for output in found.outputs:
        if output.note:
            notes.setdefault((output.file, output.note), []).append(output.output)
    for (file, note), names in notes.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        about = f"{file}, {', '.join(names[:3])}{more}"
        stdout.print(f"note: {about}: {note}", style="dim", markup=False, soft_wrap=True)
