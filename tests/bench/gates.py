"""`elfbench check` as a whole process; there is no other to compare with."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from timing import Line, seconds


def gates() -> list[Line]:
    """1,000 rows of ten cells under 20 loss gates."""
    from elfbench.gates.check import accept
    from elfbench.running.run import run
    from elfbench.running.suites import load_suite
    from elfbench.spec.suite import SuiteModel

    controls = tuple(SuiteModel(name=name) for name in ("exact-oracle", "bigram-oracle", "unigram-oracle"))
    steps = SuiteModel(name="mdlm-exact-oracle", steps=(1, 2, 3, 4, 5, 6, 7))
    suite = load_suite("gate").model_copy(update={"suite": "bench", "models": (*controls, steps), "rows": 1000})
    with tempfile.TemporaryDirectory() as folder:
        store, baseline = Path(folder) / "store", Path(folder) / "baseline.json"
        run(suite, store)
        accept(store, baseline, why="bench", who="bench")
        command = [sys.executable, "-m", "elfbench.cli.main", "check", str(store), "--against", str(baseline)]
        (ours,) = seconds(lambda: subprocess.run(command, check=True, capture_output=True))
    return [Line("check: 1,000 rows, 20 loss gates, whole process", ours)]
