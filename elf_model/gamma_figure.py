"""The figure "gamma shrinks the variance": `python -m elf_model.gamma_figure --out DIR` writes gamma-variance.png.

On Gaussian data N(0, c^2) the optimal prediction is g(t) z with g(t) = t c^2 / (t^2 c^2 + (1-t)^2 s^2), every step
is linear, and the variance at t=1 is a recursion of a few products. The uniform grid, no floor under 1-t. Not a
sampler: `elf_model.sampler` is checked against it.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Method = Literal["sde", "sde_exact", "sde_paper"]

FILE: Final = "gamma-variance.png"
GAMMAS: Final = (0.0, 0.5, 1.0, 2.0)
STEPS: Final = tuple(2**k for k in range(1, 13))
_COLORS: Final = ("black", "#0072b2", "#e69f00", "#d55e00")  # apart for all kinds of color vision
_TITLES: Final[dict[Method, str]] = {
    "sde": "the authors' SDE (sde)",
    "sde_exact": "exact churn (sde_exact)",
    "sde_paper": "the paper's algorithm 6 (sde_paper)",
}


def terminal_variance(
    method: Method, *, gamma: float, steps: int, noise_scale: float = 2.0, data_std: float = 1.0
) -> float:
    """Variance at t=1 after `steps` equal steps; the last one adds no noise, as in the sampler. gamma 0 is the ODE."""
    variance, h = noise_scale**2, 1.0 / steps
    for i in range(steps):
        t = i * h
        alpha = 1.0 if i == steps - 1 else min(max(1.0 - gamma * h, 0.0), 1.0)
        back = alpha * t
        gain = back * data_std**2 / (back**2 * data_std**2 + (1.0 - back) ** 2 * noise_scale**2)
        added = (noise_scale * (1.0 - alpha)) ** 2
        if method == "sde_paper":
            rate = h / (1.0 - t)
            variance = (1.0 + rate * (alpha * gain - 1.0)) ** 2 * variance + (rate * gain) ** 2 * added
            continue
        if method == "sde_exact":
            added = noise_scale**2 * ((1.0 - back) ** 2 - (alpha * (1.0 - t)) ** 2)
        step = 1.0 + (t + h - back) * (gain - 1.0) / (1.0 - back)
        variance = step**2 * (alpha**2 * variance + added)
    return variance


def sde_limit(gamma: float, *, noise_scale: float = 2.0, data_std: float = 1.0) -> float:
    """Variance of the authors' SDE for ever more steps: c^2 exp(-2 gamma (r pi/2 - ln r) / (1 + r^2)), r = c / s."""
    r = data_std / noise_scale
    return data_std**2 * math.exp(-2.0 * gamma * (r * math.pi / 2.0 - math.log(r)) / (1.0 + r**2))


def draw(path: Path) -> None:
    """Write the figure to `path`: the same bytes whenever matplotlib is the same."""
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
        from PIL import Image  # matplotlib depends on it
    except ModuleNotFoundError as error:
        raise SystemExit("the figure needs matplotlib: pip install 'elfbench[report]'") from error
    with style.context("default"):
        canvas = Figure(figsize=(8.6, 3.0), layout="constrained")
        panels = canvas.subplots(1, len(_TITLES), sharey=True)
        for axes, (method, title) in zip(panels, _TITLES.items(), strict=True):
            _panel(axes, method)
            axes.set_title(title, fontsize=9)
        panels[0].set_ylabel("variance at t=1 (data: 1)")
        panels[-1].legend(loc="lower right", fontsize=8)
        png = io.BytesIO()
        canvas.savefig(png, format="png", dpi=120, metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(png).convert("RGB").quantize(64).save(path, format="PNG", optimize=True)


def _panel(axes: Axes, method: Method) -> None:
    axes.axhline(1.0, color="gray", linewidth=0.8, linestyle="--")
    for gamma, color in zip(GAMMAS, _COLORS, strict=True):
        values = [terminal_variance(method, gamma=gamma, steps=steps) for steps in STEPS]
        label = f"gamma {gamma:g}" + (": the ODE" if gamma == 0.0 else "")
        axes.plot(STEPS, values, color=color, marker="o", markersize=3, linewidth=1.2, label=label)
        if method == "sde" and gamma > 0.0:
            axes.axhline(sde_limit(gamma), color=color, linewidth=0.8, linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_ylim(0.0, 1.08)
    axes.set_xlabel("steps N")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m elf_model.gamma_figure", description="gamma shrinks the variance")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=f"folder that {FILE} is written to")
    draw(parser.parse_args(arguments).out / FILE)


if __name__ == "__main__":
    main()
