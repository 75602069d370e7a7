"""What the loop needs of a recipe: optimizer, number of steps, batch, averaging, seed. Steps are fixed, never seconds."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class OptimizerRecipe:
    """Muon (with Nesterov-Adam for tensors that are no matrices) or AdamW.

    lr: peak learning rate. warmup_steps: linear from 0. decay_fraction: share of the run, at its end, over which the rate falls linearly to
    0. lr_schedule: after the warm-up "constant", or "cosine": half a cosine down to min_lr at the end of the run. clip_norm: bound of the
    global gradient norm. betas, weight_decay: of AdamW.
    """

    name: Literal["muon", "adamw"] = "muon"
    lr: float = 0.002
    warmup_steps: int = 0
    decay_fraction: float = 0.0
    clip_norm: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    lr_schedule: Literal["constant", "cosine"] = "constant"
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ("muon", "adamw"):
            raise ValueError(f"optimizer.name is {self.name!r}; allowed: muon, adamw")
        if self.lr <= 0 or self.clip_norm <= 0 or not 0 <= self.decay_fraction <= 1 or self.warmup_steps < 0:
            raise ValueError("optimizer: lr > 0, clip_norm > 0, 0 <= decay_fraction <= 1, warmup_steps >= 0")
        if self.lr_schedule not in ("constant", "cosine"):
            raise ValueError(f"optimizer.lr_schedule is {self.lr_schedule!r}; allowed: constant, cosine")
        if self.lr_schedule == "cosine" and self.decay_fraction:
            raise ValueError("optimizer: a cosine falls over the whole run; remove decay_fraction")
        if not 0.0 <= self.min_lr <= self.lr or (self.min_lr and self.lr_schedule != "cosine"):
            raise ValueError(f"optimizer.min_lr is {self.min_lr}; allowed: 0 to lr, and only with lr_schedule cosine")
        if self.name == "muon" and (self.weight_decay or tuple(self.betas) != (0.9, 0.999)):
            raise ValueError("optimizer: betas and weight_decay are of adamw; muon has fixed ones (remove the keys)")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of step `step` (from 0) of `steps`; with a warm-up the first one is 0."""
        if self.lr_schedule == "cosine" and step >= self.warmup_steps:
            done = min(1.0, (step - self.warmup_steps) / max(1, steps - self.warmup_steps))
            return self.min_lr + (self.lr - self.min_lr) * 0.5 * (1.0 + math.cos(math.pi * done))
        warm = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        decay_steps = self.decay_fraction * steps
        cool = min(1.0, (steps - step) / decay_steps) if decay_steps else 1.0
        return self.lr * warm * cool


@dataclass(frozen=True, slots=True)
class TrainRecipe:
    """One run.

    batch_size: examples per optimizer step, of all ranks together. grad_accum: how many micro-batches a rank cuts its
    share into; they change the sums' rounding and nothing else. ema: decay of the weight average, per step; ema_warmup:
    use min(ema, (1 + n) / (10 + n)). precision: "bfloat16" runs the loss under autocast; weights, gradients, optimizer
    and average stay float32. gradient_checkpointing: recompute the blocks' activations instead of keeping them.
    compile: torch.compile of the network's forward, on a GPU only. sample_every: steps between calls of `on_sample`;
    0 is never.
    """

    steps: int
    batch_size: int
    seed: int = 0
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    ema: float = 0.999
    ema_warmup: bool = False
    log_every: int = 20
    save_every: int = 400
    sample_every: int = 0
    grad_accum: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    gradient_checkpointing: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.log_every, self.save_every) < 1 or not 0 <= self.ema < 1:
            raise ValueError("steps, batch_size, log_every and save_every are at least 1, and 0 <= ema < 1")
        if self.grad_accum < 1 or self.batch_size % self.grad_accum:
            raise ValueError(f"grad_accum is {self.grad_accum}; allowed: a divisor of batch_size, {self.batch_size}")
        if self.sample_every < 0:
            raise ValueError(f"sample_every is {self.sample_every}; allowed: a number of steps, or 0 for never")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision is {self.precision!r}; allowed: float32, bfloat16")

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
    for one in fields(kind):  # type: ignore[arg-type]
        value = content.get(one.name)
        wanted = {"int": int, "float": (int, float)}.get(str(one.type))
        if wanted and one.name in content and (isinstance(value, bool) or not isinstance(value, wanted)):
            raise ValueError(f"{place}{one.name} is {value!r}; allowed: a number ({one.type})")
    return kind(**content)
