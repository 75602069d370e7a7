"""`elfbench.write_report`: everything that a paper, a reviewer and a browser want of a store, in one folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elfbench.core.errors import ConfigError
from elfbench.reporting.agreement import agreement_csv, agreement_tables, agreements
from elfbench.reporting.figures import Figure, draw_figures
from elfbench.reporting.frontier import TextTable, frontier_of, frontier_tables, markdown_tables
from elfbench.reporting.frontier_figure import draw_frontier
from elfbench.reporting.mixed import one_protocol_a_column
from elfbench.reporting.page import render_page
from elfbench.reporting.panel import panel_tables
from elfbench.reporting.ranks import rankings_of, ranks_csv, ranks_table
from elfbench.reporting.real_text import with_real_text
from elfbench.reporting.row_faults import with_row_faults
from elfbench.reporting.section import load_sections
from elfbench.reporting.speed_figure import draw_speed
from elfbench.reporting.tables import latex_table, markdown_table, results_csv
from elfbench.reporting.training_seeds import seeds_table
from elfbench.store.atomic import write_bytes
from elfbench.store.store import Store


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """What was written."""

    page: Path
    results: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]


def write_report(store: Path | str, out: Path | str, *, suite: str | None = None, mixed: bool = False) -> ReportFiles:
    """Writes index.html, results.csv, table.md, table.tex and figures/ for the suites in `store`; frontier.md where one has a temperature grid,
    panel.md where one has a panel, ranks.md and ranks.csv where three or more models compete, seeds.md where
    a model has several training seeds, judges.md and judges.csv where a metric has
    several judges.

    suite: a name, or NAME-DIGEST where the store holds several versions. Everything is computed before the first file is written.
    mixed: a metric that the store holds under several protocols gets a marked column for each, instead of an error.
    Raises StoreError for a damaged store or an unwritable folder, ConfigError for an unknown suite, or for a metric under several protocols.
    """
    source, target = Store.open(store), Path(out)
    if target.is_file():
        raise ConfigError("the report needs a folder", key="--out", found=str(target), allowed="a folder")
    sections = with_real_text(source, one_protocol_a_column(source, load_sections(source, suite), mixed=mixed))
    sections = with_row_faults(source, sections)
    figures = {section.id: draw_figures(section) for section in sections}
    panels = {section.id: shown for section in sections if (shown := panel_tables(section))}
    # A cold sampler in a panel is a control and no grid.
    grids = [section for section in sections if section.id not in panels]
    matched = {section.id: found for section in grids if (found := frontier_of(source, section))}
    for name, frontier in matched.items():
        figures[name] += filter(None, [draw_frontier(frontier)])
    for section in sections:
        figures[section.id] += filter(None, [draw_speed(section)])
    tables_at_entropy = {name: frontier_tables(frontier) for name, frontier in matched.items()}
    rankings = {section.id: rankings_of(source, section) for section in sections}
    best = {name: {metric: one.best() for metric, one in found.items()} for name, found in rankings.items()}
    agreed = {section.id: couples for section in sections if (couples := agreements(source, section))}
    parts = {
        section.id: _parts(
            ranks_table(section, rankings[section.id]),
            seeds_table(section),
            tables_at_entropy.get(section.id),
            panels.get(section.id),
            agreement_tables(agreed[section.id]) if section.id in agreed else None,
        )
        for section in sections
    }
    extra = {name: {part.heading: part.tables for part in found} for name, found in parts.items()}
    page = render_page(source, sections, figures, extra, best)
    contents: dict[Path, bytes] = {target / "results.csv": results_csv(sections).encode("utf-8", "replace")}
    tables: list[Path] = []
    drawn: list[Path] = []
    for section in sections:
        # One suite has plain names; several have theirs in front.
        prefix = f"{section.name}-" if len(sections) > 1 else ""
        texts = {
            "table.md": markdown_table(section, best[section.id]),
            "table.tex": latex_table(section, best[section.id]),
        }
        texts |= {part.file: markdown_tables(part.tables) for part in parts[section.id]}
        if "ranks.md" in texts:
            texts["ranks.csv"] = ranks_csv(section, rankings[section.id])
        if section.id in agreed:
            texts["judges.csv"] = agreement_csv(agreed[section.id])
        for name, text in texts.items():
            tables.append(target / f"{prefix}{name}")
            contents[tables[-1]] = text.encode("utf-8", "replace")
        files = _figure_files(target / "figures", prefix, figures[section.id])
        drawn += files
        contents |= files
    contents[target / "index.html"] = page.encode("utf-8", "replace")
    for path, content in contents.items():
        write_bytes(path, content)
    return ReportFiles(target / "index.html", target / "results.csv", tuple(tables), tuple(drawn))


def _figure_files(folder: Path, prefix: str, figures: list[Figure]) -> dict[Path, bytes]:
    """Every figure as PNG and PDF, with its numbers."""
    files: dict[Path, bytes] = {}
    for figure in figures:
        base = folder / f"{prefix}{figure.name}"
        parts = {".png": figure.png, ".pdf": figure.pdf, ".csv": figure.data.encode("utf-8", "replace")}
        files |= {base.with_name(base.name + suffix): content for suffix, content in parts.items()}
    return files


@dataclass(frozen=True, slots=True)
class _Part:
    """Tables of a section beside the main one: on the page under a heading, and in a file."""

    heading: str
    file: str
    tables: list[TextTable]


def _parts(
    ranks: TextTable | None,
    seeds: TextTable | None,
    matched: list[TextTable] | None,
    panel: list[TextTable] | None,
    judges: list[TextTable] | None,
) -> list[_Part]:
    """Those that a section has, in the page's order."""
    parts = [
        _Part("Ranks", "ranks.md", [ranks] if ranks else []),
        _Part("Over training seeds", "seeds.md", [seeds] if seeds else []),
        _Part("At matched entropy", "frontier.md", matched or []),
        _Part("What each metric rejects", "panel.md", panel or []),
        _Part("Do the judges agree?", "judges.md", judges or []),
    ]
    return [part for part in parts if part.tables]
