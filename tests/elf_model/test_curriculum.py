"""The rounds: their arithmetic, what each starts from, and interrupted runs."""

from __future__ import annotations

import csv
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from elf_vectors import KeyedNoise

from elf_model.curriculum import Round, curriculum, distill, distillation_objective
from elf_model.distillation import distillation_loss, draw_distillation_noise
from elf_model.encoder import TableEncoder
from elf_model.network import ElfNetwork
from elf_model.training.loop import TrainResult
from elf_model.training.recipe import TrainRecipe

ROUNDS = curriculum([4, 2, 1], teacher_steps=8)
WINDOWS = np.random.default_rng(0).integers(0, 11, (12, 10))


def test_the_rounds_are_the_papers_numbers() -> None:
    rounds = curriculum()
    assert [at.student_steps for at in rounds] == [16, 8, 4, 2, 1]
    assert [at.sub_steps for at in rounds] == [4, 8, 16, 32, 64]
    assert [at.span for at in rounds] == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0]
    assert {at.span / at.sub_steps for at in rounds} == {1 / 64}


@pytest.mark.parametrize("wrong", [[3], [0], [True], [2.0], [128]])
def test_steps_must_divide_the_teachers(wrong: list[int]) -> None:
    with pytest.raises(ValueError, match=r"student_steps has .*; allowed: divisors of teacher_steps, which is 64"):
        curriculum(wrong)


def test_a_curriculum_has_a_round() -> None:
    with pytest.raises(ValueError, match="student_steps is empty"):
        curriculum([])


class InterruptError(Exception):
    """Ends a run as a kill would."""


def _run(net: ElfNetwork, out: Path, *, steps: int = 6, stop_at: int | None = None, lr: float = 0.01) -> TrainResult:
    table = torch.randn(11, 6, generator=torch.Generator().manual_seed(0))
    recipe = TrainRecipe.from_dict(
        {"steps": steps, "batch_size": 3, "log_every": 1, "save_every": 1, "optimizer": {"lr": lr}, "ema": 0.5}
    )

    def on_step(step: int, _: object) -> None:
        if step == stop_at:
            raise InterruptError

    return distill(net, TableEncoder(table), WINDOWS, recipe, ROUNDS, out, on_step=on_step)


def test_the_teacher_stays_and_the_student_moves(tiny_net: ElfNetwork, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in tiny_net.state_dict().items()}
    result = _run(tiny_net, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in tiny_net.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in result.weights.items())
    assert (result.steps, result.tokens) == (6, 6 * 3 * 10)


def _saved(out: Path, number: int) -> dict[str, object]:
    saved: dict[str, object] = torch.load(out / f"round-{number}" / "checkpoint.pt", weights_only=True)
    return saved


def test_a_round_starts_from_the_average_before_with_a_fresh_optimizer(tiny_net: ElfNetwork, tmp_path: Path) -> None:
    """With a learning rate that changes nothing every round ends where it began: at the teacher."""
    _run(tiny_net, tmp_path / "moved", steps=3)
    with pytest.raises(InterruptError):
        _run(tiny_net, tmp_path / "stopped", steps=6, stop_at=3)
    first, second = _saved(tmp_path / "stopped", 1), _saved(tmp_path / "moved", 2)
    assert first["step"] == 2
    assert second["step"] == second["ema_updates"] == 1
    states = second["optimizer"]["state"].values()  # type: ignore[index]
    assert {int(state["step"]) for state in states} == {1}

    still = _run(tiny_net, tmp_path / "still", lr=1e-30)
    assert all(torch.equal(value, tiny_net.state_dict()[name]) for name, value in still.weights.items())
    one = torch.nn.utils.parameters_to_vector(_saved(tmp_path / "moved", 1)["ema"].values())  # type: ignore[attr-defined]
    two = torch.nn.utils.parameters_to_vector(_saved(tmp_path / "moved", 2)["ema"].values())  # type: ignore[attr-defined]
    start = torch.nn.utils.parameters_to_vector(tiny_net.state_dict().values())
    live = torch.nn.utils.parameters_to_vector(_saved(tmp_path / "moved", 2)["params"].values())  # type: ignore[attr-defined]
    # a round of one step has average (start of the round + weights) / 2, so its start is 2 average - weights
    torch.testing.assert_close(2 * two - live, one, atol=1e-6, rtol=0)
    assert not torch.allclose(one, start, atol=1e-4)


@pytest.mark.parametrize("stop_at", [1, 4])
def test_an_interrupted_run_ends_with_the_same_weights(tiny_net: ElfNetwork, tmp_path: Path, stop_at: int) -> None:
    whole = _run(tiny_net, tmp_path / "whole")
    with pytest.raises(InterruptError):
        _run(tiny_net, tmp_path / "stopped", stop_at=stop_at)
    resumed = _run(tiny_net, tmp_path / "stopped")
    assert all(torch.equal(value, whole.weights[name]) for name, value in resumed.weights.items())
    finished = _run(tiny_net, tmp_path / "stopped", stop_at=6)
    assert all(torch.equal(value, whole.weights[name]) for name, value in finished.weights.items())


def test_the_log_goes_on_over_rounds(tiny_net: ElfNetwork, tmp_path: Path) -> None:
    told: list[int] = []
    table = torch.zeros(11, 6)
    recipe = TrainRecipe(steps=6, batch_size=3, log_every=2)
    distill(tiny_net, TableEncoder(table), WINDOWS, recipe, ROUNDS, tmp_path, on_step=lambda step, _: told.append(step))
    assert told == [1, 2, 3, 4, 5, 6]
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["step"], row["tokens"]) for row in rows] == [("2", "60"), ("4", "120"), ("6", "180")]
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)


def test_steps_are_shared_equally(tiny_net: ElfNetwork, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="steps is 7; allowed: a multiple of the number of rounds, which is 3"):
        _run(tiny_net, tmp_path, steps=7)


def test_a_span_is_the_share_of_a_step() -> None:
    assert Round(8, 3).span == 0.125


def test_the_objective_is_the_loss_of_encoded_windows(tiny_net: ElfNetwork) -> None:
    """Every token counts; the counts are of rows, so that parts of a batch add up to the whole."""
    table = torch.randn(11, 6, generator=torch.Generator().manual_seed(0))
    ids, noise, config = torch.from_numpy(WINDOWS), KeyedNoise(list(range(12))), tiny_net.config
    teacher = deepcopy(tiny_net)
    with torch.no_grad():
        for parameter in tiny_net.parameters():
            parameter.mul_(1.1)
    objective = distillation_objective(teacher, TableEncoder(table), config, Round(4, 3))
    loss = objective(tiny_net, ids, noise)
    draws = draw_distillation_noise(noise, (10, 6), config, sub_steps=3)
    every = torch.ones(12, 10, dtype=torch.bool)
    direct = distillation_loss(tiny_net, teacher, table[ids], ids, every, draws=draws, config=config, span=0.25)
    assert torch.equal(loss.total, direct.total)
    assert not any(part.requires_grad for part in loss.parts.values())
    parts = [objective(tiny_net, ids[rows], KeyedNoise(rows)) for rows in ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9, 10, 11])]
    for name in ("mse", "cross_entropy"):
        whole = sum(float(part.parts[name]) * float(part.counts[name]) for part in parts)
        assert whole / sum(float(part.counts[name]) for part in parts) == pytest.approx(
            float(loss.parts[name]), rel=1e-4
        )
    total = sum(float(part.total.detach()) * float(part.counts["total"]) for part in parts) / 12
    assert total == pytest.approx(float(loss.total.detach()), rel=1e-4)
