from __future__ import annotations

from pathlib import Path

import pytest

import elfbench
from elfbench.core.errors import ConfigError
from elfbench.reporting.mixed import one_protocol_a_column
from elfbench.reporting.report import write_report
from elfbench.reporting.section import load_sections
from elfbench.store.store import Store

REFERENCES = ["the cat sat", "a dog ran in the park", "the sun is up"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two files scored by BLEU against different references: one metric under two protocols."""
    pytest.importorskip("sacrebleu")
    for label, references in (("mine", REFERENCES), ("yours", REFERENCES[::-1])):
        texts = [f"{text} {label}" for text in REFERENCES]
        elfbench.score(texts, metrics=["bleu"], reference=references, label=label, out=tmp_path / "S")
    return Store.open(tmp_path / "S")


def test_a_column_of_two_protocols_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"bleu under 2 protocols(.|\n)*reference(.|\n)*--mixed"):
        write_report(tmp_path / "S", tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_forced_each_protocol_has_a_marked_column(store: Store, tmp_path: Path) -> None:
    (section,) = one_protocol_a_column(store, load_sections(store, None), mixed=True)
    names = [metric["metric"] for metric in section.metrics]
    marks = [metric["fingerprint"][:6] for metric in section.metrics]
    assert names == [f"bleu#{mark}" for mark in marks]
    assert len(set(names)) == 2
    for cell in section.cells:
        ((_, score),) = cell.scores.values()
        assert list(cell.scores) == [f"bleu#{score.fingerprint[:6]}"]
        assert score.cell == cell.id
    write_report(tmp_path / "S", tmp_path / "report", mixed=True)
    header = (tmp_path / "report" / "table.md").read_text().splitlines()[0]
    assert all(mark in header for mark in marks)


def test_one_protocol_stays_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu")
    elfbench.score(REFERENCES, metrics=["bleu"], reference=REFERENCES, out=tmp_path / "S")
    store = Store.open(tmp_path / "S")
    sections = load_sections(store, None)
    assert one_protocol_a_column(store, sections, mixed=False) == sections
