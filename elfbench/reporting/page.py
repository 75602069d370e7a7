"""One self-contained HTML page: table, figures, sample texts, protocols, provenance. No script, nothing is fetched."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from elfbench.reporting.caption import judge_title, paragraphs
from elfbench.reporting.escaping import one_line
from elfbench.reporting.figures import Figure
from elfbench.reporting.frontier import TextTable
from elfbench.reporting.numbers import formatted
from elfbench.reporting.section import ScoredCell, Section
from elfbench.reporting.tables import headers, sample_sizes
from elfbench.store.store import Store

_SAMPLES, _SAMPLE_CHARACTERS = 2, 400


def render_page(
    store: Store,
    sections: list[Section],
    figures: Mapping[str, list[Figure]],
    further: Mapping[str, Mapping[str, list[TextTable]]],
    best: Mapping[str, Mapping[str, set[str]]],
) -> str:
    """The page's HTML. figures, further tables under their headings, and by metric the cells in bold: by the section's id."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("elfbench.reporting"),
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        title=" and ".join(str(section.suite["title"]) for section in sections),
        sections=[
            _section_view(store, section, figures[section.id], best[section.id])
            | {"further": further.get(section.id, {})}
            for section in sections
        ],
    )


def _harmless(value: object) -> object:
    """Every expression of the template passes here: control characters and direction marks become spaces."""
    return one_line(value) if type(value) is str else value


def _section_view(
    store: Store, section: Section, figures: list[Figure], best: Mapping[str, set[str]]
) -> dict[str, Any]:
    return {
        "suite": section.suite,
        "command": section.command,
        "caption": paragraphs(section),
        "headers": [
            {
                "title": head,
                "hint": metric.get("description") or metric["metric"],
                "n": sample_sizes(section, metric),
            }
            for head, metric in zip(headers(section), section.metrics, strict=True)
        ],
        "blocks": [
            {"title": title, "rows": [_row_view(section, cell, best) for cell in cells]}
            for title, cells in section.blocks()
        ],
        "missing": section.missing(),
        "figures": [
            {
                "name": figure.name,
                "caption": figure.caption,
                "uri": "data:image/png;base64," + base64.b64encode(figure.png).decode(),
            }
            for figure in figures
        ],
        "samples": [_samples_view(store, cell) for _, cells in section.blocks() for cell in cells],
        "protocols": [_protocol_view(metric) for metric in section.metrics],
        "reference": section.reference,
        "made": _made_view(store, section),
    }


def _row_view(section: Section, cell: ScoredCell, best: Mapping[str, set[str]]) -> dict[str, Any]:
    values: list[dict[str, Any] | None] = []
    for metric in section.metrics:
        found = cell.scores.get(metric["metric"])
        if found is None:
            values.append(None)
            continue
        key, score = found
        value, interval = formatted(score)
        dropped = f", {score.n_dropped} left out" if score.n_dropped else ""
        values.append(
            {
                "value": value,
                "interval": "" if score.low == score.high else interval,
                "best": cell.id in best.get(metric["metric"], ()),
                "hint": f"n = {score.n} of {score.n_requested}{dropped}. {score.method}. Covers: {score.covers}. "
                f"Protocol {score.fingerprint[:12]}. elfbench show {key[:12]} --store STORE",
            }
        )
    return {
        "name": cell.label,
        "steps": cell.steps,
        "values": values,
        "hint": f"{cell.model}, cell {cell.id[:12]}",
    }


def _samples_view(store: Store, cell: ScoredCell) -> dict[str, Any]:
    texts = store.rows(cell.id, min(_SAMPLES, cell.n_rows)).texts
    cut = [
        text[:_SAMPLE_CHARACTERS] + ("\N{HORIZONTAL ELLIPSIS}" if len(text) > _SAMPLE_CHARACTERS else "")
        for text in texts
    ]
    steps = f", {cell.steps} steps" if cell.steps else ""
    return {"name": cell.label + steps, "texts": [text.replace("\n", " \N{RETURN SYMBOL} ") for text in cut]}


def _protocol_view(metric: Mapping[str, Any]) -> dict[str, Any]:
    protocol = metric["protocol"]
    measurement = protocol["measurement"]
    facts = {
        "metric": f"{metric['metric']}, version {metric['version']}, in {metric['unit'] or 'no unit'}, {metric['direction']}",
        "measurement": f"{measurement['measurement']}, version {measurement['version']}",
    }
    for name in ("protocol", "view", "window", "dtype"):
        if name in measurement:
            facts[name] = str(measurement[name])
    if judge_title(metric):
        instrument = measurement.get("judge") or measurement.get("featurizer")
        facts["instrument"] = f"{instrument['title']} ({instrument['digest'][:12]})"
    if "tokenizer" in measurement:
        facts["measuring tokenizer"] = f"{measurement['tokenizer']['name']} ({measurement['tokenizer']['digest'][:12]})"
    facts |= {name: str(value) for name, value in protocol["parameters"].items()}
    if "short_rows" in protocol:
        facts["rows shorter than the window"] = str(protocol["short_rows"])
    if "reference" in protocol:
        facts["reference"] = (
            f"{protocol['reference']['name']}, {protocol['reference']['rows']} texts ({protocol['reference']['digest'][:12]})"
        )
    facts["n asked for"] = str(metric["n_requested"])
    facts["fingerprint"] = str(metric["fingerprint"])
    return {"title": metric["title"], "description": metric.get("description", ""), "facts": facts}


def _made_view(store: Store, section: Section) -> list[dict[str, str]]:
    """Which code and machine made the rows, one line per distinct answer."""
    seconds: dict[tuple[tuple[str, str], ...], float] = {}
    for cell in section.cells:
        for part in store.ranges(cell.id):
            made = store.made(cell.id, part)
            if "code" not in made:
                continue
            versions = made.get("versions", {})
            facts = (
                ("code", str(made["code"])[:12]),
                (
                    "commit",
                    f"{str(made.get('commit'))[:12]}{' with local changes' if made.get('dirty') else ''}"
                    if made.get("commit")
                    else "not in a checkout",
                ),
                ("device", str(made.get("device"))),
                ("torch", str(made.get("platform", {}).get("torch") or "not used")),
                ("versions", ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))),
            )
            seconds[facts] = seconds.get(facts, 0.0) + float(made.get("seconds", 0.0))
    return [{**dict(facts), "sampling seconds": f"{total:.1f}"} for facts, total in sorted(seconds.items())]
