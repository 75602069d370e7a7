from __future__ import annotations

from pathlib import Path

import pytest

from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.registry import catalog
from elfbench.registry.registry import Registry


def _registry() -> Registry[object]:
    return Registry(
        "thing", {"pi": "math:pi", "torn": "math:nothing", "gone": "no_such_package:x", "file:": "pathlib:Path"}
    )


def test_targets_are_imported_when_asked_for() -> None:
    assert _registry().get("pi") == pytest.approx(3.14159, abs=1e-5)


def test_families_take_an_argument() -> None:
    assert _registry().get("file:a/b") == Path("a/b")


def test_a_duplicate_name_tells_both_owners() -> None:
    registry = _registry()
    with pytest.raises(ConfigError, match=r"elfbench and my-package"):
        registry.add("pi", "math:tau", owner="my-package")


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'torn'"):
        _registry().get("tron")


def test_a_broken_target_names_its_owner() -> None:
    with pytest.raises(ConfigError, match="math:nothing"):
        _registry().get("torn")
    with pytest.raises(PrerequisiteError, match="no_such_package"):
        _registry().get("gone")


def test_closed_after_the_first_look_up() -> None:
    registry = _registry()
    assert "pi" in registry.names()
    with pytest.raises(ConfigError, match="closed"):
        registry.add("e", "math:e", owner="late")


def test_a_plugin_file_registers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh: Registry[object] = Registry("model", {})
    monkeypatch.setattr(catalog, "models", lambda: fresh)
    plugin = tmp_path / "mine.py"
    plugin.write_text("MODELS = {'mine': object()}")
    catalog.load_plugin(plugin)
    assert fresh.owner("mine") == "mine.py"
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1")
    with pytest.raises(ConfigError, match="registers nothing"):
        catalog.load_plugin(empty)


def test_a_plugin_file_registers_a_featurizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh: Registry[object] = Registry("featurizer", {})
    monkeypatch.setattr(catalog, "featurizers", lambda: fresh)
    plugin = tmp_path / "letters.py"
    plugin.write_text("class Letters:\n    name = title = 'letters'\nFEATURIZERS = {'letters': Letters()}")
    catalog.load_plugin(plugin)
    assert fresh.owner("letters") == "letters.py"
    assert vars(type(fresh.get("letters")))["title"] == "letters"


def test_families_of_metrics_exist() -> None:
    for members in catalog.metric_families().values():
        assert all(member in catalog.metrics() for member in members)
