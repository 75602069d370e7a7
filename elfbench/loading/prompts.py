"""Prompt sets from JSONL: one example a line, with an input and the output that it is compared with."""

from __future__ import annotations

import json
from pathlib import Path

from elfbench.core.errors import ConfigError, suggestion
from elfbench.spec.prompts import PromptSet, PromptTask


def load_prompts(
    path: Path, *, input_key: str = "input", output_key: str = "output", task: PromptTask = "seq2seq", draws: int = 1
) -> PromptSet:
    """The examples of a file.

    Raises ConfigError for a missing file, a line that is no example, an empty input, or no line at all.
    """
    if not path.is_file():
        raise ConfigError("no such prompt file", key="prompts.file", found=str(path), allowed="a .jsonl file")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ConfigError("the prompts are not UTF-8", key=path.name, found=str(error)) from error
    inputs, outputs = [], []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path.name}, line {number}"
            row = _parsed(line, where)
            inputs.append(_text(row, input_key, "prompts.input", where))
            outputs.append(_text(row, output_key, "prompts.output", where))
            if not inputs[-1].strip():
                raise ConfigError("an empty input", key=where, found=repr(inputs[-1]), allowed="a text")
    if not inputs:
        raise ConfigError("a prompt file without examples", key="prompts.file", found=path.name)
    return PromptSet(path.stem, task, tuple(inputs), tuple(outputs), draws)


def _parsed(line: str, where: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ConfigError("a line that is not JSON", key=where, found=line[:60]) from error
    if not isinstance(row, dict):
        raise ConfigError(
            "a line that is no example", key=where, found=type(row).__name__, allowed='{"input": ..., "output": ...}'
        )
    return row


def _text(row: dict[str, object], name: str, key: str, where: str) -> str:
    text = row.get(name)
    if not isinstance(text, str):
        raise ConfigError(
            f"{where}: an example without the text {name!r}",
            key=key,
            found=sorted(row),
            allowed="a field that holds text",
            remedy="; ".join(
                filter(None, (suggestion(name, row), f"name the field with '{key.removeprefix('prompts.')}:'"))
            ),
        )
    return text
