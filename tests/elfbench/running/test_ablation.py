"""Ablations: what is changed, that equal trainings are done once, and that a suite can point an entry at other weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import elfbench
from elfbench.core.errors import ConfigError
from elfbench.running.ablation import ablation_paths, changed_recipe, load_ablation
from elfbench.running.suites import load_suite
from elfbench.running.train import recipe_content, training_windows
from elfbench.spec.ablation import Ablation, Variant
from elfbench.spec.suite import Suite
from elfbench.store.store import Store


def test_a_variant_changes_its_keys_and_nothing_else() -> None:
    base = recipe_content("elf-oracle")
    changed = changed_recipe(base, Variant(label="a", train={"model.noise_scale": 1.0}), steps=7, seed=3)
    assert changed["model"]["noise_scale"] == 1.0
    assert base["model"]["noise_scale"] == 2.0
    assert (changed["steps"], changed["seed"]) == (7, 3)
    assert {key for key in base if base[key] != changed[key]} == {"model", "steps", "seed"}


@pytest.mark.parametrize("key", ["model.noise_scales", "models.noise_scale", "noise_scale.x"])
def test_an_unknown_key_is_refused_before_training(key: str) -> None:
    with pytest.raises(ConfigError, match="of the recipe") as caught:
        changed_recipe(recipe_content("elf-oracle"), Variant(label="a", train={key: 1.0}), steps=7, seed=3)
    assert key in str(caught.value)


def test_built_in_ablations_are_valid() -> None:
    for name in ablation_paths():
        spec = load_ablation(name)
        for variant in spec.variants:
            base = recipe_content(variant.recipe or spec.recipe)
            changed_recipe(base, variant, steps=spec.training_steps, seed=1)


def test_training_on_the_oracle_language_is_reproducible() -> None:
    data = recipe_content("ar-oracle")["data"]
    windows = training_windows(data)
    assert windows.shape == (100_000, 32)
    assert np.array_equal(windows[:5], training_windows({**data})[:5])


def _tiny(tmp_path: Path) -> Path:
    spec = load_ablation("elf-oracle").model_dump(mode="json")
    spec |= {"training_steps": 2, "rows": 4, "steps": [2], "metrics": [{"name": "grammatical"}, {"name": "oracle_nll"}]}
    spec["variants"] = [
        {"label": "base"},
        {"label": "narrow", "train": {"encoder.dim": 16, "model.latent_dim": 16}},
        {"label": "guided", "options": {"self_cond_cfg": 2.0}},
    ]
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(Ablation.model_validate_json(json.dumps(spec)).model_dump(mode="json")))
    return path


def test_an_ablation_trains_each_recipe_once_and_tells_its_variants_apart(tmp_path: Path) -> None:
    path = _tiny(tmp_path)
    first = elfbench.ablate(str(path), tmp_path / "out")
    assert len(list((tmp_path / "out" / "training").iterdir())) == 2, "base and guided share a training"
    assert first.cells == 4
    store = Store.open(tmp_path / "out" / "store")
    (record,) = store.suites()
    assert [cell["label"] for cell in record["cells"]] == ["the language", "base", "narrow", "guided"]
    assert str(tmp_path) not in json.dumps(record), "identity and records hold digests, no paths"
    costs = pd.read_csv(tmp_path / "out" / "training.csv")
    assert costs["variant"].tolist() == ["base", "narrow", "guided"]
    assert costs["tokens"].tolist() == [2 * 32 * 32] * 3
    assert costs["n_params"][1] < costs["n_params"][0] == costs["n_params"][2]
    again = elfbench.ablate(str(path), tmp_path / "out")
    assert again.nothing_to_do


def test_a_suite_with_missing_weights_is_refused(tmp_path: Path) -> None:
    suite = load_suite("controls").model_dump(mode="json")
    suite["models"] = [{"name": "elf-oracle", "steps": [2], "weights": str(tmp_path / "none.safetensors")}]
    suite["length"] = 8
    with pytest.raises(ConfigError, match="no such weights file"):
        elfbench.run(Suite.model_validate_json(json.dumps(suite)), tmp_path / "S")
    assert not (tmp_path / "S").exists()
