"""Run by `nox -s package` inside a clean environment that holds only the wheel and its core dependencies: no torch there."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

assert importlib.util.find_spec("torch") is None, "the clean environment must not hold torch"
for unwanted in ("baselines", "suites", "reports", "tests"):
    assert importlib.util.find_spec(unwanted) is None, f"the wheel installs a package called {unwanted}"


def elfbench(*arguments: str, code: int = 0) -> str:
    """stdout of a command that must end with `code`."""
    done = subprocess.run(
        [sys.executable, "-m", "elfbench.cli.main", *arguments], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == code, (arguments, done.returncode, done.stderr)
    return done.stdout


with tempfile.TemporaryDirectory() as folder:
    samples = Path(folder) / "samples.jsonl"
    samples.write_text(
        "".join(json.dumps({"text": f"a small text number {i} of some words"}) + "\n" for i in range(40))
    )
    assert {suite["name"] for suite in json.loads(elfbench("list", "suites", "--json"))} >= {"demo", "controls"}
    assert {model["name"] for model in json.loads(elfbench("list", "models", "--json"))} >= {
        "elf-sotu",
        "mdlm-sotu",
        "ar-sotu",
    }
    scored = json.loads(elfbench("score", "samples.jsonl", "--metric", "distinct", "--out", "S", "--json"))
    assert [result["metric"] for result in scored["results"]] == [
        "distinct_1",
        "distinct_2",
        "distinct_3",
        "distinct_4",
    ]
    elfbench("sample", "mdlm-sotu", code=4)  # needs torch: a prerequisite, with the line to type
print("the installed wheel works without torch")
