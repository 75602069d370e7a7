"""Speeds side by side with what one would use otherwise, as a table: `nox -s bench`. A timing is never a unit test.

All benchmarks, or those named on the command line.
"""

from __future__ import annotations

import sys

from bootstrap import corpus_bootstrap
from conformance import conformance
from discrete import discrete_sampling
from diversity import diversity
from elf import elf_sampling
from embedding import embedding
from gates import gates
from gen_ppl import gen_ppl
from mauve_panel import mauve_panel
from oracle import oracle_scoring
from timing import HEADER, row

# ELF and the discrete samplers first: peak memory is measured while this process is still small.
_BENCHMARKS = {
    "elf": elf_sampling,
    "discrete": discrete_sampling,
    "gen_ppl": gen_ppl,
    "oracle": oracle_scoring,
    "conformance": conformance,
    "gates": gates,
    "diversity": diversity,
    "embedding": embedding,
    "mauve": mauve_panel,
    "bootstrap": corpus_bootstrap,
}


def main(names: list[str]) -> None:
    """Print the table of the benchmarks named, or of all."""
    unknown = [name for name in names if name not in _BENCHMARKS]
    if unknown:
        raise SystemExit(f"unknown benchmark {unknown[0]!r}; allowed: {', '.join(_BENCHMARKS)}")
    print(HEADER, flush=True)
    for name in names or _BENCHMARKS:
        for line in _BENCHMARKS[name]():
            print(row(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
