"""What every verb prints with: one JSON document on stdout, everything else on stderr; rich tables; a progress display."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


def usable_device(name: str) -> str:
    """`name`, if torch can put a tensor there. torch is imported only for another device than the CPU."""
    if name == "cpu":
        return name
    try:
        import torch
    except ImportError:
        return name  # loading the model says what to install
    from elfbench.core.errors import ConfigError

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise ConfigError(
            "no such device here",
            key="--device",
            found=name,
            allowed=[*there, *(["mps"] if torch.backends.mps.is_available() else [])],
            remedy="elfbench doctor shows torch and its devices",
        ) from error
    return name


Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps.", callback=usable_device)]
stderr = Console(stderr=True, highlight=False)
# A pipe or a CI log has no width; 80 columns would fold the tables.
stdout = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120)


def print_json(document: object) -> None:
    """The one document."""
    json.dump(document, sys.stdout, indent=1, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None, right: Sequence[str] = ()
) -> None:
    """A table on stdout; text of models and users is never read as markup."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in columns:
        # Names are never broken: people copy them.
        table.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="fold",
            no_wrap=name in ("name", "model", "metric", "cell", "95% interval", "surely between"),
        )
    for row in rows:
        table.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
    stdout.print(table)


def key_values(content: Mapping[str, object]) -> None:
    """Aligned `key  value` lines on stdout."""
    width = max(map(len, content), default=0)
    for key, value in content.items():
        stdout.print(Text(f"{key:<{width}}  {value}"), soft_wrap=True)


def parse_options(given: Sequence[str] | None) -> dict[str, str | int | float | bool]:
    """`name=value` pairs; the card gives the type, so numbers and booleans are read as such."""
    from elfbench.core.errors import ConfigError

    options: dict[str, str | int | float | bool] = {}
    for pair in given or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigError("an option is name=value", key="--option", found=pair, allowed="e.g. temperature=0.9")
        options[name] = _literal(value)
    return options


def _literal(value: str) -> str | int | float | bool:
    if value in ("true", "false"):
        return value == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


class _Rate(ProgressColumn):
    """Units per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} {task.fields['unit']}/s" if task.speed else "", style="dim")


class RichReporter:
    """Draws stages as bars on a terminal; in a pipe or CI log it prints one line per stage and note."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task: Any = None

    def stage(self, name: str, total: int, unit: str = "rows") -> None:
        if self._progress is None:
            stderr.print(Text(f"{name}: {total} {unit}"))
            return
        self._finish()
        self._task = self._progress.add_task(name, total=total, unit=unit)

    def advance(self, units: int) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, units)

    def note(self, text: str) -> None:
        if self._progress is None:
            stderr.print(Text(f"  {text}"), soft_wrap=True)
        elif not text.startswith("made "):
            # On a terminal the bars tell which shards were made.
            self._progress.console.print(Text(text))

    def _finish(self) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=self._progress.tasks[-1].total)


@contextmanager
def progress_display() -> Iterator[RichReporter]:
    """A reporter that draws while the block runs."""
    if not stderr.is_terminal:
        yield RichReporter(None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=stderr) as progress:
        yield RichReporter(progress)
