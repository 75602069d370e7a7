from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_gate import GATE, forged, made, small_gate

import elfbench
from elfbench.cli.main import main
from elfbench.core.errors import ConfigError
from elfbench.gates.check import Decision, accept
from elfbench.gates.until_decided import until_decided
from elfbench.spec.suite import Suite
from elfbench.statistics.sequential import alpha_of_looks
from elfbench.store.store import Store

ROWS = 512


class Sampler:
    """Grows one store; remembers what it was asked for."""

    def __init__(self, folder: Path, suite: Suite) -> None:
        self.folder, self.suite, self.asked = folder, suite, []  # type: ignore[var-annotated]

    def __call__(self, rows: int) -> Store:
        self.asked.append(rows)
        elfbench.run(self.suite, self.folder, rows=rows)
        return Store.open(self.folder)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline of 512 rows of seed 0."""
    folder = tmp_path_factory.mktemp("large")
    accept(made(folder / "S", rows=ROWS), folder / "baseline.json", why="first", who="me")
    return folder / "baseline.json"


def test_equal_ids_decide_at_the_first_look(large: Path, tmp_path: Path) -> None:
    sampler = Sampler(tmp_path / "S", small_gate(rows=ROWS))
    decision = until_decided(sampler.suite, large, sampler)
    assert (decision.status, decision.rows, sampler.asked) == ("PASS", 64, [64])


def test_a_broken_sampler_fails_at_the_first_look(large: Path, tmp_path: Path, spoil: Callable[[str], None]) -> None:
    spoil("bigram")
    sampler = Sampler(tmp_path / "S", small_gate(rows=ROWS))
    decision = until_decided(sampler.suite, large, sampler)
    assert (decision.status, sampler.asked) == ("FAIL", [64])


def test_fresh_seeds_take_rising_rows_and_share_alpha(large: Path, tmp_path: Path) -> None:
    sampler = Sampler(tmp_path / "S", small_gate(rows=ROWS, seed=5))
    looks: list[Decision] = []
    decision = until_decided(sampler.suite, large, sampler, on_look=looks.append)
    assert looks[-1] is decision
    assert sampler.asked == [64, 128, 256, 512][: len(looks)]
    assert len(looks) > 1
    assert [look.rows for look in looks] == sampler.asked
    assert all(look.status == "INCONCLUSIVE" for look in looks[:-1])
    assert [look.alpha for look in looks] == pytest.approx(alpha_of_looks((64, 128, 256, 512), 0.0025)[: len(looks)])


def test_what_stays_open_takes_all_rows(kept: Any, tmp_path: Path) -> None:
    """128 rows on each side and two fresh samples: no look decides."""
    sampler = Sampler(tmp_path / "S", small_gate(seed=7))
    decision = until_decided(sampler.suite, kept.baseline, sampler)
    assert (decision.status, decision.rows, sampler.asked) == ("INCONCLUSIVE", 128, [64, 128])


def test_nothing_is_sampled_for_a_suite_that_cant_be_decided(kept: Any, tmp_path: Path) -> None:
    asked: list[int] = []

    def never(rows: int) -> Store:
        asked.append(rows)
        raise AssertionError

    for suite, told in (
        (small_gate(gates=None), "no gates"),
        (small_gate(suite="other"), "another suite"),
        (small_gate(rows=32), "first look"),
    ):
        with pytest.raises(ConfigError, match=told):
            until_decided(suite, kept.baseline, never)
    with pytest.raises(ConfigError, match="no such baseline"):
        until_decided(small_gate(), tmp_path / "none.json", never)
    assert asked == []


def test_a_baseline_of_another_version_is_refused_before_sampling(kept: Any, tmp_path: Path) -> None:
    older = forged(kept.baseline, tmp_path / "b.json", lambda content: content["suite"].update(version=0))
    sampler = Sampler(tmp_path / "S", small_gate())
    with pytest.raises(ConfigError, match="another version"):
        until_decided(sampler.suite, older, sampler)
    assert sampler.asked == []


def test_an_interrupted_look_goes_on(large: Path, tmp_path: Path) -> None:
    once = Sampler(tmp_path / "A", small_gate(rows=ROWS, seed=5))
    whole = until_decided(once.suite, large, once)
    Sampler(tmp_path / "B", once.suite)(64)
    shutil.copytree(tmp_path / "B", tmp_path / "C")
    again = Sampler(tmp_path / "C", once.suite)
    assert until_decided(again.suite, large, again) == whole


PROMPTED = {
    "suite": "prompted-gate",
    "length": 20,
    "rows": 64,
    "measure": {"view": "final", "tokenizer": "words", "window": 20, "short": "keep"},
    "prompts": {"generated": "oracle-continuation"},
    "models": [{"name": "exact-oracle"}],
    "metrics": [{"name": "oracle_nll"}],
    "gates": {"first_rows": 32, "loss": [{"metric": "oracle_nll"}]},
}


def _until_decided(folder: Path, baseline: Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["run", str(folder / "gate.yaml"), "--until-decided", str(baseline), "--out", str(folder / "looks")])
    return int(stop.value.code or 0)


def test_a_suite_with_prompts_is_the_one_that_its_baseline_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records and baselines hold what the prompts are, the suite file only where they come from."""
    (tmp_path / "gate.yaml").write_text(json.dumps(GATE | PROMPTED))
    elfbench.run(str(tmp_path / "gate.yaml"), tmp_path / "S")
    accept(tmp_path / "S", tmp_path / "baseline.json", why="first", who="me")
    assert _until_decided(tmp_path, tmp_path / "baseline.json") == 0
    assert "PASS" in capsys.readouterr().out
    other = forged(
        tmp_path / "baseline.json",
        tmp_path / "other.json",
        lambda content: content["suite"]["prompts"].update(digest="0" * 64),
    )
    assert _until_decided(tmp_path, other) == 2
    assert "the suite changed without a new version" in capsys.readouterr().err
