"""Every registered metric has a page under docs/metrics, and the index says what the registry says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from elfbench.registry import catalog

PAGES = Path(__file__).resolve().parents[2] / "docs" / "metrics"
HEADINGS = (
    "**Definition.**",
    "**Unit, direction, range.**",
    "**How it is fooled.**",
    "**Recommended n.**",
    "**Cost.**",
    "**Source.**",
)


def _index() -> dict[str, tuple[str, ...]]:
    """Metric -> (unit, direction, least rows, page) of the index table."""
    rows = {}
    for line in (PAGES / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if found := re.fullmatch(r"`(\w+:?)`", cells[0]):
            page = re.fullmatch(r"\[.+\]\((.+\.md)\)", cells[5])
            assert page, line
            rows[found[1]] = (*cells[2:5], page[1])
    return rows


@pytest.mark.parametrize("name", catalog.metrics().names())
def test_every_metric_is_in_the_index_and_on_its_page(name: str) -> None:
    assert name in _index(), f"add a row for {name} to docs/metrics/README.md"
    unit, direction, least, page = _index()[name]
    text = (PAGES / page).read_text(encoding="utf-8")
    if name.endswith(":"):  # a family's members are its users' own
        assert f"`{name}" in text
        return
    metric = catalog.metrics().get(name)
    assert (unit, direction, least) == (metric.unit, metric.direction, str(metric.min_rows))
    families = [family for family, members in catalog.metric_families().items() if name in members]
    assert any(f"`{known}`" in text for known in (name, *(f"{family}_*" for family in families)))


def test_the_index_names_only_what_exists() -> None:
    assert set(_index()) <= set(catalog.metrics().names())
    assert {page for *_, page in _index().values()} == {page.name for page in PAGES.glob("*.md")} - {"README.md"}


@pytest.mark.parametrize("page", sorted(page.name for page in PAGES.glob("*.md") if page.name != "README.md"))
def test_every_page_says_all_that_a_reader_must_know(page: str) -> None:
    text = (PAGES / page).read_text(encoding="utf-8")
    assert [heading for heading in HEADINGS if heading not in text] == []
