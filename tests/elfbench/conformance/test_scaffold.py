from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from elfbench.conformance.scaffold import new
from elfbench.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
CHECKS = {"model": ("conform", "fresh-one"), "metric": ("show", "fresh-one"), "suite": ("plan", "fresh-one")}


def _python(*arguments: str, path: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, cwd=cwd)


def _as_installed(package: Path) -> None:
    """What an installer writes, without an installer: the entry points of pyproject.toml beside the module."""
    text = (package / "pyproject.toml").read_text()
    group, name, target = re.search(r'entry-points\."(.+?)"\]\n(\S+) = "(.+?)"', text).groups()  # type: ignore[union-attr]
    info = package / "fresh_one-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fresh-one\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n")


@pytest.mark.parametrize(
    "kind", [kind if kind == "model" else pytest.param(kind, marks=pytest.mark.slow) for kind in sorted(CHECKS)]
)
def test_a_scaffold_is_found_and_passes(tmp_path: Path, kind: str) -> None:
    files = new(kind, "fresh-one", tmp_path)
    package = tmp_path / "fresh-one"
    assert all(file.is_file() for file in files)
    _as_installed(package)
    done = _python("-m", "elfbench.cli.main", *CHECKS[kind], path=package, cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    tested = _python("-m", "pytest", "-q", "-p", "no:cacheprovider", str(package / "tests"), path=package, cwd=package)
    assert tested.returncode == 0, tested.stdout
    listed = _python("-m", "elfbench.cli.main", "list", f"{kind}s", "--json", path=package, cwd=tmp_path)
    assert '"name": "fresh-one"' in listed.stdout


@pytest.mark.slow
def test_a_scaffold_installs_with_pip(tmp_path: Path) -> None:
    new("model", "fresh-one", tmp_path)
    target = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        str(target),
        str(tmp_path / "fresh-one"),
    ]
    subprocess.run(install, check=True)
    done = _python("-m", "elfbench.cli.main", "conform", "fresh-one", path=target, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("modle", "x", "did you mean 'model'"),
        ("model", "1x", "identifier"),
        ("model", "a b", "identifier"),
        ("model", "class", "identifier"),
        ("model", "mdlm-sotu", "there is a model"),
        ("metric", "mauve", "there is a metric"),
    ],
)
def test_bad_names_are_told(tmp_path: Path, kind: str, name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        new(kind, name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match="the folder exists"):
        new("model", "mine", tmp_path)
    assert list((tmp_path / "mine").iterdir()) == []


def test_the_tutorial_runs_as_written(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "add-your-model.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 40
    (tmp_path / "mine.py").write_text(code)
    commands = [line.removeprefix("elfbench ") for line in text.splitlines() if line.startswith("elfbench --plugin")]
    assert len(commands) == 2
    for command in commands:
        done = _python("-m", "elfbench.cli.main", *command.split(), path=ROOT, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
