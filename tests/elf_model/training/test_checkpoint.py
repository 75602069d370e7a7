"""Interrupted runs: batches that are given, the first layout, the log's columns; and gradients that are not finite."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from elf_model.training.loop import Loss, NotFinite, TrainResult, fit
from elf_model.training.noise import RowNoise
from elf_model.training.recipe import TrainRecipe

WINDOWS = np.random.default_rng(0).integers(0, 7, (10, 5))


class Bigram(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.table = nn.Parameter(torch.randn(7, 4, generator=generator))
        self.bias = nn.Parameter(torch.zeros(7))

    def forward(self, ids: Tensor) -> Tensor:
        return self.table[ids] @ self.table.T + self.bias


def noisy_cross_entropy(net: nn.Module, ids: Tensor, noise: RowNoise) -> Loss:
    logits = net(ids[:, :-1]) + 0.1 * noise.normal(0, (ids.shape[1] - 1, 7))
    total = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    return Loss(total, {"twice": 2.0 * total.detach()})


def recipe(**changes: object) -> TrainRecipe:
    optimizer = {"name": "muon", "lr": 0.01, "warmup_steps": 2}
    plain = {"steps": 6, "batch_size": 4, "log_every": 2, "save_every": 2, "optimizer": optimizer}
    return TrainRecipe.from_dict({**plain, **changes})


class InterruptError(Exception):
    """Ends a run as a kill would."""


def stop_at(wanted: int) -> object:
    def on_step(step: int, row: object) -> None:
        if step == wanted:
            raise InterruptError

    return on_step


def run(out: Path, windows: object = WINDOWS, **options: object) -> tuple[Bigram, TrainResult]:
    net = Bigram()
    return net, fit(net, noisy_cross_entropy, windows, recipe(), out, **options)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_given_batches_resume_to_the_bit(tmp_path: Path) -> None:
    given = [WINDOWS[[i, i + 1]] for i in range(6)]
    whole, result = run(tmp_path / "whole", given)
    with pytest.raises(InterruptError):
        run(tmp_path / "parts", iter(given), on_step=stop_at(4))
    parts, resumed = run(tmp_path / "parts", iter(given))
    assert same(whole, parts)
    assert resumed.tokens == result.tokens == 6 * 2 * 5


def test_too_few_or_no_windows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ended after step 5; the recipe has 6 steps"):
        run(tmp_path / "short", [WINDOWS[:2]] * 5)
    with pytest.raises(ValueError, match=r"shape \(0, 5\)"):
        run(tmp_path / "empty", WINDOWS[:0])


def test_the_log_has_its_columns(tmp_path: Path) -> None:
    run(tmp_path)
    with (tmp_path / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["step", "tokens", "seconds", "lr", "grad_norm", "loss", "twice", "tokens_per_second"]
    assert float(rows[0]["lr"]) == pytest.approx(0.005)  # the second of two warm-up steps
    assert float(rows[0]["twice"]) == pytest.approx(2.0 * float(rows[0]["loss"]))


def test_a_gradient_that_is_not_finite_stops(tmp_path: Path) -> None:
    def breaks(net: nn.Module, ids: Tensor, noise: RowNoise) -> Loss:
        return Loss((net.bias - net.bias.detach()).abs().sqrt().sum(), {})

    with pytest.raises(NotFinite, match="gradient norm of step 1 is"):
        fit(Bigram(), breaks, WINDOWS, recipe(), tmp_path)
