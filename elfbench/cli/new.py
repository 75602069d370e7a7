"""`elfbench new`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elfbench.cli.output import Json, print_json, stdout


def command(
    kind: Annotated[str, typer.Argument(metavar="model|metric|suite", help="What to begin.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, e.g. my-model.")],
    folder: Annotated[Path, typer.Option("--in", metavar="DIR", help="Where the package folder goes.")] = Path(),
    json: Json = False,
) -> None:
    """Begin a model, metric or suite of your own: a small package that installs, is found, and passes its test.

    Example:  elfbench new model my-model && pip install -e my-model && elfbench conform my-model
    """
    from elfbench.conformance.scaffold import new

    files = new(kind, name, folder)
    if json:
        print_json({"kind": kind, "name": name, "files": [str(file) for file in files]})
        return
    for file in files:
        stdout.print(str(file), markup=False, soft_wrap=True)
    check = {"model": f"elfbench conform {name}", "metric": f"elfbench show {name}", "suite": f"elfbench plan {name}"}[
        kind
    ]
    stdout.print(f"next: pip install -e {folder / name} && {check}", style="dim", markup=False, soft_wrap=True)
