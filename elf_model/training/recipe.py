"""What the loop needs of a recipe: optimizer, number of steps, batch, averaging, seed. Steps are fixed, never seconds."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class OptimizerRecipe:
    """Muon (with Nesterov-Adam for tensors that are no matrices) or AdamW.

    lr: peak learning rate. warmup_steps: linear from 0. decay_fraction: share of the run, at its end, over which the rate falls linearly to
    0. clip_norm: bound of the global gradient norm. betas, weight_decay: of AdamW.
    """

    name: Literal["muon", "adamw"] = "muon"
    lr: float = 0.002
    warmup_steps: int = 0
    decay_fraction: float = 0.0
    clip_norm: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ("muon", "adamw"):
            raise ValueError(f"optimizer.name is {self.name!r}; allowed: muon, adamw")
        if self.lr <= 0 or self.clip_norm <= 0 or not 0 <= self.decay_fraction <= 1 or self.warmup_steps < 0:
            raise ValueError("optimizer: lr > 0, clip_norm > 0, 0 <= decay_fraction <= 1, warmup_steps >= 0")

        if self.name == "muon" and (self.weight_decay or tuple(self.betas) != (0.9, 0.999)):
            raise ValueError("optimizer: betas and weight_decay are of adamw; muon has fixed ones (remove the keys)")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of step `step` (from 0) of `steps`; with a warm-up the first one is 0."""
        warm = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        decay_steps = self.decay_fraction * steps
        cool = min(1.0, (steps - step) / decay_steps) if decay_steps else 1.0
        return self.lr * warm * cool


@dataclass(frozen=True, slots=True)
class TrainRecipe:
    """One run. ema: decay of the weight average, per step; ema_warmup: use min(ema, (1 + n) / (10 + n))."""

    steps: int
    batch_size: int
    seed: int = 0
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    ema: float = 0.999
    ema_warmup: bool = False
    log_every: int = 20
    save_every: int = 400

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.log_every, self.save_every) < 1 or not 0 <= self.ema < 1:
            raise ValueError("steps, batch_size, log_every and save_every are at least 1, and 0 <= ema < 1")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TrainRecipe:
        """From plain data; raises ValueError naming an unknown key and the nearest one."""
        optimizer = dict(content.get("optimizer", {}))
        if "betas" in optimizer:
            optimizer["betas"] = tuple(optimizer["betas"])
        rest = {key: value for key, value in content.items() if key != "optimizer"}
        return _build(cls, {**rest, "optimizer": _build(OptimizerRecipe, optimizer, "optimizer.")}, "")


def _build(kind: type[R], content: Mapping[str, Any], place: str) -> R:
    allowed = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    for key in content:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown key {place}{key}; allowed: {', '.join(allowed)}{hint}")
    return kind(**content)
