"""Recipes from plain data, and the learning rate they give."""

from __future__ import annotations

import itertools

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
        ({"precision": "float16"}, "precision is 'float16'; allowed: float32, bfloat16"),
        ({"sample_every": -1}, "sample_every is -1"),
        ({"optimizer": {"lr_schedule": "linear"}}, "optimizer.lr_schedule is 'linear'; allowed: constant, cosine"),
        ({"optimizer": {"lr_schedule": "cosine", "decay_fraction": 0.5}}, "remove decay_fraction"),
        ({"optimizer": {"min_lr": 1e-4}}, "only with lr_schedule cosine"),
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


def test_cosine_falls_by_halves_from_the_warm_up_to_min_lr() -> None:
    """The authors' schedule: optax.cosine_decay_schedule over steps - warmup_steps, joined to a linear warm-up."""
    optimizer = OptimizerRecipe(lr=2e-3, warmup_steps=20, lr_schedule="cosine", min_lr=2e-4)
    rates = [optimizer.rate(step, 120) for step in range(121)]
    assert rates[0] == 0.0
    assert rates[10] == pytest.approx(1e-3)
    assert rates[20] == pytest.approx(2e-3)
    assert rates[70] == pytest.approx(1.1e-3)  # half way: the mean of both ends
    assert rates[20 + 25] == pytest.approx(2e-4 + 1.8e-3 * (2 + 2**0.5) / 4)  # cos(pi / 4)
    assert rates[120] == pytest.approx(2e-4)
    falling = rates[20:]
    assert all(a > b for a, b in itertools.pairwise(falling))


def test_the_authors_rate_starts_at_zero_and_is_reached_after_the_warm_up() -> None:
    optimizer = OptimizerRecipe(lr=1e-3 * 512 / 256, warmup_steps=5000)
    assert optimizer.rate(0, 10_000) == 0.0
    assert optimizer.rate(5000, 10_000) == optimizer.rate(9999, 10_000) == 0.002
