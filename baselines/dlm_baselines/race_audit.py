"""What the float32 race does to the tail: `python -m dlm_baselines.race_audit --out DIR` prints a table and writes race-tail.png.

At t=1 of N steps a position unmasks with probability 1/N; of what unmasks, half should be one head token and half 50,000 tail tokens together. A
chi-square compares counted heads and tails with one half each. The tail's best uniform is drawn as the maximum of 50,000, which is U^(1/50000), so
that millions of races are cheap and none of its law is lost: of equal weights the largest uniform wins, on the grid of float32 too.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch

from dlm_baselines.race import RaceDtype, race

FILE: Final = "race-tail.png"
STEPS: Final = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
TAIL: Final = 50_000
_BATCH: Final = 1 << 20


class Audit(NamedTuple):
    """Races that unmasked, at one number of steps."""

    steps: int
    dtype: RaceDtype
    heads: int
    tails: int

    @property
    def share(self) -> float:
        """Tail tokens among what unmasked; right is one half."""
        return self.tails / max(1, self.heads + self.tails)

    @property
    def chi2(self) -> float:
        """Chi-square with one degree of freedom against one half each; 10.8 is its 99.9 % point."""
        return (self.heads - self.tails) ** 2 / max(1, self.heads + self.tails)


def audit(steps: int, dtype: RaceDtype, *, races: int, seed: int = 0, tail: int = TAIL) -> Audit:
    """`races` races of head, tail and mask at t=1 of `steps` steps."""
    rng = np.random.default_rng([seed, steps])
    weights = torch.tensor([0.5 / steps, 0.5 / tail / steps, 1.0 - 1.0 / steps], dtype=torch.float64)
    heads = tails = 0
    for start in range(0, races, _BATCH):
        uniforms = rng.random((min(_BATCH, races - start), 3))
        uniforms[:, 1] **= 1.0 / tail
        winners = race(weights, torch.from_numpy(uniforms), dtype=dtype)
        heads, tails = heads + int((winners == 0).sum()), tails + int((winners == 1).sum())
    return Audit(steps, dtype, heads, tails)


def audits(races_per_step: int = 4000) -> list[Audit]:
    """Both dtypes at all steps, with about `races_per_step` positions that unmask in each."""
    return [audit(steps, dtype, races=races_per_step * steps) for dtype in ("float32", "float64") for steps in STEPS]


def draw(path: Path, found: Sequence[Audit]) -> None:
    """Write the figure to `path`."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise SystemExit("the figure needs matplotlib: pip install 'elfbench[report]'") from error
    canvas = Figure(figsize=(5.4, 3.2), layout="constrained")
    axes = canvas.add_subplot()
    axes.axhline(0.5, color="gray", linewidth=0.8, linestyle="--")
    for dtype, color in (("float32", "#d55e00"), ("float64", "#0072b2")):
        rows = [one for one in found if one.dtype == dtype]
        error = [
            1.96 * math.sqrt(max(one.share * (1 - one.share), 1e-9) / max(1, one.heads + one.tails)) for one in rows
        ]
        axes.errorbar(
            [one.steps for one in rows],
            [one.share for one in rows],
            yerr=error,
            color=color,
            marker="o",
            markersize=3,
            label=dtype,
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(STEPS, [str(steps) for steps in STEPS])
    axes.set_ylim(0.0, 0.6)
    axes.set_xlabel("sampling steps")
    axes.set_ylabel("share of the tail (right: 0.5)")
    axes.legend(loc="lower left")
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, format="png", dpi=120, metadata={"Software": None})


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m dlm_baselines.race_audit", description="float32 cuts the tail")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=f"folder that {FILE} is written to")
    out: Path = parser.parse_args(arguments).out
    found = audits()
    lines = [
        "| race | steps | unmasked | tail share (right: 0.5) | chi-square (99.9 %: 10.8) |",
        "|:--|--:|--:|--:|--:|",
    ]
    for one in found:
        lines.append(f"| {one.dtype} | {one.steps} | {one.heads + one.tails} | {one.share:.3f} | {one.chi2:.1f} |")
    sys.stdout.write("\n".join(lines) + "\n")
    draw(out / FILE, found)


if __name__ == "__main__":
    main()
