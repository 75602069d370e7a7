"""`elfbench compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from elfbench.cli.output import Json, print_json, print_table, stderr, stdout

if TYPE_CHECKING:
    from elfbench.reporting.comparison import Comparison

# More than this, and a terminal shows only what does not tie.
_MOST = 40


def command(
    a: Annotated[str, typer.Argument(metavar="A", help="A store; with --store a row: LABEL or MODEL, with @STEPS.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    store: Annotated[
        Path | None, typer.Option("--store", metavar="STORE", help="A and B are two rows of this store.")
    ] = None,
    suite: Annotated[str | None, typer.Option("--suite", help="Which suite, when a store holds several.")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", metavar="NAME", help="Only this metric or family. Repeatable; fewer tests, less adjustment."
        ),
    ] = None,
    adjust: Annotated[
        Literal["holm", "bh"],
        typer.Option(
            "--adjust",
            help="holm: for claims, the chance of any false one is at most 5%. bh: for dashboards to look through, at most 5% of the differences found are false on average.",
        ),
    ] = "holm",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Also write comparison.md, .csv, .png and .pdf into this folder."),
    ] = None,
    json: Json = False,
) -> None:
    """Is B better than A? Differences with intervals, p-values adjusted for their number, and what is only a tie; without torch.

    Two stores compare row by row (equal suite, label and steps), two rows of one store by name; a model's name means its default
    options. Intervals cover the sampling of rows, not the training seed.

    Example:  elfbench compare mdlm-oracle@32 elf-oracle@32 --store STORE      elfbench compare STORE-1 STORE-2 --out DIR
    """
    from elfbench.core.errors import ConfigError
    from elfbench.reporting.comparison import compare
    from elfbench.reporting.comparison_text import as_document

    if out is not None and out.is_file():
        raise ConfigError("a comparison needs a folder", key="--out", found=str(out), allowed="a folder")
    comparison = compare(a, b, store=store, suite=suite, metrics=metric, adjust=adjust)
    files = write_files(comparison, out) if out is not None else []
    if json:
        print_json(as_document(comparison) | {"files": [str(path) for path in files]})
        return
    show(comparison)
    if files:
        stderr.print(f"wrote {', '.join(map(str, files))}", markup=False, soft_wrap=True)


def show(comparison: Comparison) -> None:
    """Tables, reading notes and the closing sentence on stdout."""
    from elfbench.reporting.comparison_text import columns, footnotes, numbers, table_row

    stdout.print(f"A  {comparison.a}\nB  {comparison.b}", markup=False, soft_wrap=True)
    rows = comparison.changed
    brief = len(comparison.compared) > _MOST
    shown = [one for one in comparison.compared if not brief or one.outcome != "tie"]
    for row, changed in rows.items():
        here = [table_row(one) for one in shown if one.row == row]
        if not here:
            continue
        if len(rows) > 1:
            stdout.print(f"\n{row}", style="bold", markup=False, soft_wrap=True)
        if changed:
            stdout.print(f"cells differ in  {'; '.join(changed)}", style="dim", markup=False, soft_wrap=True)
        stdout.print()
        print_table(columns(comparison), here, right=numbers(comparison))
    stdout.print()
    if brief:
        stdout.print(
            f"{len(comparison.compared) - len(shown)} ties are not shown; --json and --out have all.", markup=False
        )
    for note in footnotes(comparison, ties=not brief):
        stdout.print(note, style="dim", markup=False, soft_wrap=True)
    stdout.print(f"\n{comparison.sentence}", markup=False, soft_wrap=True)


def write_files(comparison: Comparison, out: Path) -> list[Path]:
    """The files of `--out`; everything is made before the first is written."""
    from elfbench.reporting.comparison_figure import draw_comparison
    from elfbench.reporting.comparison_text import as_csv, as_markdown
    from elfbench.store.atomic import write_bytes

    contents = {
        out / "comparison.md": as_markdown(comparison).encode("utf-8", "replace"),
        out / "comparison.csv": as_csv(comparison).encode("utf-8", "replace"),
    }
    figure = draw_comparison(comparison)
    if figure is not None:
        contents |= {out / "comparison.png": figure.png, out / "comparison.pdf": figure.pdf}
    for path, content in contents.items():
        write_bytes(path, content)
    return list(contents)
