"""A batch's loss and gradient do not depend on how it is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from elf_model.training.batches import Batch
from elf_model.training.gradients import Loss, batch_gradient
from elf_model.training.loop import fit, prepare
from elf_model.training.noise import RowNoise, example_keys
from elf_model.training.ranks import OneProcess
from elf_model.training.recipe import TrainRecipe

WINDOWS = np.random.default_rng(0).integers(0, 9, (24, 6))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(0.3 * torch.randn(9, 5, generator=generator))
        self.unused = nn.Parameter(torch.ones(2))
        self.checkpoint_blocks = False


def masked_loss(net: nn.Module, ids: Tensor, noise: RowNoise) -> Loss:
    """A mean over the tokens below 6: a number that differs between rows, as the counted tokens of ELF do."""
    assert isinstance(net, Net)
    counted = ids < 6
    error = (net.table[ids] @ net.table.T - noise.normal(0, (6, 9))).square().mean(dim=-1)
    total = error[counted].mean()
    rare = ids == 0
    parts = {"rare": error[rare].mean().detach()} if bool(rare.any()) else {}
    return Loss(total, parts, {"total": counted.sum(), "rare": rare.sum()})


def recipe(**changes: object) -> TrainRecipe:
    plain = {"steps": 3, "batch_size": 8, "seed": 2, "log_every": 1, "optimizer": {"name": "adamw", "lr": 0.01}}
    return TrainRecipe.from_dict({**plain, **changes})


def gradient(parts: int) -> tuple[dict[str, float], Tensor, Net]:
    net, examples = Net(), np.arange(8)
    batch = Batch(examples, WINDOWS[examples])
    means = batch_gradient(net, masked_loss, batch, recipe(grad_accum=parts), step=4, device="cpu", ranks=OneProcess())
    assert net.table.grad is not None
    return means, net.table.grad, net


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_micro_batches_sum_to_the_batch(parts: int) -> None:
    whole, expected, _ = gradient(1)
    means, found, net = gradient(parts)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert means == pytest.approx(whole, rel=1e-6)
    assert net.unused.grad is None


def test_the_gradient_is_that_of_the_loss_of_all_rows() -> None:
    means, found, _ = gradient(4)
    net = Net()
    noise = RowNoise(example_keys(2, 4, range(8)))
    ids = torch.from_numpy(WINDOWS[:8])
    errors = (net.table[ids] @ net.table.T - noise.normal(0, (6, 9))).square().mean(dim=-1)
    total = (errors * (ids < 6)).sum() / (ids < 6).sum()
    total.backward()
    assert net.table.grad is not None
    assert torch.allclose(found, net.table.grad, rtol=1e-5, atol=1e-7)
    assert means["loss"] == pytest.approx(total.item(), rel=1e-6)
    assert means["rare"] == pytest.approx(errors[ids == 0].mean().item(), rel=1e-6)


def test_runs_with_and_without_accumulation_agree(tmp_path: Path) -> None:
    one = fit(Net(), masked_loss, WINDOWS, recipe(), tmp_path / "one")
    four = fit(Net(), masked_loss, WINDOWS, recipe(grad_accum=4), tmp_path / "four")
    assert torch.allclose(one.weights["table"], four.weights["table"], atol=1e-6)
    assert one.tokens == four.tokens == 3 * 8 * 6


def test_accumulation_resumes_to_the_bit(tmp_path: Path) -> None:
    class Stop(Exception):  # noqa: N818
        pass

    def stop(step: int, row: object) -> None:
        if step == 2:
            raise Stop

    accumulated = recipe(grad_accum=2, save_every=2)
    whole = fit(Net(), masked_loss, WINDOWS, accumulated, tmp_path / "whole")
    with pytest.raises(Stop):
        fit(Net(), masked_loss, WINDOWS, accumulated, tmp_path / "cut", on_step=stop)
    resumed = fit(Net(), masked_loss, WINDOWS, accumulated, tmp_path / "cut")
    assert all(torch.equal(value, resumed.weights[name]) for name, value in whole.weights.items())


def test_columns_reach_the_loss_as_the_array_does(tmp_path: Path) -> None:
    def of_columns(net: nn.Module, batch: dict[str, Tensor], noise: RowNoise) -> Loss:
        assert batch["attention_mask"].dtype == torch.bool
        assert bool((batch["attention_mask"] == (batch["ids"] > 3)).all())
        return masked_loss(net, batch["ids"], noise)

    columns = {"ids": WINDOWS, "attention_mask": WINDOWS > 3}
    plain = fit(Net(), masked_loss, WINDOWS, recipe(), tmp_path / "plain")
    given = fit(Net(), of_columns, columns, recipe(grad_accum=2), tmp_path / "columns")
    assert torch.allclose(plain.weights["table"], given.weights["table"], atol=1e-6)
    with pytest.raises(ValueError, match="expected 'ids' and masks"):
        fit(Net(), of_columns, {"ids": WINDOWS, "attention_mask": WINDOWS[:, 1:]}, recipe(), tmp_path / "bad")


def test_bfloat16_is_near_float32_and_keeps_float32_weights(tmp_path: Path) -> None:
    dtypes = []

    def watched(net: nn.Module, ids: Tensor, noise: RowNoise) -> Loss:
        assert isinstance(net, Net)
        dtypes.append((net.table @ net.table.T).dtype)
        return masked_loss(net, ids, noise)

    full = fit(Net(), masked_loss, WINDOWS, recipe(), tmp_path / "full")
    half = fit(Net(), watched, WINDOWS, recipe(precision="bfloat16"), tmp_path / "half")
    assert set(dtypes) == {torch.bfloat16}
    assert half.weights["table"].dtype == torch.float32
    assert half.log[0]["loss"] == pytest.approx(full.log[0]["loss"], rel=0.02)
    assert half.log[0]["loss"] != full.log[0]["loss"]


def test_a_batch_that_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="grad_accum is 3; allowed: a divisor of batch_size, 8"):
        recipe(grad_accum=3)
    with pytest.raises(ValueError, match="a batch of 3 examples cannot be cut into 2 equal parts"):
        fit(Net(), masked_loss, [WINDOWS[:3]] * 3, recipe(grad_accum=2), tmp_path)


def test_gradient_checkpointing_sets_the_network(tmp_path: Path) -> None:
    net = Net()
    fit(net, masked_loss, WINDOWS, recipe(gradient_checkpointing=True), tmp_path / "net")
    assert net.checkpoint_blocks
    with pytest.raises(ValueError, match="gradient_checkpointing is true, but Linear has no checkpoint_blocks"):
        fit(nn.Linear(1, 1), masked_loss, WINDOWS, recipe(gradient_checkpointing=True), tmp_path / "no")


def test_samples_come_at_their_steps_with_the_average(tmp_path: Path) -> None:
    seen: dict[int, Tensor] = {}

    def on_sample(step: int, weights: dict[str, Tensor]) -> None:
        seen[step] = weights["table"].clone()

    run = recipe(steps=5, sample_every=2)
    result = fit(Net(), masked_loss, WINDOWS, run, tmp_path, on_sample=on_sample)
    assert sorted(seen) == [2, 4]
    assert not torch.equal(seen[4], result.weights["table"])
    until_4 = fit(Net(), masked_loss, WINDOWS, recipe(steps=4), tmp_path / "four")
    assert torch.equal(seen[4], until_4.weights["table"])


class Disagreeing(OneProcess):
    """Two ranks of which the other one starts from something else."""

    count = 2

    def __init__(self, step: int, weight: float) -> None:
        self._other = (step, weight)

    def gather(self, value: object) -> list[object]:
        return [value, self._other]


def test_ranks_that_start_from_different_states_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"different states .*; give all of them the same network and one output"):
        fit(Net(), masked_loss, WINDOWS, recipe(), tmp_path, ranks=Disagreeing(1, 2.0))


@pytest.mark.parametrize(("device", "compiles"), [("cpu", False), ("cuda:1", True)])
def test_only_a_gpu_run_is_compiled(device: str, compiles: bool) -> None:
    net = Net()
    names = list(net.state_dict())
    prepare(net, recipe(compile=True), device)
    assert (net._compiled_call_impl is not None) is compiles
    assert list(net.state_dict()) == names
