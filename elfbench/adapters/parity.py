"""Reference vectors of authors' code, run through our models: which file is of which kind, and what came out.

Files are read as data (safetensors; checkpoints beside them with `weights_only=True`). The comparisons themselves are
the model packages' (`elf_model.parity`, `dlm_baselines.parity`). Not a benchmark: nothing is stored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from elfbench.core.errors import ConfigError, PrerequisiteError, unknown

if TYPE_CHECKING:
    from torch import Tensor

_KEY = "golden"
_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Output:
    """One output of one file. `difference` is None where nothing was checked, inf for another shape or NaN."""

    file: Path
    kind: str
    output: str
    difference: float | None
    tolerance: float
    note: str

    @property
    def status(self) -> Literal["ok", "miss", "not checked"]:
        if self.difference is None:
            return "not checked"
        return "ok" if self.difference <= self.tolerance else "miss"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that holds no reference vectors."""

    file: Path
    why: str


@dataclass(frozen=True, slots=True)
class Parity:
    """Everything that was compared."""

    outputs: tuple[Output, ...]
    skipped: tuple[Skipped, ...]

    @property
    def passed(self) -> bool:
        """No output misses its tolerance."""
        return not self.missed

    @property
    def missed(self) -> tuple[Output, ...]:
        return tuple(output for output in self.outputs if output.status == "miss")


def parity(*paths: str | Path) -> Parity:
    """Compare our models with reference vectors: files, or folders of them.

    Raises ConfigError for a path that is not there, a file that can't be read, a kind without a comparison, and when there was
    nothing to check.
    """
    kinds = _kinds()
    vectors: list[tuple[Path, dict[str, Any]]] = []
    skipped: list[Skipped] = []
    for file in _files(paths):
        document = _document(file)
        if isinstance(document, Skipped):
            skipped.append(document)
            continue
        if document.get("kind") not in kinds:
            raise unknown(f"kind of reference vectors in {file}", str(document.get("kind")), kinds, key=f"{_KEY}.kind")
        vectors.append((file, document))
    outputs = [output for file, document in vectors for output in _compared(file, document, kinds)]
    if all(output.status == "not checked" for output in outputs):
        raise ConfigError(
            "there was nothing to check",
            key="PATH",
            found="; ".join(f"{skip.file.name}: {skip.why}" for skip in skipped[:5]) or ", ".join(map(str, paths)),
            allowed=f"safetensors files with a {_KEY!r} document, of kind {', '.join(sorted(kinds))}",
            remedy="elfbench parity tests/golden/elf",
        )
    return Parity(tuple(outputs), tuple(skipped))


def _kinds() -> dict[str, Callable[..., list[Any]]]:
    """kind -> the comparison of the model package that knows it."""
    try:
        from dlm_baselines.parity import KINDS as BASELINES
        from elf_model.parity import KINDS as ELF
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise PrerequisiteError(
            "parity runs networks", key="torch", found="not installed", remedy="pip install 'elfbench[run]'"
        ) from error
    return {**ELF, **BASELINES}


def _files(paths: Iterable[str | Path]) -> list[Path]:
    """Every file once, folders in sorted order."""
    found: dict[Path, Path] = {}
    for given in map(Path, paths):
        if not given.exists():
            raise ConfigError(
                f"{given} does not exist", key="PATH", found=str(given), allowed="a file or a folder", remedy="ls"
            )
        for file in sorted(given.rglob("*")) if given.is_dir() else (given,):
            if file.is_file():
                found.setdefault(file.resolve(), file)
    return list(found.values())


def _document(file: Path) -> dict[str, Any] | Skipped:
    """The golden document of a file, or why it has none; reads the header only."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as vectors:
            metadata = vectors.metadata() or {}
    except (SafetensorError, OSError) as error:
        if file.suffix != _SUFFIX:
            return Skipped(file, "not a safetensors file")
        raise _unreadable(file, str(error)) from error
    if _KEY not in metadata:
        return Skipped(file, f"no {_KEY!r} document in its metadata")
    try:
        document = json.loads(metadata[_KEY])
    except ValueError as error:
        raise _unreadable(file, f"its {_KEY!r} document is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise _unreadable(file, f"its {_KEY!r} document is no JSON object")
    return document


def _compared(file: Path, document: dict[str, Any], kinds: dict[str, Callable[..., list[Any]]]) -> list[Output]:
    kind = document["kind"]
    try:
        rows = kinds[kind](file, document, _tensors(file))
    except KeyError as error:
        raise ConfigError(
            f"{file} lacks what a file of kind {kind} holds", key=str(error.args[0]), found="nothing of that name"
        ) from error
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        raise ConfigError(
            f"{file} can't be run as {kind}",
            found=str(error).splitlines()[0],
            remedy="its configuration, inputs and weights must fit together: tests/golden/README.md",
        ) from error
    return [Output(file, kind, row.output, row.difference, row.tolerance, row.note) for row in rows]


def _tensors(file: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as vectors:
        return {name: vectors.get_tensor(name) for name in vectors.keys()}  # noqa: SIM118 - not a mapping


def _unreadable(file: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{file} can't be read",
        key="PATH",
        found=why,
        allowed="a whole safetensors file",
        remedy="copy or download it again",
    )


def as_document(found: Parity) -> dict[str, Any]:
    """What `--json` prints; an infinite difference is null with status "miss"."""
    return {
        "passed": found.passed,
        "outputs": [
            {
                "file": str(output.file),
                "kind": output.kind,
                "output": output.output,
                "difference": None if output.difference in (None, math.inf) else output.difference,
                "tolerance": output.tolerance,
                "status": output.status,
                "ok": output.status != "miss",
                "note": output.note,
            }
            for output in found.outputs
        ],
        "skipped": [{"file": str(skip.file), "why": skip.why} for skip in found.skipped],
    }
