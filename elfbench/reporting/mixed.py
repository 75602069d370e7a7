"""One column, one protocol: a store can hold a metric under several, and a table that takes both in one column compares what cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from elfbench.core.differences import differences
from elfbench.core.errors import ConfigError
from elfbench.reporting.section import Section
from elfbench.spec.metric import Score
from elfbench.store.store import Store

_SHOWN = 6  # hex digits of a fingerprint in a marked column


def one_protocol_a_column(store: Store, sections: Sequence[Section], *, mixed: bool) -> list[Section]:
    """The sections with one protocol a column. A version of a metric that a newer one replaced in all cells is left out.

    Raises ConfigError where a metric has several protocols; with `mixed` each has a column of its own, marked by its fingerprint.
    """
    return [_separated(store, section, mixed) for section in sections]


def _separated(store: Store, section: Section, mixed: bool) -> Section:
    columns: dict[str, list[Mapping[str, Any]]] = {}
    for metric in section.metrics:
        columns.setdefault(metric["metric"], []).append(metric)
    if all(len(found) == 1 for found in columns.values()):
        return section
    scores = _by_fingerprint(store)
    current = {name: _current(found, section, scores) for name, found in columns.items()}
    several = [found for found in current.values() if len(found) > 1]
    if several and not mixed:
        raise _refusal(section, several[0])
    names = {
        metric["fingerprint"]: f"{name}#{metric['fingerprint'][:_SHOWN]}" if len(found) > 1 else name
        for name, found in current.items()
        for metric in found
    }
    marked = [_marked(metric, names) for found in current.values() for metric in found]
    alone = {found[0]["metric"] for found in columns.values() if len(found) == 1}
    cells = []
    for cell in section.cells:
        # A likelihood is held by another cell: it is here only as it was found.
        there = {score.fingerprint: (key, score) for key, score in cell.scores.values()}
        found = {name: scores.get((cell.id, one)) or there.get(one) for one, name in names.items()}
        kept = {name: one for name, one in cell.scores.items() if name in alone}
        cells.append(replace(cell, scores={**{name: one for name, one in found.items() if one}, **kept}))
    return replace(section, cells=tuple(cells), metrics=tuple(marked))


def _by_fingerprint(store: Store) -> dict[tuple[str, str], tuple[str, Score]]:
    """(cell, fingerprint) -> (key, score) with the most rows."""
    found: dict[tuple[str, str], tuple[str, Score]] = {}
    for key, score in store.scores():
        place = (score.cell, score.fingerprint)
        if place not in found or score.n_requested > found[place][1].n_requested:
            found[place] = (key, score)
    return found


def _current(
    metrics: Sequence[Mapping[str, Any]], section: Section, scores: Mapping[tuple[str, str], tuple[str, Score]]
) -> list[Mapping[str, Any]]:
    """Without older versions, if the newest has a score wherever an older one has."""
    newest = max(metric["version"] for metric in metrics)
    latest = [metric for metric in metrics if metric["version"] == newest]
    for cell in section.cells:
        held = {metric["version"] for metric in metrics if (cell.id, metric["fingerprint"]) in scores}
        if held and newest not in held:
            return list(metrics)
    return latest


def _marked(metric: Mapping[str, Any], names: Mapping[str, str]) -> Mapping[str, Any]:
    name = names[metric["fingerprint"]]
    if name == metric["metric"]:
        return metric
    return {**metric, "metric": name, "title": f"{metric['title']} [{metric['fingerprint'][:_SHOWN]}]"}


def _refusal(section: Section, metrics: Sequence[Mapping[str, Any]]) -> ConfigError:
    first, second = metrics[:2]
    unlike = differences(first["protocol"], second["protocol"]) or ["fingerprint"]
    return ConfigError(
        f"suite {section.name} holds {first['metric']} under {len(metrics)} protocols, which one column must not mix",
        key=first["metric"],
        found="; ".join(unlike[:_SHOWN]),
        allowed="one protocol a column",
        remedy="measure all alike into a new store, or --mixed, which gives each protocol a marked column",
    )
