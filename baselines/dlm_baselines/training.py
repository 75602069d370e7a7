"""From a recipe to a network and its loss: what `elf_model.training.loop.fit` trains.

Beside system, model and seed a recipe may have `loss` (ar: start_id, null where windows begin with their own; duo: curriculum, with gammas,
tau and top) and `init`, the folder of an earlier training: Duo's two stages are two recipes.
DEVIATION(Duo code, second stage): theirs goes on from the first stage's average, too; ours takes its raw weights and averages anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dlm_baselines.ar import ar_loss
from dlm_baselines.dit import Dit, DitConfig, build_dit
from dlm_baselines.duo import duo_loss
from dlm_baselines.gaussian_duality import OWT_GAMMAS, curriculum
from dlm_baselines.systems import SYSTEMS
from dlm_baselines.weights_file import load_strictly
from elf_model.training.loop import LossFunction

END_OF_TEXT_ID = 0
"""Of the project's own tokenizers; the autoregressive model starts from it unless loss.start_id names another."""
_LOSS_KEYS: Mapping[str, Sequence[str]] = {"ar": ("start_id",), "duo": ("curriculum",)}
_COLD = 1e-3  # the softmax's temperature up to which its tail is nothing
_CURRICULUM_KEYS = ("gammas", "tau", "top")


def build(recipe: Mapping[str, Any]) -> tuple[Dit, LossFunction]:
    """The fresh network of `recipe` (keys system, model, seed, loss, init) and its loss. The mask of an absorbing system is the last id of its vocabulary.

    Raises ValueError naming a key that is unknown or has no such value.
    """
    system = recipe["system"]
    if system != "ar" and system not in SYSTEMS:
        raise ValueError(f"system is {system!r}; allowed: ar, {', '.join(SYSTEMS)}")
    if "causal" in recipe["model"]:
        raise ValueError("model.causal follows from the system; remove the key")
    config = DitConfig.from_dict({**recipe["model"], "causal": system == "ar"})
    net = build_dit(config, seed=int(recipe["seed"]))
    loss = _loss(system, net, _known(recipe.get("loss", {}), _LOSS_KEYS.get(system, ()), "loss"))
    if "init" in recipe:
        _start_from(net, Path(str(recipe["init"])).expanduser())
    return net, loss


def _loss(system: str, net: Dit, options: Mapping[str, Any]) -> LossFunction:
    size = net.config.vocab_size
    if system == "ar":
        start_id = options.get("start_id", END_OF_TEXT_ID)
        if start_id is not None and not (isinstance(start_id, int) and 0 <= start_id < size):
            raise ValueError(
                f"loss.start_id is {start_id!r}; allowed: 0 .. {size - 1}, or null where windows begin with it"
            )
        return ar_loss(start_id=start_id)
    if "curriculum" not in options:
        return SYSTEMS[system].loss(SYSTEMS[system].mask_id(net))
    settings = _known(options["curriculum"], _CURRICULUM_KEYS, "loss.curriculum")
    gammas, tau = settings.get("gammas", OWT_GAMMAS), settings.get("tau", 1e-3)
    if not (isinstance(gammas, list | tuple) and [type(one) for one in gammas] == [float, float]):
        raise ValueError(f"loss.curriculum.gammas is {gammas!r}; allowed: two rising numbers such as [-3.55, -1.85]")
    if not isinstance(tau, float) or tau < 0.0:
        raise ValueError(f"loss.curriculum.tau is {tau!r}; allowed: a number such as 0.001, or 0.0 for the argmax")
    top = settings.get("top")
    if top is not None and not (isinstance(top, int) and 1 <= top < size and 0.0 < tau <= _COLD):
        raise ValueError(
            f"loss.curriculum.top is {top!r}; allowed: 1 .. {size - 1}, with tau above 0 and at most {_COLD}"
        )
    return duo_loss(curriculum(size, gammas=(gammas[0], gammas[1])), tau=tau, top=top)


def _start_from(net: Dit, folder: Path) -> None:
    """Raw weights (not their average) of a training in `folder`."""
    file = folder / "checkpoint.pt"
    if not file.is_file():
        raise ValueError(f"init is {str(folder)!r}, which has no checkpoint.pt; train the first stage there")
    load_strictly(net, torch.load(file, weights_only=True, map_location="cpu")["params"])


def _known(content: Any, allowed: Sequence[str], place: str) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise ValueError(f"{place} is {content!r}; allowed: keys and values")
    for key in content:
        if key not in allowed:
            raise ValueError(f"unknown key {place}.{key}; allowed: {', '.join(allowed) or 'none for this system'}")
    return content
