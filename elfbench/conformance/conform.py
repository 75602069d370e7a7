"""`elfbench.conform`: all checks on one entry, in seconds."""

from __future__ import annotations

import json
from pathlib import Path

from elfbench.conformance.checks import CHECKS, Subject
from elfbench.conformance.verdict import Failure, Skip, Verdict
from elfbench.core.errors import PrerequisiteError
from elfbench.registry import catalog
from elfbench.spec.sampling import ModelEntry, as_entry

GOLDEN = Path(__file__).with_name("golden_ids.json")


def conform(name: str) -> list[Verdict]:
    """Runs the battery on the registered entry `name`; one verdict per check, in order. Raises ConfigError for an unknown name."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8")).get(name)
    target = catalog.models().target(name)
    module = target.partition(":")[0] if isinstance(target, str) else None
    return conform_entry(catalog.models().get(name), name, golden=golden, module=module)


def conform_entry(
    entry: ModelEntry, name: str, *, golden: str | None = None, module: str | None = None
) -> list[Verdict]:
    """The battery on an entry at hand. Raises PrerequisiteError when its toy needs a package that is not installed."""
    subject = Subject(name, as_entry(entry), golden, module)
    try:
        _ = subject.model
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            f"{name} needs a package that is not installed",
            key=name,
            found=f"no module named {error.name!r}",
            remedy="pip install 'elfbench[run]'",
        ) from error
    except Exception:
        pass  # Every check reports it, as the battery is about to show.
    verdicts = []
    for check in CHECKS:
        title = check.__name__.replace("_", " ")
        try:
            verdicts.append(Verdict(title, "passed", check(subject)))
        except Skip as reason:
            verdicts.append(Verdict(title, "skipped", str(reason)))
        except Failure as reason:
            verdicts.append(Verdict(title, "failed", str(reason)))
        except Exception as error:
            verdicts.append(Verdict(title, "failed", f"{type(error).__name__}: {error}"))
    return verdicts
