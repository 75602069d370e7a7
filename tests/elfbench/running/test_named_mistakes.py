"""Mistakes in names that once got a misleading message."""

from __future__ import annotations

import pytest

from elf_model.training.recipe import TrainRecipe
from elfbench.core.errors import ConfigError
from elfbench.loading.corpus import documents
from elfbench.registry import catalog
from elfbench.running.training_text import parsed


def test_a_misspelled_split_of_the_training_text_is_a_split() -> None:
    with pytest.raises(ConfigError, match="unknown split 'trian'"):
        parsed("sotu:trian")
    assert parsed("datasets:some/id").corpus == "datasets:some/id"
    assert parsed("sotu:test").split == "test"


def test_a_missing_file_is_no_unknown_corpus() -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        list(documents("nope.txt", "all"))


def test_a_family_needs_a_source() -> None:
    with pytest.raises(ConfigError, match="hf: needs a source"):
        catalog.models().get("hf:")


@pytest.mark.parametrize(("key", "value"), [("steps", "abc"), ("ema", "x"), ("batch_size", 2.5), ("seed", True)])
def test_a_number_of_a_recipe_that_is_none_is_named(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{key} is .*allowed: a number"):
        TrainRecipe.from_dict({"steps": 1, "batch_size": 1, key: value})
