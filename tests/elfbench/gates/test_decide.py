from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from elfbench.core.errors import ConfigError
from elfbench.gates.decide import FloorQuestion, LossQuestion, decide, loss_of, suite_status
from elfbench.store.row_sums import RowSums

ALPHA = 0.0025
N = 400


def _normal(mean: float, spread: float = 0.3, *, n: int = N, seed: int = 0) -> np.ndarray:
    """Rows whose mean and standard deviation are exactly these."""
    rows = np.random.default_rng(seed).normal(size=n)
    return mean + spread * (rows - rows.mean()) / rows.std(ddof=1)


def _rows(values: np.ndarray, numbers: np.ndarray | None = None) -> RowSums:
    return RowSums(np.arange(len(values)) if numbers is None else numbers, values, np.ones(len(values)))


def _question(before: np.ndarray, after: np.ndarray, **changes: object) -> LossQuestion:
    question = LossQuestion(
        cell="toy @ 4 steps",
        metric="gen_ppl",
        title="gen-PPL",
        direction="lower",
        scale="log",
        margin=0.05,
        least=0.01,
        paired=False,
        same_ids=False,
        baseline=_rows(before),
        current=_rows(after),
    )
    return dataclasses.replace(question, **changes)  # type: ignore[arg-type]


def _floor(current: float) -> FloorQuestion:
    return FloorQuestion("toy", "unigram_entropy", "entropy", 5.0, current, 4.75, 200, 100)


def _loss(size: float, n: int = N, **changes: object) -> LossQuestion:
    """Unpaired rows whose estimate is exactly `size` nats."""
    return _question(_normal(3.0, n=n, seed=1), _normal(3.0 + size, n=n, seed=2), **changes)


def test_a_sure_loss_fails_and_is_told_in_a_sentence() -> None:
    (verdict,) = decide([_loss(math.log(1.10))], [], alpha=ALPHA)
    assert verdict.status == "FAIL"
    assert verdict.tier == "distributional"
    assert verdict.loss == pytest.approx(0.10)
    assert verdict.baseline == pytest.approx(math.exp(3.0))
    assert verdict.value == pytest.approx(1.1 * math.exp(3.0))
    assert verdict.rows_needed is None
    assert verdict.sentence == (
        "toy @ 4 steps: gen-PPL went from 20.09 to 22.09, a loss of 10.0% and surely more than 3.6%."
    )


def test_the_bounds_are_welchs_at_the_familys_alpha() -> None:
    before, after = _normal(3.0, seed=1), _normal(3.03, seed=2)
    gates = [_question(before, after), _loss(0.0), _loss(0.0)]
    verdict = decide(gates, [], alpha=ALPHA)[0]
    greater = stats.ttest_ind(after, before, equal_var=False, alternative="greater")
    less = stats.ttest_ind(after, before, equal_var=False, alternative="less")
    assert verdict.lower == pytest.approx(math.expm1(greater.confidence_interval(1 - ALPHA / 3).low))
    assert verdict.upper == pytest.approx(math.expm1(less.confidence_interval(1 - ALPHA).high))
    assert verdict.p_adjusted == pytest.approx(3 * greater.pvalue)


def test_a_loss_that_is_surely_small_passes_and_an_unsure_one_stays_open() -> None:
    (passed,) = decide([_loss(0.001, n=4000)], [], alpha=ALPHA)
    assert passed.status == "PASS"
    assert "allowed 5%" in passed.sentence
    (open_,) = decide([_loss(0.02, n=1000)], [], alpha=ALPHA)
    assert open_.status == "INCONCLUSIVE"
    assert "rows would decide" in open_.sentence
    (gain,) = decide([_loss(-0.3)], [], alpha=ALPHA)
    assert gain.status == "PASS"
    assert "surely below 0.0%" in gain.sentence


def test_a_sure_loss_below_the_least_is_no_failure() -> None:
    small = _question(_normal(3.0, 0.001), _normal(3.0, 0.001, seed=1) + 0.009)
    (verdict,) = decide([small], [], alpha=ALPHA)
    assert verdict.p_adjusted is not None
    assert verdict.p_adjusted < 1e-9
    assert verdict.status == "PASS"
    (verdict,) = decide([dataclasses.replace(small, least=0.005)], [], alpha=ALPHA)
    assert verdict.status == "FAIL", "surely above 0 and at least the least, also below the margin"


def test_holm_makes_more_gates_stricter_and_steps_down() -> None:
    p = stats.ttest_ind(_normal(3.061, seed=2), _normal(3.0, seed=1), equal_var=False, alternative="greater").pvalue
    assert ALPHA / 2 < p < ALPHA
    alone = decide([_loss(0.061)], [], alpha=ALPHA)
    beside_none = decide([_loss(0.061), _loss(0.0)], [], alpha=ALPHA)
    beside_sure = decide([_loss(0.061), _loss(0.3)], [], alpha=ALPHA)
    assert [verdict.status for verdict in alone] == ["FAIL"]
    assert beside_none[0].status == "INCONCLUSIVE"
    assert [verdict.status for verdict in beside_sure] == ["FAIL", "FAIL"], "the surest gate leaves the rest more alpha"


def test_rows_of_one_seed_pair_by_their_numbers() -> None:
    noise = _normal(3.0)
    moved = noise + 0.02 + _normal(0.0, 0.01, seed=3)
    (unpaired,) = decide([_question(noise, moved)], [], alpha=ALPHA)
    (paired,) = decide([_question(noise, moved, paired=True)], [], alpha=ALPHA)
    assert (unpaired.status, paired.status) == ("INCONCLUSIVE", "FAIL")
    assert paired.tier == "paired"
    numbers = np.arange(N)
    gone = np.delete(numbers, [0, 7, 200])
    shuffled = np.random.default_rng(0).permutation(gone)
    partly = _question(noise, moved, paired=True, current=_rows(moved[shuffled], shuffled))
    expected = stats.ttest_rel(moved[gone], noise[gone], alternative="greater")
    assert loss_of(partly).p_above() == pytest.approx(expected.pvalue)
    assert loss_of(partly).n_b == N - 3


def test_rows_without_a_common_number_are_two_samples() -> None:
    question = _loss(0.0, paired=True, current=_rows(_normal(3.0, seed=2), np.arange(N) + N))
    assert not loss_of(question).paired


def test_equal_ids_are_the_exact_tier_and_pass_on_rounded_numbers() -> None:
    rows = _normal(3.0)
    question = _question(np.round(rows, 6), rows, paired=True, same_ids=True)
    (verdict,) = decide([question], [], alpha=ALPHA)
    assert (verdict.tier, verdict.status, verdict.loss, verdict.upper) == ("exact", "PASS", 0.0, 0.0)
    assert "the same ids" in verdict.sentence


def test_equal_ids_with_other_numbers_still_tell_the_loss() -> None:
    """A metric that changed without a new version: the ids are equal, the numbers are not."""
    rows = _normal(3.0)
    (verdict,) = decide([_question(rows, rows + 0.2, paired=True, same_ids=True)], [], alpha=ALPHA)
    assert verdict.status == "FAIL"
    assert "a loss of 22.1%" in verdict.sentence


def test_higher_is_better_turns_the_sign_and_value_scale_is_relative() -> None:
    sentences, right, fewer = np.full(N, 10.0), np.tile([8.0, 10.0], N // 2), np.tile([7.0, 9.0], N // 2)
    before, after = RowSums(np.arange(N), right, sentences), RowSums(np.arange(N), fewer, sentences)
    question = _loss(0.0, direction="higher", scale="value", baseline=before, current=after)
    (verdict,) = decide([question], [], alpha=ALPHA)
    assert verdict.loss == pytest.approx(1 - 0.8 / 0.9)
    assert (verdict.baseline, verdict.value) == pytest.approx((0.9, 0.8))
    assert verdict.status == "FAIL"
    (better,) = decide([dataclasses.replace(question, baseline=after, current=before)], [], alpha=ALPHA)
    assert better.status == "PASS"
    assert better.loss == pytest.approx(1 - 0.9 / 0.8)


def test_a_collapse_cant_be_averaged_away() -> None:
    gains = [_loss(-0.3) for _ in range(20)]
    verdicts = decide(gains, [_floor(5.0), _floor(4.749), _floor(6.0)], alpha=ALPHA)
    assert [verdict.status for verdict in verdicts[20:]] == ["PASS", "FAIL", "PASS"]
    assert suite_status(verdicts) == "FAIL"
    assert verdicts[21].sentence == "toy: entropy is 4.749, below its floor 4.75 (baseline 5)."
    assert (verdicts[21].tier, verdicts[21].loss, verdicts[21].floor) == ("floor", None, 4.75)
    assert decide([], [_floor(4.75)], alpha=ALPHA)[0].status == "PASS", "the line itself is allowed"


def test_the_suite_is_as_bad_as_its_worst_gate() -> None:
    passed, open_, failed = (decide([_loss(size)], [], alpha=ALPHA)[0] for size in (-0.3, 0.02, 0.3))
    assert suite_status([passed, passed]) == "PASS"
    assert suite_status([passed, open_]) == "INCONCLUSIVE"
    assert suite_status([open_, failed, passed]) == "FAIL"


@pytest.mark.parametrize(("size", "becomes"), [(0.01, "PASS"), (0.04, "FAIL")])
def test_so_many_rows_would_decide(size: float, becomes: str) -> None:
    """The hint holds: with that many more rows of the current side, and few fewer don't."""
    before = _normal(3.0, n=200_000, seed=1)
    (verdict,) = decide([_question(before, _normal(3.0 + size, n=300))], [], alpha=ALPHA)
    assert verdict.status == "INCONCLUSIVE"
    needed = verdict.rows_needed
    assert needed is not None
    assert needed > 300
    more = decide([_question(before, _normal(3.0 + size, n=round(needed * 1.02) + 2))], [], alpha=ALPHA)
    assert more[0].status == becomes
    fewer = decide([_question(before, _normal(3.0 + size, n=round(needed * 0.95)))], [], alpha=ALPHA)
    assert fewer[0].status == "INCONCLUSIVE"


def test_a_small_baseline_is_told_when_no_rows_help() -> None:
    (verdict,) = decide([_question(_normal(3.0, n=64), _normal(3.02, n=5000, seed=1))], [], alpha=ALPHA)
    assert (verdict.status, verdict.rows_needed) == ("INCONCLUSIVE", None)
    assert "accept a baseline of more rows" in verdict.sentence
    noise = _normal(3.0, n=64)
    near = _question(noise, noise + _normal(0.02, 0.1, n=64, seed=1), paired=True)
    (verdict,) = decide([near], [], alpha=ALPHA)
    assert (verdict.status, verdict.rows_needed) == ("INCONCLUSIVE", None), "no rows pair beyond the baseline's"
    numbers = np.arange(32)
    whole = _normal(3.0, n=5000)
    fewer = dataclasses.replace(
        near, baseline=_rows(whole), current=_rows(whole[:32] + _normal(0.02, 0.1, n=32), numbers)
    )
    (verdict,) = decide([fewer], [], alpha=ALPHA)
    assert verdict.rows_needed is not None
    assert 32 < verdict.rows_needed < 5000


def test_bad_rows_are_refused() -> None:
    with pytest.raises(ConfigError, match="NaN"):
        decide([_question(_normal(3.0), np.full(N, np.nan))], [], alpha=ALPHA)
    with pytest.raises(ConfigError, match="too few rows"):
        decide([_question(_normal(3.0), np.ones(1))], [], alpha=ALPHA)


def test_null_suites_keep_alpha_with_real_ratios_and_floors_in_place() -> None:
    """Rows of unequal length, relative scale: at alpha 5 % the share of failing suites is at most about 5 %."""
    rng = np.random.default_rng(9)

    def sample() -> RowSums:
        tokens = rng.integers(10, 60, 200)
        return RowSums(np.arange(200), tokens * rng.gamma(4.0, 0.5, 200), tokens.astype(float))

    failed = 0
    for _ in range(400):
        gates = [_loss(0.0, scale="value", least=0.0, baseline=sample(), current=sample()) for _ in range(3)]
        failed += suite_status(decide(gates, [], alpha=0.05)) == "FAIL"
    assert failed / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
