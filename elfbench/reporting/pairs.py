"""Which cells face each other: those of one name in two stores, or two rows of one store. Reads, decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from elfbench.core.differences import differences
from elfbench.core.errors import ConfigError, suggestion
from elfbench.reporting.section import ScoredCell, Section, load_sections
from elfbench.store.store import Store

_ID_DIGITS = 8
"""Fewest digits of a cell's id that name a row."""


@dataclass(frozen=True, slots=True)
class Side:
    """A or B: one cell where it is stored."""

    store: Store
    section: Section
    cell: ScoredCell

    @property
    def imported(self) -> bool:
        """Whether its rows were made elsewhere, so that their numbers mean nothing."""
        return self.cell.model.startswith("imported:")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two cells under comparison."""

    suite: str
    name: str
    a: Side
    b: Side

    def changed(self) -> list[str]:
        """'key: A -> B' for what differs between the two cells' identities."""
        a, b = (side.store.cell(side.cell.id).model_dump(mode="json") for side in (self.a, self.b))
        return differences(a, b)


def row_name(cell: ScoredCell) -> str:
    """What one types for a row: its label, with @STEPS where it has steps."""
    return cell.label + (f"@{cell.steps}" if cell.steps is not None else "")


def pairs_of_stores(a: Store, b: Store, suite: str | None) -> tuple[list[Pair], list[str]]:
    """Cells of equal suite, label and steps, in the order of A; and what only one side holds, or a side holds twice."""
    left, right = ({section.name: section for section in load_sections(store, suite)} for store in (a, b))
    shared = [name for name in left if name in right]
    if not shared:
        raise ConfigError(
            "the two stores hold no common suite",
            key="--suite",
            found=f"A: {', '.join(left)}",
            allowed=f"B: {', '.join(right)}",
            remedy="run one suite into both: elfbench run SUITE --out STORE",
        )
    pairs: list[Pair] = []
    apart: list[str] = []
    for name in shared:
        in_a, in_b = _named(left[name].cells), _named(right[name].cells)
        for row in dict.fromkeys([*in_a, *in_b]):
            found = in_a.get(row, []), in_b.get(row, [])
            if len(found[0]) == len(found[1]) == 1:
                title = row if len(shared) == 1 else f"{name}: {row}"
                pairs.append(Pair(name, title, Side(a, left[name], found[0][0]), Side(b, right[name], found[1][0])))
            elif not found[0] or not found[1]:
                apart.append(f"{row} ({name}): only in {'A' if found[0] else 'B'}")
            else:
                apart.append(f"{row} ({name}): {len(found[0])} such rows in A, {len(found[1])} in B")
    if not pairs:
        raise ConfigError(
            "the two stores hold no row of equal label and steps",
            key=", ".join(shared),
            found="; ".join(apart[:6]),
            remedy="two rows of one store: elfbench compare ROW ROW --store STORE",
        )
    return pairs, apart


def pair_of_rows(store: Store, a: str, b: str, suite: str | None) -> Pair:
    """Two rows of one suite of `store`. Raises ConfigError for names that fit no row, or several."""
    sections = load_sections(store, suite)
    found: list[Pair] = []
    errors: list[ConfigError] = []
    for section in sections:
        try:
            cells = [_resolved(section.cells, name, key) for name, key in ((a, "A"), (b, "B"))]
        except ConfigError as error:
            errors.append(error)
            continue
        sides = [Side(store, section, cell) for cell in cells]
        found.append(Pair(section.name, f"{row_name(cells[1])} against {row_name(cells[0])}", sides[0], sides[1]))
    if not found and len(sections) > 1:
        names = sorted({row_name(cell) for section in sections for cell in section.cells})
        raise ConfigError(
            "no suite of the store holds both rows",
            key="A, B",
            found=f"{a}, {b}",
            allowed=map(repr, names),
            remedy="; ".join(filter(None, (suggestion(name, names) for name in (a, b) if name not in names))) or None,
        )
    if not found:
        raise errors[0]
    if len(found) > 1:
        raise ConfigError(
            "several suites of the store hold both rows",
            key="--suite",
            allowed=[pair.suite for pair in found],
            remedy=f"--suite {found[0].suite}",
        )
    if found[0].a.cell.id == found[0].b.cell.id:
        raise ConfigError("A and B are the same row", key="B", found=b, remedy="name two rows")
    return found[0]


def opened(path: Path | str | Store, key: str) -> Store:
    """The store at `path`; a row's name in its place is told apart from a folder that is no store."""
    if isinstance(path, Store):
        return path
    if not Path(path).exists():
        raise ConfigError(
            "no such store",
            key=key,
            found=str(path),
            allowed="a folder that run or score made",
            remedy="two rows of one store: elfbench compare ROW ROW --store STORE",
        )
    return Store.open(path)


def _named(cells: Iterable[ScoredCell]) -> dict[str, list[ScoredCell]]:
    found: dict[str, list[ScoredCell]] = {}
    for cell in cells:
        found.setdefault(row_name(cell), []).append(cell)
    return found


def _resolved(cells: Sequence[ScoredCell], name: str, key: str) -> ScoredCell:
    """The one cell called `name`: a label or model's name with @STEPS where several steps are there, or the first digits of its id.

    Where several rows carry a model's name, it means the one with default options.
    """
    what, steps = _split(name)
    for fits in (
        [cell for cell in cells if row_name(cell) == name],
        [cell for cell in cells if what in (cell.label, cell.model) and (steps is None or cell.steps == steps)],
        [cell for cell in cells if len(name) >= _ID_DIGITS and cell.id.startswith(name)],
    ):
        plain = [cell for cell in fits if not cell.options]
        if len(fits) == 1 or len(plain) == 1:
            return fits[0] if len(fits) == 1 else plain[0]
        if fits:
            raise ConfigError(
                f"several rows are called {name!r}",
                key=key,
                found=name,
                allowed=_told_apart(fits),
                remedy="name one of them",
            )
    names = [row_name(cell) for cell in cells]
    near = suggestion(name, [*names, *(f"{cell.model}{row_name(cell)[len(cell.label) :]}" for cell in cells)])
    # Quoted, because labels hold commas.
    raise ConfigError(f"no row is called {name!r}", key=key, found=name, allowed=map(repr, names), remedy=near)


def _split(name: str) -> tuple[str, int | None]:
    what, at, steps = name.rpartition("@")
    return (what.strip(), int(steps)) if at and steps.strip().isdecimal() else (name, None)


def _told_apart(cells: Sequence[ScoredCell]) -> list[str]:
    names = [row_name(cell) for cell in cells]
    return [repr(name) if names.count(name) == 1 else cell.id[:12] for name, cell in zip(names, cells, strict=True)]
