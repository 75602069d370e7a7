from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_gate import forged, made, small_gate

import elfbench
from elfbench.core import provenance
from elfbench.core.differences import differences
from elfbench.core.errors import ConfigError, StoreError
from elfbench.gates.check import accept, check
from elfbench.gates.evidence import gather
from elfbench.store.store import Store


@pytest.fixture
def copy(kept: Any, tmp_path: Path) -> Path:
    """A copy of the store that may be changed."""
    return Path(shutil.copytree(kept.store, tmp_path / "copy"))


def _rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


# tiers ---------------------------------------------------------------------------------------------------------------


def test_the_same_rows_pass_exactly(kept: Any) -> None:
    decision = check(kept.store, kept.baseline)
    assert decision.status == "PASS"
    assert [tier.status for tier in decision.exact] == ["equal", "equal"]
    assert [verdict.tier for verdict in decision.verdicts] == ["exact", "exact", "floor", "floor"]
    assert [verdict.loss for verdict in decision.verdicts[:2]] == [0.0, 0.0]
    assert decision.sentence == "PASS: all 4 gates at 128 rows."
    assert decision.reproduce == (
        "elfbench run small-gate --rows 128 --seed 0 --out STORE && elfbench check STORE --against baseline.json"
    )
    assert elfbench.check(kept.store, kept.baseline) == decision


def test_fewer_rows_of_the_same_seed_pair_with_the_first_of_the_baseline(kept: Any, tmp_path: Path) -> None:
    decision = check(made(tmp_path / "S", rows=64), kept.baseline)
    assert (decision.status, decision.rows) == ("PASS", 64)
    assert decision.verdicts[0].n == 64
    assert decision.exact[0].why == "the same ids in 64 rows"


def test_another_sampler_under_the_same_seeds_fails_paired(
    kept: Any, tmp_path: Path, spoil: Callable[[str], None]
) -> None:
    spoil("bigram")
    decision = check(made(tmp_path / "S"), kept.baseline)
    exact, bigram = decision.verdicts[:2]
    assert decision.status == "FAIL"
    assert (exact.tier, exact.status) == ("paired", "FAIL")
    assert exact.loss is not None
    assert exact.loss > 0.5
    assert (bigram.tier, bigram.status) == ("exact", "PASS")
    assert [tier.status for tier in decision.exact] == ["changed", "equal"]
    assert decision.exact[0].why == "other ids in 2 of 2 blocks of 64 rows"
    assert "FAIL: 1 of 4 gates. the language: oracle NLL went from" in decision.sentence


def test_a_collapse_fails_by_its_floor_though_the_likelihood_improves(
    kept: Any, tmp_path: Path, spoil: Callable[[str], None]
) -> None:
    spoil("one text")
    decision = check(made(tmp_path / "S"), kept.baseline)
    loss, _, floor, other = decision.verdicts
    assert decision.status == "FAIL"
    assert floor.status == "FAIL"
    assert floor.floor == pytest.approx(0.95 * floor.baseline)
    assert floor.value < floor.floor
    assert other.status == "PASS"
    assert loss.status != "FAIL"


def test_fresh_seeds_are_two_samples(kept: Any, tmp_path: Path) -> None:
    decision = check(made(tmp_path / "S", seed=7), kept.baseline)
    assert {verdict.tier for verdict in decision.verdicts} == {"distributional", "floor"}
    assert decision.exact[0].why == "seeds: root seed 0 there, 7 here"
    assert decision.status == "INCONCLUSIVE"
    assert "gates are open at 128 rows" in decision.sentence
    assert "--seed 7" in decision.reproduce


def test_alpha_of_a_look_moves_the_bounds(kept: Any, tmp_path: Path) -> None:
    store = made(tmp_path / "S", seed=7)
    strict, lax = (check(store, kept.baseline, alpha=alpha).verdicts[0] for alpha in (0.0005, 0.05))
    assert strict.lower < lax.lower < lax.upper < strict.upper  # type: ignore[operator]


def test_another_platform_skips_the_exact_tier(kept: Any, copy: Path) -> None:
    for path in copy.glob("cells/*/*/*.run.json"):
        _rewrite(path, lambda run: run["platform"].update(machine="riscv64", torch="9.9"))
    decision = check(copy, kept.baseline)
    assert [tier.status for tier in decision.exact] == ["skipped", "skipped"]
    assert decision.exact[0].why == "platform: machine: x86_64 -> riscv64; torch: none -> 9.9".replace(
        "x86_64", json.loads(kept.baseline.read_text())["content"]["cells"][0]["made"]["machine"]
    ).replace("none", str(json.loads(kept.baseline.read_text())["content"]["cells"][0]["made"]["torch"] or "none"))
    assert decision.verdicts[0].tier == "paired"
    assert decision.status == "PASS"


def test_rows_of_two_platforms_skip_the_exact_tier(kept: Any, copy: Path) -> None:
    for path in copy.glob("cells/*/*/rows-000064-*.run.json"):
        _rewrite(path, lambda run: run["platform"].update(machine="riscv64"))
    assert check(copy, kept.baseline).exact[0].status == "skipped"


def test_less_than_a_block_of_ids_is_skipped(tmp_path: Path) -> None:
    gates = small_gate().gates
    assert gates is not None
    store = made(tmp_path / "S", rows=40, gates=gates.model_dump() | {"first_rows": 32})
    accept(store, tmp_path / "b.json", why="first", who="me")
    decision = check(store, tmp_path / "b.json")
    assert decision.exact[0].why == "rows: fewer than one block of 64"
    assert (decision.status, decision.verdicts[0].tier) == ("PASS", "paired")


# refusals ------------------------------------------------------------------------------------------------------------


def test_another_version_of_the_suite_is_refused(kept: Any, tmp_path: Path) -> None:
    store = made(tmp_path / "S", version=2)
    with pytest.raises(ConfigError, match="another version") as refused:
        check(store, kept.baseline)
    assert (refused.value.found, refused.value.allowed) == (2, "1")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"gates": {"first_rows": 64, "loss": [{"metric": "oracle_nll", "margin": 0.5}]}}, "margin: 0.05 -> 0.5"),
        ({"measure": {"tokenizer": "words", "window": 16, "view": "raw"}}, "measure.window: 32 -> 16"),
        ({"length": 16, "measure": {"tokenizer": "words", "window": 16, "view": "raw"}}, "length: 32 -> 16"),
        ({"models": [{"name": "exact-oracle"}]}, "models: "),
        ({"level": 0.9}, "level: 0.95 -> 0.9"),
    ],
)
def test_a_suite_that_changed_without_a_new_version_is_refused(
    kept: Any, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    gates = changes.get("gates")
    if isinstance(gates, dict):
        gates["floor"] = [{"metric": "unigram_entropy", "share": 0.95}]
    with pytest.raises(ConfigError, match="without a new version") as refused:
        check(made(tmp_path / "S", **changes), kept.baseline)
    assert told in str(refused.value.found)


def test_words_rows_and_seed_of_a_suite_may_change(kept: Any, tmp_path: Path) -> None:
    assert check(made(tmp_path / "S", title="Other words", description="x", rows=70), kept.baseline).status == "PASS"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p["unigram_entropy"]["measurement"]["tokenizer"].update(digest="a" * 64), "tokenizer.digest: "),
        (lambda p: p["oracle_nll"].update(version=0), "version: 0 -> 1"),
        (lambda p: p["oracle_nll"].update(reference={"digest": "b" * 64}), "reference: {'digest': 'bbbb... -> none"),
        (lambda p: p["oracle_nll"]["measurement"].update(window=16), "measurement.window: 16 -> 32"),
        (lambda p: p.pop("oracle_nll"), "measurement: none -> "),
    ],
)
def test_another_protocol_is_refused_with_the_difference(
    kept: Any, tmp_path: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    baseline = forged(kept.baseline, tmp_path / "b.json", lambda content: change(content["protocols"]))
    with pytest.raises(ConfigError, match="another protocol") as refused:
        check(kept.store, baseline)
    assert told in str(refused.value.found)
    assert str(refused.value.key).startswith("protocols.")


def test_another_reference_digest_is_refused_by_name(kept: Any, tmp_path: Path) -> None:
    """Of two runs with a reference each, the digests are spelled out."""
    old = {"measurement": {"reference": {"digest": "b" * 64}}}
    assert differences(old, {"measurement": {"reference": {"digest": "c" * 64}}}) == [
        "measurement.reference.digest: bbbbbbbbbbbbbbbb... -> cccccccccccccccc..."
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda cell: cell["identity"].update(tokenizer_digest="t" * 64), "tokenizer_digest: tttttttttttttttt... -> "),
        (lambda cell: cell["identity"].update(steps=8), "steps: 8 -> none"),
        (lambda cell: cell["identity"].update(options={"temperature": 0.5}), "temperature: 0.5 -> none"),
        (lambda cell: cell.update(name="other"), "the language, bigram law"),
    ],
)
def test_other_cells_are_refused(
    kept: Any, tmp_path: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    baseline = forged(kept.baseline, tmp_path / "b.json", lambda content: change(content["cells"][0]))
    with pytest.raises(ConfigError) as refused:
        check(kept.store, baseline)
    assert refused.value.key == "cells"
    assert told in str(refused.value.found)


def test_other_weights_and_revisions_are_what_a_gate_is_about(kept: Any, tmp_path: Path) -> None:
    def older(content: dict[str, Any]) -> None:
        content["cells"][0]["identity"].update(weights_digest="w" * 64, revision="0", implementation=0)

    assert check(kept.store, forged(kept.baseline, tmp_path / "b.json", older)).status == "PASS"


def test_fewer_rows_than_a_decision_takes_are_refused(kept: Any, tmp_path: Path) -> None:
    store = made(tmp_path / "S", rows=63)
    with pytest.raises(ConfigError, match="fewer rows") as refused:
        check(store, kept.baseline)
    assert (refused.value.found, refused.value.allowed) == (63, ">= 64")
    with pytest.raises(ConfigError, match="fewer rows"):
        accept(store, tmp_path / "b.json", why="first", who="me")
    assert not (tmp_path / "b.json").exists()


def test_rows_of_other_code_are_refused(kept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "code_digest", lambda: "f" * 64)
    with pytest.raises(StoreError, match="other code") as refused:
        check(kept.store, kept.baseline)
    assert refused.value.allowed == "f" * 12
    with pytest.raises(StoreError, match="other code"):
        accept(kept.store, tmp_path / "b.json", why="first", who="me")
    assert check(kept.store, kept.baseline, any_code=True).status == "PASS"
    accept(kept.store, tmp_path / "b.json", why="first", who="me", any_code=True)


def test_a_store_without_the_suite_or_gates_is_refused(kept: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run of the baseline's suite") as refused:
        check(made(tmp_path / "other", suite="other"), kept.baseline)
    assert (refused.value.found, refused.value.allowed) == ("other", "small-gate")
    with pytest.raises(ConfigError, match="no gates"):
        check(made(tmp_path / "none", gates=None), kept.baseline)
    with pytest.raises(StoreError, match="not an elfbench store"):
        check(tmp_path / "nowhere", kept.baseline)
    with pytest.raises(ConfigError, match="no such baseline"):
        check(kept.store, tmp_path / "none.json")


def test_a_gates_metric_must_be_measured_and_a_ratio(kept: Any, tmp_path: Path) -> None:
    for metric, told in (("grammatical", "not among the metrics"), ("unique_share", "pooled over rows")):
        metrics = [{"name": "oracle_nll"}, {"name": "unique_share"}]
        store = made(tmp_path / metric, metrics=metrics, gates={"first_rows": 64, "loss": [{"metric": metric}]})
        with pytest.raises(ConfigError, match=told):
            check(store, kept.baseline)


def test_a_missing_score_or_measurement_is_refused(kept: Any, copy: Path) -> None:
    scores = copy / "scores"
    shutil.move(scores, copy / "gone")
    with pytest.raises(StoreError, match="was not scored") as refused:
        check(copy, kept.baseline)
    assert refused.value.key == "unigram_entropy"
    shutil.move(copy / "gone", scores)
    shutil.rmtree(copy / "measurements")
    with pytest.raises(StoreError, match="'oracle' is not in the store"):
        check(copy, kept.baseline)


def test_a_baseline_that_lacks_a_gates_metric_is_refused(kept: Any, tmp_path: Path) -> None:
    for part, metric in (("losses", "oracle_nll"), ("values", "unigram_entropy")):
        baseline = forged(kept.baseline, tmp_path / "b.json", lambda c: c["cells"][1][part].pop(metric))  # noqa: B023
        with pytest.raises(ConfigError, match="lacks a gate's metric") as refused:
            check(kept.store, baseline)
        assert (refused.value.key, refused.value.found) == (metric, "bigram law")


def test_a_store_of_two_runs_of_the_suite_is_refused(kept: Any, copy: Path) -> None:
    made(copy, rows=64)
    assert check(copy, kept.baseline).rows == 128, "looks of one run: the one with most rows"
    made(copy, seed=7)
    with pytest.raises(ConfigError, match="several runs") as refused:
        check(copy, kept.baseline)
    assert refused.value.found == "version 1, seed 0; version 1, seed 7"


def test_cells_of_one_name_are_refused(tmp_path: Path) -> None:
    models = [{"name": "exact-oracle", "label": "same"}, {"name": "bigram-oracle", "label": "same"}]
    with pytest.raises(ConfigError, match="names of their own"):
        accept(made(tmp_path / "S", models=models), tmp_path / "b.json", why="first", who="me")


def test_a_damaged_shard_is_refused(kept: Any, copy: Path) -> None:
    path = next(copy.glob("cells/*/*/*.parquet"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match="damaged"):
        check(copy, kept.baseline)


# evidence and small things -------------------------------------------------------------------------------------------


def test_evidence_is_the_scores_own_rows(kept: Any) -> None:
    store = Store.open(kept.store)
    evidence = gather(store, "small-gate")
    scores = {(score.cell, score.metric): score for _, score in store.scores()}
    for cell, cell_id in zip(evidence.cells, [cell["cell"] for cell in store.suites()[0]["cells"]], strict=True):
        assert cell.losses["oracle_nll"].value == pytest.approx(scores[cell_id, "oracle_nll"].value, rel=1e-12)
        assert cell.values["unigram_entropy"] == scores[cell_id, "unigram_entropy"].value
        assert cell.losses["oracle_nll"].rows[:10].tolist() == list(range(10))
        assert len(cell.ids) == 2


def test_decisions_do_not_depend_on_the_order_of_calls(kept: Any) -> None:
    first, second = check(kept.store, kept.baseline), check(Store.open(kept.store), str(kept.baseline))
    assert np.array_equal([v.value for v in first.verdicts], [v.value for v in second.verdicts])


def test_check_imports_no_torch(kept: Any) -> None:
    code = (
        "import sys, elfbench; d = elfbench.check(sys.argv[1], sys.argv[2]);"
        'sys.exit(f\'{d.status} {"torch" in sys.modules} {"transformers" in sys.modules}\')'
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(kept.store), str(kept.baseline)], capture_output=True, text=True
    )
    assert done.stderr.strip() == "PASS False False"
