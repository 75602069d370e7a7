"""Colors and markers: one per curve across all figures, safe for color-blind readers (Okabe and Ito). AR is grey, controls are red."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_HUES = {
    "autoregressive": ("#555555", "#8c8c8c"),
    "discrete": ("#0072B2", "#56B4E9", "#003f63", "#7aa6c2"),
    "continuous": ("#E69F00", "#D55E00", "#8c5a00", "#f0c05a"),
    "imported": ("#009E73", "#00614a", "#66c5ab"),
    "control": ("#B03060", "#CC79A7", "#8b3a62", "#d9a0bf"),
    "reference": ("#000000", "#6b6b6b", "#a08060"),
}
_MARKERS = "osD^vP*X"


class Style(NamedTuple):
    """How a curve looks."""

    color: str
    marker: str


def styles(curves: Sequence[tuple[str, str]]) -> dict[str, Style]:
    """(label, family) pairs, in order -> style by label; the n-th curve of a family always looks the same."""
    found: dict[str, Style] = {}
    seen: dict[str, int] = {}
    for label, family in curves:
        if label in found:
            continue
        rank = seen.get(family, 0)
        seen[family] = rank + 1
        hues = _HUES.get(family, _HUES["imported"])
        found[label] = Style(hues[rank % len(hues)], _MARKERS[rank % len(_MARKERS)])
    return found


def interpolated(count: int) -> list[str]:
    """`count` blues from light to dark, for an ordered quantity such as steps."""
    light, dark = (0x9C, 0xC9, 0xE8), (0x00, 0x33, 0x66)
    shares = [place / max(1, count - 1) for place in range(count)] if count > 1 else [1.0]
    mixed = [tuple(round(a + (b - a) * share) for a, b in zip(light, dark, strict=True)) for share in shares]
    return ["#{:02x}{:02x}{:02x}".format(*one) for one in mixed]
