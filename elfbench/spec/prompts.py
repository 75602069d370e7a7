"""A prompt set: what rows are given, and the outputs that they are compared with.

Row r belongs to example r // draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from elfbench.core.canonical import digest
from elfbench.spec.sampling import Prompt

PromptTask = Literal["prefix", "seq2seq"]
"""prefix: the output continues the given text; seq2seq: the given text is a source, such as a sentence to translate."""


@dataclass(frozen=True)
class PromptSet:
    """Examples in file order."""

    name: str
    task: PromptTask
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    draws: int
    """Rows per example."""

    @property
    def n_rows(self) -> int:
        """Rows that the set is enough for."""
        return len(self.inputs) * self.draws

    @cached_property
    def digest(self) -> str:
        """sha256 of what can change sampled ids: task, inputs and draws.

        Outputs can't: they are the reference of a score.
        """
        return digest({"task": self.task, "inputs": list(self.inputs), "draws": self.draws})

    def prompts(self, start: int, stop: int, length: int) -> tuple[Prompt, ...]:
        """The prompts of rows [start, stop) that ask for `length` tokens."""
        given = (self.inputs[row // self.draws] for row in range(start, stop))
        if self.task == "seq2seq":
            return tuple(Prompt(source=text, segments=(length,)) for text in given)
        return tuple(Prompt(source=None, segments=(text, length)) for text in given)

    def row_inputs(self) -> tuple[str, ...]:
        """[n_rows] what each row is given."""
        return tuple(self.inputs[row // self.draws] for row in range(self.n_rows))

    def row_outputs(self) -> tuple[str, ...]:
        """[n_rows] the output that belongs to each row."""
        return tuple(self.outputs[row // self.draws] for row in range(self.n_rows))

    def describe(self) -> dict[str, str | int]:
        """What records keep of it: content, and a name that is no path."""
        return {
            "name": self.name,
            "task": self.task,
            "examples": len(self.inputs),
            "draws": self.draws,
            "digest": self.digest,
        }


def condition_text(prompt: Prompt) -> str:
    """The one text that a prompt gives before its output: a source, or the text that goes before the only gap."""
    if prompt.source is not None and len(prompt.segments) == 1:
        return prompt.source
    before = prompt.segments[0]
    assert prompt.source is None
    assert len(prompt.segments) == 2
    assert isinstance(before, str)
    return before
