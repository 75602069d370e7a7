"""The one exception family: every message says which key, what was found, what is allowed and what to type.

`ElfbenchError` carries the exit code of the command line (design: 2 usage, 4 prerequisite, 1 failed check).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SHOWN = 12


class ElfbenchError(Exception):
    """Base of all errors that a user can mend. `exit_code` is what the command line returns."""

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        key: str | None = None,
        found: object = None,
        allowed: Iterable[object] | str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.message, self.key, self.found, self.remedy = message, key, found, remedy
        self.allowed = allowed if isinstance(allowed, str) or allowed is None else tuple(map(str, allowed))
        super().__init__(self.__str__())

    def __str__(self) -> str:
        lines = [self.message]
        if self.key is not None:
            lines.append(f"  key:     {self.key}")
        if self.found is not None:
            lines.append(f"  found:   {self.found}")
        if self.allowed is not None:
            lines.append(f"  allowed: {_listing(self.allowed)}")
        if self.remedy is not None:
            lines.append(f"  try:     {self.remedy}")
        return "\n".join(lines)

    @property
    def one_line(self) -> str:
        """The same for a list of gaps; without the key, which names no more than the gap itself."""
        parts = [self.message]
        parts += [f"found: {self.found}"] if self.found is not None else []
        parts += [f"allowed: {_listing(self.allowed)}"] if self.allowed is not None else []
        parts += [f"try: {self.remedy}"] if self.remedy is not None else []
        return " ".join("; ".join(parts).split())


class ConfigError(ElfbenchError):
    """A suite, recipe, option or argument is wrong."""


class StoreError(ElfbenchError):
    """A store is unreadable, truncated, of another schema, or cannot be written."""


class PrerequisiteError(ElfbenchError):
    """A package or asset is missing; `remedy` is the line to type."""

    exit_code = 4


class ConformanceError(ElfbenchError):
    """An entry breaks its contract."""

    exit_code = 1


def suggestion(found: str, allowed: Iterable[str]) -> str | None:
    """'did you mean ...' for a misspelled name, or the misspelled beginning of one; None when nothing is near."""
    names = list(allowed)
    near = difflib.get_close_matches(found, names, n=1, cutoff=0.5)
    if not near and len(found) > 2:
        beginnings = {name[: len(found)]: name for name in reversed(names)}
        near = [beginnings[one] for one in difflib.get_close_matches(found, beginnings, n=1, cutoff=0.7)]
    return f"did you mean {near[0]!r}?" if near else None


def unknown(
    what: str, found: str, allowed: Iterable[str], *, key: str | None = None, remedy: str | None = None
) -> ConfigError:
    """The error for a name that does not exist, with the nearest one."""
    names = sorted(allowed)
    hints = [hint for hint in (suggestion(found, names), remedy) if hint]
    return ConfigError(
        f"unknown {what} {found!r}", key=key, found=found, allowed=names, remedy="; ".join(hints) or None
    )


def _listing(allowed: tuple[str, ...] | str) -> str:
    if isinstance(allowed, str):
        return allowed
    shown = ", ".join(allowed[:_SHOWN])
    return shown if len(allowed) <= _SHOWN else f"{shown}, ... ({len(allowed)} in all)"
