from __future__ import annotations

from pathlib import Path

import pytest

from elfbench.core.errors import ConfigError
from elfbench.loading.yaml_files import load_yaml
from elfbench.running.suites import load_suite

SUITE = """
suite: mine
version: 1
title: A test
length: 8
rows: 4
models:
  - name: unigram
metrics:
  - name: distinct_1
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_a_suite_reads_back(tmp_path: Path) -> None:
    suite = load_suite(str(_write(tmp_path, SUITE)))
    assert (suite.suite, suite.models[0].name, suite.measure.short) == ("mine", "unigram", "drop")


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("length: 8", "length: -8", ["length", "-8", "greater than or equal to 1"]),
        ("  - name: unigram", "  - name: unigram\n    steps: [0]", ["steps", ">= 1"]),
        ("  - name: unigram", "  - name: unigram\n    stepz: [1]", ["models[0].stepz", "did you mean 'steps'"]),
        ("rows: 4", "rwos: 4", ["rwos", "did you mean 'rows'"]),
        ("rows: 4\n", "", ["rows", "missing"]),
        ("rows: 4", "rows: '4'", ["rows", "integer"]),
        ("rows: 4", "rows: 4\nrows: 5", ["the same key twice", "rows"]),
        ("title: A test", "title: no", ["true or false"]),
        ("title: A test", "title: [", ["not valid YAML", "line"]),
        ("suite: mine", "suite: !!python/name:os.system mine", ["not valid YAML"]),
        ("version: 1", "version: .nan", ["version"]),
        ("length: 8", "length: [8, 16]", ["key:     length", "found:   a list: [8, 16]", "allowed: a valid integer"]),
        ("- name: unigram", "- unigram", ["key:     models[0]", 'found:   "unigram"', "keys with values"]),
        ("rows: 4", "rows: 4\nmeasure: {window: {a: 1}}", ["key:     measure.window", 'found:   keys: {"a": 1}']),
        ("rows: 4", "rows: 4\ntraining: {corpus: stou}", ["training.corpus", "found:   stou", "did you mean 'sotu'"]),
        ("rows: 4", "rows: 4\ntraining: {corpus: sotu, split: trian}", ["training.split", "did you mean 'train'"]),
        ("rows: 4", "rows: 4\ntraining: {corpus: oracle, split: test}", ["training.split", "allowed: train"]),
        ("rows: 4", "rows: 4\ntraining: {corpus: gone.txt}", ["training.corpus", "there is no such file"]),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_suite(str(_write(tmp_path, SUITE.replace(old, new))))
    for part in parts:
        assert part in str(caught.value)


def test_exponents_are_numbers_and_not_words(tmp_path: Path) -> None:
    assert load_yaml(_write(tmp_path, "lr: 4e-3\n"))["lr"] == pytest.approx(0.004)


def test_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'demo'"):
        load_suite("dmo")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_suite(str(tmp_path / "nowhere.yaml"))
