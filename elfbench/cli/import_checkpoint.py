"""`elfbench import-checkpoint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elfbench.cli.output import Json, print_json, stderr


def command(
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Where weights.safetensors and weights.json go; with --export, a file."
        ),
    ],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The authors' checkpoint_<step>, or a folder that holds one.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="CONFIG.yml", help="The authors' configuration of that training.")
    ] = None,
    weights: Annotated[
        str, typer.Option("--weights", metavar="ema_params1|params", help="The averaged weights, or the raw ones.")
    ] = "ema_params1",
    export: Annotated[
        Path | None,
        typer.Option(
            "--export", metavar="WEIGHTS.safetensors", help="The other way: write the authors' layout to --out."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Convert a checkpoint of ELF's authors to our weights file, exactly, or back. Nothing in the file is run.

    Every configuration key and every weight must be known, and the sizes must agree; otherwise nothing is written. --export writes the
    configuration beside the checkpoint, as FILE.yml.

    Example:  elfbench import-checkpoint checkpoint_95085 --config train_owt_ELF-B.yml --out elf-b
    """
    from elfbench.adapters.checkpoints import export_checkpoint, import_checkpoint
    from elfbench.core.errors import ConfigError

    if (file is None) == (export is None):
        both = "FILE and --export" if file else "neither"
        raise ConfigError(
            "one file to convert is needed", key="FILE", found=both, allowed="FILE or --export WEIGHTS.safetensors"
        )
    if export is not None:
        if config is not None:
            raise ConfigError(
                "the configuration is in the weights file",
                key="--config",
                found=str(config),
                remedy="leave out --config",
            )
        document = export_checkpoint(export, out)
    elif file is None or config is None:
        raise ConfigError(
            "the sizes and scales of a checkpoint are in its configuration",
            key="--config",
            found="nothing",
            allowed="the authors' .yml file of that training",
            remedy="--config CONFIG.yml",
        )
    else:
        document = import_checkpoint(file, config, out, weights=weights)
    if json:
        print_json(document)
    for kind, path in document["files"].items():
        stderr.print(f"{kind}: {path}", markup=False, soft_wrap=True)
    defaults = document.get("config_defaults")
    if defaults:
        text = f"not in the configuration, so the authors' class defaults hold: {', '.join(defaults)}"
        stderr.print(text, style="dim", markup=False, soft_wrap=True)
    for remark in document.get("remarks", ()):
        stderr.print(remark, style="dim", markup=False, soft_wrap=True)
