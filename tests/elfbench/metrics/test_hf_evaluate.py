from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import elfbench
from elfbench.core.errors import ConfigError, PrerequisiteError
from elfbench.metrics.hf_evaluate import grouped_jackknife, module_digest, open_metric
from elfbench.reporting.report import write_report
from elfbench.running.run import run
from elfbench.running.suites import load_suite
from elfbench.spec.metric import EstimateContext
from elfbench.spec.suite import SuiteMetric
from elfbench.statistics.jackknife import jackknife
from elfbench.store.store import Store

pytest.importorskip("evaluate")

MODULE = """
import datasets
import evaluate


class Same(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("string"), "references": REFERENCES})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references, scale=1.0, lower=False):
        references = [one if isinstance(one, str) else one[0] for one in references]
        if lower:
            predictions = [one.lower() for one in predictions]
        same = sum(one == two for one, two in zip(predictions, references)) / len(references)
        return RESULTS
"""
TEXTS = ["a", "B", "c", "d", "e", "f"]
REFERENCES = ["a", "b", "c", "x", "y", "z"]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: a process imports the package of cached modules once."""
    return tmp_path_factory.mktemp("modules")


@pytest.fixture(autouse=True)
def _cache(modules: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import evaluate

    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", str(modules))
    before = dict(os.environ)
    os.environ["HF_MODULES_CACHE"] = str(modules)
    yield
    os.environ.clear()
    os.environ.update(before)


def _module(
    folder: Path, references: str = 'datasets.Value("string")', results: str = '{"same": scale * same}'
) -> Path:
    folder.mkdir(parents=True)
    script = folder / f"{folder.name}.py"
    script.write_text(MODULE.replace("REFERENCES", references).replace("RESULTS", results))
    return folder


def _scored(name: str) -> dict[str, object]:
    frame = elfbench.score(TEXTS, [name], reference=REFERENCES)
    found: dict[str, object] = frame.iloc[0].to_dict()
    return found


def test_a_local_module_is_scored_with_its_arguments_and_an_interval(tmp_path: Path) -> None:
    folder = _module(tmp_path / "same_local")
    found = _scored(f"evaluate:{folder}?lower=true&scale=100&direction=lower")
    assert found["metric"] == "evaluate:same_local?lower=true&scale=100&direction=lower"
    assert found["value"] == pytest.approx(50.0)
    assert found["n"] == 6
    assert found["direction"] == "lower"
    expected = jackknife(50.0, [40.0] * 3 + [60.0] * 3)  # without a hit 2 of 5 are left, without a miss 3 of 5
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert found["method"] == "delete-a-group jackknife, 6 groups of examples"


def test_references_as_lists_and_one_of_several_numbers(tmp_path: Path) -> None:
    results = '{"same": same, "other": same + 1, "each": [same], "text": "x"}'
    folder = _module(tmp_path / "same_lists", 'datasets.Sequence(datasets.Value("string"))', results)
    assert _scored(f"evaluate:{folder}#other")["value"] == pytest.approx(1.0 + 2 / 6)
    with pytest.raises(ConfigError, match=r"evaluate:same_lists#RESULT, of same, other"):
        _scored(f"evaluate:{folder}")
    with pytest.raises(ConfigError, match="no such number"):
        _scored(f"evaluate:{folder}#each")


def test_the_code_and_the_arguments_are_the_protocol(tmp_path: Path) -> None:
    folder = _module(tmp_path / "same_digest")
    first = open_metric(f"{folder}").parameters
    assert open_metric(f"{folder / 'same_digest.py'}").parameters == first
    assert open_metric(f"{folder}?scale=2").parameters["arguments"] == '{"scale": 2}'
    (folder / "part.py").write_text("x = 1\n")
    assert open_metric(f"{folder}").parameters["module_digest"] != first["module_digest"]


def test_a_name_is_looked_up_in_the_cache_and_nowhere_else(
    tmp_path: Path, modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def refused(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refused)
    with pytest.raises(PrerequisiteError, match=r"nothing is fetched(.|\n)*evaluate\.load\('same_cached'\)") as error:
        open_metric("same_cached")
    assert error.value.exit_code == 4
    place = modules / "evaluate_modules" / "metrics" / "evaluate-metric--same_cached" / ("0" * 64)
    _module(tmp_path / "same_cached")
    place.mkdir(parents=True)
    (tmp_path / "same_cached" / "same_cached.py").rename(place / "same_cached.py")
    assert _scored("evaluate:same_cached")["value"] == pytest.approx(2 / 6)


def test_in_a_suite_it_is_stored_and_compares_by_its_interval(tmp_path: Path) -> None:
    folder = _module(tmp_path / "same_suite", results='{"same": len(" ".join(predictions)) / len(predictions)}')
    suite = load_suite("oracle-continuation")
    changes = {"rows": 8, "models": suite.models[:1], "metrics": (SuiteMetric(name=f"evaluate:{folder}"),)}
    for name, seed in (("A", 0), ("B", 1)):
        summary = run(suite.model_copy(update={**changes, "seed": seed}), tmp_path / name)
        assert (summary.scores_made, summary.not_scored) == (1, [])
    (score,) = [score for _, score in Store.open(tmp_path / "A").scores()]
    assert score.metric == "evaluate:same_suite"
    assert score.n == 8
    assert score.low < score.value < score.high
    assert score.protocol["parameters"]["module_digest"] == module_digest(folder / "same_suite.py")
    assert str(tmp_path) not in score.model_dump_json()
    assert all(str(tmp_path) not in str(record) for record in Store.open(tmp_path / "A").suites())
    folder.rename(tmp_path / "gone")  # reading needs no module
    (found,) = elfbench.compare(tmp_path / "A", tmp_path / "B").compared
    assert found.metric == "evaluate:same_suite"
    assert not found.paired
    write_report(tmp_path / "A", tmp_path / "R")
    assert "evaluate:same_suite" in (tmp_path / "R" / "results.csv").read_text(encoding="utf-8")


def test_a_failure_of_the_module_is_told(tmp_path: Path) -> None:
    folder = _module(tmp_path / "same_failing")
    with pytest.raises(ConfigError, match=r"same_failing failed: TypeError: .*nonsense"):
        _scored(f"evaluate:{folder}?nonsense=1")


def test_a_module_that_compares_numbers_is_refused(tmp_path: Path) -> None:
    folder = _module(tmp_path / "same_numbers")
    script = folder / "same_numbers.py"
    script.write_text(script.read_text().replace('"predictions": datasets.Value("string")', '"predictions": datasets.Value("int32")'))  # fmt: skip
    with pytest.raises(ConfigError, match="does not compare texts"):
        _scored(f"evaluate:{folder}")


def test_the_jackknife_by_groups_covers_a_mean() -> None:
    """Of 200 means over 90 rows in 20 groups, about 95 in 100 intervals hold the truth."""
    rng, held = np.random.default_rng(3), 0
    for _ in range(200):
        rows = [str(one) for one in rng.normal(size=90)]
        found = grouped_jackknife(
            lambda samples, _: float(np.mean([float(one) for one in samples])), rows, rows, np.arange(90), EstimateContext()
        )  # fmt: skip
        held += found.low <= 0.0 <= found.high
    assert 180 <= held <= 199
