from __future__ import annotations

from pathlib import Path

import pytest

from elfbench.core.errors import ConfigError
from elfbench.running.suites import load_suite, suite_paths

PANEL = """
suite: small
version: 1
title: A panel
length: 8
rows: 16
models:
  - name: real-text
  - {name: unigram, label: words}
metrics:
  - name: distinct_2
  - name: rep_n
panel:
  bands:
    distinct_2: {low: 0.2, high: 0.8}
  controls: [words]
"""


def _suite(folder: Path, text: str) -> str:
    path = folder / "small.yaml"
    path.write_text(text)
    return str(path)


def test_only_suites_with_a_panel_have_it_in_their_content(tmp_path: Path) -> None:
    suite = load_suite(_suite(tmp_path, PANEL))
    assert suite.panel is not None
    assert suite.document()["panel"] == {"bands": {"distinct_2": {"low": 0.2, "high": 0.8}}, "controls": ["words"]}
    others = [load_suite(name) for name in suite_paths() if name != "controls-panel"]
    assert not any("panel" in other.document() for other in others)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("distinct_2: {", "mauve: {", "panel.bands: mauve is not among the metrics"),
        ("distinct_2: {", "rep_2: {", "panel.bands: rep_2 is not among the metrics by its own name"),
        ("low: 0.2, high: 0.8", "low: 0.8, high: 0.2", "low 0.8 is not below high 0.2"),
        ("low: 0.2, high: 0.8", "", "'low', 'high' or both"),
        ("[words]", "[letters]", "no model has the label 'letters'"),
    ],
)
def test_a_panel_that_says_nothing_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_suite(_suite(tmp_path, PANEL.replace(old, new)))
