"""Rewrites golden_ids.json and prints what changed: the only way to change it (`nox -s golden`)."""

from __future__ import annotations

import json
from pathlib import Path

from elfbench.core.canonical import array_digest
from elfbench.core.seeds import row_seeds
from elfbench.registry import catalog
from elfbench.spec.sampling import SampleRequest

GOLDEN = Path(__file__).with_name("golden_ids.json")


def toy_ids(name: str) -> str:
    """'<implementation>:<digest of the ids of a toy request>'."""
    model = catalog.models().get(name).toy(0)
    card = model.card
    request = SampleRequest(tuple(range(6)), row_seeds(0, 0, 6), 12, 5 if card.has_steps else None)
    return f"{card.implementation}:{array_digest([model.sample(request).tokens])[:16]}"


if __name__ == "__main__":
    before = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {}
    after = {name: toy_ids(name) for name in catalog.models().names() if not name.endswith(":")}
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            print(f"{name}: {before.get(name)} -> {after.get(name)}")
    GOLDEN.write_text(json.dumps(after, indent=1) + "\n")
