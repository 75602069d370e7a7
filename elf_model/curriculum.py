"""The rounds of progressive distillation: ever fewer student steps, one teacher (the authors' code, branch distillation).

The teacher is the original model in every round, never the last student. Each round starts from the average of the round
before (the first from the teacher) with a fresh optimizer and a fresh average, and has a folder and a checkpoint of its own.
Not the loss: see `elf_model.distillation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from elf_model.config import ElfConfig
from elf_model.distillation import distillation_loss, draw_distillation_noise
from elf_model.encoder import Encoder
from elf_model.network import ElfNetwork
from elf_model.noise import Noise
from elf_model.objective import Objective
from elf_model.training.log import write_log
from elf_model.training.loop import Loss, TrainResult, fit
from elf_model.training.recipe import TrainRecipe
from elf_model.weights import load_strictly

STUDENT_STEPS = (16, 8, 4, 2, 1)
TEACHER_STEPS = 64
_SAVE_EVERY = 100  # steps with many sub-steps are slow: an interruption must not lose many


@dataclass(frozen=True, slots=True)
class Round:
    """One round: the student takes t from 0 to 1 in `student_steps`, the teacher each of these steps in `sub_steps`."""

    student_steps: int
    sub_steps: int

    @property
    def span(self) -> float:
        """Length of a student's step, in (0, 1]."""
        return 1.0 / self.student_steps


def curriculum(
    student_steps: Sequence[int] = STUDENT_STEPS, *, teacher_steps: int = TEACHER_STEPS
) -> tuple[Round, ...]:
    """The rounds; a teacher's sub-step is 1 / teacher_steps long on average in all of them.

    Raises ValueError for counts that are not positive or do not divide teacher_steps.
    """
    for steps in student_steps:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1 or teacher_steps % steps:
            raise ValueError(
                f"student_steps has {steps!r}; allowed: divisors of teacher_steps, which is {teacher_steps}"
            )
    if not student_steps:
        raise ValueError("student_steps is empty; allowed: one or more numbers of steps, such as [16, 8, 4, 2, 1]")
    return tuple(Round(steps, teacher_steps // steps) for steps in student_steps)


def distillation_objective(teacher: nn.Module, encoder: Encoder, config: ElfConfig, at: Round) -> Objective:
    """The loss of unconditional, fully packed windows: ids [B, L] int64, every token counts.

    Parts: "mse" (squared error of clean latents per channel) and "cross_entropy" (nats per token); counts are of rows.
    """

    def objective(net: nn.Module, ids: Tensor, noise: Noise) -> Loss:
        x_data = encoder.encode(ids)
        draws = draw_distillation_noise(noise, (ids.shape[1], config.latent_dim), config, sub_steps=at.sub_steps)
        mask = torch.ones_like(ids, dtype=torch.bool)
        terms = distillation_loss(net, teacher, x_data, ids, mask, draws=draws, config=config, span=at.span)
        parts = {"mse": terms.mse, "cross_entropy": terms.cross_entropy}
        decoding = int(draws.base.decode_mode.sum())
        counts = {"total": len(ids), "mse": len(ids) - decoding, "cross_entropy": decoding}
        return Loss(terms.total, {name: part.detach() for name, part in parts.items() if part is not None}, counts)

    return objective


def distill(
    teacher: ElfNetwork,
    encoder: Encoder,
    windows: np.ndarray,
    recipe: TrainRecipe,
    rounds: Sequence[Round],
    out: Path,
    *,
    device: str = "cpu",
    in_out: tuple[str, ...] = (),
    on_step: Callable[[int, dict[str, float] | None], None] | None = None,
) -> TrainResult:
    """Distills `teacher` on `windows` [N, L]; `recipe.steps` counts all rounds, which share them equally.

    Round k works in `out/round-<k>` and continues there when it was interrupted; a finished round is only read. `out/log.csv`
    is the log of all rounds, with steps, tokens and seconds that go on over rounds. Raises ValueError for steps that
    cannot be shared, and what `fit` raises.
    """
    if recipe.steps % len(rounds):
        raise ValueError(
            f"steps is {recipe.steps}; allowed: a multiple of the number of rounds, which is {len(rounds)}"
        )
    each = replace(recipe, steps=recipe.steps // len(rounds), save_every=min(recipe.save_every, _SAVE_EVERY))
    teacher = teacher.to(device).eval().requires_grad_(False)
    weights: dict[str, Tensor] = teacher.state_dict()
    log: list[dict[str, float]] = []
    tokens = 0
    for k, at in enumerate(rounds):
        student = deepcopy(teacher).requires_grad_(True)
        load_strictly(student, weights)
        told = None if on_step is None else _shifted(on_step, k * each.steps, log[-1:])
        objective = distillation_objective(teacher, encoder, teacher.config, at)
        folder = out / f"round-{k + 1}"
        result = fit(student, objective, windows, each, folder, device=device, in_out=in_out, on_step=told)
        end = log[-1:]
        log += [_continued(row, k * each.steps, end) for row in result.log]
        weights, tokens = result.weights, tokens + result.tokens
        write_log(out / "log.csv", log)
    return TrainResult(weights, recipe.steps, tokens, log)


def _shifted(
    on_step: Callable[[int, dict[str, float] | None], None], before: int, end: list[dict[str, float]]
) -> Callable[[int, dict[str, float] | None], None]:
    """`on_step` for a round that begins after `before` steps; end: the last row of the log until then, or nothing."""

    def told(step: int, row: dict[str, float] | None) -> None:
        on_step(before + step, None if row is None else _continued(row, before, end))

    return told


def _continued(row: dict[str, float], before: int, end: list[dict[str, float]]) -> dict[str, float]:
    """A round's row, with the steps, tokens and seconds of the rounds before it added."""
    tokens, seconds = (end[0]["tokens"], end[0]["seconds"]) if end else (0, 0.0)
    return {**row, "step": row["step"] + before, "tokens": row["tokens"] + tokens, "seconds": row["seconds"] + seconds}
