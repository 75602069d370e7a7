"""A gate suite of two controls that sample in milliseconds, and baselines with a true digest but changed content."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import elfbench
from elfbench.core.canonical import digest
from elfbench.spec.suite import Suite

GATE: dict[str, Any] = {
    "suite": "small-gate",
    "version": 1,
    "title": "Two controls",
    "length": 32,
    "rows": 128,
    "measure": {"view": "raw", "tokenizer": "words", "window": 32, "short": "drop"},
    "models": [{"name": "exact-oracle"}, {"name": "bigram-oracle"}],
    "metrics": [{"name": "oracle_nll"}, {"name": "unigram_entropy"}],
    "gates": {
        "first_rows": 64,
        "loss": [{"metric": "oracle_nll", "margin": 0.05}],
        "floor": [{"metric": "unigram_entropy", "share": 0.95}],
    },
}


def small_gate(**changes: object) -> Suite:
    return Suite.model_validate(GATE | changes, strict=False)


def made(folder: Path, **changes: object) -> Path:
    """A store of the suite, sampled."""
    elfbench.run(small_gate(**changes), folder)
    return folder


def forged(source: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The baseline with changed content and the digest of that content: what an older run could have left."""
    content = json.loads(source.read_text())["content"]
    change(content)
    target.write_text(json.dumps({"content": content, "digest": digest(content)}))
    return target
