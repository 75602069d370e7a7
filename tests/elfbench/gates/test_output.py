from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from small_gate import made

from elfbench.cli.main import main
from elfbench.gates.baseline import read_baseline
from elfbench.gates.check import Decision, check
from elfbench.gates.output import COLUMNS, as_document, as_junit, as_markdown, signed, table_row


@pytest.fixture
def failed(kept: Any, tmp_path: Path, spoil: Callable[[str], None]) -> Decision:
    spoil("bigram")
    return check(made(tmp_path / "spoiled"), kept.baseline)


@pytest.fixture
def open_(kept: Any, tmp_path: Path) -> Decision:
    return check(made(tmp_path / "fresh", seed=7), kept.baseline)


def test_markdown_is_a_table_of_all_gates_with_the_command(kept: Any, failed: Decision) -> None:
    text = as_markdown(failed)
    lines = text.splitlines()
    assert lines[0] == "### elfbench: FAIL (small-gate, 128 rows)"
    assert lines[2] == failed.sentence
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 4
    assert {line.count("|") for line in table} == {len(COLUMNS) + 1}
    assert table[2].startswith("| FAIL | the language | oracle_nll | ")
    assert table[4].split("|")[7].strip().startswith(">= ")
    assert "- the language: changed, other ids in 2 of 2 blocks of 64 rows" in lines
    assert failed.reproduce in lines
    assert text.count("```") == 2
    assert text.endswith("```\n")
    assert as_markdown(check(kept.store, kept.baseline)).startswith("### elfbench: PASS")


def test_a_label_cant_break_the_table(failed: Decision) -> None:
    hostile = dataclasses.replace(failed.verdicts[0], cell="a | b <script>")
    text = as_markdown(dataclasses.replace(failed, verdicts=(hostile,)))
    assert "a \\| b" in text


def test_junit_has_a_case_a_gate(kept: Any, failed: Decision) -> None:
    root = ElementTree.fromstring(as_junit(failed))
    suite = root.find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "0")
    cases = root.findall(".//testcase")
    assert [case.get("name") for case in cases] == [verdict.gate for verdict in failed.verdicts]
    failure = cases[0].find("failure")
    assert failure is not None
    assert failure.get("message") == failed.verdicts[0].sentence
    assert failed.reproduce in str(failure.text)
    assert cases[1].find("failure") is None
    passed = ElementTree.fromstring(as_junit(check(kept.store, kept.baseline)))
    assert not passed.findall(".//failure")
    assert not passed.findall(".//error")
    assert as_junit(failed).startswith(b"<?xml")


def test_an_open_gate_is_an_error_of_junit(open_: Decision) -> None:
    errors = ElementTree.fromstring(as_junit(open_)).findall(".//error")
    assert len(errors) == sum(verdict.status == "INCONCLUSIVE" for verdict in open_.verdicts) > 0


def test_junit_escapes_names(failed: Decision) -> None:
    hostile = dataclasses.replace(failed.verdicts[0], gate='<a> & "b"', sentence="x < y & z")
    case = ElementTree.fromstring(as_junit(dataclasses.replace(failed, verdicts=(hostile,)))).find(".//testcase")
    assert case is not None
    assert case.get("name") == '<a> & "b"'


def test_the_document_is_json_and_complete(failed: Decision) -> None:
    document = json.loads(json.dumps(as_document(failed), allow_nan=False))
    assert document["sentence"] == failed.sentence
    assert (document["status"], document["suite"], document["rows"], document["alpha"]) == (
        "FAIL",
        "small-gate",
        128,
        0.0025,
    )
    assert [verdict["status"] for verdict in document["verdicts"]] == [verdict.status for verdict in failed.verdicts]
    assert document["verdicts"][2]["loss"] is None, "a floor has no loss, and no number stands for it"
    assert document["exact"][0]["status"] == "changed"


def test_a_row_says_the_numbers(failed: Decision) -> None:
    row = table_row(failed.verdicts[0])
    assert len(row) == len(COLUMNS)
    assert row[0] == "FAIL"
    assert row[5].startswith("+")
    assert " .. " in row[6]
    assert row[8] == "paired"


@pytest.mark.parametrize(
    ("share", "text"), [(None, ""), (0.0, "0.0%"), (-0.0004, "0.0%"), (0.0126, "+1.3%"), (-0.002, "-0.2%")]
)
def test_signs_are_written(share: float | None, text: str) -> None:
    assert signed(share) == text


# the command line ----------------------------------------------------------------------------------------------------


def _exit_code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["check", *map(str, arguments)])
    return int(stop.value.code or 0)


def test_exit_code_0_when_it_passes(kept: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code(kept.store, "--against", kept.baseline) == 0
    shown = capsys.readouterr().out
    assert "PASS: all 4 gates at 128 rows." in shown
    assert "ids of the language: equal" in shown
    assert "reproduce" not in shown


def test_exit_code_1_when_it_fails_and_files_are_written(
    kept: Any, tmp_path: Path, spoil: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil("bigram")
    files = ["--markdown", tmp_path / "gate.md", "--junit", tmp_path / "gate.xml"]
    assert _exit_code(made(tmp_path / "S"), "--against", kept.baseline, *files) == 1
    shown = capsys.readouterr().out
    assert "FAIL: 1 of 4 gates." in shown
    assert "reproduce: elfbench run small-gate --rows 128 --seed 0" in shown
    assert (tmp_path / "gate.md").read_text().startswith("### elfbench: FAIL")
    assert ElementTree.parse(tmp_path / "gate.xml").find(".//failure") is not None


def test_exit_code_3_when_it_is_open(kept: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code(made(tmp_path / "S", seed=7), "--against", kept.baseline, "--json") == 3
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "INCONCLUSIVE"
    assert document["sentence"].startswith("INCONCLUSIVE: ")


def test_exit_code_2_when_they_cant_be_compared(kept: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few, other = made(tmp_path / "few", rows=63), made(tmp_path / "other", version=2)
    edited = tmp_path / "edited.json"
    edited.write_text(kept.baseline.read_text().replace('"who":"me"', '"who":"you"'))
    for store, baseline, told in (
        (few, kept.baseline, "fewer rows"),
        (other, kept.baseline, "another version"),
        (kept.store, edited, "edited by hand"),
        (kept.store, tmp_path / "none.json", "no such baseline"),
        (tmp_path, kept.baseline, "not an elfbench store"),
    ):
        assert _exit_code(store, "--against", baseline) == 2
        assert told in capsys.readouterr().err
    assert _exit_code(kept.store) == 2, "--against is required"


def test_accept_writes_the_baseline_and_needs_why(
    kept: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "b.json"
    assert _exit_code(kept.store, "--against", path, "--accept", "--who", "me") == 2
    assert "--why" in capsys.readouterr().err
    assert not path.exists()
    assert _exit_code(kept.store, "--against", path, "--accept", "--who", "me", "--why", "first", "--json") == 0
    change = json.loads(capsys.readouterr().out)["change"]
    assert (change["who"], change["why"]) == ("me", "first")
    assert _exit_code(kept.store, "--against", path, "--accept", "--who", "you", "--why", "again") == 0
    shown = capsys.readouterr()
    assert "the language: oracle_nll" in shown.out
    assert "commit it" in shown.err
    assert [change.who for change in read_baseline(path).history] == ["me", "you"]
    assert _exit_code(kept.store, "--against", path) == 0


def test_a_real_process_ends_with_the_code(kept: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "elfbench.cli.main", "check"]
    good = subprocess.run([*command, kept.store, "--against", kept.baseline], capture_output=True, text=True)
    assert good.returncode == 0, good.stderr
    bad = subprocess.run([*command, kept.store, "--against", "none.json"], capture_output=True, text=True)
    assert bad.returncode == 2
    assert "Traceback" not in bad.stderr
