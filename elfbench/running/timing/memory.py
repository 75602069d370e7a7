"""Peak memory of one task: what it needs beyond what was there before.

On CUDA: bytes that PyTorch's allocator gave out. On Linux's CPU: pages of the process that were resident, by the kernel's own high-water
mark, which is reset before; so nothing is missed between two looks, and nothing of an earlier task is left in it; exact to some dozens of pages a thread. Elsewhere: unknown.
"""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_PROCESS = Path("/proc/self")
ALLOCATED = "bytes allocated on the device"
RESIDENT = "resident pages of the process"


class Peak(NamedTuple):
    """Bytes before and at the peak, and what was counted; None where the system does not tell."""

    before: int | None
    peak: int | None
    kind: str


def peak_of(task: Callable[[], object], device: str) -> Peak:
    """Runs the task once and watches. Slows it down: never around a timed run."""
    gc.collect()
    if device.startswith("cuda"):
        return _allocated(task, device)
    return _resident(task, _PROCESS) if device == "cpu" else _unknown(task)


def _unknown(task: Callable[[], object]) -> Peak:
    task()
    return Peak(None, None, "unknown")


def _allocated(task: Callable[[], object], device: str) -> Peak:
    import torch

    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    task()
    torch.cuda.synchronize(device)
    return Peak(int(before), int(torch.cuda.max_memory_allocated(device)), ALLOCATED)


def _resident(task: Callable[[], object], process: Path) -> Peak:
    """Memory that malloc kept of earlier work goes back first: reused, it would not count as growth."""
    if not process.is_dir():
        return _unknown(task)
    _trim()
    try:
        (process / "clear_refs").write_text("5")  # the peak becomes what is resident now (proc(5))
        before = _status(process, "VmRSS")
    except OSError:
        return _unknown(task)
    task()
    peak = _status(process, "VmHWM")
    if before is None or peak is None:
        return Peak(None, None, "unknown")
    return Peak(before, max(before, peak), RESIDENT)


def _status(process: Path, field: str) -> int | None:
    """Bytes of a field of /proc/self/status."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", (process / "status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _trim() -> None:
    """glibc gives free memory back; other C libraries have no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
