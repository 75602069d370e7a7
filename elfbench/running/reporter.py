"""What a long piece of work tells about itself. The command line draws it; the Python interface stays quiet by default."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Receives stages and notes."""

    def stage(self, name: str, total: int, unit: str = "rows") -> None:
        """A stage of `total` units (rows, steps) begins; the one before has ended."""
        ...

    def advance(self, units: int) -> None: ...

    def note(self, text: str) -> None:
        """One line that stays on the screen and in the log."""
        ...


class Quiet:
    """Says nothing."""

    def stage(self, name: str, total: int, unit: str = "rows") -> None: ...

    def advance(self, units: int) -> None: ...

    def note(self, text: str) -> None: ...
