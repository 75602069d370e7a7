"""Speeds side by side with what one would use otherwise, as a table: `nox -s bench`. A timing is never a unit test.

Each benchmark gives (what, ours in seconds, other in seconds or None, what the other is). Best of `_REPEATS` alternating runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_REPEATS = 3


class Line(NamedTuple):
    """One row: seconds of ours and of the other."""

    what: str
    ours: float
    other: float | None
    than: str


def seconds(*tasks: Callable[[], object]) -> list[float]:
    """Best time of each task, runs alternating so that a slow minute hits all alike."""
    best = [float("inf")] * len(tasks)
    for _ in range(_REPEATS):
        for number, task in enumerate(tasks):
            start = time.perf_counter()
            task()
            best[number] = min(best[number], time.perf_counter() - start)
    return best


def oracle_scoring() -> list[Line]:
    """10,000 windows of 32 words: our tables, and a word-by-word walk over the same automaton in plain Python."""
    from elfbench.language.oracle import LENGTH, oracle
    from elfbench.language.sentences import judge, training_hashes

    language = oracle()
    ids = language.sample(np.random.default_rng(0).random((10_000, LENGTH)))
    rows = list(ids)
    training_hashes()
    automaton = language.automaton

    def plain() -> float:
        total = 0.0
        for row in rows[:500]:
            state = 0
            for word in row:
                total -= np.log(automaton.probs[state, word])
                state = automaton.follow[state, word]
        return total

    ours, other = seconds(lambda: judge(language, rows), plain)
    return [
        Line("oracle: verdicts on 10,000 windows", ours, 20 * other, "word by word, likelihood only (extrapolated)")
    ]


def conformance() -> list[Line]:
    """The whole battery of each kind of entry."""
    import elfbench

    lines = []
    for name in ("elf-oracle", "mdlm-oracle", "ar-oracle", "exact-oracle"):
        start = time.perf_counter()
        elfbench.conform(name)
        lines.append(Line(f"conform {name}", time.perf_counter() - start, None, ""))
    return lines


def gates() -> list[Line]:
    """`elfbench check` as a whole process: 1,000 rows of ten cells under 20 loss gates."""
    import subprocess
    import sys
    import tempfile
    from pathlib import Path

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
    return [Line("check: 1,000 rows, 20 loss gates, whole process", ours, None, "")]


def main() -> None:
    print("| what | ours, s | other, s | ratio | other |\n|:--|--:|--:|--:|:--|")
    for benchmark in (oracle_scoring, conformance, gates):
        for line in benchmark():
            other = "" if line.other is None else f"{line.other:.3g}"
            ratio = "" if line.other is None else f"{line.other / line.ours:.1f}x"
            print(f"| {line.what} | {line.ours:.3g} | {other} | {ratio} | {line.than} |", flush=True)


if __name__ == "__main__":
    main()
