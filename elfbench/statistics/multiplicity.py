"""Several tests at once: Holm's step-down (1979), which bounds the chance of any false rejection whatever their dependence."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elfbench.core.errors import ConfigError


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values [m], in the given order: reject those at or below the family's alpha. Raises ConfigError outside [0, 1]."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0.0) & (p <= 1.0)).all():
        raise ConfigError("p-values are numbers between 0 and 1", key="p_values", found=p.tolist(), allowed="[0, 1]")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
