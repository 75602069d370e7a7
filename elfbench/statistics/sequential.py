"""Looking several times at growing data without spending more than alpha (Lan and DeMets 1983).

Spending function of Pocock's type, alpha ln(1 + (e - 1) f) at the fraction f of the rows; each look is tested at what it adds. The looks
are bounded by a union, not by their joint law: a little conservative, and true for any dependence between looks, gates and pairings.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from elfbench.core.errors import ConfigError
from elfbench.statistics.interval import checked_level


def doubling_looks(first: int, most: int) -> tuple[int, ...]:
    """Rows at each look: first, 2 first, 4 first, ..., and `most` at the end. 2 <= first <= most."""
    if not 2 <= first <= most:
        raise ConfigError(
            "the first look lies between 2 rows and all", key="first_rows", found=first, allowed=f"2 .. {most}"
        )
    looks = [first]
    while looks[-1] * 2 < most:
        looks.append(looks[-1] * 2)
    return (*looks, most) if looks[-1] < most else tuple(looks)


def alpha_of_looks(looks: Sequence[int], alpha: float) -> tuple[float, ...]:
    """What each look may spend; rising `looks`, the last one is all rows. Sums to alpha."""
    checked_level(alpha)
    if not looks or any(b <= a for a, b in itertools.pairwise(looks)) or looks[0] < 1:
        raise ConfigError("looks are rising numbers of rows", key="looks", found=list(looks))
    spent = [alpha * math.log1p((math.e - 1.0) * rows / looks[-1]) for rows in looks]
    return tuple(now - before for before, now in zip([0.0, *spent], spent, strict=False))
