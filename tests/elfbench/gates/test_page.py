"""The page "quality gates in your CI" is executed: every command of it, in its order, on a suite that needs no torch."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from elfbench.cli.main import main
from elfbench.running.suites import load_suite
from elfbench.spec.suite import SuiteModel

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "quality-gates.md"


def _commands() -> list[list[str]]:
    blocks = re.findall(r"```\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines() if line.startswith("elfbench ")]


@pytest.mark.slow
def test_every_command_of_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = load_suite("gate")
    small = suite.model_copy(update={"models": (SuiteModel(name="exact-oracle"), SuiteModel(name="bigram-oracle"))})
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(json.loads(small.model_dump_json())), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    commands = _commands()
    assert [command[0] for command in commands] == ["run", "check", "run", "run", "check", "check"]
    for command in commands:
        arguments = ["small.yaml" if word == "gate" else word for word in command]
        if "--accept" in arguments:
            arguments += ["--who", "a maintainer"]
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code in (0, None), command
    history = json.loads((tmp_path / "BASELINE.json").read_text())["content"]["history"]
    assert [change["why"] for change in history] == ["first baseline", "top-p 0.95 is the new default"]
    assert "PASS" in (tmp_path / "gate.md").read_text()
    assert (tmp_path / "gate.xml").read_bytes().startswith(b"<?xml")


def test_the_workflow_runs_what_exists() -> None:
    workflow = yaml.safe_load((ROOT / "docs" / "quality-gate-workflow.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["gate"]["steps"]
    command = next(step["run"] for step in steps if "elfbench run" in step.get("run", ""))
    words = shlex.split(command)
    assert words[:3] == ["elfbench", "run", "gate"]
    assert (ROOT / words[words.index("--until-decided") + 1]).parent.is_dir()
    assert load_suite("gate").gates is not None
