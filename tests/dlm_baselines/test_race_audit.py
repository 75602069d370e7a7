"""The audit of the race: its shortcut has the race's law, and its numbers are those of the authors' code path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dlm_baselines.race import race
from dlm_baselines.race_audit import FILE, audit, main


def test_float64_is_right_and_float32_loses_the_tail() -> None:
    """Simulated with the authors' lines over all 50,000 tokens, the tail's rate at t=1 is .414 of the right .5 at 64 steps, .008 at 1,024."""
    right = audit(1024, "float64", races=2_000_000)
    assert right.share == pytest.approx(0.5, abs=0.04)
    assert right.chi2 < 10.8
    assert audit(64, "float32", races=256_000).share == pytest.approx(0.414 / (0.414 + 0.5), abs=0.03)
    wrong = audit(1024, "float32", races=2_000_000)
    assert wrong.share == pytest.approx(0.008 / (0.008 + 0.5), abs=0.012)
    assert wrong.chi2 > 100


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_maximum_stands_for_the_whole_tail(dtype: str) -> None:
    """A small tail, raced token by token, against the shortcut: the same shares of head and tail."""
    steps, tail, races = 4, 50, 200_000
    short = audit(steps, dtype, races=races, tail=tail)  # type: ignore[arg-type]
    weights = torch.full((tail + 2,), 0.5 / tail / steps, dtype=torch.float64)
    weights[0], weights[-1] = 0.5 / steps, 1.0 - 1.0 / steps
    uniforms = torch.from_numpy(np.random.default_rng(7).random((races, tail + 2)))
    winners = race(weights, uniforms, dtype=dtype)  # type: ignore[arg-type]
    heads, tails = int((winners == 0).sum()), int(((winners > 0) & (winners <= tail)).sum())
    error = 3 * (2 * 0.125 / races) ** 0.5
    assert heads / races == pytest.approx(short.heads / races, abs=error)
    assert tails / races == pytest.approx(short.tails / races, abs=error)


def test_the_command_writes_the_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlm_baselines.race_audit.STEPS", (16,))
    main(["--out", str(tmp_path)])
    assert (tmp_path / FILE).stat().st_size > 1000
    assert "| float32 | 16 |" in capsys.readouterr().out
