"""`elfbench doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from elfbench.cli.output import Device, Json, key_values, print_json, print_table, stderr, stdout


def command(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="A model to look at instead: elfbench list models.")
    ] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Other weights for this model.")] = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """What is installed, which device, which assets are present, where caches lie, and what to type for what is missing.

    With MODEL: loads it, compares its weights with its card, samples two texts, and tells whether held-out text is likelier under it than
    random ids: garbled weights are not caught otherwise. Exit code 1 when something is wrong.

    Example:  elfbench doctor      elfbench doctor ar-oracle      elfbench doctor mdlm-sotu --weights mine.safetensors
    """
    if model is not None:
        _model(model, weights, device, json)
        return
    from elfbench.core.errors import ConfigError
    from elfbench.running.doctor import diagnosis

    if weights is not None:
        raise ConfigError(
            "weights of which model?", key="--weights", found=str(weights), remedy="doctor MODEL --weights"
        )
    found = diagnosis()
    if json:
        print_json(found)
        return
    key_values(
        {
            "elfbench": found["elfbench"],
            "python": found["python"],
            "platform": found["platform"],
            "device": found["device"],
            "cache": found["cache"],
        }
    )
    stdout.print()
    print_table(
        ["", "needed for", "found", "type this"],
        [[item["name"], item["for"], item["found"] or "missing", item["remedy"]] for item in found["items"]],
    )


def _model(name: str, weights: Path | None, device: str, json: bool) -> None:
    from elfbench.running.smoke import smoke

    found = smoke(name, weights, device)
    if json:
        print_json(found)
    else:
        _show(found)
    for problem in found["problems"]:
        stderr.print(problem, style="red", markup=False, soft_wrap=True)
    if not found["passed"]:
        raise typer.Exit(1)
    said = (
        "passed"
        if found["likelihood"]
        else "passed; it scores no text, so look at the samples: garbled weights show there only"
    )
    stderr.print(f"{name}: {said}", style="green", markup=False, soft_wrap=True)


def _show(found: dict[str, Any]) -> None:
    held = found["weights"]
    lines: dict[str, object] = {"model": f"{found['model']} ({found['title']}) on {found['device']}"}
    if held["file"]:
        same = "as in the card" if held["sha256"] == held["card"] else "not the card's"
        numbers = f"{held['n_params']:,} numbers, " if held["n_params"] is not None else ""
        lines["weights"] = f"{held['file']}: {numbers}{held['bytes']:,} bytes, sha256 {held['sha256'][:12]}, {same}"
    else:
        lines["weights"] = f"{held['source'] or 'none'}, digest {str(held['card'])[:12]}"
    samples = found["samples"]
    for number, text in enumerate(samples["texts"] if samples else ()):
        lines[f"sample {number}"] = "".join(sign if sign.isprintable() else " " for sign in text)
    key_values(lines)
    likelihood = found["likelihood"]
    if likelihood and likelihood["bits_per_byte"] is not None:
        mark = {"exact": "", "upper": "<= ", "estimate": "~ "}[likelihood["bound"]]
        rows = [
            (f"this model ({likelihood['bound']})", likelihood, mark),
            ("garbled weights, from", likelihood["garbled_from"], ""),
            ("uniform ids, ln V", likelihood["uniform"], ""),
        ]
        stdout.print()
        print_table(
            [f"{likelihood['texts']}", "bits per byte", "nats per token"],
            [
                [title, f"{sign}{one['bits_per_byte']:.3f}", f"{sign}{one['nats_per_token']:.3f}"]
                for title, one, sign in rows
            ],
            right=("bits per byte", "nats per token"),
        )
