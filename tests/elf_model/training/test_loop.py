from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from elf_model.training.loop import Loss, NotFinite, batch_examples, fit
from elf_model.training.noise import RowNoise
from elf_model.training.recipe import TrainRecipe

WINDOWS = np.arange(40).reshape(10, 4) % 7


class Stop(Exception):  # noqa: N818
    """Ends a run as a kill would."""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn(7, 5, generator=generator))
        self.bias = nn.Parameter(torch.zeros(5))


def _loss(net: nn.Module, batch: Tensor, noise: RowNoise) -> Loss:
    assert isinstance(net, Net)
    target = noise.normal(0, (4, 5))
    return Loss((net.table[batch] + net.bias - target).square().mean(), {"noise": noise.uniform(1, ()).mean()})


def _recipe(**changes: object) -> TrainRecipe:
    content = {
        "steps": 6,
        "batch_size": 3,
        "seed": 5,
        "log_every": 1,
        "save_every": 3,
        "optimizer": {"name": "muon", "lr": 0.05},
    }
    return TrainRecipe.from_dict(content | changes)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_resumed_equals_uninterrupted_to_the_bit(tmp_path: Path, optimizer: str) -> None:
    recipe = _recipe(optimizer={"name": optimizer, "lr": 0.05, "warmup_steps": 2, "decay_fraction": 0.5})
    whole, resumed = Net(), Net()
    expected = fit(whole, _loss, WINDOWS, recipe, tmp_path / "whole")

    def kill(step: int, row: dict[str, float] | None) -> None:
        if step == 5:
            raise Stop

    with pytest.raises(Stop):
        fit(Net(), _loss, WINDOWS, recipe, tmp_path / "cut", on_step=kill)
    found = fit(resumed, _loss, WINDOWS, recipe, tmp_path / "cut")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])
        assert torch.equal(expected.weights[name], found.weights[name])
    with (tmp_path / "cut" / "log.csv").open() as stream:
        steps = [int(row["step"]) for row in csv.DictReader(stream)]
    assert steps == [1, 2, 3, 4, 5, 6], "no step twice"


def test_every_epoch_visits_every_example_once_with_noise_of_its_own() -> None:
    recipe = _recipe(steps=20)
    visits = np.concatenate([batch_examples(recipe, step, 10) for step in range(20)])
    assert sorted(visits[:10] % 10) == list(range(10))
    assert sorted(visits[10:20] % 10) == list(range(10))
    assert len(set(visits)) == len(visits)
    assert visits[:10].tolist() != (visits[10:20] % 10).tolist()


def test_nan_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    def breaks(net: nn.Module, batch: Tensor, noise: RowNoise) -> Loss:
        value = _loss(net, batch, noise)
        breaks.calls += 1  # type: ignore[attr-defined]
        return Loss(value.total * (float("nan") if breaks.calls == 5 else 1.0), value.parts)  # type: ignore[attr-defined]

    breaks.calls = 0  # type: ignore[attr-defined]
    with pytest.raises(NotFinite, match="step 5"):
        fit(Net(), breaks, WINDOWS, _recipe(), tmp_path)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 3


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    fit(Net(), _loss, WINDOWS, _recipe(), tmp_path)
    with pytest.raises(ValueError, match="another recipe"):
        fit(Net(), _loss, WINDOWS, _recipe(seed=6), tmp_path)


def test_the_global_random_state_is_untouched(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    fit(Net(), _loss, WINDOWS, _recipe(), tmp_path)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"stepz": 3}, "did you mean 'steps'"),
        ({"optimizer": {"name": "muon", "Ir": 0.1}}, "optimizer.Ir"),
        ({"optimizer": {"name": "sgd"}}, "muon, adamw"),
        ({"steps": 0}, "at least 1"),
    ],
)
def test_wrong_recipes_are_named(changes: dict[str, object], hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        _recipe(**changes)
