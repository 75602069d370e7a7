"""What is told of broken rows under a table: counts of handmade texts, and sentences that name the rows of the table."""

from __future__ import annotations

from pathlib import Path

import pytest

import elfbench
from elfbench.reporting.report import write_report
from elfbench.reporting.row_faults import text_faults
from elfbench.spec.measure import Measure

BAD = [
    "",
    " \n\t",
    "one two three four five",
    "one two",
    "bad \ufffd bytes here now",
    "a <pad> b <|endoftext|> c d",
    "\u043f\u0440\u0438\u0432\u0435\u0442 one two three",
]
GOOD = ["one two three four five"] * 3


def test_faults_that_show_in_a_text() -> None:
    counts = {"empty": 2, "replacement": 1, "leftover": 1}
    assert text_faults(BAD, None) == counts
    assert text_faults(BAD, frozenset({"LATIN"})) == counts | {"script": 1}
    assert text_faults(BAD, frozenset({"LATIN", "CYRILLIC"})) == counts | {"script": 0}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    measure = Measure(tokenizer="words", window=4, short="drop")
    for label, texts in (("good", GOOD), ("bad", BAD)):
        elfbench.score(texts, ["distinct_1", "rep_2"], measure=measure, label=label, out=tmp_path / "S")
    return tmp_path / "S"


def test_every_table_says_which_rows_are_broken_and_how_many_are_left_out(store: Path, tmp_path: Path) -> None:
    write_report(store, tmp_path / "R")
    for name in ("table.md", "table.tex", "index.html"):
        text = (tmp_path / "R" / name).read_text().replace("\\", "")
        assert (
            "Faults in 10 rows: 2 empty (bad 2); 1 shorter than the window (bad 1); 1 with U+FFFD (bad 1); "
            "1 with special tokens spelled out (bad 1)."
        ) in text
        assert "6 of 10 rows go on behind the window, unread." in text
        assert "Left out of columns: up to 3 of 7 rows, of bad (all columns)." in text


def test_sound_rows_are_said_to_be_sound(tmp_path: Path) -> None:
    elfbench.score(GOOD, ["distinct_1"], out=tmp_path / "S")
    write_report(tmp_path / "S", tmp_path / "R")
    table = (tmp_path / "R" / "table.md").read_text()
    assert "No row of 3 is empty or broken." in table
    assert "Left out" not in table
    assert "behind the window" not in table
