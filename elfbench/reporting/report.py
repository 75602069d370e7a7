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
from elfbench.reporting.section import Section, load_sections
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
    panel.md where one has a panel, ranks.md and ranks.csv where three or more models compete, seeds.md where a model has several training
    seeds, judges.md and judges.csv where a metric has several judges.

    suite: a name, or NAME-DIGEST where the store holds several versions. Everything is computed before the first file is written.
    mixed: a metric that the store holds under several protocols gets a marked column for each, instead of an error.
    Raises StoreError for a damaged store or an unwritable folder, ConfigError for an unknown suite, or for a metric under several protocols.
    """
    source, target = Store.open(store), Path(out)
    if target.is_file():
        raise ConfigError("the report needs a folder", key="--out", found=str(target), allowed="a folder")
    sections = with_real_text(source, one_protocol_a_column(source, load_sections(source, suite), mixed=mixed))
    found = [_section_report(source, section) for section in with_row_faults(source, sections)]
    page = render_page(
        source,
        [one.section for one in found],
        {one.section.id: one.figures for one in found},
        {one.section.id: {part.heading: part.tables for part in one.parts} for one in found},
        {one.section.id: one.best for one in found},
    )
    tables: dict[Path, bytes] = {}
    drawn: dict[Path, bytes] = {}
    for one in found:
        # One suite has plain names; several have theirs in front.
        prefix = f"{one.section.name}-" if len(found) > 1 else ""
        tables |= {target / f"{prefix}{name}": text.encode("utf-8", "replace") for name, text in one.texts().items()}
        drawn |= _figure_files(target / "figures", prefix, one.figures)
    results = results_csv([one.section for one in found])
    files = {target / "results.csv": results.encode("utf-8", "replace"), **tables, **drawn}
    # The page last: it is there when everything else is.
    for path, content in (files | {target / "index.html": page.encode("utf-8", "replace")}).items():
        write_bytes(path, content)
    return ReportFiles(target / "index.html", target / "results.csv", tuple(tables), tuple(drawn))


@dataclass(frozen=True, slots=True)
class _Part:
    """Tables of a section beside the main one: on the page under a heading, and in a file."""

    heading: str
    file: str
    tables: list[TextTable]
    csv: str | None = None
    """The same numbers, where they have a file of their own."""


@dataclass(frozen=True, slots=True)
class _SectionReport:
    """Everything about one section."""

    section: Section
    best: dict[str, set[str]]
    """By metric, the cells in bold."""
    figures: list[Figure]
    parts: list[_Part]

    def texts(self) -> dict[str, str]:
        """Files beside the page."""
        texts = {
            "table.md": markdown_table(self.section, self.best),
            "table.tex": latex_table(self.section, self.best),
        }
        for part in self.parts:
            texts[part.file] = markdown_tables(part.tables)
            if part.csv is not None:
                texts[Path(part.file).with_suffix(".csv").name] = part.csv
        return texts


def _section_report(source: Store, section: Section) -> _SectionReport:
    rankings = rankings_of(source, section)
    panel = panel_tables(section)
    # A cold sampler in a panel is a control and no grid.
    frontier = None if panel else frontier_of(source, section)
    couples = agreements(source, section)
    ranks, seeds = ranks_table(section, rankings), seeds_table(section)
    parts = [
        _Part("Ranks", "ranks.md", [ranks] if ranks else [], ranks_csv(section, rankings)),
        _Part("Over training seeds", "seeds.md", [seeds] if seeds else []),
        _Part("At matched entropy", "frontier.md", frontier_tables(frontier) if frontier else []),
        _Part("What each metric rejects", "panel.md", panel),
        _Part("Do the judges agree?", "judges.md", agreement_tables(couples), agreement_csv(couples)),
    ]
    further = [draw_frontier(frontier) if frontier else None, draw_speed(section)]
    return _SectionReport(
        section,
        {metric: one.best() for metric, one in rankings.items()},
        [*draw_figures(section), *filter(None, further)],
        [part for part in parts if part.tables],
    )


def _figure_files(folder: Path, prefix: str, figures: list[Figure]) -> dict[Path, bytes]:
    """Every figure as PNG and PDF, with its numbers."""
    files: dict[Path, bytes] = {}
    for figure in figures:
        base = folder / f"{prefix}{figure.name}"
        parts = {".png": figure.png, ".pdf": figure.pdf, ".csv": figure.data.encode("utf-8", "replace")}
        files |= {base.with_name(base.name + suffix): content for suffix, content in parts.items()}
    return files
