"""Rewrites the golden ids of all registered entries and prints what changed: `python -m elfbench.conformance.golden` (`nox -s golden`)."""

from __future__ import annotations

import json

from elfbench.conformance.checks import toy_ids
from elfbench.conformance.conform import GOLDEN
from elfbench.registry import catalog


def rewrite() -> list[str]:
    """Writes the file; returns one line per entry that changed."""
    before = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.is_file() else {}
    after = {name: toy_ids(catalog.models().get(name)) for name in catalog.models().names() if not name.endswith(":")}
    GOLDEN.write_text(json.dumps(after, indent=1) + "\n", encoding="utf-8")
    names = sorted(before.keys() | after.keys())
    return [f"{name}: {before.get(name)} -> {after.get(name)}" for name in names if before.get(name) != after.get(name)]


if __name__ == "__main__":
    import sys

    sys.stdout.write("\n".join(rewrite() or ["nothing changed"]) + "\n")
