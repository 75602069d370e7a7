"""What entries with packaged weights share: the record beside the weights, cards made from it, errors in the house's words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.core.provenance import package_roots
from elfbench.loading.tokenizer import Tokenizer
from elfbench.spec.card import ModelCard, OptionSpec, WeightsSpec

if TYPE_CHECKING:
    from torch import nn

Module = TypeVar("Module", bound="nn.Module")


class Packaged(NamedTuple):
    """A weights file in a wheel, and the record that says where it came from."""

    path: Path
    record: Mapping[str, Any]
    """sha256, n_params, recipe, steps, tokens, command, log."""


def packaged_weights(package: str, name: str) -> Packaged:
    """`<package>/weights/<name>.safetensors` with its `.json`; reads no tensor and imports no package."""
    folder = package_roots(package)[0] / "weights"
    record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return Packaged(folder / f"{name}.safetensors", record)


class TrainingText(NamedTuple):
    """What packaged entries are trained on: the second half of their names, and the tokenizer and window that come with it."""

    name: str
    title: str
    tokenizer: Callable[[], Tokenizer]
    vocab_size: int
    length: int


def card_of(packaged: Packaged, text: TrainingText, *, masked: bool = False, summary: str, **fields: Any) -> ModelCard:
    """A card whose weights, size and training come from the record; `masked` entries have one id more, the mask."""
    record = packaged.record
    package = packaged.path.parents[1].name
    weights = WeightsSpec(kind="packaged", source=f"{package}/weights/{packaged.path.name}", digest=record["sha256"])
    spec = text.tokenizer().spec
    return ModelCard(
        name=packaged.path.stem,
        summary=f"{summary}; tiny, trained on {text.title}.",
        revision=record["sha256"][:12],
        tokenizer=spec.model_copy(update={"mask_id": text.vocab_size}) if masked else spec,
        vocab_size=text.vocab_size + masked,
        max_length=text.length,
        n_params=record["n_params"],
        training_tokens=record["tokens"],
        weights=weights,
        licence="Apache-2.0",
        **fields,
    )


TEMPERATURE = OptionSpec(
    type="float",
    default=1.0,
    minimum=0.0,
    maximum=5.0,
    meaning="divides the logits of the token draw; 0 is greedy, 1 is the model's law",
)
TOP_P = OptionSpec(
    type="float",
    default=1.0,
    minimum=0.0,
    maximum=1.0,
    meaning="nucleus: mass of the most probable tokens that are kept",
)


def randomized(net: Module, seed: int) -> Module:
    """`net` with noise on every weight: networks start with zeros in places, and a toy must use all of its parts."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    net.eval()
    return net


@contextmanager
def model_errors(name: str, weights: Path | None) -> Iterator[None]:
    """Turns what a model package raises into errors that say what to type."""
    if weights is not None and not weights.is_file():
        raise ConfigError(
            f"{name}: no such weights file", key="--weights", found=str(weights), allowed="a .safetensors file"
        )
    try:
        yield
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            f"{name} needs a package that is not installed",
            key=name,
            found=f"no module named {error.name!r}",
            remedy="pip install 'elfbench[run]'",
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{name}: {error}",
            key="--weights" if weights else name,
            remedy="these are not this model's weights" if weights else None,
        ) from error
