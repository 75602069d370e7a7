"""What a check says of an entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check: passed, failed, or skipped because the entry does not offer what it looks at."""

    check: str
    status: Literal["passed", "failed", "skipped"]
    message: str
    """What was found, or why it was skipped."""


class Failure(Exception):  # noqa: N818 - a verdict, not an error of elfbench
    """Raised by a check; the message says what was found and what the contract is."""


class Skip(Exception):  # noqa: N818
    """Raised by a check that does not apply; the message says why."""
