"""`elfbench.sample` and `elfbench.trace`: a few texts of one entry, without a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from elfbench.core.errors import ConfigError
from elfbench.core.seeds import row_seeds
from elfbench.registry import catalog
from elfbench.running.prompts import entries_that_do
from elfbench.running.reporter import Quiet, Reporter
from elfbench.running.sampling import sample_in_batches
from elfbench.spec.card import ModelCard, OptionValue
from elfbench.spec.cell import SHARD_ROWS
from elfbench.spec.prompts import is_infill, parse_prompt
from elfbench.spec.sampling import Model, Prompt, SampleBatch, SampleRequest, Trace, TraceableModel

DEFAULT_LENGTH, DEFAULT_STEPS = 64, 32


def load(name: str, *, weights: Path | None = None, device: str = "cpu", dtype: str = "float32") -> Model:
    """The model behind a registered name."""
    return catalog.models().get(name).load(weights=weights, device=device, dtype=dtype)


def sample(
    name: str,
    n: int = 4,
    steps: int | None = None,
    seed: int = 0,
    *,
    length: int | None = None,
    options: Mapping[str, OptionValue] | None = None,
    prompt: str | None = None,
    weights: Path | None = None,
    device: str = "cpu",
    reporter: Reporter | None = None,
) -> SampleBatch:
    """`n` rows of entry `name`: the same rows that a suite with this root seed would store.

    prompt: a text to continue, or with `{N}` in it a text whose gaps of N tokens are filled in; all rows are given the same.
    """
    card = catalog.models().get(name).card
    request = sample_request(card, n, steps, seed, length, options or {}, prompt)
    reporter = reporter or Quiet()
    reporter.stage(f"sampling {name}", n)
    model = load(name, weights=weights, device=device)
    return sample_in_batches(model, request, SHARD_ROWS, reporter)[0]


def trace(
    name: str,
    frames: int = 8,
    steps: int | None = None,
    seed: int = 0,
    *,
    n: int = 1,
    length: int | None = None,
    options: Mapping[str, OptionValue] | None = None,
    prompt: str | None = None,
    weights: Path | None = None,
    device: str = "cpu",
) -> Trace:
    """The path from noise to text of the first `n` rows. Raises ConfigError for an entry without a path."""
    card = catalog.models().get(name).card
    request = sample_request(card, n, steps, seed, length, options or {}, prompt)
    model = load(name, weights=weights, device=device)
    if not isinstance(model, TraceableModel):
        raise ConfigError(f"{name} has no path to show", key="--trace", found=card.family, allowed="a diffusion model")
    return model.trace(request, frames)


def sample_request(
    card: ModelCard,
    n: int,
    steps: int | None,
    seed: int,
    length: int | None,
    options: Mapping[str, object],
    prompt: str | None = None,
) -> SampleRequest:
    """The request for rows [0, n), with the card's limits checked."""
    if n < 1:
        raise ConfigError("at least one row", key="n", found=n, allowed=">= 1")
    if seed < 0:
        raise ConfigError("a seed is not negative", key="seed", found=seed, allowed=">= 0")
    most = card.max_length if prompt is None else card.max_length // 2
    wanted = length if length is not None else min(DEFAULT_LENGTH, most)
    if wanted > card.max_length:
        raise ConfigError(f"longer than {card.name} can", key="length", found=wanted, allowed=f"1 .. {card.max_length}")
    if card.has_steps:
        steps = steps if steps is not None else DEFAULT_STEPS
        if card.max_steps is not None and steps > card.max_steps:
            raise ConfigError(
                f"more steps than {card.name} takes", key="steps", found=steps, allowed=f"1 .. {card.max_steps}"
            )
    else:
        steps = None
    resolved = card.resolve_options(options)
    return SampleRequest(
        tuple(range(n)), row_seeds(seed, 0, n), wanted, steps, _prompts(card, prompt, n, wanted), resolved
    )


def _prompts(card: ModelCard, text: str | None, n: int, length: int) -> tuple[Prompt, ...] | None:
    if text is None:
        return None
    prompt = parse_prompt(text, length)
    task = "infill" if is_infill(prompt) else "prefix"
    if task not in card.tasks:
        raise ConfigError(
            f"{card.name} does not {'fill in gaps' if task == 'infill' else 'continue text'}",
            key="--prompt",
            found=f"{text!r}, for a model whose tasks are: {', '.join(card.tasks)}",
            allowed=entries_that_do(task),
            remedy="another model, or no prompt",
        )
    return (prompt,) * n
