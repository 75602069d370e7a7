"""`elfbench show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elfbench.cli.output import Json, key_values, print_json, print_table, stdout

if TYPE_CHECKING:
    from elfbench.store.store import Store

# Of options: the long columns come last.
_LAST = {"default": 1, "minimum": 2, "maximum": 3, "choices": 4, "meaning": 5}


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|ID", help="A model, suite or metric; or the id of a cell or score (the first digits do)."
        ),
    ],
    store: Annotated[Path | None, typer.Option("--store", help="The store that holds the cell or score.")] = None,
    json: Json = False,
) -> None:
    """Everything about one thing: a model's card and options, a suite, a metric; or how a stored number was made.

    Example:  elfbench show mdlm-sotu      elfbench show 3fa9c1 --store demo-store
    """
    document = _found(name, store)
    if json:
        print_json(document)
        return
    nested = {key: value for key, value in document.items() if isinstance(value, dict) and value}
    key_values({key: value for key, value in document.items() if key not in nested and not isinstance(value, list)})
    for key, value in nested.items():
        stdout.print(f"\n{key}", style="bold", markup=False)
        if all(isinstance(part, dict) for part in value.values()):
            fields = {field for part in value.values() for field in part if part[field] is not None}
            columns = sorted(fields, key=lambda field: (_LAST.get(field, 0), field))
            print_table(
                ["", *columns], [[field, *(part.get(column) for column in columns)] for field, part in value.items()]
            )
        else:
            key_values(value)
    for key, value in document.items():
        if isinstance(value, list) and value:
            stdout.print(f"\n{key}", style="bold", markup=False)
            for part in value:
                stdout.print(f"  {part}", markup=False, soft_wrap=True)


def _found(name: str, store: Path | None) -> dict[str, Any]:
    from elfbench.core.errors import unknown
    from elfbench.registry import catalog
    from elfbench.running.suites import load_suite, suite_paths

    if store is not None:
        return _stored(name, store)
    if name in catalog.models():
        return catalog.models().get(name).card.model_dump(mode="json")
    if name in suite_paths():
        return load_suite(name).model_dump(mode="json")
    if name in catalog.metrics():
        metric = catalog.metrics().get(name)
        return {
            field: getattr(metric, field)
            for field in (
                "name",
                "version",
                "title",
                "unit",
                "direction",
                "measurement",
                "needs_reference",
                "paired",
                "protocol",
                "min_rows",
                "length_sensitive",
                "description",
            )
        } | {"parameters": dict(metric.parameters), "other protocols": dict(metric.protocols)}
    if name in catalog.metric_families():
        members = {one: catalog.metrics().get(one).description for one in catalog.expand_metrics(name)}
        return {"family": name, "metrics": members}
    models = [one for one in catalog.models().names() if not one.endswith(":")]
    names = [
        *models,
        *suite_paths(),
        *catalog.metric_families(),
        *(one for one in catalog.metrics().names() if not one.endswith(":")),
    ]
    raise unknown("name", name, names, key="NAME", remedy="for a cell or score give --store STORE")


def _stored(prefix: str, folder: Path) -> dict[str, Any]:
    """A score or a cell by the first digits of its id: protocol, rows, cell, seeds, code, and the command that remakes it."""
    from elfbench.store.store import Store

    store = Store.open(folder)
    scores = [(key, score) for key, score in store.scores() if key.startswith(prefix)]
    if len(scores) == 1:
        key, score = scores[0]
        return (
            {"score": key}
            | score.model_dump(mode="json")
            | {"cell": _cell(store, score.cell), "made by": f"elfbench run SUITE --out {folder}"}
        )
    return _cell(store, store.find_cell(prefix)) | {
        "scores": [
            f"{s.metric} = {s.value:.6g} [{s.low:.6g}, {s.high:.6g}] n={s.n} ({key[:12]})"
            for key, s in store.scores()
            if s.cell.startswith(prefix)
        ]
    }


def _cell(store: Store, cell_id: str) -> dict[str, Any]:
    cell = store.cell(cell_id)
    made = [store.made(cell_id, part) | {"rows": f"{part.start}-{part.stop - 1}"} for part in store.ranges(cell_id)]
    return (
        {"id": cell_id}
        | cell.model_dump(mode="json")
        | {
            "shards": [
                f"rows {m['rows']}: {m.get('seconds', 0):.2f} s on {m.get('device')}, code {str(m.get('code'))[:12]}, commit {str(m.get('commit'))[:12]}, torch {m.get('versions', {}).get('torch')}"
                for m in made
            ]
        }
    )
