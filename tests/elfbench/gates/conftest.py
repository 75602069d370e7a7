"""One store and its baseline for all tests here; the tests here share small_gate.py, which is no package."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@dataclass(frozen=True)
class Kept:
    """Read only."""

    store: Path
    baseline: Path


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """128 rows of root seed 0 and the baseline made of them."""
    from small_gate import made

    from elfbench.gates.check import accept

    folder = tmp_path_factory.mktemp("gate")
    store = made(folder / "store")
    accept(store, folder / "baseline.json", why="first", who="me", when="2025-01-02")
    return Kept(store, folder / "baseline.json")


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """spoil('bigram' | 'one text'): from now on exact-oracle samples otherwise, under its own name, card and seeds."""
    from elfbench.adapters.oracle_controls import EXACT, OracleControlEntry, ngram_draw
    from elfbench.language.ngram import bigram_law
    from elfbench.language.oracle import oracle
    from elfbench.registry import catalog

    def draw(uniforms):  # type: ignore[no-untyped-def]
        return oracle().sample(uniforms * 0.0 + 0.5)

    def change(how: str) -> None:
        make = (lambda: draw) if how == "one text" else (lambda: ngram_draw(bigram_law(oracle())))
        catalog.models().get("exact-oracle")
        monkeypatch.setitem(catalog.models()._loaded, "exact-oracle", OracleControlEntry(EXACT.card, make))

    return change
