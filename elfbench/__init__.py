"""elfbench: the benchmark and evaluation suite for diffusion language models.

The public interface, resolved when it is first used (importing elfbench imports neither torch nor pandas):

- `score(texts, metrics=, reference=, judge=)`: anybody's texts -> a pandas frame
- `load(name)`, `sample(name, n=, steps=, seed=)`, `trace(name, frames=)`: one entry
- `train(recipe, out=)`, `ablate(ablation, out=)`: weights from a recipe; variants of a recipe compared
- `conform(name)`: does an entry keep its contract
- `parity(path)`: do our models compute what files of reference vectors hold
- `check(store, against=)`: did quality go down against a baseline file
- `compare(a, b, store=)`: two rows of a store, or two stores: differences with intervals, and ties
- `run(suite, out=)`: a whole suite into a store; `open(store)`: what a store holds; `write_report(store, out)`
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elfbench.adapters.parity import parity as parity
    from elfbench.conformance.conform import conform as conform
    from elfbench.core.provenance import version as version
    from elfbench.gates.check import check as check
    from elfbench.reporting.comparison import compare as compare
    from elfbench.reporting.report import write_report as write_report
    from elfbench.running.ablation import ablate as ablate
    from elfbench.running.run import run as run
    from elfbench.running.sample import load as load
    from elfbench.running.sample import sample as sample
    from elfbench.running.sample import trace as trace
    from elfbench.running.score import score as score
    from elfbench.running.train import train as train

_PUBLIC = {
    "ablate": "elfbench.running.ablation:ablate",
    "check": "elfbench.gates.check:check",
    "compare": "elfbench.reporting.comparison:compare",
    "conform": "elfbench.conformance.conform:conform",
    "load": "elfbench.running.sample:load",
    "open": "elfbench.store.store:Store.open",
    "parity": "elfbench.adapters.parity:parity",
    "run": "elfbench.running.run:run",
    "sample": "elfbench.running.sample:sample",
    "score": "elfbench.running.score:score",
    "trace": "elfbench.running.sample:trace",
    "train": "elfbench.running.train:train",
    "version": "elfbench.core.provenance:version",
    "write_report": "elfbench.reporting.report:write_report",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'elfbench' has no attribute {name!r}")
    module, _, path = _PUBLIC[name].partition(":")
    thing: Any = importlib.import_module(module)
    for part in path.split("."):
        thing = getattr(thing, part)
    return thing


def __dir__() -> list[str]:
    return list(__all__)
