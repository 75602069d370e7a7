"""Timing a long loop on slices, its first, middle and last steps, and extrapolating to all of it by counted passes."""

from __future__ import annotations

import time
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from dlm_baselines.dit import Dit


class Steps(NamedTuple):
    """What the steps of a loop took: (row passes through the network, CPU seconds) of each timed step."""

    timed: list[tuple[int, float]]
    idle: int
    """Steps of the whole loop without a pass."""
    passes: int
    """Row passes of the whole loop."""

    @property
    def seconds(self) -> float:
        """Extrapolated to the whole loop: idle steps, and passes with what a step does beside them."""
        idle = [cost for rows, cost in self.timed if rows == 0]
        active = [(rows, cost) for rows, cost in self.timed if rows]
        per_pass = sum(cost for _, cost in active) / sum(rows for rows, _ in active)
        return per_pass * self.passes + (fmean(idle) * self.idle if self.idle else 0.0)


def spans_of(steps: int, span: int) -> tuple[tuple[int, int], ...]:
    """The first, middle and last `span` of `steps` steps, as [first, end)."""
    middle = (steps - span) // 2
    return (0, span), (middle, middle + span), (steps - span, steps)


class Gated:
    """The network as our samplers use it, in the spans only: elsewhere it answers zeros at once. Also the clock of steps."""

    def __init__(self, net: Dit, spans: tuple[tuple[int, int], ...]) -> None:
        self.net, self.config, self.vocab_embed = net, net.config, net.vocab_embed
        self.timed_steps = {i for first, end in spans for i in range(first, end)}
        self.first_steps = {first for first, _ in spans}
        self.states: dict[int, Tensor] = {}
        self.rows_of_step: list[int] = [0]
        self.timed: list[tuple[int, float]] = []
        self.mark = time.process_time()

    @property
    def live(self) -> bool:
        """Whether the present step is timed."""
        return len(self.rows_of_step) - 1 in self.timed_steps

    def features(self, ids: Tensor, sigma: Tensor | None = None) -> Tensor:
        """[R, L, D], or [R, L, 1] outside the spans."""
        self.rows_of_step[-1] += len(ids)
        return self.net.features(ids, sigma) if self.live else torch.zeros(*ids.shape, 1)

    def logits(self, features: Tensor) -> Tensor:
        """[N, V]."""
        return (
            self.net.logits(features) if self.live else torch.zeros(1, 1).expand(len(features), self.config.vocab_size)
        )

    def on_step(self, i: int, x_t: Tensor) -> None:
        """Ends step i; keeps x_t where a span begins, for the other loop to start from."""
        if self.live:
            self.timed.append((self.rows_of_step[-1], time.process_time() - self.mark))
        self.rows_of_step.append(0)
        if i + 1 in self.first_steps:
            self.states[i + 1] = x_t.clone()
        self.mark = time.process_time()

    def steps(self) -> Steps:
        """All that was counted."""
        return Steps(self.timed, self.rows_of_step.count(0), sum(self.rows_of_step))


class PlainClock:
    """Times the steps of a plain loop of `rows` rows."""

    def __init__(self, rows: int) -> None:
        self.rows, self.timed, self.mark = rows, list[tuple[int, float]](), time.process_time()

    def on_step(self, i: int, passed: bool) -> None:
        """Ends step i."""
        self.timed.append((self.rows if passed else 0, time.process_time() - self.mark))
        self.mark = time.process_time()
