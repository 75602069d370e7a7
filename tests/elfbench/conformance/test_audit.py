"""The audit against closed forms, and against races that are run."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from elfbench.conformance.audit import (
    TAIL,
    TOLERANCE,
    VOCABULARY,
    audit_tail,
    drawn_probabilities,
    float32_race_probability,
    float32_unmasking_ratio,
    tail_law,
)

GRID = 2**24


def closed_form(probability: float, steps: int) -> float:
    """Drawn / due, x / (e^x - 1), of the race against the mask when the winner's hazard has the grid 2^-24 and the mask's has none.

    The factor behind it is the authors' 1e-10, which delays the winner by 1/600 of a grid step.
    """
    x = (1.0 - 1.0 / steps) * steps / probability / GRID
    return float(x / np.expm1(x) * np.exp(-x * 1e-10 * GRID))


def ordered_cdf(probabilities: np.ndarray, uniforms: np.ndarray, *, order: np.ndarray) -> np.ndarray:
    """Ids [N] by an inverse distribution function over the ids in `order` [V]."""
    cumulative = probabilities[:, order].cumsum(axis=1)
    ranks = (cumulative <= uniforms[:, None] * cumulative[:, -1:]).sum(axis=1)
    return order[np.minimum(ranks, len(order) - 1)]


def test_the_law_has_every_tail_twice_and_sums_to_one() -> None:
    law = tail_law()
    assert law.shape == (VOCABULARY,)
    assert law.sum() == pytest.approx(1.0, abs=1e-15)
    assert [int((law == probability).sum()) for probability in TAIL] == [2] * len(TAIL)


def test_the_float64_draw_of_the_baselines_passes() -> None:
    torch = pytest.importorskip("torch")
    from dlm_baselines.categorical import draw

    audit = audit_tail(lambda p, u: draw(torch.tensor(p), torch.tensor(u)).numpy())
    assert audit.passed
    support = audit.due > 0
    np.testing.assert_allclose(audit.drawn[support] / audit.due[support], 1.0, rtol=TOLERANCE)
    assert audit.drawn.sum() == 1.0


def test_the_same_draw_in_float32_fails() -> None:
    torch = pytest.importorskip("torch")

    def float32_draw(p: np.ndarray, u: np.ndarray) -> np.ndarray:
        cumulative = torch.tensor(p, dtype=torch.float32).cumsum(-1)
        ids = torch.searchsorted(cumulative, torch.tensor(u, dtype=torch.float32)[:, None], right=True)
        return ids.squeeze(-1).clamp(max=p.shape[1] - 1).numpy()

    audit = audit_tail(float32_draw)
    assert not audit.passed
    due, ratio = audit.worst
    assert due == 1e-7
    # A step of float32 between 1/2 and 1 is 2^-24: the id gets one or two of them, and nothing between.
    assert ratio == pytest.approx(2.0**-24 / 1e-7, rel=1e-6) or ratio == pytest.approx(2.0**-23 / 1e-7, rel=1e-6)


def test_ids_may_come_in_any_order() -> None:
    law = tail_law()
    for order in (np.argsort(-law, kind="stable"), np.argsort(law, kind="stable")):
        assert audit_tail(lambda p, u, order=order: ordered_cdf(p, u, order=order)).passed


def test_counts_of_a_small_law_are_exact() -> None:
    law = np.array([0.25, 0.0, 0.625, 0.125])
    measured = drawn_probabilities(lambda p, u: ordered_cdf(p, u, order=np.arange(4)), law)
    assert measured.tolist() == law.tolist()


def test_what_is_no_inverse_distribution_function_is_refused() -> None:
    law = np.array([0.5, 0.5])
    with pytest.raises(ValueError, match="id 0 are no interval"):
        drawn_probabilities(lambda p, u: (u * 8).astype(np.int64) % 2, law)
    with pytest.raises(ValueError, match="more than 2 intervals"):
        drawn_probabilities(lambda p, u: (u * 8).astype(np.int64), np.array([1.0, *[0.0] * 7]))
    with pytest.raises(ValueError, match="id 2 for 2 probabilities"):
        drawn_probabilities(lambda p, u: np.full(len(u), 2), law)


@pytest.mark.parametrize(
    ("steps", "probability", "published"),
    [
        (1024, 1e-3, 0.970),
        (1024, 1e-4, 0.725),
        (1024, 3e-5, 0.31),
        (1024, 1e-5, 0.014),
        (1024, 1e-6, 0.0),
        (128, 1e-5, 0.67),
        (128, 1e-6, 0.004),
        (32, 1e-5, 0.91),
        (32, 1e-6, 0.34),
    ],
)
def test_the_float32_race_cuts_the_tail_as_its_closed_form_says(
    steps: int, probability: float, published: float
) -> None:
    ratio = float32_unmasking_ratio(probability, steps)
    assert ratio == pytest.approx(closed_form(probability, steps), rel=3e-4, abs=1e-12)
    assert ratio == pytest.approx(published, abs=0.006)
    assert abs(ratio - 1.0) > TOLERANCE


def test_a_race_on_a_small_grid_equals_all_its_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four ids, once with a weight of 0, and with many ties, of which argmax takes the lowest id."""
    grid = 32
    monkeypatch.setattr("elfbench.conformance.audit._FLOAT32_GRID", grid)
    uniforms, tiny = np.arange(grid, dtype=np.float32) / np.float32(grid), np.float32(1e-10)
    hazards = np.stack(np.meshgrid(*[tiny - np.log(uniforms + tiny)] * 4, indexing="ij"), axis=-1)
    for weights in ([0.25, 0.0, 0.25, 0.5], [0.01, 0.04, 0.2, 0.75]):
        winners = (np.array(weights, dtype=np.float32) / hazards).argmax(axis=-1)
        counted = np.bincount(winners.ravel(), minlength=4) / winners.size
        found = [float32_race_probability(np.array(weights), winner) for winner in range(4) if weights[winner] > 0]
        np.testing.assert_allclose(found, counted[np.array(weights) > 0], rtol=1e-12)


def test_the_rate_agrees_with_races_that_are_run() -> None:
    """Mask-dominated laws at 1,024 steps; only uniforms with which the token can win are drawn, so that it wins often enough."""
    draws, generator, chi_square = 200_000, np.random.default_rng(20240905), 0.0
    tails = (1e-3, 1e-4, 3e-5, 1e-5)
    for probability in tails:
        weights = np.array([probability / 1024, 1.0 - 1.0 / 1024], dtype=np.float32)
        window = int(30 * weights[0] / weights[1] * GRID) + 2
        top = (GRID - generator.integers(1, window + 1, draws)).astype(np.float32) / np.float32(GRID)
        uniforms = np.stack([top, generator.random(draws, dtype=np.float32)], axis=1)
        tiny = np.float32(1e-10)
        wins = int(((weights / (tiny - np.log(uniforms + tiny))).argmax(axis=1) == 0).sum())
        share = float32_race_probability(weights.astype(np.float64), 0) * GRID / window
        expected = np.array([share, 1.0 - share]) * draws
        assert expected.min() > 20
        chi_square += float((np.square([wins - expected[0], draws - wins - expected[1]]) / expected).sum())
    assert stats.chi2.sf(chi_square, len(tails)) > 1e-3
