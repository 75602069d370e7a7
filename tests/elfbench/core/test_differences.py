"""What a refusal spells out."""

from __future__ import annotations

from elfbench.core.differences import differences


def test_differences_name_every_leaf() -> None:
    old = {"a": {"b": 1, "c": [1, 2]}, "same": "x", "gone": 1, "list": [1]}
    new = {"a": {"b": 2, "c": [1, 3]}, "same": "x", "new": None, "list": [1, 2]}
    assert differences(old, new) == ["a.b: 1 -> 2", "a.c[1]: 2 -> 3", "gone: 1 -> none", "list: [1] -> [1, 2]"]
    assert differences(old, old) == []
