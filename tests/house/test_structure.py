"""The house holds: nothing heavy is imported early, every name points at something, the tree says nothing of a private machine."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from elfbench.registry import catalog
from elfbench.running.plan import planned_cells
from elfbench.running.suites import load_suite, suite_paths

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "datasets", "evaluate", "mauve", "matplotlib")


def _loaded_after(code: str) -> set[str]:
    """Heavy packages that are loaded after running `code` in a fresh interpreter."""
    probe = f"{code}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.split()[-len(HEAVY) :]) & set(HEAVY)


def _cli(*arguments: str) -> str:
    return f"import contextlib\nfrom elfbench.cli.main import main\nwith contextlib.suppress(SystemExit):\n    main({list(arguments)!r})"


@pytest.mark.parametrize(
    "code",
    [
        "import elfbench",
        _cli("--help"),
        *(_cli("list", kind) for kind in ("models", "suites", "metrics", "judges", "featurizers")),
        _cli("run", "--help"),
        _cli("check", "--help"),
        _cli("compare", "--help"),
        _cli("show", "mdlm-sotu"),
    ],
)
def test_nothing_heavy_is_imported_early(code: str) -> None:
    assert _loaded_after(code) == set()


@pytest.mark.parametrize("name", [name for name in catalog.models().names() if not name.endswith(":")])
def test_every_entry_is_importable_without_torch(name: str) -> None:
    code = f"from elfbench.registry import catalog\nentry = catalog.models().get({name!r})\nassert entry.card.name == {name!r}"
    assert _loaded_after(code) == set()


def test_every_metric_is_importable_without_torch() -> None:
    code = (
        "from elfbench.registry import catalog\nfor name in catalog.metrics().names():\n"
        "    assert name.endswith(':') or catalog.metrics().get(name).name == name"
    )
    assert _loaded_after(code) == set()


@pytest.mark.parametrize("name", sorted(suite_paths()))
def test_every_suite_names_only_things_that_exist(name: str) -> None:
    suite = load_suite(name)
    assert suite.suite == name
    assert planned_cells(suite)
    for metric in suite.metrics:
        for member in catalog.expand_metrics(metric.name):
            assert member in catalog.metrics()
    assert suite.judge is None or suite.judge in catalog.judges()
    assert suite.featurizer is None or suite.featurizer in catalog.featurizers()


def test_help_is_quick() -> None:
    def seconds(*command: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], capture_output=True, check=True)
        return time.perf_counter() - start

    bare = min(seconds("-c", "pass") for _ in range(3))
    best = min(seconds("-m", "elfbench.cli.main", "--help") for _ in range(3))
    # A generous bound on a loaded machine; the aim is 0.3 s.
    assert best - bare < 1.0


def test_tests_mirror_the_packages() -> None:
    """A test folder that matches no package folder is a leftover."""
    places = {
        "elfbench": ROOT / "elfbench",
        "elf_model": ROOT / "elf_model",
        "dlm_baselines": ROOT / "baselines" / "dlm_baselines",
    }
    for package, source in places.items():
        for folder in (ROOT / "tests" / package).rglob("*"):
            if folder.is_dir() and folder.name != "__pycache__":
                assert (source / folder.relative_to(ROOT / "tests" / package)).is_dir(), folder


def test_no_dumping_grounds() -> None:
    banned = {"utils", "common", "helpers", "misc"}
    for package in ("elfbench", "elf_model", "baselines"):
        for file in (ROOT / package).rglob("*.py"):
            assert file.stem not in banned
            assert not file.stem.endswith("_utils")


def test_the_readme_shows_the_committed_table() -> None:
    shown = (
        (ROOT / "README.md").read_text().partition("<!-- begin reports/demo/table.md -->\n")[2].partition("<!-- end")[0]
    )
    assert shown == (ROOT / "reports" / "demo" / "table.md").read_text()
    assert (ROOT / "reports" / "demo" / "figures" / "entropy_vs_ppl.png").is_file()
