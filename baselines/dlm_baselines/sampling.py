"""What every sampler of this package returns and reports. Not a sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

OnStep = Callable[[int, Tensor], None]
"""(step number from 0, ids [B, L], with mask ids where undecided): called after a step; the ids are not to be changed."""


class Sample(NamedTuple):
    """Finished rows."""

    ids: Tensor
    """[B, L] int64."""
    nfe: Tensor
    """[B] int64: forward passes in which the row took part."""
