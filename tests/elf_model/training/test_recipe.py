"""Recipes from plain data, and the learning rate they give."""

from __future__ import annotations

import pytest

from elf_model.training.recipe import OptimizerRecipe, TrainRecipe


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"stepz": 1}, r"unknown key stepz; allowed: .*; did you mean 'steps'"),
        ({"optimizer": {"warmup": 3}}, r"unknown key optimizer.warmup; .*; did you mean 'warmup_steps'"),
        ({"optimizer": {"name": "sgd"}}, "allowed: muon, adamw"),
        ({"optimizer": {"name": "muon", "weight_decay": 0.1}}, "weight_decay are of adamw"),
        ({"steps": 0}, "at least 1"),
    ],
)
def test_refusals(content: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainRecipe.from_dict({"steps": 3, "batch_size": 2, **content})


def test_rate_rises_stays_and_falls() -> None:
    optimizer = OptimizerRecipe(lr=2e-3, warmup_steps=10, decay_fraction=0.5)
    rates = [optimizer.rate(step, 100) for step in range(100)]
    assert rates[0] == 0.0
    assert rates[10] == rates[50] == 2e-3
    assert rates[75] == pytest.approx(1e-3)
    assert 0.0 < rates[99] == pytest.approx(2e-3 / 50)
