"""The committed demo report says what a calibrated instrument must say; nothing here pins a trained model's quality."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

REPORT = Path(__file__).resolve().parents[2] / "reports" / "demo" / "results.csv"
Numbers = dict[tuple[str, str], dict[str, float]]


@pytest.fixture(scope="module")
def numbers() -> Numbers:
    """(model, steps) -> metric -> value, with `<metric>.low` and `.high` beside it."""
    found: Numbers = {}
    with REPORT.open(newline="") as stream:
        for row in csv.DictReader(stream):
            place = found.setdefault((row["model"], row["steps"]), {})
            for part, name in (("value", ""), ("low", ".low"), ("high", ".high"), ("n", ".n")):
                place[row["metric"] + name] = float(row[part])
    return found


def test_every_number_has_an_interval_and_an_n(numbers: Numbers) -> None:
    assert len(numbers) == 14
    for place in numbers.values():
        metrics = {name for name in place if "." not in name}
        assert metrics == {name for name in next(iter(numbers.values())) if "." not in name}
        for name in metrics:
            assert place[f"{name}.low"] <= place[name] <= place[f"{name}.high"]
            assert place[f"{name}.n"] >= 2


def test_real_text_is_best_where_entropy_is_natural(numbers: Numbers) -> None:
    real = numbers["real-text", ""]
    for (model, _), place in numbers.items():
        if model not in ("real-text", "tiled") and abs(place["unigram_entropy"] - real["unigram_entropy"]) < 0.3:
            assert place["gen_ppl.low"] > real["gen_ppl.high"], model


def test_shuffled_and_unigram_are_far_worse(numbers: Numbers) -> None:
    for model in ("shuffled", "unigram"):
        assert numbers[model, ""]["gen_ppl"] > 5 * numbers["real-text", ""]["gen_ppl"]


def test_the_tiled_text_is_exposed_by_diversity(numbers: Numbers) -> None:
    assert numbers["tiled", ""]["gen_ppl"] < 3 * numbers["real-text", ""]["gen_ppl"]
    assert numbers["tiled", ""]["distinct_2"] < 0.05 * numbers["real-text", ""]["distinct_2"]
    assert numbers["tiled", ""]["mauve"] < 0.05


def test_diffusion_models_stand_at_three_step_counts_or_more(numbers: Numbers) -> None:
    for model in ("elf-sotu", "mdlm-sotu"):
        assert len([steps for name, steps in numbers if name == model]) >= 3
