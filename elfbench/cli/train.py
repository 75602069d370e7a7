"""`elfbench train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elfbench.cli.output import Device, Json, print_json, progress_display, stderr


def command(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name (mdlm-sotu, ...) or a .yaml file.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Checkpoints, log and weights; an interrupted training continues there."
        ),
    ],
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Train a model from a recipe. The number of steps is fixed by the recipe, so the result does not depend on the machine's speed.

    Example:  elfbench train mdlm-sotu --out my-mdlm && elfbench sample mdlm-sotu --weights my-mdlm/weights.safetensors
    """
    from elfbench.running.train import train

    with progress_display() as reporter:
        result = train(recipe, out, device=device, reporter=reporter)
    if json:
        print_json(result)
    stderr.print(
        f"weights: {result['weights']} ({result['megabytes']:.2f} MB), log: {result['log']}",
        markup=False,
        soft_wrap=True,
    )
