"""`NAME@INSTRUMENT`: what it is, and what it is refused for. Nothing is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.registry import catalog
from elfbench.registry.variants import instrument_of
from elfbench.running.references import under_protocol


def test_a_variant_is_the_metric_under_another_name() -> None:
    plain, variant = catalog.metrics().get("gen_ppl"), catalog.metrics().get("gen_ppl@entry:ar-sotu")
    assert (variant.name, variant.title) == ("gen_ppl@entry:ar-sotu", "gen-PPL (entry:ar-sotu)")
    assert variant.estimate is plain.estimate
    assert variant.per_row is plain.per_row
    assert variant.version == plain.version
    assert "gen_ppl@entry:ar-sotu" in catalog.metrics()
    assert "gen_ppl@entry:ar-sotu" not in catalog.metrics().names()
    assert "gen_pppl@gpt2" not in catalog.metrics()


def test_its_protocols_stay_under_the_same_judge() -> None:
    found = under_protocol(catalog.metrics().get("gen_ppl@gpt2"), "elf")
    assert (found.name, found.of, found.protocol) == ("gen_ppl_elf@gpt2", "gen_ppl@gpt2", "elf")
    assert found.measurement == "judge_elf"


def test_families_and_featurizers() -> None:
    members = catalog.expand_metrics("prdc@minilm")
    assert members == tuple(f"{name}@minilm" for name in catalog.expand_metrics("prdc"))
    assert all(catalog.metrics().get(name).measurement == "features" for name in members)
    assert catalog.expand_metrics("gen_ppl@gpt2") == ("gen_ppl@gpt2",)


def test_a_folder_is_a_folder_of_a_model(tmp_path: Path) -> None:
    assert catalog.metrics().get(f"gen_ppl@{tmp_path}").name == f"gen_ppl@hf:{tmp_path}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unigram_entropy@gpt2", "unigram_entropy reads no judge or featurizer"),
        ("nfe@gpt2", "nfe reads no judge or featurizer"),
        (
            "gen_ppl@smollm2-135m",
            r"unknown judge 'smollm2-135m'(.|\n)*allowed: gpt2, gpt2-large, smollm2-135m-instruct-q4(.|\n)*did you mean",
        ),
        ("gen_ppl@minilm", "unknown judge 'minilm'"),
        ("mauve@mini", r"unknown featurizer 'mini'(.|\n)*minilm"),
        ("gen_ppl@", "unknown judge ''"),
        ("gen_pppl@gpt2", r"unknown metric 'gen_pppl'(.|\n)*did you mean 'gen_ppl'"),
    ],
)
def test_what_is_refused_says_what_is_allowed(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        catalog.metrics().get(name)


def test_an_at_sign_of_a_family_is_its_own() -> None:
    """`evaluate:` names a module's folder, whose path may hold one."""
    with pytest.raises(PrerequisiteError) as caught:
        catalog.metrics().get("evaluate:/no/such@folder")
    assert "such@folder" in str(caught.value)
    assert "reads no judge" not in str(caught.value)


@pytest.mark.parametrize(
    ("measurement", "instrument"),
    [("judge_nll", "judge"), ("judge_elf", "judge"), ("features", "featurizer"), ("tokens", None), ("cost", None)],
)
def test_which_instrument_a_measurement_reads(measurement: str, instrument: str | None) -> None:
    assert instrument_of(measurement) == instrument
