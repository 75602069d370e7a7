"""The whole conformance battery of each kind of entry; there is no other to compare with."""

from __future__ import annotations

import time

from timing import Line


def conformance() -> list[Line]:
    """One run each."""
    import elfbench

    lines = []
    for name in ("elf-oracle", "mdlm-oracle", "ar-oracle", "exact-oracle"):
        start = time.perf_counter()
        elfbench.conform(name)
        lines.append(Line(f"conform {name}", time.perf_counter() - start))
    return lines
