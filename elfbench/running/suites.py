"""Suites by name or path. Built-in ones are files: in `elfbench/_suites` of a wheel, in `suites/` of a checkout."""

from __future__ import annotations

from pathlib import Path

from elfbench.core.errors import unknown
from elfbench.loading.yaml_files import load_yaml, validated
from elfbench.registry import catalog
from elfbench.running.training_text import check_training
from elfbench.spec.suite import Suite

_PACKAGE = Path(__file__).resolve().parents[1]


def suite_folder() -> Path:
    """Where the built-in suites lie."""
    packaged = _PACKAGE / "_suites"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "suites"


def suite_paths() -> dict[str, Path]:
    """Name -> file of all suites, built in and of plug-ins."""
    paths = {path.stem: path for path in sorted(suite_folder().glob("*.yaml"))}
    for name in catalog.suites().names():
        paths[name] = Path(catalog.suites().get(name))
    return paths


def load_suite(name_or_path: str) -> Suite:
    """The suite; raises ConfigError naming the wrong key, or the nearest suite name."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        paths = suite_paths()
        if name_or_path not in paths:
            raise unknown("suite", name_or_path, paths, key="suite", remedy="or give the path of a .yaml file")
        path = paths[name_or_path]
    suite = validated(Suite, load_yaml(path), source=path.name)
    if suite.training is not None:
        check_training(suite.training)
    if suite.prompts is None or suite.prompts.file is None:
        return suite
    beside = suite.prompts.model_copy(update={"file": str(path.parent / suite.prompts.file)})
    return suite.model_copy(update={"prompts": beside})
