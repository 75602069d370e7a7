"""Several tests at once: Holm's step-down (1979), which bounds the chance of any false rejection whatever their dependence, for claims;
Benjamini and Hochberg's step-up (1995), which bounds the expected share of false rejections where tests do not depend negatively, for lists to look through.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elfbench.core.errors import ConfigError


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values [m], in the given order: reject those at or below the family's alpha. Raises ConfigError outside [0, 1]."""
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values [m], in the given order: those at or below q are false in a share of at most q, on average."""
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty_like(p)
    # The smallest of all later ones; a p-value is never lowered by adjusting, whatever the rounding.
    adjusted[order] = np.clip(np.minimum.accumulate(scaled[::-1])[::-1], p[order], 1.0)
    return adjusted


def _checked(p_values: ArrayLike) -> NDArray[np.float64]:
    p: NDArray[np.float64] = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0.0) & (p <= 1.0)).all():
        raise ConfigError("p-values are numbers between 0 and 1", key="p_values", found=p.tolist(), allowed="[0, 1]")
    return p
