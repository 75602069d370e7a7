"""`elfbench new`: a package outside the repository that installs, is found through its entry point, and passes its test."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Any, Literal, get_args

from elfbench.core.errors import ConfigError, StoreError, unknown
from elfbench.registry import catalog
from elfbench.registry.registry import Registry

Kind = Literal["model", "metric", "suite"]
_ATTRIBUTES = {"model": "ENTRY", "metric": "METRIC", "suite": "SUITE"}
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


def new(kind: str, name: str, folder: Path | str = ".") -> list[Path]:
    """Writes a package called `name` below `folder`; returns its files.

    Raises ConfigError for an unknown kind, a name that is taken or no identifier, or a folder that exists.
    """
    if kind not in get_args(Kind):
        raise unknown("kind", kind, get_args(Kind), key="kind")
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name) or keyword.iskeyword(module):
        raise ConfigError(
            f"a {kind} needs a name that is an identifier",
            key="NAME",
            found=name,
            allowed="lower-case letters, digits and hyphens, e.g. my-model",
        )
    registries: dict[str, Registry[Any]] = {
        "model": catalog.models(),
        "metric": catalog.metrics(),
        "suite": catalog.suites(),
    }
    registry = registries[kind]
    if name in registry:
        raise ConfigError(
            f"there is a {kind} of this name",
            key="NAME",
            found=f"{name} of {registry.owner(name)}",
            remedy="choose another name",
        )
    root = Path(folder) / name
    if root.exists():
        raise ConfigError("the folder exists", key="NAME", found=str(root), remedy="choose another name or folder")
    contents = _rendered(kind, name, module)
    try:
        for path, text in contents.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(
            "cannot write", key=str(root), found=error.strerror, remedy="choose another folder with --in"
        ) from error
    return [root / path for path in contents]


def _rendered(kind: str, name: str, module: str) -> dict[Path, str]:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("elfbench.conformance"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    templates = {
        Path("pyproject.toml"): "pyproject.toml.j2",
        Path(module) / "__init__.py": f"{kind}/module.py.j2",
        Path("tests") / f"test_{module}.py": f"{kind}/test.py.j2",
    }
    if kind == "suite":
        templates[Path(module) / f"{name}.yaml"] = "suite/suite.yaml.j2"
    facts = {"kind": kind, "name": name, "module": module, "attribute": _ATTRIBUTES[kind]}
    return {path: environment.get_template(template).render(facts) for path, template in templates.items()}
