"""What a suite's timing is measured under on this machine: device, threads and PyTorch version, with the suite's batches and warm-up."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from elfbench.core import provenance
from elfbench.spec.cell import Timing
from elfbench.spec.suite import SuiteTiming


class TimingSetting(NamedTuple):
    """One `Timing` for each batch size, ascending."""

    by_batch: tuple[Timing, ...]
    repeats: int

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(timing.batch for timing in self.by_batch)

    def describe(self) -> dict[str, object]:
        """What protocols keep of it: all that makes numbers of two machines different ones."""
        one = self.by_batch[0].model_dump(mode="json", exclude={"batch"})
        return {"measurement": "timing", "version": 1, **one, "batches": list(self.batches)}


def timing_setting(spec: SuiteTiming, device: str) -> TimingSetting:
    """The setting of `spec` on `device`, a name of PyTorch's."""
    import torch

    shared = {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": provenance.versions().get("torch", str(torch.__version__)),
        "warmup": spec.warmup,
    }
    return TimingSetting(tuple(Timing(batch=batch, **shared) for batch in spec.batches), spec.repeats)


def device_name(device: str) -> str:
    """The model of the processor or accelerator, e.g. 'NVIDIA H100', 'AMD EPYC'. Never a host name."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return f"{_processor()} ({device})" if device != "cpu" else _processor()


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or platform.machine()
    if cpuinfo.is_file() and (found := re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)):
        return found[1].strip()
    return platform.machine()
