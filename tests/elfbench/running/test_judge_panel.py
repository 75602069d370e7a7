"""The judge's two panel metrics from texts to scores: what each of them sees, and what is stored once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elfbench
from elfbench.running.instruments import Instruments
from elfbench.running.measuring import measurement_protocol
from elfbench.spec.instruments import GRADIENT
from elfbench.spec.measure import Measure

JUDGE = f"hf:{Path(__file__).resolve().parents[2] / 'golden' / 'metrics' / 'judge'}"
MEASURE = Measure(tokenizer="judge", window=12, short="drop")
NAMES = ("judge_rank_divergence", "gradient_moment")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    pytest.importorskip("transformers", reason="judges need transformers")
    pytest.importorskip("torch").set_num_threads(1)


def _texts(
    seed: int, n: int, vocabulary: str = "light idea slowly small cat mountain large measure flow sample"
) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(vocabulary.split(), size=20)) for _ in range(n)]


def _scores(texts: list[str], reference: list[str]) -> dict[str, dict[str, Any]]:
    frame = elfbench.score(texts, list(NAMES), reference=reference, judge=JUDGE, measure=MEASURE)
    return {row["metric"]: row for row in frame.to_dict("records")}


def test_text_of_one_kind_is_near_and_copies_and_nonsense_are_far() -> None:
    reference = _texts(0, 32)
    near, tiled = _scores(_texts(1, 32), reference), _scores(_texts(1, 1) * 16, reference)
    for name in NAMES:
        assert near[name]["low"] <= 0.0 <= near[name]["high"]
        assert tiled[name]["low"] > 0.0
    assert near["gradient_moment"]["high"] < 0.1
    assert tiled["gradient_moment"]["low"] > 0.4
    other = _scores(_texts(2, 16, "Xq zzk 77 #$% &*@ QW"), reference)
    assert other["gradient_moment"]["low"] > 0.3


def test_protocols_say_what_the_numbers_depend_on() -> None:
    instruments = Instruments(MEASURE, JUDGE, None)
    found = {name: measurement_protocol(name, instruments) for name in ("judge_nll", "judge_ranks", "judge_gradient")}
    plain = found["judge_nll"]
    assert set(plain) == {"measurement", "version", "view", "window", "protocol", "judge", "dtype"}
    assert found["judge_ranks"] == plain | {"measurement": "judge_ranks", "bins": "1, 2-3, 4-7, ..., >= 8192"}
    assert found["judge_gradient"] == plain | {"measurement": "judge_gradient", "gradient": dict(GRADIENT)}
