"""The processes of one run: what a rank must tell the others. One process needs none of it.

The gradients are summed by the loop itself and not by a wrapper around the network, so a loss may call the network as
often as it likes, with or without a gradient. Not a launcher: `accelerate launch` or `torchrun` starts the processes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class Ranks(Protocol):
    """This process among `count`."""

    @property
    def index(self) -> int:
        """From 0, which alone writes files."""
        ...

    @property
    def count(self) -> int:
        """Number of processes."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """What every rank gave, in the order of ranks; small picklable things."""
        ...

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the ranks; the same bits on all of them."""
        ...


class OneProcess:
    """A run of one process."""

    index = 0
    count = 1

    def gather(self, value: Any) -> list[Any]:
        """The value."""
        return [value]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Nothing to add."""


class Accelerated:
    """Processes that `accelerate launch` (or torchrun) started."""

    def __init__(self, *, cpu: bool = False) -> None:
        """cpu: talk over gloo. Raises ImportError with the line to type when accelerate is missing."""
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise ImportError("several processes need accelerate: pip install 'elfbench[run]'") from error
        self._state = PartialState(cpu=cpu)
        self.index, self.count = int(self._state.process_index), int(self._state.num_processes)

    @property
    def device(self) -> str:
        """This rank's own: "cpu", "cuda:1", ..."""
        return str(self._state.device)

    def gather(self, value: Any) -> list[Any]:
        """Pickled: a few hundred bytes per step."""
        from accelerate.utils import gather_object

        return list(gather_object([value]))

    def add(self, tensors: Sequence[Tensor]) -> None:
        """One message per data type."""
        from accelerate.utils import reduce

        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            same = [tensor for tensor in tensors if tensor.dtype == dtype]
            whole = reduce(torch.cat([tensor.reshape(-1) for tensor in same]), reduction="sum")
            for tensor, total in zip(same, whole.split([tensor.numel() for tensor in same]), strict=True):
                tensor.copy_(total.view_as(tensor))

    def close(self) -> None:
        """Leave the group, so that the process ends without a complaint."""
        self._state.destroy_process_group()


def ranks_of_environment(*, cpu: bool = False) -> OneProcess | Accelerated:
    """The ranks that the launcher's WORLD_SIZE tells of; without it, or at 1, one process."""
    return Accelerated(cpu=cpu) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else OneProcess()
