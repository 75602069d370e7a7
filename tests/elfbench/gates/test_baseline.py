from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_gate import forged, made

from elfbench.core.canonical import digest
from elfbench.core.errors import ConfigError
from elfbench.gates import baseline as module
from elfbench.gates.baseline import BaselineRows, accepted, baseline_bytes, read_baseline
from elfbench.gates.check import accept, check
from elfbench.gates.evidence import gather
from elfbench.store.row_sums import RowSums
from elfbench.store.store import Store


def test_the_bytes_go_round(kept: Any, tmp_path: Path) -> None:
    baseline = read_baseline(kept.baseline)
    assert baseline_bytes(baseline) == kept.baseline.read_bytes()
    again = accept(kept.store, tmp_path / "b.json", why="first", who="me", when="2025-01-02")
    assert again == baseline
    assert (tmp_path / "b.json").read_bytes() == kept.baseline.read_bytes(), "equal evidence gives equal bytes"


def test_it_holds_what_a_later_run_is_compared_with(kept: Any) -> None:
    baseline = read_baseline(kept.baseline)
    evidence = gather(Store.open(kept.store), "small-gate")
    assert [cell.name for cell in baseline.cells] == ["the language", "bigram law"]
    for old, new in zip(baseline.cells, evidence.cells, strict=True):
        rows = old.losses["oracle_nll"].row_sums()
        assert np.abs(rows.numerator - new.losses["oracle_nll"].numerator).max() <= 5.1e-7
        assert np.array_equal(rows.rows, new.losses["oracle_nll"].rows)
        assert (old.ids, old.n_rows, old.root_seed) == (new.ids, 128, 0)
        assert old.values["unigram_entropy"] == pytest.approx(new.values["unigram_entropy"], abs=1e-6)
    assert baseline.code == evidence.cells[0].code
    assert set(baseline.protocols) == {"oracle_nll", "unigram_entropy"}


def test_one_cell_a_line_and_the_digest_on_the_last(kept: Any) -> None:
    lines = kept.baseline.read_text().splitlines()
    assert [line[:11] for line in lines] == [
        '{"content":',
        '{"identity"',
        '{"identity"',
        '"history":[',
        ',"protocols',
        '"digest":"' + json.loads(kept.baseline.read_text())["digest"][0],
    ]


def test_history_grows_and_says_who_when_why_old_and_new(kept: Any, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_bytes(kept.baseline.read_bytes())
    accept(made(tmp_path / "S", seed=7), path, why="fresh seeds", who="you", when="2025-02-03")
    first, second = read_baseline(path).history
    assert (first.who, first.why, set(first.old.values())) == ("me", "first", {None})
    assert (second.when, second.who, second.why) == ("2025-02-03", "you", "fresh seeds")
    assert second.old == first.new
    assert second.new != second.old
    assert second.new == pytest.approx(read_baseline(path).values())
    assert set(second.new) == {
        "the language: oracle_nll",
        "the language: unigram_entropy",
        "bigram law: oracle_nll",
        "bigram law: unigram_entropy",
    }
    assert check(tmp_path / "S", path).status == "PASS"


def test_a_new_version_of_the_suite_is_accepted_on_top(kept: Any, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_bytes(kept.baseline.read_bytes())
    baseline = accept(made(tmp_path / "S", version=2), path, why="version 2", who="me")
    assert baseline.suite["version"] == 2
    assert len(baseline.history) == 2


@pytest.mark.parametrize("field", ["why", "who"])
@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_acceptance_without_a_reason_or_name_writes_nothing(
    kept: Any, tmp_path: Path, field: str, text: str
) -> None:
    with pytest.raises(ConfigError, match="who and why") as refused:
        accept(kept.store, tmp_path / "b.json", **{"why": "first", "who": "me", field: text})
    assert refused.value.key == f"--{field}"
    assert not (tmp_path / "b.json").exists()


def test_a_store_of_several_suites_needs_the_name(tmp_path: Path) -> None:
    store = made(made(tmp_path / "S"), suite="other")
    with pytest.raises(ConfigError, match="which suite"):
        accept(store, tmp_path / "b.json", why="first", who="me")
    assert accept(store, tmp_path / "b.json", suite="other", why="first", who="me").name == "other"


def test_every_hand_edit_is_refused(kept: Any, tmp_path: Path) -> None:
    text = kept.baseline.read_text()
    document = json.loads(text)
    path = tmp_path / "b.json"
    row = repr(document["content"]["cells"][0]["losses"]["oracle_nll"]["numerator"][0])
    for old, new in ((row, "1.0"), ('"margin":0.05', '"margin":0.5'), ('"who":"me"', '"who":"you"')):
        assert old in text
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(ConfigError, match="edited by hand") as refused:
            check(kept.store, path)
        assert refused.value.key == "digest"
        assert refused.value.found == document["digest"][:16]
    path.write_text(json.dumps(document | {"digest": "0" * 64}))
    with pytest.raises(ConfigError, match="edited by hand"):
        read_baseline(path)
    path.write_text(json.dumps(document, indent=4))
    assert read_baseline(path) == read_baseline(kept.baseline), "white space is no content"
    path.write_text(text.replace('"who":"me"', '"who":"you"'))
    with pytest.raises(ConfigError, match="edited by hand"):
        accept(kept.store, path, why="on top of an edit", who="me")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'"digest content"',
        b"\xff\xfe",
        b'{"content": {}}',
        b'{"digest": "x", "content": NaN}',
        b'{"digest": "x", "content": "\\ud800"}',
        json.dumps({"content": [], "digest": digest([])}).encode(),
        json.dumps({"content": {"schema_version": 1}, "digest": digest({"schema_version": 1})}).encode(),
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.json").write_bytes(content)
    with pytest.raises(ConfigError, match="not a baseline") as refused:
        read_baseline(tmp_path / "b.json")
    assert "--accept" in str(refused.value.remedy)


def test_a_folder_another_schema_or_unknown_key_is_refused(kept: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such baseline"):
        read_baseline(tmp_path)
    other = forged(kept.baseline, tmp_path / "b.json", lambda content: content.update(schema_version=99))
    with pytest.raises(ConfigError, match="another schema"):
        read_baseline(other)
    with pytest.raises(ConfigError, match="not a baseline"):
        read_baseline(forged(kept.baseline, other, lambda content: content.update(extra=1)))


def test_dropped_rows_keep_their_numbers() -> None:
    whole = BaselineRows(rows=None, numerator=(1.0, 2.0), denominator=(1.0, 1.0)).row_sums()
    assert whole.rows.tolist() == [0, 1]
    some = module._rows(RowSums(np.array([1, 5]), np.array([1.0, 2.00000049]), np.ones(2)))
    assert (some.rows, some.numerator) == ((1, 5), (1.0, 2.0))
    assert some.row_sums().rows.tolist() == [1, 5]


def test_nan_and_large_files_are_refused(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = gather(Store.open(kept.store), "small-gate")
    cells = (dataclasses.replace(evidence.cells[0], values={"unigram_entropy": float("nan")}),)
    with pytest.raises(ConfigError, match="finite"):
        accepted(dataclasses.replace(evidence, cells=cells), who="me", when="", why="x", before=None)
    monkeypatch.setattr(module, "LARGEST", 1000)
    with pytest.raises(ConfigError, match="too large"):
        baseline_bytes(read_baseline(kept.baseline))
