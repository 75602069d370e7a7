"""`elfbench sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from elfbench.cli.output import Device, Json, parse_options, print_json, progress_display, stderr, stdout


def command(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name: elfbench list models.")],
    n: Annotated[int | None, typer.Option("--n", "-n", help="How many texts (default 4).")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Sampling steps (default 32).")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Root seed; row i is the same for any number of rows.")] = 0,
    length: Annotated[int | None, typer.Option("--length", help="New tokens (default 64).")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="A model's option (elfbench show MODEL). Repeatable."),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", metavar="TEXT", help="Text to continue; {N} in it is a gap of N tokens to fill in."),
    ] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Other weights for this model.")] = None,
    device: Device = "cpu",
    trace: Annotated[bool, typer.Option("--trace", help="Show the path of one text from noise to the end.")] = False,
    frames: Annotated[int, typer.Option("--frames", min=2, help="How many frames --trace shows.")] = 8,
    json: Json = False,
) -> None:
    """Print a few texts of one model.

    Example:  elfbench sample elf-sotu --steps 32 --trace
    Example:  elfbench sample mdlm-sotu --prompt "My fellow {4} of the {2} States"
    """
    from elfbench.registry import catalog
    from elfbench.running.sample import sample
    from elfbench.running.sample import trace as trace_path

    options = parse_options(option)
    if trace:
        if n not in (None, 1):
            stderr.print(f"--trace shows one text, row 0; -n {n} is for samples without it", style="dim", markup=False)
        path = trace_path(
            name, frames, steps, seed, length=length, options=options, prompt=prompt, weights=weights, device=device
        )
        if json:
            print_json({"model": name, "progress": path.progress.tolist(), "texts": [row[0] for row in path.texts]})
            return
        for progress, row in zip(path.progress, path.texts, strict=True):
            stdout.print(Text(f"{progress:5.0%} ", style="bold cyan"), Text(_one_line(row[0])), soft_wrap=False)
        return
    with progress_display() as reporter:
        batch = sample(
            name,
            4 if n is None else n,
            steps,
            seed,
            length=length,
            options=options,
            prompt=prompt,
            weights=weights,
            device=device,
            reporter=reporter,
        )
    if json:
        rows = zip(batch.texts, batch.lengths.tolist(), batch.nfe.tolist(), batch.positions.tolist(), strict=True)
        print_json(
            {
                "model": name,
                "seed": seed,
                "samples": [{"text": t, "length": k, "nfe": f, "positions": p} for t, k, f, p in rows],
            }
        )
        return
    if steps is not None and not catalog.models().get(name).card.has_steps:
        stderr.print(f"{name} has no sampling steps: --steps {steps} changes nothing", style="dim", markup=False)
    for number, text in enumerate(batch.texts):
        stdout.print(Text(f"[{number}] ", style="bold cyan"), Text(_one_line(text)))


def _one_line(text: str) -> str:
    """Control characters and line breaks as symbols: a text can't move the cursor."""
    return "".join(c if c.isprintable() else "⏎" if c == "\n" else "·" for c in text)
