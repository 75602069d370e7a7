"""A prompt set: what rows are given, and the outputs that they are compared with.

Row r belongs to example r // draws.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from elfbench.core.canonical import digest
from elfbench.core.errors import ConfigError
from elfbench.spec.sampling import Prompt

PromptTask = Literal["prefix", "seq2seq"]
"""prefix: the output continues the given text; seq2seq: the given text is a source, such as a sentence to translate."""
_GAP = re.compile(r"\{(\d+)\}")


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


def parse_prompt(text: str, length: int) -> Prompt:
    """A prompt as one types it: `{8}` is a gap of 8 tokens. Without a gap, `length` new tokens follow the text.

    Raises ConfigError for a text with nothing given, or a gap of 0.
    """
    parts = _GAP.split(text)  # text, size, text, size, ..., text
    segments: list[str | int] = [int(part) if number % 2 else part for number, part in enumerate(parts)]
    segments = [segment for segment in segments if segment != ""]
    if not any(isinstance(segment, str) for segment in segments) or 0 in segments:
        raise ConfigError(
            "a prompt that gives nothing, or has an empty gap",
            key="--prompt",
            found=text,
            allowed="text, with {N} where N tokens are wanted",
        )
    if len(segments) == 1:
        segments.append(length)
    return Prompt(source=None, segments=tuple(segments))


def is_infill(prompt: Prompt) -> bool:
    """Whether more is given than a source or a beginning: then the whole row is the output."""
    if prompt.source is not None:
        return False
    return not (
        len(prompt.segments) == 2 and isinstance(prompt.segments[0], str) and isinstance(prompt.segments[1], int)
    )


def condition_text(prompt: Prompt) -> str:
    """The one text that a prompt gives before its output: a source, or the text that goes before the only gap."""
    if prompt.source is not None and len(prompt.segments) == 1:
        return prompt.source
    before = prompt.segments[0]
    assert prompt.source is None
    assert len(prompt.segments) == 2
    assert isinstance(before, str)
    return before
