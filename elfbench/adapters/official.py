"""`mdlm:SOURCE`, `sedd:SOURCE`, `duo:SOURCE`, `ar:SOURCE`: official weights as published, as entries.

SOURCE is a folder as the model hub gives it, or a Lightning checkpoint; a tokenizer.json lies beside the weights. Nothing is downloaded, and no
code in a file is run (see `dlm_baselines.official`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elfbench.adapters import ar, discrete
from elfbench.adapters.discrete_kinds import KINDS, TASKS
from elfbench.adapters.trained import model_errors
from elfbench.core.canonical import file_digest
from elfbench.core.errors import ConfigError
from elfbench.loading.tokenizer import END_TOKENS, ForeignTokenizer
from elfbench.spec.card import ModelCard, WeightsSpec
from elfbench.spec.sampling import Model, ModelEntry

if TYPE_CHECKING:
    from dlm_baselines.official import OfficialWeights

_MASK = "[MASK]"
_NEVER = -1e6  # the logit of an id that is never drawn


@dataclass(frozen=True, slots=True)
class OfficialEntry:
    """Published weights; `toy` is that of the system's entries."""

    card: ModelCard
    system: str
    official: OfficialWeights
    tokenizer: ForeignTokenizer

    def load(self, weights: Path | None = None, device: str = "cpu", dtype: str = "float32") -> Model:
        import torch

        from dlm_baselines.dit import build_dit
        from dlm_baselines.systems import SYSTEMS
        from dlm_baselines.weights_file import load_strictly

        if weights is not None:
            raise ConfigError(
                f"{self.card.name} takes its weights from its source",
                key="--weights",
                found=str(weights),
                remedy=f"give that file as {self.system}:FILE",
            )
        net = build_dit(self.official.config, seed=0)  # every weight is replaced
        load_strictly(net, {name: value.float() for name, value in self.official.weights.items()})
        if self.system == "ar" and self.card.vocab_size > self.tokenizer.vocab_size:
            # The authors' causal network has an output for the mask, which their loss never sees: it must not be drawn.
            with torch.no_grad():
                net.output_layer.linear.weight[self.tokenizer.vocab_size :] = 0.0
                net.output_layer.linear.bias[self.tokenizer.vocab_size :] = _NEVER
        net = net.eval().to(device=device, dtype=getattr(torch, dtype))
        if self.system == "ar":
            return ar.ArModel(self.card, net, self.tokenizer, device)
        return discrete.DiscreteModel(self.card, net, SYSTEMS[self.system], self.tokenizer, device)

    def toy(self, seed: int) -> Model:
        toys: dict[str, ModelEntry] = {
            "ar": ar.AR_ORACLE,
            "mdlm": discrete.MDLM_ORACLE,
            "sedd": discrete.SEDD_ORACLE,
            "duo": discrete.DUO_ORACLE,
        }
        return toys[self.system].toy(seed)


def open_official(system: str, argument: str) -> OfficialEntry:
    """The entry `<system>:ARGUMENT`. Raises ConfigError naming what is missing, left over, or of another size."""
    source = Path(argument).expanduser()
    if not source.exists():
        raise ConfigError(
            f"no such weights for {system}",
            key="model",
            found=argument,
            allowed="a hub folder or a .ckpt file that is there",
        )
    folder = source if source.is_dir() else source.parent
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ConfigError(
            "the tokenizer is missing",
            key="tokenizer.json",
            found=f"none in {folder}",
            remedy="put the tokenizer.json that the weights were trained with (GPT-2's for OpenWebText) beside them",
        )
    name = source.resolve().name
    with model_errors(f"{system}:{name}", None):
        from dlm_baselines.official import read_official

        official = read_official(source)
    tokenizer = ForeignTokenizer(file, "tokenizer", None)
    ends = [tokenizer.token_id(one) for one in END_TOKENS]
    tokenizer = ForeignTokenizer(file, f"{name}-tokenizer", next((one for one in ends if one is not None), None))
    card = _card(system, name, source, official, tokenizer)
    return OfficialEntry(card, system, official, tokenizer)


def _card(system: str, name: str, source: Path, official: OfficialWeights, tokenizer: ForeignTokenizer) -> ModelCard:
    size, words = official.config.vocab_size, tokenizer.vocab_size
    if official.config.causal != (system == "ar"):
        kind = "causal" if official.config.causal else "bidirectional"
        raise ConfigError(f"these weights are not of {system}", key="model", found=f"a {kind} network")
    weights_file = (
        source
        if source.is_file()
        else next(source / one for one in ("model.safetensors", "pytorch_model.bin") if (source / one).is_file())
    )
    digest = file_digest(weights_file)
    kind_of = KINDS.get(system)
    shared: dict[str, Any] = {
        "name": f"{system}:{name}",
        "revision": digest[:12],
        "implementation": 1,
        "vocab_size": size,
        "max_length": official.config.max_length,
        "n_params": sum(value.numel() for value in official.weights.values()),
        "licence": "see its source",
        "weights": WeightsSpec(kind="hub", source=name, digest=digest),
    }
    if kind_of is None:
        spec = tokenizer.spec
        return ar.AR_ORACLE.card.model_copy(
            update={
                **shared,
                "title": f"AR ({name})",
                "summary": "Official weights.",
                "tokenizer": spec,
                "training_tokens": None,
            }
        )
    spec = tokenizer.spec.model_copy(
        update={"mask_id": _mask_id(size, words, tokenizer) if kind_of.absorbing else None}
    )
    return ModelCard(
        title=f"{kind_of.title} ({name})",
        summary=f"{kind_of.summary}; official weights.",
        family="discrete",
        tokenizer=spec,
        tasks=TASKS,
        options=kind_of.options,
        has_steps=True,
        max_steps=4096,
        citation=kind_of.citation,
        **shared,
    )


def _mask_id(size: int, words: int, tokenizer: ForeignTokenizer) -> int:
    """The id after the tokenizer's last, or its own [MASK] where the vocabulary has no room for another."""
    if size == words + 1:
        return words
    inside = tokenizer.token_id(_MASK)
    if size == words and inside is not None:
        return inside
    raise ConfigError(
        "the vocabulary has no mask token for a masked model",
        key="vocabulary",
        found=f"{size} ids in the network, {words} in tokenizer.json",
        allowed="one id more than the tokenizer's, or a tokenizer with [MASK]",
        remedy="put the tokenizer.json that the weights were trained with beside them",
    )


def _opener(system: str) -> Callable[[str], OfficialEntry]:
    return partial(open_official, system)


MDLM, SEDD, DUO, AR = _opener("mdlm"), _opener("sedd"), _opener("duo"), _opener("ar")
