"""A distillation by recipe: what it refuses, and what its weights say of their teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from elfbench.adapters.trained import packaged_weights
from elfbench.adapters.training import check_recipe, train_weights
from elfbench.core.errors import ConfigError
from elfbench.language.oracle import training_windows
from elfbench.running.train import recipe_content

TEACHER = packaged_weights("elf_model", "elf-oracle")


def _recipe(**changes: object) -> dict[str, Any]:
    small = {"teacher": "elf-oracle", "student_steps": [2, 1], "teacher_steps": 4}
    content = {**recipe_content("elf-oracle-pd"), "steps": 2, "batch_size": 2, "distillation": small}
    return {**content, **changes}


def _train(content: dict[str, Any], out: Path) -> dict[str, Any]:
    return train_weights(content, training_windows(32)[:8], out, device="cpu", on_step=None)


def test_the_shipped_recipe_is_the_authors_curriculum() -> None:
    content = recipe_content("elf-oracle-pd")
    assert content["distillation"] == {"teacher": "elf-oracle", "student_steps": [16, 8, 4, 2, 1], "teacher_steps": 64}
    assert content["steps"] % 5 == 0


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"distillation": {"teacher": "elf-oracle", "students": [1]}}, "distillation.students"),
        ({"distillation": {"student_steps": [1]}}, "distillation.teacher"),
        ({"distillation": "elf-oracle"}, "distillation"),
        ({"system": "mdlm"}, "system"),
        ({"model": {"hidden": 64}}, "model"),
        ({"encoder": {"kind": "ppmi_svd"}}, "encoder"),
    ],
)
def test_a_recipe_that_is_no_distillation_is_refused(changes: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_recipe(_recipe(**changes), "recipe.yaml")
    assert caught.value.key == key


@pytest.mark.parametrize("name", ["elf-nowhere", "nowhere.safetensors"])
def test_a_teacher_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        _train(_recipe(distillation={"teacher": name}), tmp_path)
    assert caught.value.key == "distillation.teacher"


def test_the_weights_name_their_teacher(tmp_path: Path) -> None:
    from elf_model.model import load_model

    result = _train(_recipe(), tmp_path)
    student, teacher = load_model(result["weights"]), load_model(TEACHER.path)
    assert student.notes["teacher"] == {"name": "elf-oracle", "sha256": TEACHER.record["sha256"]}
    assert student.config == teacher.config
    assert student.table is not None
    assert teacher.table is not None
    assert bool((student.table == teacher.table).all())
    assert result["n_params"] == TEACHER.record["n_params"]
    assert (result["steps"], result["tokens"]) == (2, 2 * 2 * 32)
    assert (tmp_path / "log.csv").is_file()


def test_a_run_keeps_its_teacher(tmp_path: Path) -> None:
    _train(_recipe(), tmp_path)
    student = tmp_path / "weights.safetensors"
    changed = _recipe(distillation={**_recipe()["distillation"], "teacher": str(student)})
    with pytest.raises(ConfigError, match="begun with another teacher"):
        _train(changed, tmp_path)
    _train(changed, tmp_path / "other")  # a file is a teacher as well as a name
