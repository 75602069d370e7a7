from __future__ import annotations

from elfbench.core.errors import ConfigError, PrerequisiteError, unknown


def test_message_names_key_found_allowed_and_remedy() -> None:
    error = ConfigError("a wrong value", key="steps", found=0, allowed=">= 1", remedy="use steps: [8]")
    for part in ("a wrong value", "steps", "0", ">= 1", "use steps: [8]"):
        assert part in str(error)
    assert error.exit_code == 2
    assert PrerequisiteError("x").exit_code == 4


def test_unknown_suggests_the_nearest_name() -> None:
    assert "did you mean 'mdlm-sotu'?" in str(unknown("model", "mdml-sotu", ["ar-sotu", "mdlm-sotu"]))


def test_long_lists_are_cut() -> None:
    text = str(unknown("model", "zzz", [f"name-{i:03d}" for i in range(100)]))
    assert "(100 in all)" in text
    assert "name-050" not in text
