"""What holds of every metric of the catalog, by made-up measurements: order of rows, doubled rows, planted faults."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from made_rows import MAKERS, ROWS, Columns, doubled, estimated, metrics_that_can_be_fed, taken
from planted import SEEN

from elfbench.registry import catalog
from elfbench.spec.metric import Estimate, Metric

UNFED = {
    "evaluate:": "a family of its users' own modules; its groups of rows are drawn by position, as a module counts nothing by row",
    "mauve_text": "the authors' package, which is optional, clusters and counts",
}
"""Metrics without property tests, and why."""
METRICS = {name: metric for name, metric in metrics_that_can_be_fed().items() if name not in UNFED}
MEASUREMENTS = sorted({metric.measurement for metric in METRICS.values()})
seeds = st.integers(0, 2**32 - 1)
# A smaller seed is no simpler case: nothing to shrink.
one = settings(deadline=None, max_examples=1, derandomize=True, phases=[Phase.generate])
two, many = settings(one, max_examples=2), settings(one, max_examples=40)
AMOUNTS = (0.0, 0.4, 0.9)

Change = Callable[[Estimate, Estimate, int], bool]
"""(before, after every row was doubled, rows before) -> whether it is what the metric's page says."""


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)


def _kept(before: Estimate, after: Estimate, n: int) -> bool:
    return _near(before.value, after.value)


def _narrower(before: Estimate, after: Estimate, n: int) -> bool:
    """A mean of twice as many rows: the value stays, the bar is about 1/sqrt(2) of what it was (nothing stays nothing)."""
    return _kept(before, after, n) and _width(after) <= 0.9 * _width(before)


def _not_wider(before: Estimate, after: Estimate, n: int) -> bool:
    """The reference's part of the bar stays."""
    return _kept(before, after, n) and _width(after) <= _width(before)


def _width(estimate: Estimate) -> float:
    return estimate.high - estimate.low


def _plug_in_kept(before: Estimate, after: Estimate, n: int) -> bool:
    return _near(float(before.detail["plug_in"]), float(after.detail["plug_in"]))


_MEANS = (
    "gen_ppl", "gen_ppl_elf", "gen_ppl_mdlm_duo", "gen_ppl_sedd", "gen_ppl_sdtt", "gen_ppl_hf_evaluate", "bits_per_byte", "nll_bits_per_byte",
    "unigram_entropy", "unigram_entropy_elf", "unigram_entropy_mdlm_duo", "rep_2", "rep_3", "rep_4", "mattr",
    "oracle_nll", "grammatical", "novel_sentences", "broken_subject_verb", "broken_determiner_noun", "broken_article", "broken_pronoun",
    "broken_name", "broken_bracket", "broken_word_order", "oracle_nll_given", "grammatical_given", "longest_match",
    "novelty_2", "novelty_3", "novelty_4", "novelty_5", "novelty_6", "novelty_7", "novelty_8",
    "empty_share", "short_share", "truncated_share", "replacement_share", "leftover_share", "nonfinite_share", "foreign_script_share",
    "bleu", "bleu_elf", "bleu_mbr", "rouge_1", "rouge_2", "rouge_l", "chrf", "exact_match", "nfe", "positions", "tokens_per_second",
)  # fmt: skip
DOUBLED: dict[str, Change] = {
    **dict.fromkeys(_MEANS, _narrower),
    # Shares of counts: the same law of tokens, so the same number.
    **dict.fromkeys(("ngram_entropy_2", "ngram_entropy_3", "zipf_exponent", "vendi"), _kept),
    # The plug-in is the same; the correction for few rows is smaller.
    **dict.fromkeys(("corpus_entropy", "oracle_kl", "judge_rank_divergence"), _plug_in_kept),
    # As many distinct things among twice as many.
    **dict.fromkeys(
        ("distinct_1", "distinct_2", "distinct_3", "distinct_4", "unique_share"),
        lambda before, after, n: _near(after.value, 0.5 * before.value),
    ),
    # Twice as many uniform draws show less than twice as many tokens.
    "ead": lambda before, after, n: 0.5 * before.value < after.value < before.value,
    "self_bleu": lambda before, after, n: _near(after.value, 100.0),
    "near_duplicates": lambda before, after, n: after.value == 1.0,
    "compression_ratio": lambda before, after, n: before.value < after.value < 2.0 * before.value,
    # Samples alone are doubled: their shares near references, and ranks among them, stay.
    **dict.fromkeys(("typicality", "prdc_precision", "prdc_density", "prdc_coverage"), _not_wider),
    # The balls around samples shrink, as a sample's copy is its nearest neighbor.
    "prdc_recall": lambda before, after, n: after.value <= before.value,
    # Unbiased over pairs of different rows, and copies are such a pair: samples seem nearer to each other than to references.
    **dict.fromkeys(("energy_distance", "gradient_moment"), lambda before, after, n: after.value > before.value),
    # Covariances over n - 1: between (n - 1) / (n - 1/2) of what they were and the same.
    "frechet_distance": lambda before, after, n: math.isclose(after.value, before.value, rel_tol=0.05),
    # Medians, extremes and single runs.
    **dict.fromkeys(
        ("throughput_best", "throughput_batch_1", "latency_batch_1", "flop_utilization", "nfe_counted", "peak_memory"), _not_wider
    ),
}  # fmt: skip
"""Metric -> what doubling every row does to it."""
DOUBLED_UNSAID = {
    **dict.fromkeys(
        ("mauve", "mauve_star", "frontier_integral"),
        "k-means finds other clusters among copies; the value stays about the same",
    ),
    "c2st": "a copy can be trained on while its twin is held out: the accuracy means nothing then",
}


def test_every_metric_is_in_every_group_or_is_named_with_a_reason() -> None:
    names = set(catalog.metrics().names())
    assert set(METRICS) | set(UNFED) == names, "a measurement without a maker in made_rows.py"
    assert set(DOUBLED) | set(DOUBLED_UNSAID) == set(METRICS)
    assert not set(DOUBLED) & set(DOUBLED_UNSAID)
    assert set(SEEN) == set(METRICS)


def test_planted_faults_go_the_declared_way() -> None:
    bad = {"lower": +1, "higher": -1}
    wrong = {name for name, (_, sign) in SEEN.items() if sign != bad.get(METRICS[name].direction, sign)}
    assert wrong == set()


def _made(measurement: str, seed: int) -> tuple[Columns, Columns]:
    rng = np.random.default_rng(seed)
    return MAKERS[measurement](ROWS, rng), MAKERS[measurement](ROWS, rng)


def _of(measurement: str, among: Iterable[str]) -> dict[str, Metric]:
    return {name: METRICS[name] for name in among if METRICS[name].measurement == measurement}


def _assert_same(before: Estimate, after: Estimate, name: str) -> None:
    numbers = [(one.value, one.low, one.high) for one in (before, after)]
    assert numbers[1] == pytest.approx(numbers[0], rel=1e-9, abs=1e-9), name
    assert (after.method, after.covers) == (before.method, before.covers), name
    assert _comparable(after.detail) == pytest.approx(_comparable(before.detail), rel=1e-9, abs=1e-9), name
    texts = [{key: text for key, text in one.detail.items() if isinstance(text, str)} for one in (before, after)]
    assert texts[0] == texts[1], name


def _comparable(detail: Mapping[str, float | int | str]) -> dict[str, float | int]:
    return {key: number for key, number in detail.items() if not isinstance(number, str)}


def _check_order(measurement: str, seed: int) -> None:
    samples, references = _made(measurement, seed)
    rng = np.random.default_rng([seed, 1])
    turned = taken(samples, rng.permutation(ROWS)), taken(references, rng.permutation(ROWS))
    for name, metric in _of(measurement, METRICS).items():
        _assert_same(estimated(metric, samples, references), estimated(metric, *turned), name)


def _check_doubled(measurement: str, seed: int) -> None:
    samples, references = _made(measurement, seed)
    twice = doubled(samples)
    for name, metric in _of(measurement, DOUBLED).items():
        before, after = estimated(metric, samples, references), estimated(metric, twice, references)
        assert DOUBLED[name](before, after, ROWS), f"{name}: {before} became {after}"


def _check_faults(measurement: str, seed: int) -> None:
    samples, references = _made(measurement, seed)
    for name, metric in _of(measurement, SEEN).items():
        plant, sign = SEEN[name]
        clean, some, much = (sign * estimated(metric, plant(samples, amount), references).value for amount in AMOUNTS)
        assert clean <= some <= much, name
        assert clean < much, name


@pytest.mark.parametrize("measurement", MEASUREMENTS)
@two
@given(seed=seeds)
def test_the_order_of_rows_does_not_matter(measurement: str, seed: int) -> None:
    _check_order(measurement, seed)


@pytest.mark.parametrize("measurement", MEASUREMENTS)
@one
@given(seed=seeds)
def test_doubled_rows_do_what_the_pages_say(measurement: str, seed: int) -> None:
    _check_doubled(measurement, seed)


@pytest.mark.parametrize("measurement", MEASUREMENTS)
@one
@given(seed=seeds)
def test_a_planted_fault_moves_every_metric_the_bad_way(measurement: str, seed: int) -> None:
    _check_faults(measurement, seed)


@pytest.mark.slow
@pytest.mark.parametrize("check", [_check_order, _check_doubled, _check_faults])
@pytest.mark.parametrize("measurement", MEASUREMENTS)
@many
@given(seed=seeds)
def test_the_same_of_many_rows(measurement: str, check: Callable[[str, int], None], seed: int) -> None:
    check(measurement, seed)


@pytest.mark.parametrize(("name", "batch"), [("gen_ppl_mdlm_duo", 8), ("gen_ppl_sedd", 32)])
def test_protocols_that_drop_the_last_batch_depend_on_which_rows_come_last(name: str, batch: int) -> None:
    """The exception to the order of rows, by definition of the protocols: rows behind the last whole batch do not count."""
    samples, _ = _made(METRICS[name].measurement, 0)
    uneven = taken(samples, np.arange(ROWS - 3))
    kept = taken(samples, np.arange((ROWS - 3) // batch * batch))
    for columns in (uneven, kept):
        columns["length"] = np.full(len(columns["length"]), 100)  # so that no row pads another
    assert estimated(METRICS[name], uneven).value == estimated(METRICS[name], kept).value
    turned = taken(uneven, np.arange(ROWS - 3)[::-1])
    assert estimated(METRICS[name], turned).value != estimated(METRICS[name], kept).value
