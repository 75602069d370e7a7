"""From a recipe to a network and its loss: what `elf_model.training.loop.fit` trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlm_baselines.ar import ar_loss
from dlm_baselines.dit import Dit, DitConfig, build_dit
from dlm_baselines.systems import SYSTEMS
from elf_model.training.loop import LossFunction

END_OF_TEXT_ID = 0
"""Of the project's own tokenizers; the autoregressive model starts from it."""


def build(recipe: Mapping[str, Any]) -> tuple[Dit, LossFunction]:
    """The fresh network of `recipe` (keys system, model, seed) and its loss. The mask of an absorbing system is the last id of its vocabulary."""
    system = recipe["system"]
    if "causal" in recipe["model"]:
        raise ValueError("model.causal follows from the system; remove the key")
    config = DitConfig.from_dict({**recipe["model"], "causal": system == "ar"})
    net = build_dit(config, seed=int(recipe["seed"]))
    if system == "ar":
        return net, ar_loss(start_id=END_OF_TEXT_ID)
    if system not in SYSTEMS:
        raise ValueError(f"system is {system!r}; allowed: ar, {', '.join(SYSTEMS)}")
    return net, SYSTEMS[system].loss(SYSTEMS[system].mask_id(net))
