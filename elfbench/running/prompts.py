"""The prompt set of a suite: a file beside it, or one that is generated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from elfbench.core.errors import ConfigError, unknown
from elfbench.language.examples import continuations, reversals
from elfbench.loading.prompts import load_prompts
from elfbench.registry import catalog
from elfbench.spec.card import ModelCard
from elfbench.spec.prompts import PromptSet
from elfbench.spec.suite import SuitePrompts


def prompt_set(spec: SuitePrompts) -> PromptSet:
    """The examples that `spec` names. Raises ConfigError for an unknown set, or what is wrong with a file."""
    if spec.file is not None:
        return load_prompts(
            Path(spec.file), input_key=spec.input, output_key=spec.output, task=spec.task, draws=spec.draws
        )
    assert spec.generated is not None
    if spec.generated not in _GENERATED:
        raise unknown("prompt set", spec.generated, _GENERATED, key="prompts.generated", remedy="or give 'file:'")
    return _GENERATED[spec.generated](spec.draws)


def check_rows(prompts: PromptSet, rows: int) -> None:
    """Raises ConfigError when `rows` rows need more examples than there are."""
    if rows > prompts.n_rows:
        raise ConfigError(
            "more rows than prompts",
            key="rows",
            found=rows,
            allowed=f"<= {prompts.n_rows}: {len(prompts.inputs)} examples, {prompts.draws} rows each",
            remedy="fewer rows, more examples, or more 'draws:' of each",
        )


def check_task(card: ModelCard, prompts: PromptSet, key: str) -> None:
    """Raises ConfigError for an entry that can't be given such prompts."""
    if prompts.task not in card.tasks:
        raise ConfigError(
            f"{card.name} does not do the task {prompts.task!r}; its tasks: {', '.join(card.tasks)}",
            key=f"{key}.name",
            found=card.name,
            allowed=entries_that_do(prompts.task),
            remedy="remove the entry, or change 'prompts.task:'",
        )


def entries_that_do(task: str) -> list[str]:
    """Names of the entries that can be given such prompts; families such as `hf:` aside."""
    models = catalog.models()
    return [name for name in models.names() if not name.endswith(":") and task in models.get(name).card.tasks]


def _continuations(draws: int) -> PromptSet:
    return PromptSet("oracle-continuation", "prefix", *continuations(), draws)


def _reversals(draws: int) -> PromptSet:
    return PromptSet("oracle-reversal", "seq2seq", *reversals(), draws)


_GENERATED: dict[str, Callable[[int], PromptSet]] = {
    "oracle-continuation": _continuations,
    "oracle-reversal": _reversals,
}
