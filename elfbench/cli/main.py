"""The root of the command line: verbs by name, errors to exit codes. Imports only typer.

Exit codes: 0 ok; 1 a check failed or a cell failed; 2 usage or configuration; 3 inconclusive; 4 a needed package or asset is missing;
70 a bug in elfbench; 130 interrupted, resumable.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

# verb -> what the overview says; the verb's own module has the full help.
VERBS = {
    "run": "Sample, measure and score a suite into a store; run it again to continue.",
    "plan": "What a suite would compute, and how long it may take; executes nothing.",
    "sample": "Print a few texts of one model; --trace shows noise turning into text.",
    "score": "Measure anybody's samples, without any model.",
    "report": "Write tables, figures and one HTML page from a store.",
    "check": "Compare a run with a baseline file: PASS, FAIL or INCONCLUSIVE, for CI.",
    "compare": "Two rows of a store, or two stores: what differs, by how much, what only ties.",
    "list": "List models, suites, metrics, judges or corpora.",
    "show": "Everything about one model, suite, metric, cell or score.",
    "parity": "Are our models equal to the authors' code? Runs files of reference vectors.",
    "conform": "Check that a model's entry keeps its contract, in seconds.",
    "new": "Begin a model, metric or suite of your own, as a small package.",
    "train": "Train a model from a recipe; run it again to continue.",
    "import-checkpoint": "Convert a checkpoint of ELF's authors to our weights file, or back.",
    "ablate": "Train variants of a recipe and compare their samples in one report.",
    "doctor": "What is installed, which device, what is missing and what to type.",
    "setup": "Install the embedded judge and encoder (without their dependencies).",
}


class VerbGroup(TyperGroup):
    """Verbs are listed without being imported."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            return None
        # The overview only needs a name and a line; `resolve_command` loads the real thing.
        return typer.core.TyperCommand(cmd_name, help=VERBS[cmd_name], rich_help_panel=None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            from elfbench.core.errors import unknown

            raise unknown("verb", args[0], VERBS, remedy="elfbench --help")
        name, command, rest = super().resolve_command(ctx, args)
        if name not in VERBS:
            return name, command, rest
        verb = typer.Typer(add_completion=False, rich_markup_mode="rich")
        module = importlib.import_module(f"elfbench.cli.{'list_' if name == 'list' else name.replace('-', '_')}")
        verb.command(name)(module.command)
        loaded = typer.main.get_command(verb)
        loaded.name = name
        return name, loaded, rest


_INTERRUPTED = 130

app = typer.Typer(
    cls=VerbGroup,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="First steps:  elfbench list models   elfbench sample mdlm-sotu --trace   elfbench run demo --out STORE   elfbench report STORE --out DIR",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from elfbench.core.provenance import version as installed

        typer.echo(f"elfbench {installed()}")
        raise typer.Exit


@app.callback()
def root(
    plugin: Annotated[
        list[Path] | None,
        typer.Option(
            "--plugin",
            metavar="FILE.py",
            help="Register what a Python file's MODELS, METRICS, FEATURIZERS and SUITES hold. Repeatable.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """The benchmark and evaluation suite for diffusion language models."""
    if plugin:
        from elfbench.registry.catalog import load_plugin

        for file in plugin:
            load_plugin(file)


def main(arguments: list[str] | None = None) -> None:
    """The entry point; never shows a traceback."""
    try:
        app(args=arguments, standalone_mode=True)
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:  # typer has caught the Ctrl-C
            typer.echo("\ninterrupted: what was finished is kept; the same command continues", err=True)
        raise
    except BrokenPipeError:
        os._exit(0)
    except Exception as error:
        from elfbench.core.errors import ElfbenchError

        if isinstance(error, ElfbenchError):
            typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
            typer.echo(str(error), err=True)
            sys.exit(error.exit_code)
        typer.echo(f"a bug in elfbench ({type(error).__name__}); the traceback is in {_traceback_file()}", err=True)
        sys.exit(70)


def _traceback_file() -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="elfbench-bug-", suffix=".txt", delete=False, encoding="utf-8"
    ) as stream:
        traceback.print_exc(file=stream)
        return stream.name


if __name__ == "__main__":
    main()
