"""`elfbench check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elfbench.cli.output import Json, print_json, print_table, stderr, stdout

if TYPE_CHECKING:
    from elfbench.gates.check import Decision

EXIT = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}


def command(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store that 'elfbench run SUITE' made.")],
    against: Annotated[Path, typer.Option("--against", metavar="BASELINE.json", help="The committed baseline.")],
    accept: Annotated[
        bool, typer.Option("--accept", help="Write the baseline from this store instead; needs --why.")
    ] = False,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Why the new numbers are right.")] = "",
    who: Annotated[str | None, typer.Option("--who", metavar="NAME", help="Default: git's user.name.")] = None,
    suite: Annotated[str | None, typer.Option("--suite", help="With --accept: which suite of the store.")] = None,
    any_code: Annotated[
        bool, typer.Option("--any-code", help="Decide also on rows that other code than the installed one made.")
    ] = False,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Also write a summary for a pull request.")
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Also write JUnit XML.")] = None,
    json: Json = False,
) -> None:
    """Did quality go down? Compares a run with a baseline file, without torch: PASS (0), FAIL (1) or INCONCLUSIVE (3).

    Example:  elfbench run gate --out STORE && elfbench check STORE --against suites/gates/gate.json
    """
    if accept:
        _accept(store, against, suite, why, who, any_code, json)
        return
    from elfbench.gates.check import check

    decision = check(store, against, any_code=any_code)
    show(decision, json=json)
    write_files(decision, markdown, junit)
    raise typer.Exit(EXIT[decision.status])


def show(decision: Decision, *, json: bool) -> None:
    """The decision on stdout."""
    from elfbench.gates.output import COLUMNS, as_document, table_row

    if json:
        print_json(as_document(decision))
        return
    print_table(COLUMNS, [table_row(verdict) for verdict in decision.verdicts], right=COLUMNS[3:8])
    for tier in decision.exact:
        stdout.print(f"ids of {tier.cell}: {tier.status}, {tier.why}", style="dim", markup=False, soft_wrap=True)
    style = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow"}[decision.status]
    stdout.print(f"\n{decision.sentence}", style=style, markup=False, soft_wrap=True)
    if decision.status != "PASS":
        stdout.print(f"reproduce: {decision.reproduce}", style="dim", markup=False, soft_wrap=True)


def write_files(decision: Decision, markdown: Path | None, junit: Path | None) -> None:
    """The summaries that were asked for."""
    from elfbench.gates.output import as_junit, as_markdown
    from elfbench.store.atomic import write_bytes

    if markdown is not None:
        write_bytes(markdown, as_markdown(decision).encode())
    if junit is not None:
        write_bytes(junit, as_junit(decision))


def _accept(
    store: Path, against: Path, suite: str | None, why: str, who: str | None, any_code: bool, json: bool
) -> None:
    from elfbench.core.provenance import git_user
    from elfbench.gates.check import accept

    baseline = accept(store, against, suite=suite, why=why, who=who or git_user() or "", any_code=any_code)
    if json:
        print_json({"baseline": str(against), "change": baseline.history[-1].model_dump(mode="json")})
        return
    change = baseline.history[-1]
    rows = [
        [gate, None if change.old[gate] is None else f"{change.old[gate]:.6g}", f"{new:.6g}"]
        for gate, new in change.new.items()
    ]
    print_table(["gate", "old", "new"], rows, right=["old", "new"])
    stderr.print(f"wrote {against}: commit it", markup=False, soft_wrap=True)
