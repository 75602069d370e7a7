"""`elfbench.write_report`: everything that a paper, a reviewer and a browser want of a store, in one folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elfbench.core.errors import ConfigError
from elfbench.reporting.figures import draw_figures
from elfbench.reporting.frontier import TextTable, frontier_of, frontier_tables, markdown_tables
from elfbench.reporting.frontier_figure import draw_frontier
from elfbench.reporting.mixed import one_protocol_a_column
from elfbench.reporting.page import render_page
from elfbench.reporting.panel import panel_tables
from elfbench.reporting.section import load_sections
from elfbench.reporting.tables import latex_table, markdown_table, results_csv
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
    panel.md where one has a panel.

    suite: a name, or NAME-DIGEST where the store holds several versions. Everything is computed before the first file is written.
    mixed: a metric that the store holds under several protocols gets a marked column for each, instead of an error.
    Raises StoreError for a damaged store or an unwritable folder, ConfigError for an unknown suite, or for a metric under several protocols.
    """
    source, target = Store.open(store), Path(out)
    if target.is_file():
        raise ConfigError("the report needs a folder", key="--out", found=str(target), allowed="a folder")
    sections = one_protocol_a_column(source, load_sections(source, suite), mixed=mixed)
    figures = {section.id: draw_figures(section) for section in sections}
    panels = {section.id: shown for section in sections if (shown := panel_tables(section))}
    # A cold sampler in a panel is a control and no grid.
    grids = [section for section in sections if section.id not in panels]
    matched = {section.id: found for section in grids if (found := frontier_of(source, section))}
    for name, frontier in matched.items():
        figures[name] += filter(None, [draw_frontier(frontier)])
    tables_at_entropy = {name: frontier_tables(frontier) for name, frontier in matched.items()}
    extra = {section.id: _titled(tables_at_entropy.get(section.id), panels.get(section.id)) for section in sections}
    page = render_page(source, sections, figures, extra)
    contents: dict[Path, bytes] = {target / "results.csv": results_csv(sections).encode("utf-8", "replace")}
    tables, drawn = [], []
    for section in sections:
        # One suite has plain names; several have theirs in front.
        prefix = f"{section.name}-" if len(sections) > 1 else ""
        texts = {"table.md": markdown_table(section), "table.tex": latex_table(section)}
        if section.id in matched:
            texts["frontier.md"] = markdown_tables(tables_at_entropy[section.id])
        if section.id in panels:
            texts["panel.md"] = markdown_tables(panels[section.id])
        for name, text in texts.items():
            tables.append(target / f"{prefix}{name}")
            contents[tables[-1]] = text.encode("utf-8", "replace")
        for figure in figures[section.id]:
            base = target / "figures" / f"{prefix}{figure.name}"
            for suffix, content in (
                (".png", figure.png),
                (".pdf", figure.pdf),
                (".csv", figure.data.encode("utf-8", "replace")),
            ):
                drawn.append(base.with_name(base.name + suffix))
                contents[drawn[-1]] = content
    contents[target / "index.html"] = page.encode("utf-8", "replace")
    for path, content in contents.items():
        write_bytes(path, content)
    return ReportFiles(target / "index.html", target / "results.csv", tuple(tables), tuple(drawn))


def _titled(matched: list[TextTable] | None, panel: list[TextTable] | None) -> dict[str, list[TextTable]]:
    """The page's further tables by their heading."""
    titled = {"At matched entropy": matched, "What each metric rejects": panel}
    return {title: tables for title, tables in titled.items() if tables}
